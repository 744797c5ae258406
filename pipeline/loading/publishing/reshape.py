"""Reshape: how a table of the warehouse gets another shape while people read it.

A new column or name is a catalog change, made at once or tried again. Another type or key needs a new table:
it is filled beside the old one, then takes its place with all views and grants. What takes time, filling
materialized views included, is done before anybody is kept out.
"""

from collections.abc import Collection, Sequence

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Deletes
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection
from pipeline.warehouse import locks, staging, swap, views
from pipeline.warehouse.shape import Shape
from pipeline.warehouse.staging import DELETED_AT, LOADED_AT, Staged
from pipeline.warehouse.swap import Replaced

# Columns that do not come from the source.
OURS = (LOADED_AT, DELETED_AT)


def rename(beside: Connection, relation: sql.Identifier, renames: Sequence[tuple[str, str]]) -> None:
    """Rename columns, if the table is there. `beside` commits by itself, so that the lock is short.

    A name that is handed on is free once its column has another. Those that change names in a circle stay as
    they are: whether that was done before, their names do not tell.
    """
    if not renames or staging.oid(beside, relation) is None:
        return
    circles = in_circles(renames)
    while True:
        known = staging.column_names(beside, relation)
        possible = [
            (old, new) for old, new in renames if old in known and new not in known and old not in circles
        ]
        if not possible:
            return
        old, new = map(sql.Identifier, possible[0])
        _alter(beside, relation, sql.SQL("RENAME COLUMN {} TO {}").format(old, new))


def in_circles(renames: Sequence[tuple[str, str]]) -> set[str]:
    """Return the names of columns that have changed them in a circle.

    >>> sorted(in_circles([("a", "b"), ("b", "a"), ("c", "d")]))
    ['a', 'b']
    """
    called, circular = dict(renames), set()
    for start in called:
        name: str | None = start
        for _ in called:
            name = called.get(name or "")
            if name == start:
                circular.add(start)
    return circular


def unrenamed(renames: Sequence[tuple[str, str]], taken: Collection[str]) -> set[str]:
    """Return the names of columns that `rename` leaves as they are, where these names are `taken` for good.

    >>> sorted(unrenamed([("a", "b"), ("b", "a"), ("c", "gone"), ("d", "c"), ("e", "f")], ["gone"]))
    ['a', 'b', 'c', 'd']
    """
    kept = in_circles(renames)
    while more := {old for old, new in renames if new in kept.union(taken)} - kept:
        kept |= more
    return kept


def evolve(beside: Connection, staged: Staged, shape: Shape) -> None:
    """Add the columns that are new. `beside` commits by itself, so that the lock is short."""
    known = staging.column_names(beside, staged.target)
    added = [
        sql.SQL("ADD COLUMN {} {}").format(
            sql.Identifier(column.name), column.warehouse_type(staged.table.source)
        )
        for column in shape.columns
        if column.name not in known
    ]
    if staged.table.deletes == Deletes.SOFT and DELETED_AT not in known:
        added.append(sql.SQL("ADD COLUMN {} timestamptz").format(sql.Identifier(DELETED_AT)))
    if added:
        _alter(beside, staged.target, sql.SQL(", ").join(added))


def _alter(beside: Connection, relation: sql.Identifier, change: Composable) -> None:
    statement = sql.SQL("ALTER TABLE {} {}").format(relation, change)
    locks.patiently(beside, relation, lambda: postgres.rows(beside, statement))


def prepare(warehouse: Connection, staged: Staged, key: Sequence[str], emptied: Sequence[str]) -> Replaced:
    """Finish the new table beside the old one: its key, and what only the warehouse has kept."""
    rows = staged.rows
    exists = staging.oid(warehouse, staged.target) is not None
    _execute(warehouse, "ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT", rows, sql.Identifier(LOADED_AT))
    if staged.table.deletes == Deletes.SOFT:
        _execute(warehouse, "ALTER TABLE {} ADD COLUMN {} timestamptz", rows, sql.Identifier(DELETED_AT))
    if exists:
        _take_over(warehouse, staged, key, emptied)
    # Of a table that is new, validation has made it to see that the key is unique.
    if key and (index := staging.key_index(warehouse, rows, key)) is not None:
        _execute(warehouse, "ALTER TABLE {} ADD PRIMARY KEY USING INDEX {}", rows, sql.Identifier(index))
    elif key:
        _execute(warehouse, "ALTER TABLE {} ADD PRIMARY KEY ({})", rows, postgres.columns(key))
    if exists:
        views.copy_indexes(warehouse, staged.target, rows)
    _execute(warehouse, "ANALYZE {}", rows)
    return swap.replaced(warehouse, rows, staged.target)


