"""Extract: reads what changed in one table of a source into staged rows of the warehouse.

Everything is read in the one snapshot of the source that the run holds. What is staged is not believed
yet: `validate` looks at it, `load` publishes it.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg2 import sql

from pipeline import access, fence, ledger, mask, patience, plan, postgres, quality, snapshot, staging, types
from pipeline.access import Access
from pipeline.catalog import Table
from pipeline.errors import CheckError, ConflictError, StepError
from pipeline.fence import Attempt
from pipeline.ledger import Step, StepKey, Watermark
from pipeline.plan import BLOCKED, FULL, INCREMENT, REBUILD, Plan
from pipeline.postgres import Composable, Connection
from pipeline.settings import Settings
from pipeline.shape import Shape
from pipeline.snapshot import Snapshot
from pipeline.staging import Staged

TASK = "ExtractTable"
LOAD_TASK = "LoadTable"
SHOW_SECONDS = 1.0
# How far behind the moment of reading a time without a zone may be where it was written just now.
WESTERNMOST = timedelta(hours=12)

# Told how far a step is, in percent or None where that cannot be known, and in words.
Show = Callable[[int | None, str], None]


def silent(_percent: int | None, _message: str) -> None:
    """Show nothing."""


def step_key(table: Table, run: str, task: str = TASK) -> StepKey:
    """Return the step of a table in the ledger."""
    return StepKey(run, task, f"{table.source}.{table.name}")


def extracted(warehouse: Connection, table: Table, run: str) -> bool:
    """Whether the table's rows of this run are staged, whole and still wanted, or are loaded already."""
    loaded = ledger.find_step(warehouse, step_key(table, run, LOAD_TASK))
    if loaded and loaded.done:
        return True
    step = ledger.find_step(warehouse, step_key(table, run))
    if step is None or not step.done:
        return False
    # What was declared otherwise when it was read, such as without a mask, is not what is wanted now.
    if step.detail["declared"] != declaration(table):
        return False
    # A load of another run in between has moved the ground on which this one stands.
    if _base(ledger.watermark(warehouse, table.source, table.name)) != step.detail["base"]:
        return False
    return _is_whole(warehouse, Staged(table, run), step)


def _is_whole(warehouse: Connection, staged: Staged, step: Step) -> bool:
    """Whether all that was staged is still there: a crash of the server empties what is UNLOGGED."""
    if staging.oid(warehouse, staged.rows) != step.detail["staged_oid"]:
        return False
    if step.detail["keys_staged"] and staging.count(warehouse, staged.keys) != step.detail["source_rows"]:
        return False
    return staging.count(warehouse, staged.rows) == step.rows


def _base(mark: Watermark | None) -> list[Any] | None:
    return None if mark is None else [mark.run, mark.snapshot_at.isoformat()]


def declaration(table: Table) -> str:
    """Return a digest of all that is declared of a table."""
    return hashlib.sha256(table.model_dump_json().encode()).hexdigest()


def is_extracted(settings: Settings, table: Table, run: str) -> bool:
    """Whether the table is extracted, for who has no connection to the warehouse."""
    with access.brief(settings).warehouse() as warehouse:
        return extracted(warehouse, table, run)


def extract_table(settings: Settings, table: Table, run: str, show: Show = silent) -> None:
    """Stage what changed in a table since it was last loaded, together with the proof of its deletes.

    Does nothing if that is done. All or nothing: one transaction of the warehouse. What passes is tried
    again. Raise CheckError if the table's shape has changed in a way that a person has to decide about,
    StepError or UnreachableError, each naming the table.
    """
    patience.persevere(lambda: _extract_table(settings, table, run, show), lambda said: show(None, said))


