"""Luigi's task history in the warehouse, which may be slow or away: the scheduler does not wait for it."""

import logging
import time

import sqlalchemy
from luigi.db_task_history import DbTaskHistory, TaskEvent
from luigi.task_history import StoredTask
from sqlalchemy.exc import SQLAlchemyError

from pipeline import postgres

logger = logging.getLogger(__name__)

# It is written in the scheduler's only thread: each statement may take so long, and one that does not come
# through stops the writing for a while. The ledger knows what was done; this is a help.
OPTIONS = "-c search_path=ops -c statement_timeout=3s -c lock_timeout=1s"
CONNECT_SECONDS = 3
PAUSE_SECONDS = 30.0


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
    """A history that goes on without its table."""

    _resumes_at = 0.0
    _missed = 0

    def _add_task_event(self, task: StoredTask, event: TaskEvent) -> None:
        if time.monotonic() < self._resumes_at:
            self._missed += 1
            return
        try:
            super()._add_task_event(task, event)  # type: ignore[no-untyped-call]
        except SQLAlchemyError as error:
            self._missed += 1
            self._resumes_at = time.monotonic() + PAUSE_SECONDS
            logger.warning(
                "the task history cannot be written (%s); it pauses for %g s",
                type(error).__name__,
                PAUSE_SECONDS,
            )
        else:
            if self._missed:
                logger.warning("the task history is written again; it lacks %d events", self._missed)
                self._missed = 0


def last_successes(engine: sqlalchemy.Engine) -> list[tuple[str, float]]:
    """Return, of each task family, when a task was last done, in seconds since 1970."""
    # Luigi writes its own machine's time, without a zone.
    query = sqlalchemy.text(
        "SELECT t.name, max(e.ts) FROM task_events e JOIN tasks t ON t.id = e.task_id"
        " WHERE e.event_name = 'DONE' GROUP BY t.name"
    )
    with engine.connect() as connection:
        return [(family, done_at.timestamp()) for family, done_at in connection.execute(query)]
