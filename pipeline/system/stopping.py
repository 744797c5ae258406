"""Stopping: a stop that a handler of signals raised is heard, also where Python ignores what is raised.

What is raised in a finalizer, which can run at any moment, is printed and forgotten: a command that was told
to stop would go on, and no longer listen.
"""

import contextlib
import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from pipeline.errors import StoppedError

# By then the finalizer has ended; if another one is in the way, it is raised once more.
AGAIN_SECONDS = 0.05


def stop(*_: object) -> None:
    """Raise StoppedError: a handler of signals."""
    raise StoppedError("stopped by a signal")


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Have a StoppedError that was raised in a finalizer during the block raised again: there, or at its end.

    Uses SIGALRM. Does nothing where there are no handlers of signals, which is in any thread but the first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hook, handler = sys.unraisablehook, signal.signal(signal.SIGALRM, stop)
    sys.unraisablehook = functools.partial(_ignored, hook)
    try:
        yield
    finally:
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        signal.signal(signal.SIGALRM, handler)
    if left:
        stop()


def _ignored(hook: "Callable[[sys.UnraisableHookArgs], object]", ignored: "sys.UnraisableHookArgs") -> None:
    if issubclass(ignored.exc_type, StoppedError):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    else:
        hook(ignored)
