"""Steps: which one of which run was done, and how.

A step's end is written in the transaction that did its work, so that the two cannot disagree.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pipeline import postgres
from pipeline.chains import BUILD_TASK, EXTRACT_TASK, LOAD_TASK, OPEN_TASK, VALIDATE_TASK
from pipeline.errors import Outage, PipelineError, StepError
from pipeline.postgres import Connection
from pipeline.postgres.snapshot import Snapshot
from pipeline.redact import redact
from pipeline.step import Record, State, Step, StepKey
from pipeline.system import process_tree

R = TypeVar("R", bound=Record)
T = TypeVar("T")

# An error is told in one glance; the log has the rest.
ERROR_LENGTH = 2000


# What a step says while it is at work, and how it failed, is in its `detail` as well, under these keys.
PROGRESS, AGAIN, OUTAGE = "progress", "again", "outage"
STEP_COLUMNS = "run, task, name, state, started_at, finished_at, rows, detail, error, exit_code, hint"


def find_step(connection: Connection, key: StepKey) -> Step | None:
    """Return the step, or None if it was never begun."""
    query = f"SELECT {STEP_COLUMNS} FROM ops.step WHERE run = %s AND task = %s AND name = %s"  # noqa: S608
    return next(iter(postgres.read(connection, query, _step, (key.run, key.task, key.name))), None)


@dataclass(frozen=True)
class Standing:
    """How a run stands with a table: its steps by their tasks, and which load the table shows.

    `shows` is that load's run and the moment of the source; None if the table was never loaded.
    """

    steps: Mapping[str, Step]
    shows: tuple[str, datetime] | None

    def is_done(self, task: str) -> bool:
        """Whether the step of this task is done, by the ledger."""
        step = self.steps.get(task)
        return step is not None and step.done


def standing(connection: Connection, run: str, source: str, table: str) -> Standing:
    """Return how a run stands with a table, by one question."""
    query = f"""
        SELECT {STEP_COLUMNS}, shown_run, shown_at
        FROM ops.step LEFT JOIN (
            SELECT run AS shown_run, snapshot_at AS shown_at FROM ops.watermark
            WHERE source = %s AND table_name = %s
        ) AS shown ON true
        WHERE run = %s AND task = ANY(%s) AND name = %s
        """  # noqa: S608 - constants
    parameters = (source, table, run, [EXTRACT_TASK, VALIDATE_TASK, LOAD_TASK], f"{source}.{table}")
    steps, shows = {}, None
    for record in postgres.records(connection, query, parameters):
        at = record.pop("shown_run"), record.pop("shown_at")
        shows = None if at[0] is None else at
        step = _step(**record)
        steps[step.key.task] = step
    return Standing(steps, shows)


def steps_of(connection: Connection, run: str) -> list[Step]:
    """Return every step of the run, in the order in which they began."""
    query = f"SELECT {STEP_COLUMNS} FROM ops.step WHERE run = %s ORDER BY started_at, task, name"  # noqa: S608
    return postgres.read(connection, query, _step, (run,))


def open_steps(connection: Connection, since: datetime) -> list[Step]:
    """Return the newest step of each table, and source, that failed or says running and was not made up for.

    Of whichever run; what began before `since` is not looked at.
    """
    parameters = {"since": since, "own_tasks": [OPEN_TASK, BUILD_TASK]}
    return postgres.read(connection, postgres.statement("ledger/open_steps"), _step, parameters)


def last_loads(connection: Connection) -> list[Step]:
    """Return the load that each table shows, or the building of a mart, as the step that did it."""
    parameters = {"load_task": LOAD_TASK, "build_task": BUILD_TASK}
    return postgres.read(connection, postgres.statement("ledger/last_loads"), _step, parameters)


def _step(*, run: str, task: str, name: str, state: str, detail: Mapping[str, Any], **columns: Any) -> Step:
    return Step(
        StepKey(run, task, name),
        State(state),
        again=detail.get(AGAIN),
        outage=_outage(detail.get(OUTAGE)),
        progress=detail.get(PROGRESS),
        detail=detail,
        **columns,
    )


def _outage(data: Any) -> Outage | None:
    """Return the server that a failed step lacked; None where an earlier version wrote none."""
    return Outage(data["server"], data.get("address")) if isinstance(data, Mapping) else None


def finish_step(connection: Connection, key: StepKey, rows: int | None, record: Record) -> None:
    """Mark the step as done, in the caller's transaction, whoever else is at it: `lease` sees to that."""
    postgres.rows(
        connection,
        """
        INSERT INTO ops.step (run, task, name, state, finished_at, host, pid, rows, detail)
        VALUES (%s, %s, %s, 'done', clock_timestamp(), %s, %s, %s, %s)
        ON CONFLICT (run, task, name) DO UPDATE
        SET state = 'done', finished_at = clock_timestamp(), rows = excluded.rows,
            detail = excluded.detail, error = NULL, exit_code = NULL, hint = NULL
        """,
        (key.run, key.task, key.name, process_tree.place(), os.getpid(), rows, to_json(record.to_json())),
    )


def amend_record(
    connection: Connection, key: StepKey, known: Mapping[str, Any], more: Mapping[str, Any]
) -> None:
    """Add to what a step left; not where it is not done any more, or has not left what is `known` of it."""
    postgres.rows(
        connection,
        """
        UPDATE ops.step SET detail = detail || %s::jsonb
        WHERE run = %s AND task = %s AND name = %s AND state = 'done' AND detail @> %s::jsonb
        """,
        (to_json(more), key.run, key.task, key.name, to_json(known)),
    )


def to_json(detail: Mapping[str, Any]) -> str:
    """Return what is known of a step as JSON; dates and the like as text."""
    return json.dumps(detail, default=str)


