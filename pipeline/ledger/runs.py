"""Runs: their logical dates, and what is known of one from the ledger."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline import postgres
from pipeline.chains import CONCLUDING, ETL
from pipeline.errors import UsageError
from pipeline.ledger.steps import ERROR_LENGTH
from pipeline.postgres import Connection, locks
from pipeline.redact import redact
from pipeline.step import Record, State, Step
from pipeline.system import process_tree

_FORM = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{4})?", re.ASCII)
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])(-[0-9A-Za-z]+)*", re.ASCII)


def logical_date(now: datetime) -> str:
    """Return the logical date of a run that is started at `now`: the latest schedule at or before, in UTC."""
    return f"{now.astimezone(UTC):%Y-%m-%d}"


def parse(text: str) -> str:
    """Return a logical date as given. Raise UsageError if it is none."""
    problem = UsageError(
        f'"{text}" is not a valid run',
        hint="write a date such as 2026-11-22, or 2026-11-22T1430 for an extra load",
    )
    if not _FORM.fullmatch(text):
        raise problem
    try:
        datetime.strptime(text, "%Y-%m-%dT%H%M" if "T" in text else "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise problem from None
    return text


def parse_month(text: str) -> str:
    """Return the month of a drill as given: 2026-11, or 2026-11-again. Raise UsageError if it is none."""
    if not _MONTH.fullmatch(text):
        raise UsageError(f"{text} is not a valid month", hint="write a month such as 2026-11")
    return text


def is_one(text: str) -> bool:
    """Whether this is a logical date."""
    return _FORM.fullmatch(text) is not None


@dataclass(frozen=True)
class Run:
    """One run of one name, such as etl. `state` is running, done or failed; `alive` whether it still goes.

    `started_at` is when it was first begun, `attempted_at` when last, the `attempts`-th time. `scope` names
    the sources and tables (hr.employee) that it is to load; empty, it is all of them.
    """

    run: str
    name: str
    state: State
    started_at: datetime
    attempted_at: datetime
    attempts: int
    finished_at: datetime | None
    host: str
    pid: int
    error: str | None
    scope: Sequence[str]
    alive: bool

    @property
    def actual_state(self) -> State:
        """Return the state: a run that is said to be running but is dead has failed."""
        return State.FAILED if self.state == State.RUNNING and not self.alive else self.state

    def is_to_load(self, table: str) -> bool:
        """Whether this table, such as hr.employee, belongs to it."""
        return not self.scope or table in self.scope or table.partition(".")[0] in self.scope


def find(connection: Connection, name: str, run: str | None = None) -> Run | None:
    """Return the run of that name: the latest by logical date, or the one with that date; or None."""
    return _find(connection, {"name": name, "run": run, "going": False})


def going(connection: Connection, name: str) -> Run | None:
    """Return the run of that name that goes on, or was killed and not begun again; None if all have ended."""
    return _find(connection, {"name": name, "run": None, "going": True})


def last(connection: Connection, name: str) -> Run | None:
    """Return the run of that name that was begun, or begun again, last, whichever its date; or None."""
    query = "SELECT run FROM ops.run WHERE name = %s ORDER BY attempted_at DESC LIMIT 1"
    run = postgres.value(connection, query, (name,))
    return None if run is None else find(connection, name, run)


def failed(connection: Connection, name: str, since: datetime) -> Iterator[Run]:
    """Yield the runs of that name that failed or were killed, the last attempt first, but for older ones."""
    query = postgres.statement("ledger/failed_runs")
    for (run,) in postgres.rows(connection, query, {"name": name, "since": since}):
        if (latest := find(connection, name, run)) is not None:
            yield latest


def _find(connection: Connection, parameters: Mapping[str, object]) -> Run | None:
    return next(iter(postgres.read(connection, postgres.statement("ledger/run"), _run, parameters)), None)


def _run(*, state: str, **columns: Any) -> Run:
    return Run(state=State(state), **columns)


def seconds_of_runs(connection: Connection, count: int) -> dict[str, tuple[float, ...]]:
    """Return what the last runs of each name, so many, took: loads of everything, and backups."""
    rows = postgres.records(connection, postgres.statement("ledger/watch_seconds"), {"count": count})
    return {row["name"]: tuple(row["seconds"]) for row in rows}


def night_seconds(connection: Connection) -> float | None:
    """Return how long the last night's load took, None if there was none yet. Extra loads are none."""
    seconds: float | None = postgres.value(
        connection,
        """
        SELECT extract(epoch FROM finished_at - started_at)::float8 FROM ops.run
        WHERE name = %s AND state = 'done' AND finished_at IS NOT NULL AND run !~ 'T'
        ORDER BY run DESC LIMIT 1
        """,
        (ETL.name,),
    )
    return seconds


