"""Servers as processes: started apart from the terminal, recognised again later, and ended for certain."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from pipeline.errors import StepError, StoppedError
from pipeline.redact import redact
from pipeline.sandbox import accounts, ports
from pipeline.system import atomic, command, process_tree

# A process's start is computed from the time of boot, which moves a little when the clock is set.
START_TOLERANCE_SECONDS = 2.0
GRACE_SECONDS = 15.0
POLL_SECONDS = 0.02
LOG_TAIL_LINES = 10


def start(
    arguments: Sequence[str | Path],
    *,
    log: Path,
    record: Path,
    folder: Path,
    environment: Mapping[str, str],
    account: accounts.Account | None,
) -> psutil.Process:
    """Start a server in a session of its own, so that Ctrl-C does not reach it, and record its process."""
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        started = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
            umask=0o077,
            **accounts.popen_arguments(account),
        )
    # Its end is seen by its start time or its state; nobody waits for it, and so nobody should warn of that.
    started.returncode = 0
    process = psutil.Process(started.pid)
    atomic.write(record, json.dumps({"pid": process.pid, "created": process.create_time()}))
    return process


def running(record: Path) -> psutil.Process | None:
    """Return the process that was recorded, or None if it has ended, also if its number was given away."""
    try:
        recorded = json.loads(record.read_text())
        process = psutil.Process(recorded["pid"])
        if abs(process.create_time() - recorded["created"]) > START_TOLERANCE_SECONDS:
            return None
        return process if is_alive(process) else None
    except (FileNotFoundError, ValueError, TypeError, KeyError, psutil.NoSuchProcess):
        return None


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still does anything; a zombie does not."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)  # reaps it if it was a child of ours
    return process_tree.lives(process)


def listens(process: psutil.Process, port: int) -> bool:
    """Return whether it is this process, and none other, that answers at a port."""
    try:
        connections = process.net_connections(kind="tcp4")
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        # Root in a container may not look into other users' processes. The port is reserved for us.
        return not ports.is_free(port)
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)


def servers_in(folder: Path, name: str) -> list[psutil.Process]:
    """Return the processes called `name` that work in `folder`: what a killed parent left behind."""
    processes = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == name and Path(process.cwd()) == folder:
                processes.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue
    return processes


def end(ending: Iterable[tuple[psutil.Process, signal.Signals]]) -> None:
    """End processes and all their descendants: by their own signal, and by force after a grace.

    Raise StepError if one cannot be ended.
    """
    everyone: list[psutil.Process] = []
    for process, stop_signal in ending:
        try:
            everyone += [process, *process.children(recursive=True)]
            process.send_signal(stop_signal)
        except psutil.NoSuchProcess:
            continue
    for process in _left_after(everyone, GRACE_SECONDS):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if left := _left_after(everyone, GRACE_SECONDS):
        raise StepError(
            f"these processes cannot be stopped: {', '.join(str(process.pid) for process in left)}"
        )


def _left_after(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    # Not psutil.wait_procs: where nobody reaps orphans (a container without init), it waits for zombies.
    deadline = time.monotonic() + seconds
    while left := [process for process in processes if is_alive(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return left


def log_tail(log: Path) -> str:
    """Return the last lines of a server's log, for the error that says why it did not start."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return redact("\n".join(f"  {line}" for line in lines[-LOG_TAIL_LINES:]))


def run(
    arguments: Sequence[str | Path],
    *,
    stopping: threading.Event,
    environment: Mapping[str, str],
    account: accounts.Account | None = None,
    folder: Path | None = None,
) -> None:
    """Run a program to its end, but end it early if `stopping` is set.

    Raise StepError if it fails, StoppedError if it was ended early.
    """
    child = subprocess.Popen(
        [str(argument) for argument in arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=dict(environment),
        # Ctrl-C reaches it through `stopping`, in good order.
        start_new_session=True,
        umask=0o077,
        **accounts.popen_arguments(account),
    )
    stopped = False
    while True:
        try:
            _, complaint = child.communicate(timeout=0.1)
            break
        except subprocess.TimeoutExpired:
            if stopping.is_set():
                stopped = True
                child.terminate()
    if stopped:
        raise StoppedError("stopped")
    if child.returncode != 0:
        raise StepError(command.failure(Path(arguments[0]).name, child.returncode, complaint))
