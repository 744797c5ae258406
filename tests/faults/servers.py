"""Faults of the servers that a step talks to: killed, away for a while, paused, and all connections cut."""

import contextlib
import signal
import threading
import time
from collections.abc import Generator
from typing import Any

import psutil

from pipeline import postgres
from pipeline.sandbox import lifecycle
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters, processes, servers
from pipeline.sandbox.servers.server import Server
from tests.faults.faults import PAUSE_SECONDS, Fault, Strike
from tests.faults.scene import Scene

# How long a server is away: long enough that who needs it finds it gone.
AWAY_SECONDS = 3.0
# By the names of the sandbox's servers.
SOURCE, WAREHOUSE, DRILL, VAULT, B2, SCHEDULER = "sources", "warehouse", "drill", "vault", "b2", "luigid"


def server_of(name: str) -> Server:
    """Return a server of the sandbox."""
    return next(one for one in servers.ALL if one.name == name)


def home_of(world: Any) -> Home:
    """Return the home of a world's sandbox."""
    found: Home = world.platform.sandbox.home
    return found


def port_of(world: Any, name: str) -> int:
    """Return the port of a server."""
    return server_of(name).port(home_of(world))


def _everyone(home: Home, name: str) -> list[psutil.Process]:
    process = server_of(name).process(home)
    assert process is not None, f"{name} does not run"
    return [process, *process.children(recursive=True)]


def _signal(home: Home, name: str, number: signal.Signals) -> None:
    for one in _everyone(home, name):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(number)


def kill(home: Home, name: str) -> None:
    """Kill a server as a crash of its machine does."""
    processes.end([(one, signal.SIGKILL) for one in _everyone(home, name)])


def start(world: Any, name: str) -> None:
    """Start it again, at the same port, with what it has on disk."""
    home = home_of(world)
    lifecycle._start(home, server_of(name), threading.Event())


def restarted(name: str) -> Strike:
    """Kill a server and start it again while the step stands."""

    def strike(world: Any, _scene: Scene) -> Generator[None, None, None]:
        kill(home_of(world), name)
        start(world, name)
        yield
        yield

    return strike


def away(name: str) -> Strike:
    """Kill a server while the step stands, and start it a while after that went on."""

    def strike(world: Any, _scene: Scene) -> Generator[None, None, None]:
        kill(home_of(world), name)
        try:
            yield
            time.sleep(AWAY_SECONDS)
        finally:
            start(world, name)
        yield

    return strike


def paused(name: str) -> Strike:
    """Stop a server with all that it has begun, and let it go on after a while."""

    def strike(world: Any, _scene: Scene) -> Generator[None, None, None]:
        _signal(home_of(world), name, signal.SIGSTOP)
        try:
            yield
            time.sleep(PAUSE_SECONDS)
        finally:
            _signal(home_of(world), name, signal.SIGCONT)
        yield

    return strike


def cut(name: str) -> Strike:
    """End every session that others have in a database of a world."""

    def strike(world: Any, _scene: Scene) -> Generator[None, None, None]:
        with clusters.connection(home_of(world), name, "postgres") as connection:
            postgres.rows(
                connection,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname LIKE %s AND backend_type = 'client backend' AND usename <> 'postgres'",
                (f"{world.platform.prefix}\\_%",),
            )
        yield
        yield

    return strike


def faults_of(name: str, shown: str, *, has_sessions: bool, codes: tuple[int, ...] = (0,)) -> list[Fault]:
    """Return the faults of one server."""
    found = [
        Fault(f"{shown} restarted", restarted(name), codes, harms=True),
        Fault(f"{shown} away", away(name), codes, harms=True),
        Fault(f"{shown} paused", paused(name), codes, harms=True),
    ]
    if has_sessions:
        found.append(Fault(f"{shown} cut", cut(name), codes))
    return found
