"""Stopping: a stop that a handler of signals raised is heard, also where Python ignores what is raised.

What is raised in a finalizer, which can run at any moment, is printed and forgotten: a command that was told
to stop would go on, and no longer listen.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

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
    unheard: list[StoppedError] = []

    def note(ignored: "sys.UnraisableHookArgs") -> None:
        if isinstance(ignored.exc_value, StoppedError):
            unheard.append(ignored.exc_value)
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        else:
            hook(ignored)

    def again(*_: object) -> None:
        raise unheard.pop()

    hook, handler = sys.unraisablehook, signal.signal(signal.SIGALRM, again)
    sys.unraisablehook = note
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        signal.signal(signal.SIGALRM, handler)
    if unheard:
        raise unheard.pop()
