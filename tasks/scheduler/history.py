"""Luigi's task history in the warehouse, which may be slow or away: the scheduler does not wait for it."""

import logging
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

import psycopg2
import sqlalchemy
from luigi.db_task_history import TaskEvent, TaskParameter, TaskRecord
from luigi.task_history import StoredTask
from psycopg2 import errors
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from pipeline import postgres
from tasks import luigi_served

logger = logging.getLogger(__name__)

# Each statement may take so long, and one that does not come through stops the writing for a while. The
# ledger knows what was done; this is a help.
OPTIONS = "-c search_path=ops -c statement_timeout=3s -c lock_timeout=1s"
CONNECT_SECONDS = 3
PAUSE_SECONDS = 30.0
# What comes within this is written at once, and so many events at the most.
GATHER_SECONDS = 0.2
MOST_AT_ONCE = 500
# So many wait for a warehouse that is away; what comes beyond them is missed.
MOST_WAITING = 100_000
CLOSE_SECONDS = 5.0
# What passes once the warehouse is there, takes what is written, and is as new as we are.
OUTAGES = (
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    psycopg2.InternalError,
    errors.InsufficientPrivilege,
    errors.InvalidSchemaName,
    errors.UndefinedTable,
    errors.UndefinedColumn,
)

# What happened to a task.
Event = tuple[StoredTask, TaskEvent]


def url(warehouse_uri: str, options: str = "") -> str:
    """Return the address of Luigi's task history in the warehouse, in SQLAlchemy's form.

    `options` are settings of its sessions that the warehouse has otherwise, as `postgres.options` tells them.
    """
    made = sqlalchemy.make_url(warehouse_uri).set(drivername="postgresql+psycopg2")
    query = {
        "client_encoding": postgres.ENCODING,
        "options": f"{options} {OPTIONS}".strip(),
        "connect_timeout": str(CONNECT_SECONDS),
    }
    return made.update_query_dict(query).render_as_string(hide_password=False)


class History(luigi_served.TaskHistory):
    """A history that is written beside the scheduler's work, many events at once; who works waits for none.

    As Luigi writes it, each event is a transaction that every worker waits for.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._missed = 0
        self._thread = threading.Thread(target=self._write_all, name="history", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is still to be written, if that can be done soon, and end."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(CLOSE_SECONDS)

    def note(self, task: StoredTask, event: TaskEvent) -> None:
        """Have it written soon what happened to a task."""
        with self._changed:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append((task, event))
            else:
                self._missed += 1
            self._changed.notify_all()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or bool(self._waiting))
                self._changed.wait_for(lambda: self._ended, GATHER_SECONDS)
                events = list(self._waiting)[:MOST_AT_ONCE]
                if self._ended and not events:
                    return
            try:
                done = self._write(events)
            except Exception:  # whatever it is, the thread is the only one that writes
                logger.exception("the task history cannot be written; retrying in %g s", PAUSE_SECONDS)
                done = 0
            with self._changed:
                for _ in range(done):
                    self._waiting.popleft()
                if done < len(events):
                    if self._ended:
                        return
                    self._changed.wait_for(lambda: self._ended, PAUSE_SECONDS)

    def _write(self, events: list[Event]) -> int:
        """Write events; return how many of them, from the first, are done with: written, or refused for good.

        If these are not all, it is to be tried again later.
        """
        try:
            self._put(events)
            done = len(events)
        except Exception as error:  # noqa: BLE001 - a driver refuses values by errors of all kinds
            if _is_outage(error):
                _log_pause(error)
                return 0
            done = self._write_each(events)
        with self._changed:
            missed, self._missed = self._missed, 0
        if missed:
            logger.warning("the task history is written again; %d events are missing", missed)
        return done

    def _write_each(self, events: list[Event]) -> int:
        """Write events one by one, without those that are refused; return how many are done with."""
        refused: list[tuple[str, Exception]] = []
        done = 0
        for task, event in events:
            try:
                self._put([(task, event)])
            except Exception as error:  # noqa: BLE001 - see above
                if _is_outage(error):
                    _log_pause(error)
                    break
                # The next event of the task gets a record of its own.
                task.record_id = None
                refused.append((luigi_served.id_of(task), error))
            done += 1
        if refused:
            task_id, first = refused[0]
            logger.warning(
                "the warehouse rejected %d events of the task history, the first of task %.200r (%s):"
                " shorten its id to 200 characters, its name and those of its parameters to 128, and remove"
                " NUL from their values",
                len(refused),
                task_id,
                _name(first),
            )
        return done

    def _put(self, events: list[Event]) -> None:
        """Write events in one transaction. Raise what speaks against it."""
        with self.session_factory() as session, session.begin():
            made = self._records(session, [task for task, _ in events])
            session.flush()
            ids = {task: record.id for task, record in made.items()}
            for task, event in events:
                record_id = ids.get(task) or task.record_id
                # Another one each time: what was not written belongs to its session no more.
                session.add(TaskEvent(task_id=record_id, event_name=event.event_name, ts=event.ts))
        for task, record_id in ids.items():
            task.record_id = record_id

    def _records(self, session: Session, tasks: Iterable[StoredTask]) -> dict[StoredTask, TaskRecord]:
        """Make the records of tasks that have none, and enter on which host the others are now."""
        made: dict[StoredTask, TaskRecord] = {}
        stored = list(dict.fromkeys(tasks))
        records: Any = TaskRecord
        ids = [task.record_id for task in stored if task.record_id]
        query = sqlalchemy.select(records.id, records.task_id).where(records.id.in_(ids))
        # A warehouse that was put back has fewer, and will give their numbers to others.
        there = {(row.id, row.task_id) for row in session.execute(query)} if ids else set()
        for task in stored:
            if (task.record_id, luigi_served.id_of(task)) not in there:
                record = TaskRecord(task_id=luigi_served.id_of(task), name=task.task_family, host=task.host)
                for name, value in task.parameters.items():
                    record.parameters[name] = TaskParameter(name=name, value=value)
                session.add(record)
                made[task] = record
            elif task.host:
                update = sqlalchemy.update(TaskRecord).where(TaskRecord.id == task.record_id)
                session.execute(update.values(host=task.host))
        return made


def _is_outage(error: Exception) -> bool:
    """Whether it is about the warehouse, as it is now, and not about what was to be written."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or isinstance(error.orig, OUTAGES)
    return isinstance(error, PoolTimeoutError)


def _log_pause(error: Exception) -> None:
    logger.warning("the task history cannot be written (%s); retrying in %g s", _name(error), PAUSE_SECONDS)


def _name(error: Exception) -> str:
    """Return what kind of error it is. Its text would repeat what was to be written."""
    return type(error.orig if isinstance(error, DBAPIError) and error.orig else error).__name__


def last_successes(engine: sqlalchemy.Engine) -> list[tuple[str, float]]:
    """Return, of each task family, when a task was last done, in seconds since 1970."""
    # Luigi writes its own machine's time, without a zone.
    query = sqlalchemy.text(
        "SELECT t.name, max(e.ts) FROM task_events e JOIN tasks t ON t.id = e.task_id"
        " WHERE e.event_name = 'DONE' GROUP BY t.name"
    )
    with engine.connect() as connection:
        return [(family, done_at.timestamp()) for family, done_at in connection.execute(query)]
