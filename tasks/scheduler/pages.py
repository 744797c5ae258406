"""What the scheduler serves in place of Luigi's own: RPCs whose arguments are made safe, and steps' logs."""

import asyncio
import functools
import json
import os
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import luigi.server
from luigi.scheduler import RPC_METHODS, Scheduler
from tornado.web import Application, ErrorHandler, HTTPError, RequestHandler

from tasks import luigi_served
from tasks.scheduler import patches, sanitize

# A run and a task id: no folder above, and no hidden file, can be written so.
NAME = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
MOST_BYTES = 4 * 1024 * 1024


@functools.cache
def _cors() -> luigi.server.cors:
    return luigi.server.cors()


class Rpc(luigi_served.RpcHandler):
    """A call of the scheduler's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(_cors(), *args, **kwargs)

    def get(self, method: str) -> None:
        """Answer it."""
        if method not in RPC_METHODS:
            raise HTTPError(HTTPStatus.NOT_FOUND)
        try:
            arguments = json.loads(self.get_argument("data", default="{}"))
            if not isinstance(arguments, dict):
                raise sanitize.UnsafeError("the arguments are no object")
            arguments = sanitize.sanitized(method, arguments)
        except ValueError as error:
            self.set_status(HTTPStatus.BAD_REQUEST)
            self.set_header("Content-Type", "text/plain; charset=UTF-8")
            self.finish(f"{error}\n")
            return
        self.write({"response": getattr(self.scheduler, method)(**arguments)})

    post = get


class Metrics(luigi_served.MetricsHandler):
    """The figures for Prometheus; the warehouse is asked for some, and not in the scheduler's own thread."""

    async def get(self) -> None:
        """Write them."""
        collector = self.scheduler.metrics_collector
        figures = await asyncio.get_running_loop().run_in_executor(None, collector.generate_latest)
        collector.configure_http_handler(self)
        self.write(figures or b"")


class Log(RequestHandler):
    """The log of one step, or the end of it: FOLDER/RUN/TASK_ID.log."""

    def initialize(self, folder: Path) -> None:
        """Remember where the logs are."""
        self._folder = folder.resolve()

    def get(self, run: str, task_id: str) -> None:
        """Show it as text."""
        path = (self._folder / run / f"{task_id}.log").resolve()
        try:
            if not path.is_relative_to(self._folder):
                raise FileNotFoundError
            with path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_BYTES))
                content = file.read(MOST_BYTES)
        except OSError:
            raise HTTPError(HTTPStatus.NOT_FOUND) from None
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.write(content)


def application(scheduler: Scheduler, logs: Path | None) -> Application:
    """Return Luigi's own application, with ours before it. `logs` is the folder of the steps' logs."""
    made: Application = luigi.server.app(scheduler)
    files = "|".join(map(re.escape, patches.PATCHES))
    handlers: list[Any] = [
        (f"/static/visualiser/({files})", patches.Patched),
        (r"/favicon\.ico", patches.Icon),
        (r"/api/(.*)", Rpc, {"scheduler": scheduler}),
        (r"/metrics", Metrics, {"scheduler": scheduler}),
        # It would read the whole history in the scheduler's only thread, for a chart that cannot be drawn.
        (r"/tasklist.*", ErrorHandler, {"status_code": HTTPStatus.NOT_FOUND}),
    ]
    if logs is not None:
        handlers.append((f"/log/({NAME})/({NAME})", Log, {"folder": logs}))
    made.add_handlers(".*", handlers)
    # What matters is told where the door is; a line for every call of every worker tells nothing.
    made.settings["template_loader"] = patches.Templates()
    made.settings["log_function"] = lambda _handler: None
    return made