def _extract_table(settings: Settings, table: Table, run: str, show: Show) -> None:
    key = step_key(table, run)
    with (
        access.opened(settings) as databases,
        databases.warehouse(autocommit=True) as beside,
        databases.warehouse() as warehouse,
        postgres.explained(key.name),
    ):
        fence.lock_table(warehouse, table.source, table.name)
        if extracted(warehouse, table, run):
            return
        began = time.monotonic()
        with fence.attempted(beside, key) as attempt:
            taken = snapshot.find(warehouse, table.source, run)
            if taken is None:
                raise StepError(
                    f"no snapshot of source {table.source} was taken for run {run}; "
                    f"'pipeline run etl --run {run}' takes one and goes on from there"
                )
            try:
                staged_rows, detail = _extract(databases, warehouse, attempt, show, table, run, taken)
            except postgres.LockNotAvailable:
                raise StepError(
                    "somebody kept the table locked in the source for too long, as a change of its shape "
                    "or a VACUUM FULL does; run it again once that is done"
                ) from None
            except ConflictError as error:
                if "recovery" not in str(error):
                    raise
                raise ConflictError(
                    "the source is a standby and ended the query, for it was in the way of its replay "
                    f"({error}); set hot_standby_feedback = on there or raise max_standby_streaming_delay, "
                    "or run it again"
                ) from None
            attempt.finish(warehouse, staged_rows, detail)
            warehouse.commit()
            show(100, _told(staged_rows, detail, time.monotonic() - began))


def _told(rows: int, detail: Mapping[str, Any], seconds: float) -> str:
    """Return what an extraction did, for people."""
    what = "changed rows" if detail["mode"] == INCREMENT else "rows, all of them,"
    gone = f"; {detail['deleted']:,} are gone from the source" if detail["deleted"] else ""
    return f"{rows:,} {what} read in {seconds:,.1f} s, {rows / max(seconds, 0.001):,.0f} a second{gone}"


def _extract(
    databases: Access, warehouse: Connection, attempt: Attempt, show: Show, table: Table, run: str,
    taken: Snapshot,
) -> tuple[int, dict[str, Any]]:  # fmt: skip
    with databases.source(table.source) as source:
        fingerprint = ""
        if any(column.mask == "hash" for column in table.columns.values()):
            fingerprint = mask.unlock(source, databases.mask_key())
        source.commit()
        snapshot.read_at(source, taken)
        planned = plan.make(warehouse, source, table, taken, fingerprint)
        if planned.mode == BLOCKED:
            raise _blocked(databases, planned, run)
        with databases.warehouse() as apart:
            types.ensure_types(apart, table.source, planned.shape)
        return _Extraction(warehouse, source, attempt, show, run, taken).stage(planned)


def _blocked(databases: Access, planned: Plan, run: str) -> CheckError:
    """Record what keeps a table from being read; return it as an error, all of it at once."""
    results = quality.of_drift(planned.changes, planned.table)
    with databases.warehouse(autocommit=True) as beside:
        quality.record(beside, run, planned.table, results)
    told = "; ".join(change.told(planned.table) for change in planned.changes if change.blocks)
    return CheckError(f"{told}; until then its last good rows stay up")


