"""Holds the snapshot of a source while its tables are extracted, and knows which one is held.

A transaction exports it, so something has to keep that transaction open: a small process of its own, which
ends by itself when everything is extracted, or as soon as the worker that asked for it is gone. Where that
process stands still, or waits for a warehouse that does, the source itself ends the transaction.
"""

import contextlib
import json
import logging
import os
import select
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TextIO

from pipeline import access, ledger, postgres, redact, retry
from pipeline.access import SOURCE_SESSION, Access
from pipeline.catalog import Source
from pipeline.catalog.as_written import ALL
from pipeline.chains import OPEN_TASK
from pipeline.errors import (
    LostError,
    Outage,
    PipelineError,
    StepError,
    UnreachableError,
    UsageError,
    common_kind,
)
from pipeline.ledger import lease
from pipeline.loading import undeclared
from pipeline.loading.source import continuity
from pipeline.postgres import Connection
from pipeline.postgres.snapshot import Snapshot, read_at
from pipeline.settings import Settings
from pipeline.step import StepKey
from pipeline.system import forked

logger = logging.getLogger(__name__)

# What the process is called in ps, before the name of its source.
PROCESS = "snapshot"
# How often the holder looks whether everything has been extracted.
POLL_SECONDS = 2.0
OPENING_SECONDS = 60
# The longest that a source is kept from cleaning up: tables that wait for a person do not need this moment.
LONGEST_SECONDS = 6 * 3600.0
# The source ends the transaction of a holder that asks it nothing for so long: of one that is stopped, or
# waits for a warehouse that is.
STOPPED_SECONDS = 600.0
# So often a holder that works asks it something.
HEARTBEAT_SECONDS = 60.0
# The warehouse answers it in no time, or else somebody has locked the ledger; its owner may be gone by then.
WAREHOUSE_SESSION = {"statement_timeout": "1min"}


def step_key(source: str, run: str) -> StepKey:
    """Return the step under which the snapshot of a source is found in the ledger."""
    return StepKey(run, OPEN_TASK, source)


def find(warehouse: Connection, source: str, run: str) -> Snapshot | None:
    """Return the snapshot that the ledger has for the source and run, held or not, or None."""
    return Snapshot.of(ledger.find_step(warehouse, step_key(source, run)))


def make_void(warehouse: Connection, snapshot: Snapshot, source: str, run: str) -> None:
    """Have whoever asks for the snapshot from now on take another one; who reads at it may go on."""
    ledger.amend_record(warehouse, step_key(source, run), {"seen": snapshot.seen}, {"void": True})


def held(settings: Settings, source: str, run: str) -> bool:
    """Whether the source's snapshot is not void and can be read now. If it is out of reach, no."""
    databases = access.brief(settings)
    with databases.asking() as warehouse:
        return _readable(databases, warehouse, source, run) is not None


def _readable(databases: Access, warehouse: Connection, source: str, run: str) -> Snapshot | None:
    snapshot = find(warehouse, source, run)
    if snapshot is not None and snapshot.void:
        return None
    if snapshot is not None:
        try:
            # Of a step that asks this, it is the session over which that reads then.
            with databases.source(source, keep=True) as connection:
                read_at(connection, snapshot)
        except (StepError, UnreachableError, UsageError):
            # Why it is out of reach, or not known, is found, and recorded, by the step that takes another.
            return None
    return snapshot


def open_snapshot(settings: Settings, source: Source, run: str, owner_pid: int) -> Snapshot:
    """Have a new process take and hold a snapshot of the source as long as process `owner_pid` lives.

    It is held for the tables of `source`, as the steps of this run know it. Return it once it is in the
    ledger, or the one that another worker holds. Raise what kept the holder from taking it.
    """
    return retry.call(lambda: _open_snapshot(settings, source, run, owner_pid))


def _open_snapshot(settings: Settings, source: Source, run: str, owner_pid: int) -> Snapshot:
    key = step_key(source.name, run)
    with access.for_step(settings) as databases, databases.asking() as warehouse:
        if (held := _readable(databases, warehouse, source.name, run)) is not None:
            return held
        with lease.attempted(warehouse, key) as attempt:
            # Recorded as its failure: whoever declares a source too early stops no other one.
            settings.source(source.name)
            _require_tables(databases, source)
            snapshot = _start_holder(settings, source, run, owner_pid)
            attempt.finish(warehouse, None, snapshot)
        undeclared.send_notice(databases, source)
        return snapshot


def _require_tables(databases: Access, source: Source) -> None:
    """Raise StepError if there is nothing to read at the moment that would be held, or what hides that."""
    if source.everything is None or source.tables:
        return
    with databases.source(source.name):
        pass
    raise StepError(
        f'source {source.name}: "{ALL}" matches no table: the schema {source.everything.schema_name} has '
        "none that the source's role may read",
        hint=f"GRANT USAGE on the schema and SELECT on its tables, or name another schema in "
        f"sources/{source.name}.yaml, then run it again",
        retryable=False,
    )