def fail_step_of(connection: Connection, run: str | None, pid: int, error: PipelineError) -> None:
    """Record how a step failed that could not say so: the one of process `pid` of this machine, if any.

    Of whichever run where that is None.
    """
    postgres.rows(
        connection,
        """
        UPDATE ops.step SET state = 'failed', finished_at = clock_timestamp(), error = %s, exit_code = %s,
            hint = %s
        WHERE run = coalesce(%s, run) AND host = %s AND pid = %s AND state = 'running'
        """,
        (
            redact(error.fact)[:ERROR_LENGTH],
            error.exit_code,
            redact(error.hint) or None,
            run,
            process_tree.place(),
            pid,
        ),
    )


def is_there(connection: Connection) -> bool:
    """Whether this database has a ledger, which tells the warehouse from any other."""
    return postgres.value(connection, "SELECT to_regclass('ops.watermark')") is not None


def require_migrated(connection: Connection) -> None:
    """Raise StepError if `pipeline migrate` was never run on this warehouse."""
    if not is_there(connection):
        raise StepError(
            "the warehouse has no ledger yet", hint="run 'pipeline migrate' once", retryable=False
        )


def outdated() -> StepError:
    """Return the error of a ledger that lacks what came with a later release."""
    return StepError(
        "the warehouse's own tables are of an earlier version",
        hint="run 'pipeline migrate' once",
        retryable=False,
    )


def row_counts(connection: Connection, key: StepKey) -> list[int]:
    """Return how many rows the table of a load had after each of its loads, the newest first."""
    query = """
        SELECT rows FROM ops.step WHERE task = %s AND name = %s AND state = 'done' AND rows IS NOT NULL
        ORDER BY finished_at DESC LIMIT 100
        """
    return [counted for (counted,) in postgres.rows(connection, query, (key.task, key.name))]


def last_record(
    connection: Connection, task: str, name: str, kind: type[R], *, older_than: timedelta = timedelta()
) -> R | None:
    """Return what a step left as it was last done, in whichever run; None if it never was.

    With `older_than` as it was last done so long ago, or longer.
    """
    query = """
        SELECT detail FROM ops.step
        WHERE task = %s AND name = %s AND state = 'done' AND finished_at <= clock_timestamp() - %s
        ORDER BY finished_at DESC LIMIT 1
        """
    detail: Mapping[str, Any] | None = postgres.value(connection, query, (task, name, older_than))
    return None if detail is None else kind.from_json(detail)


def last_snapshots(connection: Connection, sources: Iterable[str]) -> dict[str, Snapshot]:
    """Return the last snapshot of each source that has one."""
    last = {source: last_record(connection, OPEN_TASK, source, Snapshot) for source in sources}
    return {source: taken for source, taken in last.items() if taken}


@dataclass(frozen=True)
class AtWork:
    """A table's step that says running: which it is, since when, and whose by host and process."""

    run: str
    task: str
    started_at: datetime
    host: str
    pid: int

    def __str__(self) -> str:
        since = f"{self.started_at:%Y-%m-%d %H:%M} UTC"
        place = f"{self.host} (process {self.pid})"
        return f"{self.task} of run {self.run} has been running since {since} on {place}"


def at_work(connection: Connection, name: str) -> AtWork | None:
    """Return the step of a table that says running; None if none does."""
    query = """
        SELECT run, task, started_at, host, pid FROM ops.step WHERE name = %s AND state = 'running'
        ORDER BY started_at DESC LIMIT 1
        """
    return next(iter(postgres.read(connection, query, AtWork, (name,))), None)


def clear_steps(connection: Connection, run: str, name: str, tasks: Sequence[str]) -> list[str]:
    """Clear these steps of a table, in the caller's transaction. Return which of them were done."""
    query = "DELETE FROM ops.step WHERE run = %s AND name = %s AND task = ANY(%s) RETURNING task, state"
    rows = postgres.records(connection, query, (run, name, list(tasks)))
    return [row["task"] for row in rows if row["state"] == State.DONE]


def count_read(connection: Connection, run: str, names: Sequence[str], seen: str) -> int:
    """Return how many of these tables a run has loaded, or read at the snapshot of that `seen`."""
    query = """
        SELECT count(DISTINCT name) FROM ops.step
        WHERE run = %s AND name = ANY(%s) AND state = 'done'
          AND (task = %s AND detail #>> '{snapshot,seen}' = %s OR task = %s)
        """
    counted: int = postgres.value(connection, query, (run, list(names), EXTRACT_TASK, seen, LOAD_TASK))
    return counted


def count_not_loaded(connection: Connection, run: str, tables: Sequence[tuple[str, str]]) -> int:
    """Return how many of these, by source and name, a run has not loaded, or are not there any more."""
    parameters = {
        "run": run,
        "task": LOAD_TASK,
        "sources": [source for source, _ in tables],
        "tables": [table for _, table in tables],
    }
    counted: int = postgres.value(connection, postgres.statement("ledger/not_loaded"), parameters)
    return counted


def fared(connection: Connection, since: datetime, kind: Callable[..., T]) -> list[T]:
    """Return how each table, mart and source as such fares: what `kind` makes of watch_tables.sql."""
    parameters = {"since": since, "own_tasks": [OPEN_TASK, BUILD_TASK]}
    return postgres.read(connection, postgres.statement("ledger/watch_tables"), kind, parameters)


def seconds_of_tables(connection: Connection) -> float:
    """Return how long all steps of tables took together: the snapshot is a source's."""
    query = """
        SELECT extract(epoch FROM sum(finished_at - started_at))::float FROM ops.step
        WHERE position('.' in name) > 0
        """
    return float(postgres.value(connection, query) or 0)
