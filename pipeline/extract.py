"""Extract: reads what changed in one table of a source into staged rows of the warehouse.

Everything is read in the one snapshot of the source that the run holds. What is staged is not believed
yet: `validate` looks at it, `load` publishes it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from psycopg2 import sql

from pipeline import access, drift, ledger, postgres, shape, snapshot, staging
from pipeline.catalog import Table
from pipeline.drift import Change
from pipeline.errors import StepError
from pipeline.ledger import Recorder, StepKey, Watermark
from pipeline.postgres import Composable, Connection
from pipeline.settings import Settings
from pipeline.shape import Shape
from pipeline.snapshot import Snapshot
from pipeline.staging import Staged

TASK = "ExtractTable"
LOAD_TASK = "LoadTable"
FIRST, FULL, INCREMENT = "first", "full", "increment"
# Transaction ids go round in 32 bits in the rows themselves: half of the circle is behind, half ahead.
HALF_CIRCLE = 2**31
SHOW_SECONDS = 1.0
TIME_TYPES = ("timestamp", "date")

# Told how far a step is, in percent or None where that cannot be known, and in words.
Show = Callable[[int | None, str], None]


def silent(_percent: int | None, _message: str) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Plan:
    """What an extraction will read, and why: all of a table or what changed since `since`."""

    mode: str
    reason: str
    shape: Shape
    key: tuple[str, ...]
    changes: tuple[Change, ...]
    since: Watermark | None

    @property
    def copy_format(self) -> str:
        return self.shape.copy_format


def step_key(table: Table, run: str, task: str = TASK) -> StepKey:
    """Return the step of a table in the ledger."""
    return StepKey(run, task, f"{table.source}.{table.name}")


def plan(warehouse: Connection, source: Connection, table: Table, taken: Snapshot) -> Plan:
    """Decide what of a table is to be read. Changes nothing.

    Raise StepError if the source has no such table, or not the columns that the catalog names.
    """
    current = shape.read(source, table.schema_name, table.relation)
    accepted = ledger.accepted_shape(warehouse, table.source, table.name)
    changes = drift.compare(Shape.from_json(accepted) if accepted else None, current)
    key = tuple(table.key or current.key)
    for named, what in ((key, "key"), ((table.cursor,) if table.cursor else (), "cursor")):
        for name in named:
            if current.column(name) is None:
                raise StepError(f'its {what} names column "{name}", which the source does not have')
    since = ledger.watermark(warehouse, table.source, table.name)
    exists = staging.oid(warehouse, Staged(table, "").target) is not None
    mode, reason = _mode(table, current, key, changes, since if exists else None, taken)
    return Plan(mode if exists else FIRST, reason, current, key, changes, since)


def _mode(
    table: Table,
    current: Shape,
    key: Sequence[str],
    changes: Sequence[Change],
    since: Watermark | None,
    taken: Snapshot,
) -> tuple[str, str]:
    refreshing = [str(change) for change in changes if change.action == drift.REFRESH]
    full = {
        "never loaded before": since is None,
        "declared": table.changes == "full",
        "it has no key": not key,
        f"a {'view' if current.kind == 'v' else 'foreign table'} tells no changes": (
            table.changes == "xmin" and not current.has_xmin
        ),
    }
    if since is not None:
        full |= {
            "the source was restored or failed over": (since.system_identifier, since.timeline)
            != (taken.system_identifier, taken.timeline),
            "the last load is too long ago to tell what changed": table.changes == "xmin"
            and not 0 <= taken.next_transaction - since.horizon < HALF_CIRCLE,
            "the last load knew no cursor": table.changes == "cursor" and since.cursor_value is None,
        }
    if refreshing:
        full[refreshing[0]] = True
    for reason, holds in full.items():
        if holds:
            return FULL, reason
    return INCREMENT, f"changed since {since.snapshot_at:%Y-%m-%d %H:%M}" if since else ""


def extracted(warehouse: Connection, table: Table, run: str) -> bool:
    """Whether the table's rows of this run are staged, whole and still wanted, or are loaded already."""
    loaded = ledger.find_step(warehouse, step_key(table, run, LOAD_TASK))
    if loaded and loaded.done:
        return True
    step = ledger.find_step(warehouse, step_key(table, run))
    if step is None or not step.done:
        return False
    staged = Staged(table, run)
    if staging.oid(warehouse, staged.rows) != step.detail["staged_oid"]:
        return False
    # A load of another run in between has moved the ground on which this one stands.
    if _base(ledger.watermark(warehouse, table.source, table.name)) != step.detail["base"]:
        return False
    return staging.count(warehouse, staged.rows) == step.rows


def _base(mark: Watermark | None) -> list[Any] | None:
    return None if mark is None else [mark.run, mark.snapshot_at.isoformat()]


