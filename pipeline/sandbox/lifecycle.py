"""Up and down: the whole sandbox started, fixed where a part is missing, and ended without a trace."""

import hashlib
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from pipeline.errors import StepError, StoppedError, UsageError
from pipeline.sandbox import analysts, configuration, ports, provision, sources
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import backup_store, processes, servers
from pipeline.sandbox.servers.server import Server

START_SECONDS = 60.0
POLL_SECONDS = 0.05
# The port can be taken between our choice and the server's start.
START_TRIES = 3
# What credentials and settings are made by: when it has changed, they are made anew.
CREDENTIAL_CODE = (
    "provision.py",
    "roles.py",
    "servers/backup_store.py",
    "configuration.py",
    "pipeline.hcl",
    "restore.hcl",
)

PrintLine = Callable[[str], None]
SignalHandler = Callable[[int, FrameType | None], Any] | int | None


def up(home: Home, print_line: PrintLine, *, samples: bool = True) -> None:
    """Start what is not running, and make what is missing.

    Raise StepError if a server does not start, with the end of its log, StoppedError on Ctrl-C or SIGTERM.
    """
    with home.locked(lambda: print_line("another bin/sandbox is running here; waiting for it to end")):
        home.prepare()
        stopping = threading.Event()
        with Stopping(stopping), ports.reservations():
            changed = _up(home, print_line, stopping, samples=samples)
        if not changed:
            print_line("already up; nothing to do")
        for server in servers.ALL:
            print_line(f"{server.name:<10} {server.address(home)}")


def _up(home: Home, print_line: PrintLine, stopping: threading.Event, *, samples: bool) -> bool:
    _end_what_cannot_be_reached(home)
    missing = [server for server in servers.ALL if server.process(home) is None]
    _choose_ports(home, missing)
    _start_all(home, servers.FOUNDATIONS, stopping)
    wanted = sources.SAMPLES if samples else ()
    fresh = [name for name in wanted if name not in home.state.databases]
    if fresh or home.state.provisioned != _fingerprint(home):
        if fresh:
            print_line("loading the sample sources: " + ", ".join(fresh))
        # What was read at their start may be out of date: addresses, credentials.
        _end(home, servers.OTHERS)
        _provision(home, fresh, stopping)
        missing.extend(servers.OTHERS)
    else:
        _start_all(home, servers.OTHERS, stopping)
    return bool(missing)


def down(home: Home, print_line: PrintLine, *, wipe: bool) -> None:
    """End every process of the sandbox; with `wipe`, remove all that it has on disk."""
    with home.locked(lambda: print_line("another bin/sandbox is running here; waiting for it to end")):
        if home.exists:
            home.load(damaged_is_fine=wipe)
            _end(home, reversed(servers.ALL))
            if home.state.socket_folder:
                shutil.rmtree(home.state.socket_folder, ignore_errors=True)
        if wipe:
            home.wipe()


def require_up(home: Home) -> None:
    """Load the state. Raise UsageError if the sandbox is not running."""
    home.load()
    missing = [server.name for server in servers.ALL if server.process(home) is None]
    if missing:
        raise UsageError(
            f"the sandbox is not up ({', '.join(missing)} not running); start it with 'bin/sandbox up'"
        )


def note_provisioned(home: Home) -> None:
    """Remember that credentials and settings fit the present state."""
    with home.changing() as state:
        state.provisioned = _fingerprint(home)


class Stopping:
    """Turns Ctrl-C and SIGTERM into an event, so that no step is cut in the middle.

    Raise StoppedError at the end of the block if one came.
    """

    def __init__(self, event: threading.Event) -> None:
        self._event = event
        self._previous: dict[signal.Signals, SignalHandler] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, lambda *_: self._event.set())

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._event.is_set():
            raise StoppedError(
                "stopped; 'bin/sandbox down' stops what was started, 'bin/sandbox up' continues"
            )


def _end_what_cannot_be_reached(home: Home) -> None:
    """End servers whose port is not remembered, and clusters whose sockets are gone."""
    unreachable = [
        server
        for server in servers.ALL
        if server.process(home) is not None
        and (
            server.name not in home.state.ports
            or (server in servers.CLUSTERS and not _has_socket(home, server))
        )
    ]
    if unreachable:
        _end(home, unreachable)