def _take_over(warehouse: Connection, staged: Staged, key: Sequence[str], emptied: Sequence[str]) -> None:
    """Copy what only the warehouse still has: dropped columns, and rows that are marked as deleted."""
    old = staging.column_types(warehouse, staged.target)
    new = staging.column_types(warehouse, staged.rows)
    # Where a type is another one now, values are compared and carried over as the new one.
    same = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(staging.cast(name, old[name], new[name], "t"), sql.Identifier("s", name))
        for name in key
        if name in old
    )
    for name, type_ in old.items():
        if name in new or name in emptied:
            continue
        column = sql.Identifier(name)
        _execute(warehouse, "ALTER TABLE {} ADD COLUMN {} {}", staged.rows, column, sql.SQL(type_))
        if key and set(key) <= old.keys():
            _execute(
                warehouse,
                "UPDATE {} AS s SET {} = t.{} FROM {} AS t WHERE {}",
                staged.rows,
                column,
                column,
                staged.target,
                same,
            )
    if staged.table.deletes != Deletes.HARD:
        common = {name: type_ for name, type_ in old.items() if name not in (*emptied, *OURS)}
        # Those that the new table lacks were added to it above, with their old types.
        values = [staging.cast(name, type_, new.get(name, type_), "t") for name, type_ in common.items()]
        absent: Composable = sql.SQL("NOT EXISTS (SELECT 1 FROM {} AS s WHERE {})").format(staged.rows, same)
        if staging.oid(warehouse, staged.superseded) is not None:
            # Of these the source has a row, if not a good one.
            rejected = sql.SQL("NOT ({} AND EXISTS (SELECT 1 FROM {} AS s WHERE {}))").format(
                staging.live(warehouse, staged.target, staged.table, "t"), staged.superseded, same
            )
            absent = sql.SQL("{} AND {}").format(absent, rejected)
        if not key or not set(key) <= old.keys():
            both = {name: value for name, value in zip(common, values, strict=True) if name in new}
            absent = _absent_without_a_key(warehouse, staged, list(both), list(both.values()))
        _keep_rows(warehouse, staged, list(common), values, absent)


def _absent_without_a_key(
    warehouse: Connection, staged: Staged, names: Sequence[str], values: Sequence[Composable]
) -> Composable:
    """Return the condition under which the new table lacks a row of the old one, called "t", as a whole."""
    numbered = sql.SQL(
        "SELECT t.ctid, ROW({values})::text AS content,"
        " row_number() OVER (PARTITION BY ROW({values})::text) AS number FROM {relation} AS t WHERE {which}"
    )
    live = staging.live(warehouse, staged.target, staged.table, "t")
    listed = sql.SQL(", ").join(values)
    old = numbered.format(values=listed, relation=staged.target, which=live)
    new = numbered.format(values=postgres.columns(names, "t"), relation=staged.rows, which=sql.SQL("true"))
    return sql.SQL(
        "(NOT ({}) OR t.ctid IN (SELECT o.ctid FROM ({}) AS o WHERE NOT EXISTS"
        " (SELECT 1 FROM ({}) AS n WHERE n.content = o.content AND n.number = o.number)))"
    ).format(live, old, new)


def _keep_rows(
    warehouse: Connection,
    staged: Staged,
    names: Sequence[str],
    values: Sequence[Composable],
    absent: Composable,
) -> None:
    """Copy the rows that the source no longer has and the warehouse is to keep."""
    listed, copied = postgres.columns(names), sql.SQL(", ").join(values)
    if staged.table.deletes == Deletes.SOFT:
        deleted_at = sql.Identifier(DELETED_AT)
        # What was not marked until now is gone since the last load.
        marked = sql.SQL("coalesce(t.{}, statement_timestamp())").format(deleted_at)
        known = DELETED_AT in staging.column_names(warehouse, staged.target)
        listed += sql.SQL(", {}").format(deleted_at)
        copied += sql.SQL(", {}").format(marked if known else sql.SQL("statement_timestamp()"))
    loaded_at = sql.Identifier(LOADED_AT)
    try:
        _execute(
            warehouse,
            "INSERT INTO {} ({}, {}) SELECT {}, t.{} FROM {} AS t WHERE {}",
            staged.rows,
            listed,
            loaded_at,
            copied,
            loaded_at,
            staged.target,
            absent,
        )
    except postgres.Error as error:
        raise postgres.environmental(error) or StepError(
            f"rows that only the warehouse still has ('deletes: {staged.table.deletes}') do not fit "
            f"the table's new shape: {postgres.message_of(error)}",
            hint="to begin a new table and keep that one, run 'ALTER TABLE "
            f"{staged.target.as_string(warehouse)} RENAME TO ...' in the warehouse",
            retryable=False,
        ) from None


def _execute(warehouse: Connection, statement: str, *parts: Composable) -> None:
    postgres.rows(warehouse, sql.SQL(statement).format(*parts))
