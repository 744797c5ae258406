"""Extract: reads what changed in one table of a source into staged rows of the warehouse.

Everything is read in the one snapshot of the source that the run holds. What is staged is not believed
yet: `validate` looks at it, `load` publishes it.
"""

import contextlib
import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from psycopg2 import sql

from pipeline import access, chains, mask, postgres, quality, retry
from pipeline.access import Access
from pipeline.catalog import Changes, Deletes, Table
from pipeline.chains import EXTRACT_TASK, LOAD_TASK
from pipeline.errors import CheckError, ConflictError, StepError
from pipeline.ledger import Standing, checks
from pipeline.ledger.sources import Witnesses
from pipeline.loading import checking, plan, snapshot_holder, steps
from pipeline.loading.extracted import Extracted, Mode
from pipeline.loading.plan import Plan
from pipeline.loading.source import continuity, deletes
from pipeline.loading.source.reading import Reading
from pipeline.loading.steps import Begun
from pipeline.postgres import Connection, snapshot
from pipeline.postgres.snapshot import ChangedSinceError, Snapshot
from pipeline.progress import Show, no_progress
from pipeline.settings import Settings
from pipeline.warehouse import staging, types
from pipeline.warehouse.staging import Staged

# How far behind the moment of reading a time without a zone may be where it was written just now.
WESTERNMOST = timedelta(hours=12)
# So many staged rows are counted in milliseconds, as often as somebody asks.
QUICKLY_COUNTED = 100_000


def extracted(warehouse: Connection, table: Table, run: str) -> bool:
    """Whether the table's rows of this run are staged, whole and still wanted, or are loaded already."""
    known = steps.standing(warehouse, table, run)
    return known.is_done(LOAD_TASK) or still_staged(warehouse, table, run, known) is not None


def still_staged(warehouse: Connection, table: Table, run: str, known: Standing) -> Extracted | None:
    """Return the record of the rows that are staged, whole and still wanted; None where they are not."""
    step = known.steps.get(EXTRACT_TASK)
    record = Extracted.of(step)
    # What was declared otherwise when it was read, such as without a mask, is not what is wanted now.
    if step is None or record is None or record.declared != declaration(table):
        return None
    # A load of another run in between has moved the ground on which this one stands.
    if _base(known.shows) != record.base:
        return None
    return record if _is_whole(warehouse, Staged(table, run), record, step.rows) else None


def _is_whole(warehouse: Connection, staged: Staged, record: Extracted, rows: int | None) -> bool:
    """Whether all that was staged is still there: a crash of the server empties what is UNLOGGED.

    Of very many rows only whether there are any, for it is all or none: the steps that use them count.
    """
    if staging.oid(warehouse, staged.rows) != record.staged_oid:
        return False
    if record.gone_staged and staging.count(warehouse, staged.gone) != record.deleted:
        return False
    if rows is not None and rows > QUICKLY_COUNTED:
        return not staging.is_empty(warehouse, staged.rows)
    return staging.count(warehouse, staged.rows) == rows


def _base(shows: tuple[str, datetime] | None) -> tuple[str, str] | None:
    return None if shows is None else (shows[0], shows[1].isoformat())


def declaration(table: Table) -> str:
    """Return a digest of all that is declared of a table."""
    return hashlib.sha256(table.model_dump_json().encode()).hexdigest()


def staged(warehouse: Connection, table: Table, run: str, known: Standing) -> tuple[int | None, Extracted]:
    """Return how many rows of the table were staged in this run, and the record of their extraction.

    Raise StepError if they are not there any more, or another load was faster. Of very many rows that all are
    there is not known before `require_all`.
    """
    step = known.steps.get(EXTRACT_TASK)
    record = still_staged(warehouse, table, run, known)
    if step is None or record is None:
        raise StepError("its staged rows are gone or were superseded by another load")
    return step.rows, record


def require_all(warehouse: Connection, table: Table, run: str, rows: int | None) -> None:
    """Raise StepError unless so many rows of the table are staged."""
    # Fewer were counted just now.
    if rows is None or rows <= QUICKLY_COUNTED:
        return
    counted = staging.count(warehouse, Staged(table, run).rows)
    if counted != rows:
        raise StepError(f"{rows:,} of its rows were staged, but {counted:,} are there now", again="extract")


