"""The lease of a step: one worker at a time has it, and one that lost it meanwhile cannot write.

Each attempt at a step has a number of its own. It is looked at in the very transaction that publishes, so
that a worker that was stopped, cut off or given up writes nothing once another has begun.
"""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict
from typing import Any

from pipeline import postgres
from pipeline.errors import PipelineError, TakenOverError
from pipeline.ledger import steps, waiting
from pipeline.postgres import Connection, locks
from pipeline.redact import redact
from pipeline.step import Record, StepKey
from pipeline.system import process_tree

logger = logging.getLogger(__name__)

# A living worker says so this often, while it is at a step ...
HEARTBEAT_SECONDS = 10.0
# ... and one that has not for so long is held to be stopped or cut off: longer than a publication waits for
# the readers of a table, when it cannot say anything.
LEASE_SECONDS = 120.0
# Who waits for a table looks this often whether the one who has it is still there.
POLL_SECONDS = 5.0


def lock_table(
    connection: Connection,
    source: str,
    table: str,
    *,
    step: StepKey | None = None,
    lease_seconds: float = LEASE_SECONDS,
) -> None:
    """Wait until nobody else is at a step of this table, and keep them off until the transaction ends.

    Call it first in the transaction. Who holds the table and has been silent for `lease_seconds` is ended:
    a stopped process would hold it for ever. The ledger has nothing of a step that waits, since it may turn
    out to be done: its session says for which `step` it waits (`waiting`).
    """
    name, reason, is_marked = f"{source}.{table}", "", False
    while True:
        try:
            locks.take_within(connection, f"table {name}", POLL_SECONDS)
        except postgres.LockNotAvailable:
            connection.rollback()
            parameters = {"lock": f"table {name}", "name": name, "seconds": lease_seconds}
            postgres.rows(connection, postgres.statement("ledger/expired_leases"), parameters)
            waits = waiting.for_another(connection, name)
            if step and not is_marked:
                waiting.begin(connection, step)
                is_marked = True
            connection.commit()
            if waits and waits != reason:
                reason = waits
                logger.info("%s: %s", name, reason)
        else:
            if step and is_marked:
                waiting.end(connection, step)
            return


def try_lock_table(connection: Connection, source: str, table: str) -> bool:
    """Keep others off this table until the transaction ends, or return False if it is taken."""
    return locks.try_take(connection, f"table {source}.{table}")


