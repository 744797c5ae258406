"""Does work of ours in a process of its own without starting Python again, which is mostly imports."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TextIO

STANDARD_ERROR = 2
# As of a Python that nobody caught an exception of.
BUG = 1


def start(name: str, work: Callable[[TextIO], int], keep_open: Sequence[int] = ()) -> tuple[int, TextIO]:
    """Have `work` done in a new process, called `name` in ps. Return its number, and what it writes.

    It knows all that this process knows, and has none of its files, pipes and connections but those in
    `keep_open` and standard error. It is the first of a session of its own, so Ctrl-C does not reach it, and
    outlives this process. `work` is given what it is to write to, and returns the exit code.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(name, work, writer, {STANDARD_ERROR, writer, *keep_open})
    os.close(writer)
    return pid, os.fdopen(reader, encoding="utf-8")


def wait(pid: int) -> int:
    """Wait until the process has ended; return its exit code, or that of the signal that ended it as -N."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _become(name: str, work: Callable[[TextIO], int], writer: int, kept: set[int]) -> NoReturn:
    """Be the new process. What called this is the other one's to end: nothing of it is returned to."""
    code = BUG
    try:
        os.setsid()
        _restore_signals()
        _let_go_of_all_but(kept)
        # The other process may have put something else in its place.
        sys.stderr = os.fdopen(STANDARD_ERROR, "w", encoding="utf-8", errors="replace", closefd=False)
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text(name, encoding="utf-8")
        with os.fdopen(writer, "w", buffering=1, encoding="utf-8") as answer:
            code = work(answer)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else BUG
    except BaseException:  # noqa: BLE001 - it would go on as the process that made this one
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _restore_signals() -> None:
    """End by a signal as any program does: the other process may have other things to do then."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def _let_go_of_all_but(kept: set[int]) -> None:
    """Close what was open in the other process, so that whoever waits for its end hears of it.

    The numbers stay taken: objects of the other process still believe that these are theirs, and close them
    when they are collected.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        # The listing was open itself.
        with contextlib.suppress(OSError):
            os.fstat(number)
            if number not in kept and number != null:
                os.dup2(null, number, inheritable=False)
    os.close(null)
