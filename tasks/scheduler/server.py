"""Luigi's central scheduler with its visualizer, behind a login: `pipeline scheduler`.

Its state is saved every few seconds, its task history goes into the warehouse, `/metrics` is for Prometheus.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import luigi.configuration
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError
from tornado.httpserver import HTTPServer

from pipeline import access, alerts, log, postgres, redact, settings
from pipeline.errors import PipelineError
from pipeline.ledger import migrations
from pipeline.scheduler import visualizer
from pipeline.settings import Settings
from pipeline.system import options
from tasks.scheduler import history, pages
from tasks.scheduler.access_control import AccessControl
from tasks.scheduler.assist import Scheduler
from tasks.scheduler.figures import LedgerFigures
from tasks.scheduler.listening import Encryption, listen, require_private
from tasks.scheduler.logins import Logins
from tasks.scheduler.metrics import Collector
from tasks.scheduler.state import State

logger = logging.getLogger(__name__)

# What goes on beside the server, until it is cancelled.
Work = Callable[[], Coroutine[Any, Any, None]]

PRUNE_SECONDS = 60
# No call of a worker's comes near this. What is larger is not read.
MOST_BODY_BYTES = 32 * 1024 * 1024
BODY_SECONDS = 30
# Of a connection on which nobody says anything.
IDLE_SECONDS = 600

EPILOG = """\
exit codes: 0 stopped by a signal; 2 usage, settings, or the port is taken; 5 Vault or the warehouse is out of
reach"""


def main() -> int:
    """Serve the scheduler as the command line says, and return the exit code."""
    arguments = _parser().parse_args()
    redact.install()
    try:
        log.configure(arguments.log_format)
        configured = settings.read()
        serve(configured, arguments.address, arguments.port or _port(), arguments.state_path)
    except PipelineError as error:
        for line in redact.redact(str(error)).splitlines():
            sys.stderr.write(f"pipeline scheduler: {line}\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.Parser(
        prog="pipeline scheduler",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--address", default="127.0.0.1", help="the address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=int,
        help="the port to listen on (default: that of luigi.cfg, or 8082)",
    )
    parser.add_argument(
        "--state-path",
        type=Path,
        default=Path("/var/lib/pipeline/scheduler.pickle"),
        help="the file that keeps the state across restarts (default: %(default)s)",
    )
    log.add_argument(parser)
    return parser


def _port() -> int:
    """Return where Luigi's workers, by the same luigi.cfg, look for it."""
    return urlsplit(visualizer.address()).port or visualizer.DEFAULT_PORT


def serve(configured: Settings, address: str, port: int, state_path: Path) -> None:
    """Serve the scheduler until SIGTERM, which saves its state.

    Raise UsageError if it would not be safe, UnreachableError if Vault or the warehouse refuses our login.
    """
    declared = configured.require_visualizer()
    encryption = Encryption.declared(declared)
    require_private(address, encrypted=encryption is not None)
    # Luigi's state is a pickle: nobody else may write it, or read what is in it.
    os.umask(0o077)
    logins = Logins(lambda: visualizer.passwords(configured))
    with contextlib.ExitStack() as stack:
        # A login that Vault made for the history is kept alive until the end.
        scheduler = stack.enter_context(_scheduler(configured))
        stack.enter_context(logins.kept())
        # The webhook's address is known from now on, also when Vault is sealed.
        stack.enter_context(alerts.sending(configured))
        state = State(scheduler, state_path)
        state.load()
        application = pages.application(scheduler, configured.logs.folder)
        server = HTTPServer(
            AccessControl(application, lambda: logins.passwords, logins.ask),
            ssl_options=encryption.context if encryption else None,
            max_body_size=MOST_BODY_BYTES,
            body_timeout=BODY_SECONDS,
            idle_connection_timeout=IDLE_SECONDS,
        )
        # Whoever is let in finds everything there.
        sockets = listen(address, port)
        beside = [state.keep, lambda: _prune(scheduler), *([encryption.keep] if encryption else [])]
        logger.info("the visualizer is at %s://%s:%s", "https" if encryption else "http", address, port)
        asyncio.run(_until_stopped(server, sockets, beside))
        # Luigi's workers find nobody for a moment, and try again.
        state.save()
        logger.info("stopped by a signal; the state is saved")


async def _until_stopped(
    server: HTTPServer, sockets: Sequence[socket.socket], beside: Sequence[Work]
) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    server.add_sockets(sockets)
    going = [asyncio.create_task(_go_on(one)) for one in beside]
    await stopping.wait()
    server.stop()
    for one in going:
        one.cancel()


async def _go_on(work: Work) -> None:
    """Do work that has no end. What it stumbles over is told, and does not end it for the weeks to come."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("retrying in %d s", PRUNE_SECONDS)
        await asyncio.sleep(PRUNE_SECONDS)


async def _prune(scheduler: Any) -> None:
    while True:
        await asyncio.sleep(PRUNE_SECONDS)
        scheduler.prune()


@contextlib.contextmanager
def _scheduler(configured: Settings) -> Iterator[Scheduler]:
    config = luigi.configuration.get_config()
    for source, declared in configured.sources.items():
        config.set("resources", f"source {source}", str(declared.connections))
    config.set("scheduler", "metrics_collector", "custom")
    config.set("scheduler", "metrics_custom_import", f"{Collector.__module__}.{Collector.__qualname__}")
    if configured.warehouse is None:
        yield Scheduler()
        return
    with access.opened(configured) as databases:
        # Two schedulers that start at once on an empty warehouse would trip over each other's tables.
        migrations.migrate(databases.warehouse_uri())
        # In memory only: the credential is in no file.
        with databases.warehouse() as warehouse:
            connection = history.url(databases.warehouse_uri(), postgres.options(warehouse))
        config.set("task_history", "db_connection", connection.replace("%", "%%"))
        config.set("scheduler", "record_task_history", "true")
        kept = history.History()
        scheduler = Scheduler(task_history_impl=kept)
        collector: Collector = scheduler.metrics_collector
        collector.registry.register(LedgerFigures(kept.engine))
        _remember_successes(collector, kept.engine)
        try:
            yield scheduler
        finally:
            kept.close()


def _remember_successes(collector: Collector, engine: sqlalchemy.Engine) -> None:
    """Let the metrics know what was done before this start."""
    try:
        for family, done_at in history.last_successes(engine):
            collector.remember(family, done_at)
    except SQLAlchemyError as error:
        logger.warning("earlier tasks cannot be read from the task history (%s)", type(error).__name__)
