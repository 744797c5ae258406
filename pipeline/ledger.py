"""The ledger: which step of which run was done, and what is believed of each table.

A step's end is written in the transaction that did its work, so that the two cannot disagree.
"""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline import postgres
from pipeline.chains import BUILD_TASK, LOAD_TASK, OPEN_TASK
from pipeline.errors import PipelineError, StepError
from pipeline.postgres import Connection
from pipeline.redact import redact
from pipeline.step import Step, StepKey

# An error is told in one glance; the log has the rest.
ERROR_LENGTH = 2000


@dataclass(frozen=True)
class Watermark:
    """Up to where a table has been loaded: all that was committed before `horizon` in this source's history.

    `horizon` is a 64-bit transaction id, `system_identifier` and `timeline` say whose.
    """

    run: str
    snapshot_at: datetime
    horizon: int
    system_identifier: str
    timeline: int
    cursor_value: str | None
    rows: int
    # Rows that were set aside, so that the table has not all that the source had.
    quarantined: int = 0
    cursor_name: str | None = None
    # Why the next load is to read all of it, if somebody asked for that.
    in_full: str | None = None
    # In which history of the source that was, and row versions that it had then.
    history: int = 0
    witnesses: Mapping[str, Any] | None = None


STEP_COLUMNS = "run, task, name, state, started_at, finished_at, rows, detail, error, exit_code, hint"


def find_step(connection: Connection, key: StepKey) -> Step | None:
    """Return the step, or None if it was never begun."""
    found = postgres.row(
        connection,
        f"SELECT {STEP_COLUMNS} FROM ops.step WHERE run = %s AND task = %s AND name = %s",  # noqa: S608
        (key.run, key.task, key.name),
    )
    return None if found is None else _step(found)


def steps(connection: Connection, run: str) -> list[Step]:
    """Return every step of the run, in the order in which they began."""
    query = f"SELECT {STEP_COLUMNS} FROM ops.step WHERE run = %s ORDER BY started_at, task, name"  # noqa: S608
    return [_step(found) for found in postgres.rows(connection, query, (run,))]


def open_steps(connection: Connection, since: datetime) -> list[Step]:
    """Return the newest step of each table, and source, that failed or says running and was not made up for.

    Of whichever run; what began before `since` is not looked at.
    """
    parameters = {"since": since, "own_tasks": [OPEN_TASK, BUILD_TASK]}
    return [_step(found) for found in postgres.rows(connection, postgres.statement("open_steps"), parameters)]


def last_loads(connection: Connection) -> list[Step]:
    """Return the load that each table shows, or the building of a mart, as the step that did it."""
    parameters = {"load_task": LOAD_TASK, "build_task": BUILD_TASK}
    found = postgres.rows(connection, postgres.statement("last_loads"), parameters)
    return [_step(one) for one in found]


def _step(found: tuple[Any, ...]) -> Step:
    run, task, name, state, started_at, finished_at, rows, detail, error, exit_code, hint = found
    key = StepKey(run, task, name)
    return Step(key, state, started_at, finished_at, rows, detail, error, exit_code, hint)


def finish_step(connection: Connection, key: StepKey, rows: int | None, detail: Mapping[str, Any]) -> None:
    """Mark the step as done, in the caller's transaction, whoever else is at it: `fence` sees to that."""
    postgres.rows(
        connection,
        """
        INSERT INTO ops.step (run, task, name, state, finished_at, host, pid, rows, detail)
        VALUES (%s, %s, %s, 'done', clock_timestamp(), %s, %s, %s, %s)
        ON CONFLICT (run, task, name) DO UPDATE
        SET state = 'done', finished_at = clock_timestamp(), rows = excluded.rows,
            detail = excluded.detail, error = NULL, exit_code = NULL, hint = NULL
        """,
        (key.run, key.task, key.name, socket.gethostname(), os.getpid(), rows, to_json(detail)),
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
            redact(error.fact)[:ERROR_LENGTH], error.exit_code, redact(error.hint) or None, run,
            socket.gethostname(), pid,
        ),
    )  # fmt: skip


def watermark(connection: Connection, source: str, table: str) -> Watermark | None:
    """Return up to where the table has been loaded, or None if it never was."""
    found = postgres.row(
        connection,
        """
        SELECT run, snapshot_at, horizon, system_identifier, timeline, cursor_value, rows, quarantined,
               cursor_name, in_full, history, witnesses
        FROM ops.watermark WHERE source = %s AND table_name = %s
        """,
        (source, table),
    )
    return None if found is None else Watermark(*found)


