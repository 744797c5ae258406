"""Everything that a program started: found also where it hides, and ended within a time."""

import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

# prctl(2): a process whose parent ends becomes the child of the nearest ancestor that asked for it.
SET_CHILD_SUBREAPER, GET_CHILD_SUBREAPER = 36, 37
POLL_SECONDS = 0.05
# What a process is called that is kept for the next step, and does none now.
IDLE = "idle"
# What was killed is gone in no time, unless the kernel itself is stuck with it.
KILL_SECONDS = 5.0
# Who wrote down that a process is at work may go by another clock, or to the minute only; no process number
# comes round that soon.
CLOCK_SECONDS = 90.0
# The PID namespace that a machine begins with (PROC_PID_INIT_INO of Linux).
FIRST_NAMESPACE = 0xEFFFFFFC


class ProcessTree:
    """All that came of the programs which this process starts in the block of `adopting`."""

    def __init__(self, before: set[psutil.Process]) -> None:
        self._before = before

    def members(self) -> list[psutil.Process]:
        """Return those that live."""
        processes: list[psutil.Process] = []
        for child in self._children():
            processes.append(child)
            with contextlib.suppress(psutil.NoSuchProcess):
                processes += child.children(recursive=True)
        return [one for one in processes if lives(one)]

    def reap(self, own_pid: int) -> None:
        """Let go of adopted processes that have ended. `own_pid` is left to whoever waits for it."""
        for child in self._children():
            if child.pid != own_pid and not lives(child):
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child.pid, os.WNOHANG)

    def _children(self) -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if child not in self._before]

    def leave(self, seconds: float) -> None:
        """Give them so long to end by themselves."""
        deadline = time.monotonic() + seconds
        while self.members() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def end(self, grace_seconds: float) -> list[psutil.Process]:
        """End them all; return those that are still there, which only the kernel can explain.

        They are asked to, also those that are stopped; after `grace_seconds` they are killed.
        """
        return end(self.members, grace_seconds)


@contextlib.contextmanager
def adopting() -> Iterator[ProcessTree]:
    """Give the block the tree of all that it starts: nobody in it is lost by a double fork."""
    libc = ctypes.CDLL(None, use_errno=True)
    was = ctypes.c_int()
    libc.prctl(GET_CHILD_SUBREAPER, ctypes.byref(was), 0, 0, 0)
    libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield ProcessTree(set(psutil.Process().children()))
    finally:
        libc.prctl(SET_CHILD_SUBREAPER, was.value, 0, 0, 0)


def end(members: Callable[[], Sequence[psutil.Process]], grace_seconds: float) -> list[psutil.Process]:
    """Ask every one of `members` to end, also who is stopped, and kill after `grace_seconds` who has not.

    It is asked again and again who they are: some start others before they end. Return who is still there.
    """
    asked: set[psutil.Process] = set()
    deadline = time.monotonic() + grace_seconds
    while (alive := members()) and time.monotonic() < deadline:
        for member in set(alive) - asked:
            _signal(member, signal.SIGTERM)
            _signal(member, signal.SIGCONT)
            asked.add(member)
        time.sleep(POLL_SECONDS)
    deadline = time.monotonic() + KILL_SECONDS
    while (alive := members()) and time.monotonic() < deadline:
        for member in alive:
            _signal(member, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    return list(alive)


def of(pid: int) -> Callable[[], list[psutil.Process]]:
    """Return what tells who of a process and its descendants lives, also when some in between do not."""
    known: set[psutil.Process] = set()
    with contextlib.suppress(psutil.NoSuchProcess):
        known.add(psutil.Process(pid))

    def members() -> list[psutil.Process]:
        for one in list(known):
            with contextlib.suppress(psutil.NoSuchProcess):
                known.update(one.children(recursive=True))
        return [one for one in known if lives(one)]

    return members


def kill_who_complains_into(descriptor: int) -> None:
    """Kill every process whose standard error is the pipe of which this file descriptor is an end."""
    pipe = os.fstat(descriptor)
    for process in psutil.process_iter():
        # Of others' processes we may not see it, and some have none.
        with contextlib.suppress(OSError, psutil.Error):
            complains_into = Path(f"/proc/{process.pid}/fd/2").stat()
            if process.pid != os.getpid() and os.path.samestat(complains_into, pipe):
                process.kill()


def place() -> str:
    """Return where this process is found by its number: its machine, and its PID namespace if not the first.

    Nomad's driver exec gives each task a namespace of its own, and so does a container: there the number of
    a process outside is nobody's, or somebody else's.
    """
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    machine = socket.gethostname()
    return machine if namespace == FIRST_NAMESPACE else f"{machine}/{namespace}"


def is_at_work(pid: int, since: float) -> bool:
    """Whether the process that was at work as `pid` of this `place` at the moment `since` has not ended yet.

    `since` is in seconds since 1970. A process of that number that began later is another one.
    """
    try:
        process = psutil.Process(pid)
        return process.create_time() < since + CLOCK_SECONDS and lives(process)
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False


def lives(process: psutil.Process) -> bool:
    """Whether a process has not ended yet: one that nobody has asked for its exit code has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process.send_signal(number)
