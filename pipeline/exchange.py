"""Exchange: how a table of the warehouse gets another shape while people read it.

A new column or name is a catalog change, made at once or tried again. Another type or key needs a new table:
it is filled beside the old one, then takes its place with all views and grants.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg2 import sql

from pipeline import postgres, staging, views
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection
from pipeline.shape import Shape
from pipeline.staging import DELETED_AT, LOADED_AT, Staged
from pipeline.views import View

# A catalog change waits this long for readers before it lets them pass and tries again.
LOCK_TIMEOUT = "150ms"
LOCK_TRIES = 100
LOCK_PAUSE_SECONDS = 0.25


@dataclass(frozen=True)
class Replaced:
    """What the new table has to take over from the one that it replaces."""

    views: list[View]
    grants: list[str]
    exists: bool


def evolve(beside: Connection, staged: Staged, shape: Shape, renames: Sequence[tuple[str, str]]) -> None:
    """Rename columns and add those that are new. `beside` commits by itself, so that the lock is short."""
    known = staging.column_names(beside, staged.target)
    changes = [
        sql.SQL("RENAME COLUMN {} TO {}").format(sql.Identifier(old), sql.Identifier(new))
        for old, new in renames
        if old in known and new not in known
    ]
    renamed = {new for _, new in renames}
    added = [
        sql.SQL("ADD COLUMN {} {}").format(
            sql.Identifier(column.name), column.warehouse_type(staged.table.source)
        )
        for column in shape.columns
        if column.name not in known and column.name not in renamed
    ]
    if staged.table.deletes == "soft" and DELETED_AT not in known:
        added.append(sql.SQL("ADD COLUMN {} timestamptz").format(sql.Identifier(DELETED_AT)))
    for change in [*changes, *([sql.SQL(", ").join(added)] if added else [])]:
        _patiently(beside, sql.SQL("ALTER TABLE {} {}").format(staged.target, change))


def _patiently(beside: Connection, statement: Composable) -> None:
    postgres.rows(beside, "SELECT set_config('lock_timeout', %s, false)", (LOCK_TIMEOUT,))
    _try(lambda: postgres.rows(beside, statement))
    postgres.rows(beside, "RESET lock_timeout")


def _try(change: Callable[[], object], undo: Callable[[], object] = lambda: None) -> None:
    """Make a catalog change at once or not at all, so that no reader queues behind it; try until it works.

    Raise StepError if readers never leave a gap.
    """
    for _ in range(LOCK_TRIES):
        try:
            change()
        except postgres.LockNotAvailable:
            undo()
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return
    raise StepError(
        f"somebody kept the table locked for {LOCK_TRIES * LOCK_PAUSE_SECONDS:.0f} seconds; find them in "
        "pg_stat_activity of the warehouse, then run it again"
    )


def prepare(warehouse: Connection, staged: Staged, key: Sequence[str], forgotten: Sequence[str]) -> Replaced:
    """Finish the new table beside the old one: its key, and what only the warehouse has kept."""
    rows = staged.rows
    exists = staging.oid(warehouse, staged.target) is not None
    _execute(warehouse, "ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT", rows, sql.Identifier(LOADED_AT))
    if staged.table.deletes == "soft":
        _execute(warehouse, "ALTER TABLE {} ADD COLUMN {} timestamptz", rows, sql.Identifier(DELETED_AT))
    if exists:
        _take_over(warehouse, staged, key, forgotten)
    if key:
        _execute(warehouse, "ALTER TABLE {} ADD PRIMARY KEY ({})", rows, postgres.columns(key))
    _execute(warehouse, "ANALYZE {}", rows)
    return Replaced(views.dependent(warehouse, staged.target), views.grants(warehouse, staged.target), exists)


def _take_over(warehouse: Connection, staged: Staged, key: Sequence[str], forgotten: Sequence[str]) -> None:
    """Copy what only the warehouse still has: dropped columns, and rows that are marked as deleted."""
    known = staging.column_names(warehouse, staged.rows)
    kept = [
        name
        for name in staging.column_names(warehouse, staged.target)
        if name not in known and name not in forgotten
    ]
    same = staging.same_key(key, "t", "s") if key else None
    for name in kept:
        column = sql.Identifier(name)
        type_ = postgres.value(
            warehouse,
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s AND attname = %s",
            (staging.oid(warehouse, staged.target), name),
        )
        _execute(warehouse, "ALTER TABLE {} ADD COLUMN {} {}", staged.rows, column, sql.SQL(type_))
        if same is not None:
            _execute(
                warehouse, "UPDATE {} AS s SET {} = t.{} FROM {} AS t WHERE {}",
                staged.rows, column, column, staged.target, same,
            )  # fmt: skip
    if staged.table.deletes == "soft" and same is not None:
        deleted_at = sql.Identifier(DELETED_AT)
        common = [
            name
            for name in staging.column_names(warehouse, staged.target)
            if name not in forgotten and name != DELETED_AT
        ]
        _execute(
            warehouse,
            "INSERT INTO {} ({}, {}) SELECT {}, coalesce(t.{}, statement_timestamp()) FROM {} AS t"
            " WHERE NOT EXISTS (SELECT 1 FROM {} AS s WHERE {})",
            staged.rows, postgres.columns(common), deleted_at, postgres.columns(common, "t"), deleted_at,
            staged.target, staged.rows, same,
        )  # fmt: skip


def publish(warehouse: Connection, staged: Staged, replaced: Replaced) -> None:
    """Put the new table in the old one's place, with its views and grants.

    Readers are kept out only from here to the commit: nothing but the catalog is touched.
    """
    schema, name = staged.target.strings

    def swap() -> None:
        if replaced.exists:
            _execute(warehouse, "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", staged.target)
            views.drop(warehouse, replaced.views)
            _execute(warehouse, "DROP TABLE {}", staged.target)

    _execute(warehouse, "SAVEPOINT swap")
    _execute(warehouse, "SET LOCAL lock_timeout = {}", sql.Literal(LOCK_TIMEOUT))
    again = "ROLLBACK TO SAVEPOINT swap; SET LOCAL lock_timeout = {}"
    _try(swap, lambda: _execute(warehouse, again, sql.Literal(LOCK_TIMEOUT)))
    _execute(warehouse, "SET LOCAL lock_timeout = 0")
    _execute(warehouse, "ALTER TABLE {} SET SCHEMA {}", staged.rows, sql.Identifier(schema))
    moved = sql.Identifier(schema, staged.rows.strings[1])
    _execute(warehouse, "ALTER TABLE {} RENAME TO {}", moved, sql.Identifier(name))
    for statement in replaced.grants:
        postgres.rows(warehouse, statement)
    views.create(warehouse, replaced.views)


def _execute(warehouse: Connection, statement: str, *parts: Composable) -> None:
    postgres.rows(warehouse, sql.SQL(statement).format(*parts))