def save_watermark(connection: Connection, source: str, table: str, mark: Watermark) -> None:
    """Record up to where the table is loaded, in the transaction that publishes its rows."""
    postgres.rows(
        connection,
        """
        INSERT INTO ops.watermark (source, table_name, run, snapshot_at, horizon, system_identifier, timeline,
                                   cursor_value, rows, quarantined, cursor_name, history, witnesses,
                                   loaded_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp())
        ON CONFLICT (source, table_name) DO UPDATE
        SET run = excluded.run, snapshot_at = excluded.snapshot_at, horizon = excluded.horizon,
            system_identifier = excluded.system_identifier, timeline = excluded.timeline,
            cursor_value = excluded.cursor_value, rows = excluded.rows,
            quarantined = excluded.quarantined, cursor_name = excluded.cursor_name,
            loaded_at = excluded.loaded_at, in_full = NULL, history = excluded.history,
            witnesses = excluded.witnesses
        """,
        (
            source, table, mark.run, mark.snapshot_at, mark.horizon, mark.system_identifier, mark.timeline,
            mark.cursor_value, mark.rows, mark.quarantined, mark.cursor_name, mark.history,
            mark.witnesses and to_json(mark.witnesses),
        ),
    )  # fmt: skip


def read_in_full(connection: Connection, source: str, table: str, reason: str) -> None:
    """Have the table's next load read all of it, for that reason."""
    query = "UPDATE ops.watermark SET in_full = %s WHERE source = %s AND table_name = %s"
    postgres.rows(connection, query, (reason, source, table))


def accepted_shape(connection: Connection, source: str, table: str) -> Mapping[str, Any] | None:
    """Return the shape in which the table was last loaded, as plain data, or None."""
    found: Mapping[str, Any] | None = postgres.value(
        connection,
        """
        SELECT shape FROM ops.table_shape WHERE source = %s AND table_name = %s
        ORDER BY accepted_at DESC LIMIT 1
        """,
        (source, table),
    )
    return found


def shapes_of(connection: Connection, source: str, oid: int) -> list[Mapping[str, Any]]:
    """Return the last shape in which each table was loaded from this relation of the source, newest first."""
    found = postgres.rows(
        connection,
        """
        SELECT shape FROM (
            SELECT DISTINCT ON (table_name) accepted_at, shape FROM ops.table_shape
            WHERE source = %s AND shape ->> 'oid' = %s::text
            ORDER BY table_name, accepted_at DESC
        ) AS latest ORDER BY accepted_at DESC
        """,
        (source, oid),
    )
    return [shape for (shape,) in found]


def accept_shape(connection: Connection, source: str, table: str, run: str, shape: Mapping[str, Any]) -> None:
    """Record the shape in which the table is now loaded, if it is another than before."""
    # As it is read back: a tuple comes back as a list.
    if accepted_shape(connection, source, table) != json.loads(to_json(shape)):
        postgres.rows(
            connection,
            "INSERT INTO ops.table_shape (source, table_name, run, shape) VALUES (%s, %s, %s, %s)",
            (source, table, run, to_json(shape)),
        )


def try_lock_table(connection: Connection, source: str, table: str) -> bool:
    """Keep others off this table until the transaction ends, or return False if somebody is at work on it."""
    query = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
    return bool(postgres.value(connection, query, (f"table {source}.{table}",)))


def require_migrated(connection: Connection) -> None:
    """Raise StepError if `pipeline migrate` was never run on this warehouse."""
    if postgres.value(connection, "SELECT to_regclass('ops.watermark')") is None:
        raise StepError("the warehouse has no ledger yet", hint="run 'pipeline migrate' once")


def row_counts(connection: Connection, key: StepKey) -> list[int]:
    """Return how many rows the table of a load had after each of its loads, the newest first."""
    query = """
        SELECT rows FROM ops.step WHERE task = %s AND name = %s AND state = 'done' AND rows IS NOT NULL
        ORDER BY finished_at DESC LIMIT 100
        """
    return [counted for (counted,) in postgres.rows(connection, query, (key.task, key.name))]


def views_on(connection: Connection, schema: str, table: str, column: str) -> list[str]:
    """Return the views of the warehouse that show a column, as schema.name."""
    found = postgres.rows(connection, postgres.statement("views_on_column"), (schema, table, column))
    return [view for (view,) in found]
