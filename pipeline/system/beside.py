"""Beside: what belongs to the analysts' checkout and lies beside it: written whole, by one at a time."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import AlreadyRunningError, StepError, UsageError
from pipeline.system import atomic, file_lock

LOCK = ".lock"


def place(checkout: Path, suffix: str) -> Path:
    """Return where that lies.

    >>> str(place(Path("/srv/analysts"), "versions"))
    '/srv/analysts.versions'
    """
    return checkout.with_name(f"{checkout.name}.{suffix}")


@contextlib.contextmanager
def alone(folder: Path, running: str) -> Iterator[None]:
    """Keep others off a folder, which is made if need be. Raise AlreadyRunningError, saying `running`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be written: {error.strerror}",
            hint="check its owner",
        ) from None
    try:
        _lock(descriptor, running)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, running: str) -> None:
    if not file_lock.try_take(descriptor):
        raise AlreadyRunningError(
            running,
            hint="wait for it to end",
        )


def write(path: Path, value: object) -> None:
    """Write a value as JSON; its folder is made if need be. Raise StepError if it cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic.write(path, json.dumps(value))
    except OSError as error:
        raise StepError(
            f"{path}: cannot be written: {error.strerror}",
            hint="check its owner and free space",
        ) from None