def is_extracted(settings: Settings, table: Table, run: str) -> bool:
    """Whether the table is extracted, for who has no connection to the warehouse."""
    with access.brief(settings).warehouse() as warehouse:
        return extracted(warehouse, table, run)


def extract_table(settings: Settings, table: Table, run: str, show: Show = silent) -> None:
    """Stage what changed in a table since it was last loaded, together with the proof of its deletes.

    Does nothing if that is done. All or nothing: one transaction of the warehouse.
    Raise StepError or UnreachableError, each naming the table.
    """
    key = step_key(table, run)
    with (
        access.opened(settings) as databases,
        databases.warehouse(autocommit=True) as beside,
        databases.warehouse() as warehouse,
        postgres.explained(key.name),
    ):
        ledger.lock_table(warehouse, table.source, table.name)
        if extracted(warehouse, table, run):
            return
        with ledger.recorded(beside, key) as recorder, databases.source(table.source) as source:
            taken = snapshot.find(warehouse, table.source, run)
            if taken is None:
                raise StepError(f"no snapshot of source {table.source} was taken for run {run}")
            snapshot.read_at(source, taken)
            planned = plan(warehouse, source, table, taken)
            with databases.warehouse() as types:
                staging.ensure_types(types, table.source, planned.shape)
            extraction = _Extraction(warehouse, source, recorder, show, table, run, taken)
            staged_rows, detail = extraction.stage(planned)
            ledger.finish_step(warehouse, key, staged_rows, detail)
            warehouse.commit()


