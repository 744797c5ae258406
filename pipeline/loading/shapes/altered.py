"""Altered: what somebody did by hand to a table of the warehouse, and what of its rows fits another shape."""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.catalog import DriftKind
from pipeline.loading.shapes.drift import Change
from pipeline.loading.shapes.kinds import FixedKind, Kind
from pipeline.postgres import Connection
from pipeline.warehouse.shape import Column, Shape

# Where one of these changed, a row that was loaded before has another name, key or value for a column, or may
# have one that the new type does not hold.
UNFIT: frozenset[Kind] = frozenset({DriftKind.RENAMED, DriftKind.KEY, DriftKind.NARROWED, DriftKind.TYPE})
# What such a row has in a column of one of these was never, or must no longer be, the column's value.
EMPTIED: frozenset[Kind] = frozenset(
    {DriftKind.ADDED, DriftKind.ADDED_WITH_DEFAULT, DriftKind.MASK, FixedKind.LISTED}
)


def is_held(warehouse: Connection, column: Column, source: str, type_: str) -> bool:
    """Whether this type, as the warehouse's server writes it, is the one that the column gets there."""
    wanted = column.warehouse_type(source).as_string(warehouse)
    return type_.replace('"', "") == wanted.replace('"', "")


def by_hand(
    warehouse: Connection,
    source: str,
    accepted: Shape | None,
    current: Shape,
    changes: Sequence[Change],
    held: Mapping[str, str],
) -> Iterator[str]:
    """Yield how the warehouse's table, which has columns of these types, is not as the last load left it.

    No load would notice: what is missing is added again, and stays empty in rows that are not read; what has
    another type takes in whatever fits that.
    """
    old_names = {change.column: change.old for change in changes if change.kind == DriftKind.RENAMED}
    for column in current.columns:
        was = accepted.column(old_names.get(column.name, column.name)) if accepted else None
        if was is None:
            # It is new, or stayed in the source until now.
            continue
        # A column is renamed before its load, which may have failed then.
        type_ = held.get(was.name) or held.get(column.name)
        if type_ is None:
            yield f'the warehouse\'s table lacks column "{column.name}"'
        elif not is_held(warehouse, was, source, type_):
            yield f'the warehouse has column "{column.name}" as {type_}'


def lasting(
    warehouse: Connection,
    source: str,
    accepted: Shape | None,
    current: Shape,
    changes: Sequence[Change],
    held: Mapping[str, str],
) -> tuple[str, ...] | None:
    """Return the columns whose values in the warehouse's rows still hold in a new table of another shape.

    None if it is not certain that such a row has its key there, and values that fit.
    """
    if accepted is None or any(by_hand(warehouse, source, accepted, current, changes, held)):
        return None
    if any(change.kind in UNFIT or (change.kind in EMPTIED and not change.column) for change in changes):
        return None
    emptied = {change.column for change in changes if change.kind in EMPTIED}
    names = tuple(name for name in current.names if name in held and name not in emptied)
    return names if current.key and set(current.key) <= set(names) else None