def is_extracted(settings: Settings, table: Table, run: str) -> bool:
    """Whether the table is extracted, for who has no connection to the warehouse."""
    with access.brief(settings).asking() as warehouse:
        return extracted(warehouse, table, run)


def extract_table(settings: Settings, table: Table, run: str, show: Show = no_progress) -> None:
    """Stage what changed in a table since it was last loaded, together with the proof of its deletes.

    Does nothing if that is done. All or nothing: one transaction of the warehouse. What passes is tried
    again. Raise CheckError if the table's shape has changed in a way that a person has to decide about,
    StepError or UnreachableError, each naming the table.
    """
    retry.call(lambda: _extract_table(settings, table, run, show), lambda message: show(None, message))


def _extract_table(settings: Settings, table: Table, run: str, show: Show) -> None:
    with steps.begun(settings, table, run, EXTRACT_TASK, extracted) as step:
        if step is None:
            return
        began = time.monotonic()
        taken = snapshot_holder.find(step.warehouse, table.source, run)
        if taken is None:
            raise StepError(
                f"no snapshot of source {table.source} was taken for run {run}",
                hint=f"type '{chains.ETL.command(run)}', which takes one",
            )
        try:
            with _source_explained(step.databases, table):
                staged_rows, record = _extract(step, show, table, run, taken)
        except ChangedSinceError:
            # It would be so again as long as the same moment is read.
            snapshot_holder.make_void(step.beside, taken, table.source, run)
            raise
        step.attempt.finish(step.warehouse, staged_rows, record)
        step.warehouse.commit()
        show(100, _summary(staged_rows, record, time.monotonic() - began))


@contextlib.contextmanager
def _source_explained(databases: Access, table: Table) -> Iterator[None]:
    """Turn what somebody else does in the source meanwhile into an error that says what."""
    try:
        yield
    except postgres.LockNotAvailable:
        raise StepError(
            f"the load waited longer than {access.SOURCE_SESSION['lock_timeout']} for "
            f"{_keeper(databases, table)}",
            hint="wait for it to end, such as that of an ALTER TABLE or a VACUUM FULL, or end it",
        ) from None
    except ConflictError as error:
        # Reading alone, it is in the way of nobody but a standby's replay.
        if not _is_standby(databases, table.source):
            raise
        raise ConflictError(
            f"the source is a standby and cancelled the query because it conflicted with replay ({error})",
            hint="set hot_standby_feedback = on there, or raise max_standby_streaming_delay",
        ) from None


def _is_standby(databases: Access, source: str) -> bool:
    """Whether a source replays what another server did; a session apart asks."""
    with databases.source(source) as apart:
        return bool(postgres.value(apart, "SELECT pg_catalog.pg_is_in_recovery()"))


def _keeper(databases: Access, table: Table) -> str:
    """Return who keeps the table, or one that it is a view of, from being read; a session apart asks."""
    with databases.source(table.source) as apart:
        where = (table.schema_name, table.relation)
        oids = [oid for (oid,) in postgres.rows(apart, postgres.statement("loading/beneath"), where)]
        return postgres.keeper(apart, oids)


def _summary(rows: int, record: Extracted, seconds: float) -> str:
    """Return what an extraction did, for people."""
    what = "changed rows" if record.mode == Mode.INCREMENT else "rows (all)"
    gone = f"; {record.deleted:,} are gone from the source" if record.deleted else ""
    return f"{rows:,} {what} read in {seconds:,.1f} s, {rows / max(seconds, 0.001):,.0f} a second{gone}"


def _extract(step: Begun, show: Show, table: Table, run: str, taken: Snapshot) -> tuple[int, Extracted]:
    databases, warehouse = step.databases, step.warehouse
    with databases.source(table.source) as source:
        snapshot.read_at(source, taken)
        planned = plan.make(
            warehouse, source, table, taken, lambda: mask.unlock(source, databases.mask_key())
        )
        if planned.mode == Mode.BLOCKED:
            raise _blocked(databases, planned, run)
        if types.are_needed(step.beside, table.source, planned.shape):
            with databases.warehouse() as apart:
                step.attempt.watch(apart)
                types.ensure_types(apart, table.source, planned.shape)
        reading = Reading(warehouse, source, step.attempt, show)
        return _Extraction(warehouse, source, reading, run, taken).stage(planned)


