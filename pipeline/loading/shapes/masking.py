"""Masking: how each column is masked, by what is declared and by what it was masked as before.

A mask follows its column, whatever that is called and whichever column has its name by now: only a line
that says so takes it away.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pipeline.catalog import DriftAction, DriftKind, Mask, Table
from pipeline.loading.shapes import identity
from pipeline.loading.shapes.kinds import FixedKind
from pipeline.warehouse.shape import Column, Shape

# From what shows most to what shows least.
STRICTNESS = (None, "hash", "null", "exclude")


def masked(table: Table, current: Shape, accepted: Shape | None, others: Sequence[Shape]) -> list[Column]:
    """Return the columns of `current` with their masks.

    `accepted` is the shape in which the table was last loaded, `others` are those in which the very same
    relation of the source was loaded under whichever name, the newest first.
    """
    known: dict[int, Column] = {}
    for shape in (*reversed(others), *([accepted] if accepted else [])):
        if identity.same_table(shape, current):
            known |= identity.by_number(shape)
    names = identity.by_name(accepted) if accepted else {}
    return [_masked(table, column, known.get(column.attnum), names) for column in current.columns]


def _masked(table: Table, column: Column, before: Column | None, names: Mapping[str, Column]) -> Column:
    declared = table.columns.get(column.name)
    if before is None:
        # Made anew, or new: what it was, only its name can tell.
        before = names.get(column.name)
    wanted = declared.mask if declared else None
    named = names.get(column.name)
    # What was said of another column that had this name says nothing of this one.
    stale = named is not None and named.attnum != column.attnum and named.reviewed
    origin = declared.renamed_from if declared else None
    renamed = before is not None and before.name != column.name
    accepted = renamed and before is not None and origin == before.name
    if declared and declared.unmasked and (accepted or not stale):
        return replace(column, mask=wanted, reviewed=True)
    was = before.mask if before else None
    if before is not None and ((renamed and not accepted) or before.kept):
        mask = strictest(wanted, was)
    else:
        mask = wanted or strictest(was, _of_origin(table, origin, names))
    return replace(column, mask=mask, kept=mask != wanted)


def _of_origin(table: Table, origin: str | None, names: Mapping[str, Column]) -> Mask | None:
    """Return the mask of what the column was called before, by what the analysts say."""
    if origin is None:
        return None
    meant, known = table.columns.get(origin), names.get(origin)
    return (meant.mask if meant else None) or (known.mask if known else None)


def doubts(
    accepted: Shape, current: Shape, table: Table, pairs: Sequence[tuple[Column, Column | None]]
) -> Iterator[tuple[FixedKind, Column, str]]:
    """Yield what the declaration leaves open: the kind of drift, the column, and what is said of it.

    mask_kept: it stays masked, by what it was before, and nothing that is declared says so. mask_unknown: it
    is new, and may hold what was masked in a column that is gone, or in any of a table that was made anew.
    """
    for column in current.every_column:
        declared = table.columns.get(column.name)
        explained = declared is not None and declared.renamed_from and not declared.mask
        if column.kept and not explained:
            yield FixedKind.MASK_KEPT, column, column.mask or ""
    same = identity.same_table(accepted, current)
    hidden = [old.name for old, new in pairs if old.mask and (new is None or not same)]
    matched = {new.attnum for _, new in pairs if new is not None}
    if not hidden or table.drift.get(DriftKind.ADDED) == DriftAction.IGNORE:
        return
    for column in current.columns:
        if column.attnum not in matched and not column.mask and not column.reviewed:
            yield FixedKind.MASK_UNKNOWN, column, ", ".join(f'"{name}"' for name in hidden)


def strictest(*masks: Mask | None) -> Mask | None:
    """Return the mask that shows least.

    >>> str(strictest(Mask.HASH, None)), str(strictest(Mask.EXCLUDE, Mask.NULL)), strictest(None)
    ('hash', 'exclude', None)
    """
    return max(masks, key=STRICTNESS.index)
