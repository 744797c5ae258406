"""Locks of files: held by whoever has the file open, and gone with the last process that has.

Of each the file stays: a lock that nobody holds says that its holder is gone.
"""

import fcntl
from pathlib import Path


def take(descriptor: int) -> None:
    """Wait for a file's lock, and hold it."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def try_take(descriptor: int) -> bool:
    """Hold a file's lock, or return False if another has it, alone or with others."""
    return _try(descriptor, fcntl.LOCK_EX)


def share(descriptor: int) -> None:
    """Wait until nobody has a file's lock alone, and hold it with others."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def try_share(descriptor: int) -> bool:
    """Hold a file's lock with others, or return False if another has it alone."""
    return _try(descriptor, fcntl.LOCK_SH)


def is_held(path: Path) -> bool:
    """Whether somebody, whom we may be unable to see, has this file's lock alone; False without the file."""
    try:
        with path.open("rb") as file:
            return not try_share(file.fileno())
    except FileNotFoundError:
        return False


def release(descriptor: int) -> None:
    """Give a lock back, also for those who have the file open as we do."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _try(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
