"""SIGTERM, in a process that forks others: none of them is forked halfway, and each of them ends by it.

What a handler does between a fork and the moment at which both sides know of it goes wrong: the new process
runs the handler of the old one, whose exception Python ignores there, and goes on with its step; the old one
does not know the new one yet, and leaves it behind. So the handler waits until then (`deferred`), and a new
process hears of no signal until it ends by it as any program does.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from pipeline.errors import StoppedError


class _Stop:
    """What this process knows of being stopped."""

    # What is done at SIGTERM.
    end: Callable[[], object] | None = None
    requested = False
    # How many forks are under way that it has to wait for, and whether it came meanwhile.
    forking = 0
    pending = False


_stop = _Stop()


def handle(end: Callable[[], object]) -> None:
    """Do `end` at SIGTERM from now on, once no process is being forked. A forked process just ends by it."""
    _stop.end = end
    signal.signal(signal.SIGTERM, lambda *_: _ended())
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_forked)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let SIGTERM wait until the end of the block, which forks a process and remembers it. Nothing else."""
    _stop.forking += 1
    try:
        yield
    finally:
        _stop.forking -= 1
        _run_if_pending(_stop.forking)


def request() -> None:
    """Remember that this process is to stop. Whoever calls this raises SystemExit afterwards.

    Python ignores it in a finalizer: a worker to which that happens would go on, and hand out steps whose
    processes have been ended.
    """
    _stop.requested = True
    sys.unraisablehook = _print_ignored


def check() -> None:
    """Raise SystemExit if this process was told to stop; whoever calls this is at no fork."""
    _run_if_pending(forking=0)
    if _stop.requested:
        sys.exit(StoppedError.exit_code)


def _ended() -> None:
    _stop.pending = True
    _run_if_pending(_stop.forking)


def _run_if_pending(forking: int) -> None:
    if _stop.pending and not forking:
        _stop.pending = False
        if _stop.end is not None:
            _stop.end()


def _before_fork() -> None:
    # The handler runs in this thread, whichever has the signal: blocked it is for the new process.
    _stop.forking += 1
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    # What came meanwhile is left to `check`, or to the end of `deferred`: here its exception is lost.
    _stop.forking -= 1


def _forked() -> None:
    _stop.end, _stop.forking, _stop.pending = None, 0, False
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _print_ignored(ignored: "sys.UnraisableHookArgs") -> None:
    """Print what Python ignores, but not that we end: that is remembered here."""
    if not issubclass(ignored.exc_type, SystemExit):
        sys.__unraisablehook__(ignored)
