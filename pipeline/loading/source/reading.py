"""Reading: rows and keys of one table of a source, copied into staged rows and shown as they come.

All is read in the snapshot of the run. It shows rows as they were, but not names: which table and column a
query reads, and which parts a table has, is looked up at the moment of the query. And a table that was
rewritten since then looks empty, or as it was when it was copied.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from psycopg2 import sql

from pipeline import postgres
from pipeline.ledger.lease import Attempt
from pipeline.loading.extracted import Mode
from pipeline.loading.plan import Plan
from pipeline.loading.shapes import filtering
from pipeline.postgres import Composable, Connection
from pipeline.postgres.snapshot import ANOTHER, ChangedSinceError
from pipeline.progress import SHOW_SECONDS, Show
from pipeline.warehouse import staging
from pipeline.warehouse.shape import Shape
from pipeline.warehouse.staging import Staged


class Reading:
    """A table being read: both connections, and who is shown how far it is."""

    def __init__(self, warehouse: Connection, source: Connection, attempt: Attempt, show: Show) -> None:
        self._warehouse, self._source, self._attempt, self._show = warehouse, source, attempt, show

    def rows(self, planned: Plan, staged: Staged) -> tuple[int, int]:
        """Stage the rows; return how many are wanted of those the source has, and how many were staged.

        Raise ChangedSinceError if what is read is not what the plan was made for.
        """
        require_same(self._source, planned)
        source_rows = staging.count(self._source, planned.relation, filtering.condition(planned.table))
        require_unmoved(self._source, planned)
        return source_rows, self._copy_rows(planned, staged, source_rows)

    def keys(self, planned: Plan, staged: Staged, *among: Composable) -> None:
        """Stage the keys of all rows that the source has, or of those that meet these conditions too."""
        columns = planned.key_columns
        staging.create(self._warehouse, staged.keys, planned.table.source, columns)
        self._show(None, "reading keys to find what was deleted")
        query = planned.selection(columns) + filtering.restricted(planned.table, *among)
        self._copy(query, staged.keys, replace(planned.shape, columns=columns))
        postgres.rows(self._warehouse, sql.SQL("ANALYZE {}").format(staged.keys))

    def into(self, query: Composable, target: sql.Identifier) -> None:
        """Copy what a query of the source gives, numbers alone, into a table of the warehouse's session."""
        self._show(None, "looking for what was deleted")
        postgres.copy(
            self._source,
            sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query),
            self._warehouse,
            sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(target),
        )

    def _copy_rows(self, planned: Plan, staged: Staged, source_rows: int) -> int:
        source, new = planned.table.source, planned.mode.into_new_table
        staging.create(
            self._warehouse,
            staged.rows,
            source,
            planned.columns,
            datetime.now(UTC) if new else None,
            _never_null(planned) if new else (),
        )
        if not planned.columns:
            # COPY cannot carry rows of no columns at all.
            return staging.fill(self._warehouse, staged.rows, source_rows)
        query = planned.selection(planned.columns) + planned.condition()
        expected = None if planned.mode == Mode.INCREMENT else source_rows
        return self._copy(query, staged.rows, planned.shape, expected_rows=expected, freeze=new)

    def _copy(
        self,
        query: Composable,
        target: sql.Identifier,
        shape: Shape,
        *,
        expected_rows: int | None = None,
        freeze: bool = False,
    ) -> int:
        form, columns = sql.SQL(shape.copy_format), shape.columns
        names = postgres.columns([column.name for column in columns])
        return postgres.copy(
            self._source,
            sql.SQL("COPY ({}) TO STDOUT (FORMAT {})").format(query, form),
            self._warehouse,
            sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {}{})").format(
                target, names, form, sql.SQL(", FREEZE" if freeze else "")
            ),
            self._progress(expected_rows),
        )

    def _progress(self, expected_rows: int | None) -> Callable[[int], None]:
        began = shown = time.monotonic()

        def on_bytes(_size: int) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown < SHOW_SECONDS:
                return
            shown = now
            so_far = self._attempt.rows_so_far(self._warehouse)
            percent = min(99, 100 * so_far // expected_rows) if expected_rows else None
            self._show(percent, f"{so_far:,} rows read, {so_far / (now - began):,.0f} a second")

        return on_bytes


def _never_null(planned: Plan) -> list[str]:
    """Return the columns of the key that are null in no row, as the source itself sees to.

    Tables that inherit have constraints of their own, and a mask makes other values.
    """
    certain = planned.key_is_enforced and not planned.shape.partitions
    columns = planned.key_columns if certain else ()
    return [column.name for column in columns if column.not_null and column.mask is None]


def require_same(source: Connection, planned: Plan) -> None:
    """Raise ChangedSinceError if the table's names stand for something else since the snapshot was taken.

    The snapshot shows what is in the catalog as it was; but which table and column a query of it reads is
    looked up at the moment of the query. It takes the table's lock: from here on, nothing changes.
    """
    wanted = [(planned.shape.oid, column.attnum) for column in planned.columns]
    names = [column.name for column in planned.columns]
    try:
        with source.cursor() as cursor:
            query = sql.SQL("SELECT {} FROM {} LIMIT 0")
            cursor.execute(query.format(postgres.columns(names), planned.relation))
            actual = [(column.table_oid, column.table_column) for column in cursor.description or ()]
    except (postgres.UndefinedColumn, postgres.UndefinedTable):
        actual = []
    if actual != wanted:
        raise ChangedSinceError(
            "it, or one of its columns, was renamed, dropped or created again in the source since the "
            "snapshot of this run was taken",
            hint=ANOTHER,
        )


class _Change(StrEnum):
    """What happened to a table, or to a part of it, since the snapshot; the words are those of moved.sql."""

    MOVED = "moved"
    SWAPPED = "swapped"
    DETACHED = "detached"
    ATTACHED = "attached"
    REDEFINED = "redefined"


SINCE = "in the source since the snapshot of this run was taken"
UNREADABLE = f"{SINCE}, so that its rows at that moment are lost"
MESSAGES: Mapping[_Change, str] = {
    _Change.MOVED: f"was truncated or rewritten {UNREADABLE}",
    _Change.SWAPPED: f"got the file of another table, as by pg_repack, {UNREADABLE}",
    _Change.DETACHED: f"was detached from its table or dropped {UNREADABLE}",
    _Change.ATTACHED: f"was attached to its table {SINCE}, with rows that this had not at that moment",
    _Change.REDEFINED: f"was given another query {UNREADABLE}",
}


@dataclass(frozen=True)
class _Changed:
    """A table or view that is read otherwise than the snapshot says; whether it cannot be read by itself."""

    schema: str
    name: str
    change: str
    hidden: bool


def require_unmoved(source: Connection, planned: Plan) -> None:
    """Raise ChangedSinceError if what is read now is not all that the snapshot shows, or more than that.

    PostgreSQL shows a table that was truncated or rewritten as empty to an older snapshot, one whose file was
    swapped for that of a copy as it was copied, and a part that was detached not at all. We hold the lock by
    now: so it stays.
    """
    for one in postgres.read(source, postgres.statement("loading/moved"), _Changed, (planned.shape.oid,)):
        change = _Change(one.change)
        # What only moves rows, as VACUUM FULL, leaves those that the snapshot shows.
        if change is _Change.MOVED and not one.hidden:
            leaf = sql.Identifier(one.schema, one.name)
            if postgres.value(source, sql.SQL("SELECT EXISTS (SELECT 1 FROM ONLY {})").format(leaf)):
                continue
        raise ChangedSinceError(f'"{one.schema}"."{one.name}" {MESSAGES[change]}', hint=ANOTHER)
