"""Guesses: what a table needs that nobody has described, by what its source says of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline import names
from pipeline.catalog.source_files.personal import HASH, suggested_mask
from pipeline.catalog.values import RelationKind


@dataclass(frozen=True)
class Relation:
    """A table or view as it was found; `rows` and `size_bytes` are estimates.

    `key` is the primary key, else a unique index whose columns are never null; `indexed` are the columns that
    an index begins with; `columns` are pairs of name and type. A materialized view that was never filled is
    not `populated`, and cannot be read.
    """

    schema: str
    name: str
    kind: RelationKind = RelationKind.TABLE
    readable: bool = True
    row_security: bool = False
    rows: int = 0
    size_bytes: int = 0
    key: tuple[str, ...] = ()
    key_is_primary: bool = True
    indexed: frozenset[str] = frozenset()
    extension: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    populated: bool = True


def reserved(relation: Relation, *, history: bool = False) -> list[str]:
    """Return the columns whose names the warehouse needs for its own."""
    ours = names.RESERVED_COLUMNS | (names.HISTORY_COLUMNS if history else frozenset())
    return [name for name, _ in relation.columns if name in ours]


def personal(relation: Relation) -> Mapping[str, str]:
    """Return the columns that look personal, each with the mask that it probably needs.

    What tells rows apart is hashed, and never left out.
    """
    return {
        name: HASH if name in relation.key else mask
        for name, type_name in relation.columns
        if name not in names.RESERVED_COLUMNS and (mask := suggested_mask(relation.name, name, type_name))
    }
