"""Throw-away folders (0700) that are gone when their process is: at the end of a block, also after a failure,
and, where the process was killed, by the next one that makes such a folder.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.system import file_lock

# A folder without it is none of ours, or is being made at this moment.
LOCK = ".in-use"

Ending = Callable[[Path], None]


def _nothing(_folder: Path) -> None:
    """End nothing."""


@contextlib.contextmanager
def folder(parent: Path, prefix: str, ending: Ending = _nothing) -> Iterator[Path]:
    """Give the body a new folder in `parent`, after the leftovers of killed processes were removed there.

    `ending` ends what still runs in a folder, before that is removed. Raise UsageError if `parent` cannot be
    used.
    """
    sweep(parent, prefix, ending)
    try:
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    except OSError as error:
        raise UsageError(
            f"{parent}: no folder can be created there: {error.strerror}",
            hint="check its owner and free space",
        ) from error
    descriptor = _locked(made)
    try:
        yield made
    finally:
        ending(made)
        shutil.rmtree(made, ignore_errors=True)
        os.close(descriptor)


def _locked(made: Path) -> int:
    """Mark a folder as in use for as long as this very process lives; its children do not inherit that."""
    being_made = made / f"{LOCK}.new"
    descriptor = os.open(being_made, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    file_lock.take(descriptor)
    # Only now for others to see: a lock that nobody holds means that its process is gone.
    being_made.rename(made / LOCK)
    return descriptor


def sweep(parent: Path, prefix: str, ending: Ending = _nothing) -> None:
    """Remove the folders of that name whose process is gone."""
    for path in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == os.geteuid() and path.is_dir() and not in_use(path):
                ending(path)
                shutil.rmtree(path, ignore_errors=True)


def in_use(path: Path) -> bool:
    """Whether the process that made a folder lives."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        return not file_lock.try_take(descriptor)
    finally:
        os.close(descriptor)