class Attempt:
    """One attempt at a step, and how it is getting on, told beside the transaction that does its work."""

    def __init__(self, connection: Connection, key: StepKey) -> None:
        """Begin it; `connection` commits by itself. From here on no earlier attempt can finish."""
        self._connection, self.key = connection, key
        self._watched: list[int] = []
        # For whom it waits, by its own word, and as it was told last.
        self._waits = self._shown_waits = self._logged = ""
        # The heartbeat looks, and the step itself tells, at the same time.
        self._recording = threading.Lock()
        self._number: int = postgres.value(
            connection,
            """
            INSERT INTO ops.step (run, task, name, state, host, pid) VALUES (%s, %s, %s, 'running', %s, %s)
            ON CONFLICT (run, task, name) DO UPDATE
            SET state = 'running', started_at = clock_timestamp(), finished_at = NULL, rows = NULL,
                error = NULL, exit_code = NULL, hint = NULL, host = excluded.host, pid = excluded.pid,
                attempt = excluded.attempt, seen_at = clock_timestamp(),
                detail = ops.step.detail - '{progress,again,outage}'::text[]
            RETURNING attempt
            """,
            (key.run, key.task, key.name, process_tree.place(), os.getpid()),
        )

    def rows_so_far(self, writer: Connection) -> int:
        """Return how many rows the COPY that `writer` is in the middle of has written, and record it."""
        counted = postgres.value(
            self._connection,
            "SELECT tuples_processed FROM pg_stat_progress_copy WHERE pid = %s",
            (writer.info.backend_pid,),
        )
        if counted is not None:
            self._update("rows = %s", counted)
        return counted or 0

    def watch(self, connection: Connection) -> None:
        """Have it told for whom this session of the warehouse waits, when it does for long."""
        self._watched.append(connection.info.backend_pid)

    def wait_for(self, whom: str) -> None:
        """Tell for whom the step waits, which has found that out itself; nothing once it goes on."""
        with self._recording:
            self._waits = whom
            self._record_wait(whom)

    def check_waits(self) -> None:
        """Tell for whom the step's sessions wait, if they do."""
        with self._recording:
            self._record_wait(self._waits or postgres.waits_for(self._connection, self._watched))

    def _record_wait(self, whom: str) -> None:
        """Say it in the log and in the ledger, once; also that it is over."""
        if whom == self._shown_waits:
            return
        message = f"waits for {whom}"
        if whom and whom != self._logged:
            self._logged = whom
            logger.warning("%s: %s", self.key.name, message)
        detail = json.dumps({steps.PROGRESS: redact(message)} if whom else {})
        written = postgres.rows(
            self._connection,
            """
            UPDATE ops.step SET detail = (detail - 'progress') || %s::jsonb WHERE ctid IN (
                SELECT ctid FROM ops.step WHERE run = %s AND task = %s AND name = %s AND attempt = %s
                    AND state = 'running' FOR UPDATE SKIP LOCKED)
            RETURNING true
            """,
            (detail, *self._place, self._number),
        )
        # Where the row was not to be had, the next look tells it.
        if written:
            self._shown_waits = whom

    def heartbeat(self) -> None:
        """Say that its worker is still there; nothing if the work's own transaction has the row by now."""
        postgres.rows(
            self._connection,
            """
            UPDATE ops.step SET seen_at = clock_timestamp() WHERE ctid IN (
                SELECT ctid FROM ops.step WHERE run = %s AND task = %s AND name = %s AND attempt = %s
                    AND state = 'running' FOR UPDATE SKIP LOCKED)
            """,
            (*self._place, self._number),
        )

    def finish(self, writer: Connection, rows: int | None, record: Record) -> None:
        """Mark the step as done, in the transaction of `writer`; `record` is what it leaves.

        Raise TakenOverError if another attempt has begun since, or the step was cleared.
        """
        query = "SELECT attempt FROM ops.step WHERE run = %s AND task = %s AND name = %s FOR UPDATE"
        if postgres.value(writer, query, self._place) != self._number:
            raise self._taken_over()
        steps.finish_step(writer, self.key, rows, record)

    def fail(self, error: BaseException) -> None:
        """Record how it failed. Raise TakenOverError if the step is another's by now."""
        fact, hint = (error.fact, error.hint) if isinstance(error, PipelineError) else (str(error), "")
        text = redact(fact or type(error).__name__)[: steps.ERROR_LENGTH]
        # The work's own transaction can still hold the row; waiting for ourselves would never end.
        postgres.rows(self._connection, "SELECT set_config('lock_timeout', '2s', false)")
        self._update(
            "state = 'failed', finished_at = clock_timestamp(), error = %s, exit_code = %s, hint = %s, "
            "detail = (detail - 'progress') || %s::jsonb",
            text,
            getattr(error, "exit_code", 1),
            redact(hint) or None,
            json.dumps(_more(error)),
        )
        query = "SELECT attempt FROM ops.step WHERE run = %s AND task = %s AND name = %s"
        if postgres.value(self._connection, query, self._place) != self._number:
            raise self._taken_over()

    @property
    def _place(self) -> tuple[str, str, str]:
        return self.key.run, self.key.task, self.key.name

    def _update(self, changes: str, *values: object) -> None:
        query = (
            f"UPDATE ops.step SET {changes} WHERE run = %s AND task = %s AND name = %s"  # noqa: S608
            " AND attempt = %s AND state = 'running'"
        )
        postgres.rows(self._connection, query, (*values, *self._place, self._number))

    def _taken_over(self) -> TakenOverError:
        return TakenOverError(
            f"{self.key.name}: another worker has taken over {self.key.task}, because this one had no "
            "heartbeat for too long; nothing was written here, and the other worker's result counts"
        )


def _more(error: BaseException) -> dict[str, Any]:
    """Return what else is known of a failure, where it is anything, as `steps` reads it."""
    if not isinstance(error, PipelineError):
        return {}
    outage = asdict(error.outage) if error.outage else None
    return {key: value for key, value in ((steps.AGAIN, error.again), (steps.OUTAGE, outage)) if value}


class _Heartbeat(threading.Thread):
    """Tells all the while that an attempt's worker is still there."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(name=f"heartbeat of {attempt.key.name}", daemon=True)
        self._attempt, self._ended = attempt, threading.Event()

    def run(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            # What is wrong with the connection is for the step itself to find out.
            with contextlib.suppress(postgres.Error):
                self._attempt.heartbeat()
                self._attempt.check_waits()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


_under_way: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


def wait_for(whom: str) -> None:
    """Tell for whom the step that is under way here waits, if one is; nothing once it goes on."""
    attempt = _under_way.get()
    if attempt is not None:
        with contextlib.suppress(postgres.Error):  # the step finds out by itself what is wrong there
            attempt.wait_for(whom)


@contextlib.contextmanager
def attempted(connection: Connection, key: StepKey, writer: Connection | None = None) -> Iterator[Attempt]:
    """Record that a step began and, if the block raises, how it failed.

    `connection` commits by itself. The step's success is for the block to record with `finish`. For whom
    the session of `writer` waits meanwhile is told.
    Begin only once it is certain, under a lock, that the step is not done.
    Raise TakenOverError instead of what went wrong if the step was taken over meanwhile.
    """
    attempt = Attempt(connection, key)
    if writer is not None:
        attempt.watch(writer)
    before = _under_way.set(attempt)
    try:
        # In its own words, a server's error ends with the row that it refused, and has no hint.
        with _Heartbeat(attempt), postgres.explained(""):
            yield attempt
    except BaseException as error:
        with contextlib.suppress(postgres.Error):  # the failure itself is what must be told
            attempt.fail(error)
        raise
    finally:
        _under_way.reset(before)
