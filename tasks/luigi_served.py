"""As luigi_internals, of Luigi's web server and of its history in a database, which the scheduler alone has.

Apart from it because both take longer to import than all the rest of Luigi, which each run would wait for.
"""

from typing import Any

import luigi.server
from luigi.db_task_history import DbTaskHistory, TaskEvent
from luigi.task_history import StoredTask
from tornado.web import RequestHandler


class RpcHandler(luigi.server.RPCHandler):
    """A call of the scheduler's."""

    def __init__(self, cors: luigi.server.cors, *args: Any, **kwargs: Any) -> None:
        """Be a handler, without asking Luigi's configuration for each call again who may call it."""
        RequestHandler.__init__(self, *args, **kwargs)
        self._cors_config = cors

    @property
    def scheduler(self) -> Any:
        """The scheduler that is called."""
        return self._scheduler


class MetricsHandler(luigi.server.MetricsHandler):
    """The figures for Prometheus."""

    @property
    def scheduler(self) -> Any:
        """The scheduler whose figures they are."""
        return self._scheduler


class TaskHistory(DbTaskHistory):
    """Luigi's task history in a database."""

    def _add_task_event(self, task: StoredTask, event: TaskEvent) -> None:
        self.note(task, event)

    def note(self, task: StoredTask, event: TaskEvent) -> None:
        """Write down what happened to a task."""
        super()._add_task_event(task, event)  # type: ignore[no-untyped-call]


def id_of(task: StoredTask) -> str:
    """Return the id of a task of the history."""
    return str(task._task.id)