class _Extraction:
    """One extraction under way: both connections, and what is read."""

    def __init__(
        self, warehouse: Connection, source: Connection, recorder: Recorder, show: Show, table: Table,
        run: str, taken: Snapshot,
    ) -> None:  # fmt: skip
        self._warehouse, self._source, self._recorder, self._show = warehouse, source, recorder, show
        self._table, self._taken = table, taken
        self._staged = Staged(table, run)
        self._relation = sql.Identifier(table.schema_name, table.relation)

    def stage(self, planned: Plan) -> tuple[int, dict[str, Any]]:
        """Stage the rows and, where they are needed, the keys; return the staged rows and the detail."""
        staging.drop(self._warehouse, self._staged, every_run=True)
        source_rows = staging.count(self._source, self._relation)
        staged_rows = self._copy_rows(planned, source_rows)
        deleted = 0
        if planned.mode == INCREMENT:
            found = self._reconcile(planned, source_rows)
            if found is None:
                # The fallback that makes a missed row impossible, whatever the reason was.
                reason = "rows were missing after an incremental read"
                return self.stage(replace(planned, mode=FULL, reason=reason))
            deleted = found
        elif planned.mode == FULL and planned.key and self._table.deletes != "ignore":
            deleted = self._absent(planned.key, self._staged.rows)
        if planned.mode != INCREMENT and staged_rows != source_rows:
            raise StepError(
                f"{staged_rows} rows came of the {source_rows} in the source's snapshot; run it again"
            )
        detail = {
            "mode": planned.mode,
            "reason": planned.reason,
            "key": planned.key,
            "snapshot": self._taken.to_json(),
            "source_rows": source_rows,
            "deleted": deleted,
            "staged_oid": staging.oid(self._warehouse, self._staged.rows),
            "base": _base(planned.since),
            "cursor_value": self._cursor_value(planned),
            "shape": planned.shape.to_json(),
        }
        return staged_rows, detail

    def _copy_rows(self, planned: Plan, source_rows: int) -> int:
        first = planned.mode == FIRST
        staging.create(
            self._warehouse, self._staged.rows, self._table.source, planned.shape.columns,
            self._now() if first else None,
        )  # fmt: skip
        names = postgres.columns(planned.shape.names)
        query = sql.SQL("SELECT {} FROM {}{}").format(names, self._relation, self._condition(planned))
        return self._copy(
            query, self._staged.rows, names, planned.copy_format,
            expected_rows=None if planned.mode == INCREMENT else source_rows, freeze=first,
        )  # fmt: skip

    def _copy(
        self, query: Composable, target: sql.Identifier, names: Composable, copy_format: str, *,
        expected_rows: int | None = None, freeze: bool = False,
    ) -> int:  # fmt: skip
        options = sql.SQL("FORMAT {}{}").format(sql.SQL(copy_format), sql.SQL(", FREEZE" if freeze else ""))
        return postgres.copy(
            self._source,
            sql.SQL("COPY ({}) TO STDOUT (FORMAT {})").format(query, sql.SQL(copy_format)),
            self._warehouse,
            sql.SQL("COPY {} ({}) FROM STDIN ({})").format(target, names, options),
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
            so_far = self._recorder.rows_so_far(self._warehouse)
            percent = min(99, 100 * so_far // expected_rows) if expected_rows else None
            self._show(percent, f"{so_far:,} rows read, {so_far / (now - began):,.0f} a second")

        return on_bytes

    def _condition(self, planned: Plan) -> Composable:
        if planned.mode != INCREMENT or planned.since is None:
            return sql.SQL("")
        if self._table.changes == "xmin":
            return sql.SQL(
                " WHERE ((xmin::text::bigint - {horizon} + 4294967296) % 4294967296) < 2147483648"
            ).format(horizon=sql.Literal(planned.since.horizon % 2**32))
        return self._cursor_condition(planned, planned.since)

    def _cursor_condition(self, planned: Plan, since: Watermark) -> Composable:
        cursor = planned.shape.column(self._table.cursor or "")
        assert cursor is not None  # noqa: S101 - plan() saw to it
        lookback: Composable = sql.SQL("")
        if cursor.type.startswith(TIME_TYPES):
            seconds = f"{self._table.lookback.total_seconds()} seconds"
            lookback = sql.SQL(" - {}::interval").format(sql.Literal(seconds))
        # Whoever leaves the cursor empty is read every time.
        return sql.SQL(" WHERE {cursor} IS NULL OR {cursor} >= {value}::{type}{lookback}").format(
            cursor=sql.Identifier(cursor.name),
            value=sql.Literal(since.cursor_value),
            type=sql.SQL(cursor.type),
            lookback=lookback,
        )

    def _reconcile(self, planned: Plan, source_rows: int) -> int | None:
        """Return how many rows of the target are gone from the source; None if the target would lack any."""
        if self._table.deletes == "ignore":
            return 0
        target, live = self._staged.target, staging.live(self._table, "t")
        before = postgres.value(
            self._warehouse, sql.SQL("SELECT count(*) FROM {} AS t WHERE {}").format(target, live)
        )
        new = postgres.value(
            self._warehouse,
            sql.SQL(
                "SELECT count(*) FROM {staged} AS s"
                " WHERE NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {same} AND {live})"
            ).format(
                staged=self._staged.rows,
                target=target,
                live=live,
                same=staging.same_key(planned.key, "t", "s"),
            ),
        )
        # By xmin nothing is missed, so after the merge the target holds every key of the source: as many
        # rows are the same rows. A cursor can miss one row and keep another that is gone.
        if self._table.changes == "xmin" and before + new == source_rows:
            return 0
        self._copy_keys(planned)
        if self._lacking(planned.key):
            return None
        return self._absent(planned.key, self._staged.keys)

    def _copy_keys(self, planned: Plan) -> None:
        columns = [column for column in planned.shape.columns if column.name in planned.key]
        staging.create(self._warehouse, self._staged.keys, self._table.source, columns)
        names = postgres.columns([column.name for column in columns])
        query = sql.SQL("SELECT {} FROM {}").format(names, self._relation)
        safe = all(column.binary_safe for column in columns)
        self._show(None, "reading the keys to find what was deleted")
        self._copy(query, self._staged.keys, names, "binary" if safe else "text")
        postgres.rows(self._warehouse, sql.SQL("ANALYZE {}").format(self._staged.keys))

    def _lacking(self, key: Sequence[str]) -> bool:
        query = sql.SQL(
            """
            SELECT EXISTS (
                SELECT 1 FROM {keys} AS k
                WHERE NOT EXISTS (SELECT 1 FROM {staged} AS s WHERE {same_staged})
                  AND NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {same_target} AND {live}))
            """
        ).format(
            keys=self._staged.keys, staged=self._staged.rows, target=self._staged.target,
            same_staged=staging.same_key(key, "s", "k"), same_target=staging.same_key(key, "t", "k"),
            live=staging.live(self._table, "t"),
        )  # fmt: skip
        return bool(postgres.value(self._warehouse, query))

    def _absent(self, key: Sequence[str], present: sql.Identifier) -> int:
        query = sql.SQL(
            "SELECT count(*) FROM {} AS t WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})"
        ).format(
            self._staged.target, staging.live(self._table, "t"), present, staging.same_key(key, "t", "p")
        )
        counted: int = postgres.value(self._warehouse, query)
        return counted

    def _cursor_value(self, planned: Plan) -> str | None:
        if self._table.changes != "cursor":
            return None
        query = sql.SQL("SELECT max({})::text FROM {}").format(
            sql.Identifier(self._table.cursor or ""), self._staged.rows
        )
        newest: str | None = postgres.value(self._warehouse, query)
        return newest or (planned.since.cursor_value if planned.since else None)

    @staticmethod
    def _now() -> datetime:
        return datetime.now(UTC)
