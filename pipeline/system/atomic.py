"""Files that are there whole under their name, or not at all, whatever happens while they are written."""

import contextlib
import os
from pathlib import Path

# What is being written is called so; it is complete only under its own name.
PARTIAL = ".partial"
PRIVATE = 0o600


def write(path: Path, text: str, *, mode: int = PRIVATE, durable: bool = False) -> None:
    """Write a file in UTF-8; what was there stays until all of it is. Raise OSError if it cannot be written.

    `mode` is its permissions. If `durable`, it survives a crash of the machine as well.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            # Whatever the process takes away from the files that it makes.
            os.fchmod(descriptor, mode)
            if durable:
                file.flush()
                os.fsync(descriptor)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong is what is told
            partial.unlink()
        raise
    if durable:
        settle(path.parent)


def settle(folder: Path) -> None:
    """Let the names in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