def _has_socket(home: Home, server: Server) -> bool:
    return Path(home.state.socket_folder, f".s.PGSQL.{server.port(home)}").exists()


def _choose_ports(home: Home, missing: Sequence[Server]) -> None:
    """Give each server that is to be started a port that is free now: the one it had, if it can be."""
    for server in missing:
        remembered = home.state.ports.get(server.name)
        if remembered is None or not ports.reserve(remembered):
            _choose_port(home, server)


def _choose_port(home: Home, server: Server) -> None:
    with home.changing() as state:
        siblings = {one.preferred_port for one in servers.ALL if one is not server}
        state.ports[server.name] = ports.choose(server.preferred_port, siblings.union(state.ports.values()))


def _start_all(home: Home, starting: Sequence[Server], stopping: threading.Event) -> None:
    _together([partial(_start, home, server, stopping) for server in starting])


def _together(jobs: Sequence[Callable[[], None]]) -> None:
    """Run jobs at once and wait for all; raise the error of one that failed by itself, if one did."""
    with ThreadPoolExecutor(max(len(jobs), 1)) as pool:
        errors = [error for future in [pool.submit(job) for job in jobs] if (error := future.exception())]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, StoppedError))


def _start(home: Home, server: Server, stopping: threading.Event) -> None:
    """Start one server unless it runs, and wait until it can be used."""
    for last_try in (*[False] * (START_TRIES - 1), True):
        process = server.process(home) or _launch(home, server, stopping)
        if _wait_until_ready(home, server, process, stopping):
            return
        _end(home, [server])
        if last_try or ports.is_free(server.port(home)):
            break
        _choose_port(home, server)
    raise StepError(
        f"{server.name} did not start; the end of {server.log(home)}:\n{processes.log_tail(server.log(home))}"
    )


def _launch(home: Home, server: Server, stopping: threading.Event) -> psutil.Process:
    _end(home, [server])
    server.prepare(home, stopping)
    if stopping.is_set():
        raise StoppedError("stopped")
    return processes.start(
        server.arguments(home),
        log=server.log(home),
        record=server.record(home),
        folder=server.folder(home),
        environment=server.environment(home),
        account=server.account(home),
    )


def _wait_until_ready(home: Home, server: Server, process: psutil.Process, stopping: threading.Event) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while processes.is_alive(process) and time.monotonic() < deadline:
        if server.ready(home, process):
            return True
        if stopping.wait(POLL_SECONDS):
            raise StoppedError("stopped")
    return False


def _end(home: Home, ending: Iterable[Server]) -> None:
    ending = list(ending)
    alive = [(process, server.stop_signal) for server in ending if (process := server.process(home))]
    processes.end(alive)
    if home.state.server_folder:
        strays = [(process, signal.SIGKILL) for server in ending for process in server.leftovers(home)]
        processes.end(strays)
    for server in ending:
        server.record(home).unlink(missing_ok=True)


def _provision(home: Home, fresh: Sequence[str], stopping: threading.Event) -> None:
    """Load the samples, and make all credentials and settings anew that do not fit any more.

    What goes by these is started meanwhile: that takes as long as the samples do.
    """

    def load(name: str) -> None:
        sources.make(home, name, sources.script(name), stopping, as_owner=True)
        provision.source(home, name)

    def start_others() -> None:
        provision.platform(home)
        _start_all(home, servers.OTHERS, stopping)

    provision.set_up_vault(home)
    configuration.write(home, [*home.state.databases, *fresh])
    jobs = [partial(load, name) for name in fresh]
    jobs += [partial(provision.source, home, name) for name in home.state.databases]
    _together(
        [
            *jobs,
            start_others,
            partial(analysts.make, home),
            partial(backup_store.provision, home),
        ]
    )
    with home.changing() as state:
        state.databases += fresh
    # Once more: a port that was taken meanwhile is another now.
    configuration.write(home)
    note_provisioned(home)


def _fingerprint(home: Home) -> str:
    """Return what the credentials and settings depend on, as one value."""
    package = resources.files("pipeline.sandbox")
    code = [package.joinpath(name).read_text() for name in CREDENTIAL_CODE]
    state = home.state
    parts = [
        str(home.path),
        state.ports,
        state.databases,
        state.server_folder,
        configuration.template(),
        code,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