def _start_holder(configured: Settings, declared: Source, run: str, owner_pid: int) -> Snapshot:
    source = declared.name
    try:
        owner = os.pidfd_open(owner_pid)
    except ProcessLookupError:
        raise StepError(
            f"source {source}: the process that asked for its snapshot was killed",
            hint="type the command again",
        ) from None

    def work(answer: TextIO) -> int:
        return _hold_or_explain(configured, declared, run, owner, answer)

    try:
        # It outlives this function by design, and nobody waits for it.
        pid, output = forked.start(f"{PROCESS} {source}", work, [owner])
    finally:
        os.close(owner)
    with output:
        ready, _, _ = select.select([output], [], [], OPENING_SECONDS)
        answer = json.loads(output.readline() or "{}") if ready else {}
    if (taken := Snapshot.from_json(answer)) is not None:
        return taken
    if not ready:
        os.kill(pid, signal.SIGKILL)
    returncode = forked.wait(pid)
    if answer.get("passes"):
        raise LostError(answer["error"], hint=answer["hint"], outage=_outage(answer))
    if "error" in answer:
        kind = common_kind([answer["exit_code"]])
        raise kind(
            answer["error"], hint=answer["hint"], retryable=answer["retryable"], outage=_outage(answer)
        )
    if ready:
        raise StepError(
            f"source {source}: the process that holds its snapshot exited with {returncode} "
            "before it had one",
            hint="read its error in the log",
        )
    raise UnreachableError(
        f"source {source}: no snapshot within {OPENING_SECONDS} seconds",
        hint="type 'pipeline check' to test the connection",
        outage=Outage.of_source(source),
    )


def _outage(answer: Mapping[str, Any]) -> Outage | None:
    return Outage(**answer["outage"]) if answer["outage"] else None


def _hold_or_explain(configured: Settings, declared: Source, run: str, owner: int, answer: TextIO) -> int:
    """Hold a snapshot, or answer why there is none. Return the exit code."""
    try:
        hold(configured, declared, run, owner, answer)
    except PipelineError as error:
        if not answer.closed:
            why = {
                "error": redact.redact(error.fact),
                "hint": redact.redact(error.hint),
                "exit_code": error.exit_code,
                "retryable": error.retryable,
                "passes": isinstance(error, retry.PASSING),
                "outage": asdict(error.outage) if error.outage else None,
            }
            answer.write(json.dumps(why) + "\n")
        return error.exit_code
    return 0


def hold(configured: Settings, declared: Source, run: str, owner: int, answer: TextIO) -> None:
    """Take a snapshot, answer with it, and hold it while process `owner` (a pidfd) needs it.

    It needs it for the tables of `declared`, as its steps know them.
    """
    source = declared.name
    names = [f"{source}.{table}" for table in declared.tables]
    # Who is stopped cannot let go, and a parent that was killed ends nobody.
    session = {**SOURCE_SESSION, "idle_in_transaction_session_timeout": f"{STOPPED_SECONDS:g}s"}
    with access.opened(configured) as databases, databases.source(source, session=session) as connection:
        with databases.warehouse(autocommit=True) as ours:
            snapshot = continuity.take(ours, connection, source)
        with answer:
            answer.write(json.dumps(snapshot.to_json()) + "\n")
        holding = _Holding(connection, source, owner)
        while holding.goes_on():
            # A restart of the warehouse does not end a moment of the source.
            with (
                contextlib.suppress(LostError),
                databases.warehouse(autocommit=True, session=WAREHOUSE_SESSION) as warehouse,
            ):
                while _is_wanted(warehouse, source, run, names, snapshot) and holding.goes_on():
                    pass
                return


class _Holding:
    """A snapshot that this process holds, by a transaction of `connection`, for process `owner` (a pidfd)."""

    def __init__(self, connection: Connection, source: str, owner: int) -> None:
        self._connection, self._source, self._owner = connection, source, owner
        self._asked_at = time.monotonic()
        self._ends_at = self._asked_at + LONGEST_SECONDS

    def goes_on(self) -> bool:
        """Wait for a moment; return whether the owner lives, the source holds it, and it may be held on."""
        # The source's socket is readable when the server ends the connection.
        ready, _, _ = select.select([self._owner, self._connection.fileno()], [], [], POLL_SECONDS)
        if self._owner in ready:
            return False
        if time.monotonic() >= self._ends_at:
            logger.warning(
                "source %s: its snapshot was held for %g hours and is released; the same run reads the "
                "remaining tables as of a later moment",
                self._source,
                LONGEST_SECONDS / 3600,
            )
            return False
        return self._is_answered(at_once=bool(ready))

    def _is_answered(self, *, at_once: bool) -> bool:
        """Ask the source something, if it is time to; return whether its transaction is still there."""
        if not at_once and time.monotonic() - self._asked_at < HEARTBEAT_SECONDS:
            return True
        try:
            postgres.rows(self._connection, "SELECT 1")
        except postgres.Error as error:
            logger.warning(
                "source %s: its server ended the session that held its snapshot (%s); the same run reads the "
                "remaining tables as of a later moment",
                self._source,
                postgres.message_of(error),
            )
            return False
        self._asked_at = time.monotonic()
        return True


def _is_wanted(warehouse: Connection, source: str, run: str, names: list[str], snapshot: Snapshot) -> bool:
    """Whether a table is still to be read, and at this moment: not at one that another worker took since.

    If the warehouse does not say, because somebody keeps the ledger locked, it may be.
    """
    try:
        current = find(warehouse, source, run)
        superseded = current is not None and current.seen != snapshot.seen
        return not superseded and ledger.count_read(warehouse, run, names, snapshot.seen) < len(names)
    except postgres.QueryCanceled:
        return True