@dataclass(frozen=True, kw_only=True)
class Published(Record):
    """What a load, or the building of a mart, left: how it was done (`mode`), and its rows.

    `total` is how many there are now, the others how many came, changed, went and were set aside; of a mart,
    which is made anew, those are not known.
    """

    mode: str
    total: int
    inserted: int | None = None
    updated: int | None = None
    deleted: int | None = None
    quarantined: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the record without what is not known: an earlier version counts whatever is there."""
        return {key: value for key, value in super().to_json().items() if value is not None}


@dataclass(frozen=True)
class TableState:
    """How one table, or mart, fared in a run: its steps in order, as far as they were begun."""

    name: str
    steps: Sequence[Step]

    @property
    def failed(self) -> Step | None:
        """Return the step that failed, or None."""
        return next((step for step in self.steps if step.state == State.FAILED), None)

    @property
    def loaded(self) -> Published | None:
        """Return what the load, or the building of a mart, did, or None if it is not done."""
        done = (step for step in self.steps if step.key.task in CONCLUDING and step.done)
        return Published.of(next(done, None))


def tables(steps: Sequence[Step]) -> list[TableState]:
    """Return every table of a run, of which these are the steps, by name."""
    by_name: dict[str, list[Step]] = {}
    for step in steps:
        if "." in step.key.name:
            by_name.setdefault(step.key.name, []).append(step)
    return [TableState(name, own) for name, own in sorted(by_name.items())]


@contextlib.contextmanager
def running(
    connection: Connection,
    run: str,
    name: str,
    again: Callable[[], AbstractContextManager[Connection]] | None = None,
    *,
    scope: Sequence[str] = (),
    is_whole: Callable[[], bool] = lambda: True,
) -> Iterator[bool]:
    """Record a run from its start to its end. Yield False, and record nothing, if one of that name is going.

    `connection` commits by itself and is held all the while: its death tells that the run died. `again` opens
    another, over which the end is recorded where the first was lost. `scope` is what this attempt is to do;
    where that is done, `is_whole` says whether the run is, with what earlier attempts were to do.
    """
    if not locks.try_hold(connection, f"run {name}"):
        yield False
        return
    # Now that the lock is ours, nobody else of that name is alive.
    postgres.rows(
        connection,
        """
        UPDATE ops.run SET state = 'failed', finished_at = clock_timestamp(), error = 'its process was killed'
        WHERE name = %s AND run <> %s AND state = 'running'
        """,
        (name, run),
    )
    known = find(connection, name, run)
    postgres.rows(
        connection,
        postgres.statement("ledger/begin_run"),
        {
            "run": run,
            "name": name,
            "host": process_tree.place(),
            "pid": os.getpid(),
            "scope": list(scope),
        },
    )
    state, error = State.DONE, None
    try:
        yield True
        if not is_whole():
            state, error = State.FAILED, (known and known.error) or "some of its tables are not loaded"
    except BaseException as raised:
        state, error = State.FAILED, redact(str(raised) or type(raised).__name__)[:ERROR_LENGTH]
        raise
    finally:
        try:
            _end_run(connection, run, name, state, error)
        except postgres.Error as failure:
            if again is None or not postgres.is_lost(failure):
                raise
            with again() as another:
                _end_run(another, run, name, state, error)


def _end_run(connection: Connection, run: str, name: str, state: str, error: str | None) -> None:
    # Ours alone: it may have been begun again by somebody else, if our lock was lost.
    postgres.rows(
        connection,
        """
        UPDATE ops.run SET state = %s, finished_at = clock_timestamp(), error = %s
        WHERE run = %s AND name = %s AND host = %s AND pid = %s
        """,
        (state, error, run, name, process_tree.place(), os.getpid()),
    )
