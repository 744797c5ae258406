"""Identity: which column of a table, as it was loaded, is which of today. Its number outlives a rename."""

from collections.abc import Mapping

from pipeline.catalog import Table
from pipeline.warehouse.shape import Column, Shape


def same_table(accepted: Shape, current: Shape) -> bool:
    """Whether both are of one table of one database, so that the numbers of its columns mean the same."""
    systems = {accepted.system_identifier, current.system_identifier} - {""}
    return accepted.oid == current.oid and len(systems) <= 1


def by_number(shape: Shape) -> Mapping[int, Column]:
    """Return the columns of a shape, excluded ones as well, by their numbers."""
    return {column.attnum: column for column in shape.every_column}


def by_name(shape: Shape) -> Mapping[str, Column]:
    """Return the columns of a shape, excluded ones as well, by their names."""
    return {column.name: column for column in shape.every_column}


def matched(accepted: Shape, current: Shape, table: Table) -> list[tuple[Column, Column | None]]:
    """Return each column of the accepted shape, excluded ones as well, and what it is now, if it is there.

    Its number proves that. In a table that was made anew numbers mean nothing: there it is the name, or
    what the analysts say.
    """
    numbers = by_number(accepted) if same_table(accepted, current) else {}
    now = by_number(current) if numbers else {}
    # Who has a number that was there before is who he was, whatever he is called.
    free = {name: column for name, column in by_name(current).items() if column.attnum not in numbers}
    pairs = []
    for old in accepted.every_column:
        new = now.get(old.attnum) or free.get(old.name) or _declared(old, accepted, free, table)
        pairs.append((old, new))
    return pairs


def _declared(old: Column, accepted: Shape, free: Mapping[str, Column], table: Table) -> Column | None:
    names = by_name(accepted)
    for name, declared in table.columns.items():
        if declared.renamed_from == old.name and name not in names and name in free:
            return free[name]
    return None
