"""Luigi's task history in the warehouse, which may be slow or away: the scheduler does not wait for it."""

import logging
import threading
from collections import deque
from collections.abc import Iterable

import sqlalchemy
from luigi.db_task_history import DbTaskHistory, TaskEvent, TaskParameter, TaskRecord
from luigi.task_history import StoredTask
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from pipeline import postgres

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


class History(DbTaskHistory):
    """A history that is written beside the scheduler's work, many events at once; who works waits for none.

    As Luigi writes it, each event is a transaction that every worker waits for.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._waiting: deque[tuple[StoredTask, TaskEvent]] = deque()
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

    def _add_task_event(self, task: StoredTask, event: TaskEvent) -> None:
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
            pause = self._write(events)
            with self._changed:
                if not pause:
                    for _ in events:
                        self._waiting.popleft()
                elif self._ended:
                    return
                else:
                    self._changed.wait_for(lambda: self._ended, pause)

    def _write(self, events: list[tuple[StoredTask, TaskEvent]]) -> float:
        """Write events in one transaction; return in how many seconds to try again, 0 if it is done."""
        try:
            with self.session_factory() as session, session.begin():
                made = self._records(session, [task for task, _ in events])
                session.flush()
                ids = {task: record.id for task, record in made.items()}
                for task, event in events:
                    record_id = task.record_id or ids[task]
                    # Another one each time: what was not written belongs to its session no more.
                    session.add(TaskEvent(task_id=record_id, event_name=event.event_name, ts=event.ts))
        except SQLAlchemyError as error:
            logger.warning(
                "the task history cannot be written (%s); it pauses for %g s",
                type(error).__name__,
                PAUSE_SECONDS,
            )
            return PAUSE_SECONDS
        for task, record_id in ids.items():
            task.record_id = record_id
        if self._missed:
            logger.warning("the task history is written again; it lacks %d events", self._missed)
            self._missed = 0
        return 0.0

    def _records(self, session: Session, tasks: Iterable[StoredTask]) -> dict[StoredTask, TaskRecord]:
        """Make the records of tasks that have none, and enter on which host the others are now."""
        made: dict[StoredTask, TaskRecord] = {}
        for task in dict.fromkeys(tasks):
            if task.record_id is None:
                record = TaskRecord(task_id=task._task.id, name=task.task_family, host=task.host)
                for name, value in task.parameters.items():
                    record.parameters[name] = TaskParameter(name=name, value=value)
                session.add(record)
                made[task] = record
            elif task.host:
                update = sqlalchemy.update(TaskRecord).where(TaskRecord.id == task.record_id)
                session.execute(update.values(host=task.host))
        return made


def last_successes(engine: sqlalchemy.Engine) -> list[tuple[str, float]]:
    """Return, of each task family, when a task was last done, in seconds since 1970."""
    # Luigi writes its own machine's time, without a zone.
    query = sqlalchemy.text(
        "SELECT t.name, max(e.ts) FROM task_events e JOIN tasks t ON t.id = e.task_id"
        " WHERE e.event_name = 'DONE' GROUP BY t.name"
    )
    with engine.connect() as connection:
        return [(family, done_at.timestamp()) for family, done_at in connection.execute(query)]
