"""The kinds of drift: those whose action analysts may set, and those with an action of their own."""

from enum import StrEnum

from pipeline.catalog import DriftKind


class FixedKind(StrEnum):
    """The kinds whose action nobody can set: only a line under the column says otherwise."""

    MASK_KEPT = "mask_kept"
    MASK_UNKNOWN = "mask_unknown"
    MASK_BESIDE = "mask_beside"
    MASK_FILTERED = "mask_filtered"
    WHERE = "where"
    WHERE_ON = "where_on"
    LISTED = "listed"
    ATTRIBUTE = "attribute"


Kind = DriftKind | FixedKind
