"""That this process is told to stop, for where an exception of the signal's handler is lost.

Python ignores what is raised while a process is being forked, and in a finalizer: a worker to which that
happens would go on, and hand out steps whose processes have been ended.
"""

import sys

from pipeline.errors import StoppedError

_stopping = False


def request() -> None:
    """Remember it. Whoever calls this raises SystemExit afterwards; that may be lost, without a word."""
    global _stopping  # noqa: PLW0603 - one process is told once
    _stopping = True
    sys.unraisablehook = _print_ignored


def _print_ignored(ignored: "sys.UnraisableHookArgs") -> None:
    """Print what Python ignores, but not that we end: that is remembered here."""
    if not issubclass(ignored.exc_type, SystemExit):
        sys.__unraisablehook__(ignored)


def check() -> None:
    """Raise SystemExit if this process was told to stop."""
    if _stopping:
        sys.exit(StoppedError.exit_code)