def _blocked(databases: Access, planned: Plan, run: str) -> CheckError:
    """Record what keeps a table from being read; return it as an error, all of it at once."""
    results = checking.of_drift(planned.changes, planned.table)
    with databases.warehouse(autocommit=True) as beside:
        checks.record_checks(beside, run, planned.table.source, planned.table.name, results)
    text = "; ".join(change.fact for change in planned.changes if change.blocks)
    return CheckError(f"{text}; its last good rows stay up", hint=quality.how_to_fix(results))


class _Extraction:
    """One extraction under way: what is read, and what becomes of it."""

    def __init__(
        self, warehouse: Connection, source: Connection, reading: Reading, run: str, taken: Snapshot
    ) -> None:
        self._warehouse, self._source, self._reading = warehouse, source, reading
        self._run, self._taken = run, taken

    def stage(self, planned: Plan) -> tuple[int, Extracted]:
        """Stage the rows and, where they are needed, the keys; return how many, and the record of it."""
        staged = Staged(planned.table, self._run)
        staging.drop_every_run(self._warehouse, staged)
        source_rows, staged_rows = self._reading.rows(planned, staged)
        deleted = 0
        if planned.mode == Mode.INCREMENT:
            gone = deletes.gone(self._warehouse, self._reading, planned, staged, source_rows)
            if gone is None:
                # The fallback that makes a missed row impossible, whatever the reason was.
                reason = "rows were missing in the increment"
                return self.stage(replace(planned, mode=Mode.FULL, reason=reason))
            deleted = gone
        elif staged_rows != source_rows:
            raise StepError(
                f"{staged_rows:,} of the {source_rows:,} rows of the source arrived; nothing was staged",
                hint="if it is a view or foreign table whose rows differ between queries, load its base "
                "tables instead",
            )
        elif planned.mode == Mode.FULL and planned.key and planned.table.deletes != Deletes.IGNORE:
            deleted = deletes.absent(self._warehouse, planned, staged, staged.rows)
        elif planned.mode == Mode.REBUILD and planned.since is not None:
            # The keys may be of another type by now: the counts have to do.
            deleted = max(0, planned.since.rows - source_rows)
        return staged_rows, Extracted(
            mode=planned.mode,
            reason=planned.reason,
            key=planned.key,
            snapshot=self._taken,
            source_rows=source_rows,
            deleted=deleted,
            gone_staged=staging.oid(self._warehouse, staged.gone) is not None,
            staged_oid=staging.oid(self._warehouse, staged.rows),
            base=_base((planned.since.run, planned.since.snapshot_at) if planned.since else None),
            cursor_value=self._cursor_value(planned, staged),
            shape=planned.shape,
            renamed=planned.renamed,
            declared=declaration(planned.table),
            witnesses=self._witnesses(planned, staged_rows),
        )

    def _witnesses(self, planned: Plan, staged_rows: int) -> Witnesses | None:
        """Return row versions to know this source by; those of the last load, where nothing was read."""
        if not staged_rows and planned.since is not None:
            return planned.since.witnesses
        return continuity.witnesses(self._source, planned)

    def _cursor_value(self, planned: Plan, staged: Staged) -> str | None:
        if planned.table.changes != Changes.CURSOR or not planned.table.cursor:
            return None
        cursor = sql.Identifier(planned.table.cursor)
        query = sql.SQL("SELECT max({})::text FROM {}").format(cursor, staged.rows)
        if planned.timed_cursor:
            # A clock that is fast, or a date in the far future, must not hide every change until then. Of a
            # standby that is behind, those count that are still to come over.
            latest = self._taken.as_of
            if "with time zone" not in planned.timed_cursor:
                latest -= WESTERNMOST
            query += sql.SQL(" WHERE {} <= {}::timestamptz").format(cursor, sql.Literal(latest.isoformat()))
        elif planned.cursor_type in plan.ENDLESS_NUMBERS:
            # NaN and Infinity are greater than whatever comes: they would hide every later change.
            query += sql.SQL(" WHERE {} < 'Infinity'").format(cursor)
        elif greatest := plan.GREATEST.get(planned.cursor_type or ""):
            query += sql.SQL(" WHERE {} < {}").format(cursor, sql.Literal(greatest))
        newest: str | None = postgres.value(self._warehouse, query)
        if newest is None and planned.since is not None and planned.mode == Mode.INCREMENT:
            return planned.since.cursor_value
        # Of all rows none has one: that of an earlier load may be another column's, or of a source put back.
        return newest