class _Extraction:
    """One extraction under way: both connections, and what they read."""

    def __init__(
        self, warehouse: Connection, source: Connection, attempt: Attempt, show: Show, run: str,
        taken: Snapshot,
    ) -> None:  # fmt: skip
        self._warehouse, self._source, self._attempt, self._show = warehouse, source, attempt, show
        self._run, self._taken = run, taken

    def stage(self, planned: Plan) -> tuple[int, dict[str, Any]]:
        """Stage the rows and, where they are needed, the keys; return the staged rows and the detail."""
        staged = Staged(planned.table, self._run)
        staging.drop_every_run(self._warehouse, staged)
        self._require_same(planned)
        source_rows = staging.count(self._source, planned.relation)
        self._require_unmoved(planned)
        staged_rows = self._copy_rows(planned, staged, source_rows)
        deleted: int | None = 0
        if planned.mode == INCREMENT:
            deleted = self._reconcile(planned, staged, source_rows)
            if deleted is None:
                # The fallback that makes a missed row impossible, whatever the reason was.
                return self.stage(replace(planned, mode=FULL, reason="rows were missing in the increment"))
        elif staged_rows != source_rows:
            raise StepError(
                f"{staged_rows:,} rows came of the {source_rows:,} that the source has; nothing was staged; "
                "run it again"
            )
        elif planned.mode == FULL and planned.key and planned.table.deletes != "ignore":
            deleted = self._absent(planned, staged, staged.rows)
        elif planned.mode == REBUILD and planned.since is not None:
            # The keys may be of another type by now: the counts have to do.
            deleted = max(0, planned.since.rows - source_rows)
        return staged_rows, {
            "mode": planned.mode,
            "reason": planned.reason,
            "key": planned.key,
            "snapshot": self._taken.to_json(),
            "source_rows": source_rows,
            "deleted": deleted,
            "keys_staged": staging.oid(self._warehouse, staged.keys) is not None,
            "staged_oid": staging.oid(self._warehouse, staged.rows),
            "base": _base(planned.since),
            "cursor_value": self._cursor_value(planned, staged),
            "shape": planned.shape.to_json(),
            "renamed": planned.renamed,
            "declared": declaration(planned.table),
        }

    def _require_same(self, planned: Plan) -> None:
        """Raise StepError if the table's names stand for something else since the snapshot was taken.

        The snapshot shows what is in the catalog as it was; but which table and column a query of it reads is
        looked up at the moment of the query. It takes the table's lock: from here on, nothing changes.
        """
        wanted = [(planned.shape.oid, column.attnum) for column in planned.columns]
        names = [column.name for column in planned.columns]
        try:
            with self._source.cursor() as cursor:
                query = sql.SQL("SELECT {} FROM {} LIMIT 0")
                cursor.execute(query.format(postgres.columns(names), planned.relation))
                found = [(column.table_oid, column.table_column) for column in cursor.description or ()]
        except (postgres.UndefinedColumn, postgres.UndefinedTable):
            found = []
        if found != wanted:
            raise StepError(
                "it, or one of its columns, was renamed, dropped or made anew in the source since the "
                "snapshot of this run was taken; run it again"
            )

    def _require_unmoved(self, planned: Plan) -> None:
        """Raise StepError if the table was truncated or rewritten after the snapshot was taken.

        PostgreSQL shows such a table as empty to an older snapshot. We hold its lock by now: so it stays.
        """
        moved = postgres.rows(self._source, postgres.statement("moved"), (planned.shape.oid,))
        for schema, name in moved:
            leaf = sql.SQL("SELECT EXISTS (SELECT 1 FROM ONLY {})").format(sql.Identifier(schema, name))
            if not postgres.value(self._source, leaf):
                raise StepError(
                    f'"{schema}"."{name}" was truncated or rewritten in the source since the snapshot of '
                    "this run was taken, so that its rows cannot be told; run it again"
                )

    def _copy_rows(self, planned: Plan, staged: Staged, source_rows: int) -> int:
        source, new = planned.table.source, planned.into_new_table
        staging.create(
            self._warehouse, staged.rows, source, planned.columns, datetime.now(UTC) if new else None
        )
        if not planned.columns:
            # COPY cannot carry rows of no columns at all.
            return staging.fill(self._warehouse, staged.rows, source_rows)
        query = planned.selection(planned.columns) + planned.condition()
        expected = None if planned.mode == INCREMENT else source_rows
        return self._copy(query, staged.rows, planned.shape, expected_rows=expected, freeze=new)

    def _copy(
        self, query: Composable, target: sql.Identifier, shape: Shape, *,
        expected_rows: int | None = None, freeze: bool = False,
    ) -> int:  # fmt: skip
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

    def _reconcile(self, planned: Plan, staged: Staged, source_rows: int) -> int | None:
        """Return how many rows of the target are gone from the source; None if the target would lack any."""
        table = planned.table
        if table.deletes == "ignore" and table.changes == "xmin":
            return 0
        before = staging.count(
            self._warehouse, staged.target, staging.live(self._warehouse, staged.target, table)
        )
        new = postgres.value(
            self._warehouse,
            sql.SQL(
                "SELECT count(*) FROM {staged} AS s"
                " WHERE NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {same} AND {live})"
            ).format(
                staged=staged.rows,
                target=staged.target,
                live=staging.live(self._warehouse, staged.target, table, "t"),
                same=staging.same_key(planned.key, "t", "s", planned.renamed),
            ),
        )
        # By xmin nothing is missed, so after the merge the target holds every key of the source: as many
        # rows are the same rows, if the source itself allows each key only once. A cursor can miss one row
        # and keep another that is gone.
        if table.changes == "xmin" and planned.key_is_enforced and before + new == source_rows:
            return 0
        self._copy_keys(planned, staged)
        self._require_unique_keys(planned, staged)
        if self._lacks_any(planned, staged):
            return None
        if table.deletes == "ignore":
            return 0
        return self._absent(planned, staged, staged.keys)

    def _copy_keys(self, planned: Plan, staged: Staged) -> None:
        columns = tuple(column for column in planned.columns if column.name in planned.key)
        staging.create(self._warehouse, staged.keys, planned.table.source, columns)
        self._show(None, "reading the keys to find what was deleted")
        self._copy(planned.selection(columns), staged.keys, replace(planned.shape, columns=columns))
        postgres.rows(self._warehouse, sql.SQL("ANALYZE {}").format(staged.keys))

    def _require_unique_keys(self, planned: Plan, staged: Staged) -> None:
        query = sql.SQL("SELECT EXISTS (SELECT 1 FROM {} GROUP BY {} HAVING count(*) > 1)")
        if postgres.value(self._warehouse, query.format(staged.keys, postgres.columns(planned.key))):
            raise CheckError(
                f"its key ({', '.join(planned.key)}) has values that the source has more than once; write "
                f"the key that tells its rows apart under {planned.table.name} in "
                f"sources/{planned.table.source}.yaml; until then its last good rows stay up"
            )

    def _lacks_any(self, planned: Plan, staged: Staged) -> bool:
        query = sql.SQL(
            """
            SELECT EXISTS (
                SELECT 1 FROM {keys} AS k
                WHERE NOT EXISTS (SELECT 1 FROM {staged} AS s WHERE {same_staged})
                  AND NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {same_target} AND {live}))
            """
        ).format(
            keys=staged.keys, staged=staged.rows, target=staged.target,
            same_staged=staging.same_key(planned.key, "s", "k"),
            same_target=staging.same_key(planned.key, "t", "k", planned.renamed),
            live=staging.live(self._warehouse, staged.target, planned.table, "t"),
        )  # fmt: skip
        return bool(postgres.value(self._warehouse, query))

    def _absent(self, planned: Plan, staged: Staged, present: sql.Identifier) -> int:
        query = sql.SQL(
            "SELECT count(*) FROM {} AS t WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})"
        ).format(
            staged.target,
            staging.live(self._warehouse, staged.target, planned.table, "t"),
            present,
            staging.same_key(planned.key, "t", "p", planned.renamed),
        )
        counted: int = postgres.value(self._warehouse, query)
        return counted

    def _cursor_value(self, planned: Plan, staged: Staged) -> str | None:
        if planned.table.changes != "cursor" or not planned.table.cursor:
            return None
        cursor = sql.Identifier(planned.table.cursor)
        query = sql.SQL("SELECT max({})::text FROM {}").format(cursor, staged.rows)
        if planned.timed_cursor:
            # A clock that is fast, or a date in the far future, must not hide every change until then.
            latest = self._taken.taken_at
            if "with time zone" not in planned.timed_cursor:
                latest -= WESTERNMOST
            query += sql.SQL(" WHERE {} <= {}::timestamptz").format(cursor, sql.Literal(latest.isoformat()))
        newest: str | None = postgres.value(self._warehouse, query)
        return newest or (planned.since.cursor_value if planned.since else None)
