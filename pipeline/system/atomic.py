"""Files and folders that are there whole under their name, or not at all, whatever happens meanwhile."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

# What is being written is called so; it is complete only under its own name.
PARTIAL = ".partial"
PRIVATE = 0o600


def write(
    path: Path,
    content: str | bytes,
    *,
    mode: int | None = PRIVATE,
    owner: tuple[int, int] | None = None,
    durable: bool = False,
) -> None:
    """Write a file, text in UTF-8; what was there stays until all of it is. Raise OSError if it cannot be.

    `mode` is its permissions, None for those of every file that the process makes; `owner` its user and
    group. If `durable`, it survives a crash of the machine as well.
    """
    # A name that nobody knows before: whoever may write into the folder could have put a link there.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        descriptor = os.open(partial, flags, 0o666 if mode is None else PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if owner is not None:
                os.fchown(descriptor, *owner)
            if mode is not None:
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


@contextlib.contextmanager
def folder(path: Path, *, beside: Path) -> Iterator[Path]:
    """Give the body an empty folder to fill, beside another one; at the end it is there as `path`, at once.

    What the body raises leaves nothing. Raise OSError if it cannot be made, or something is at `path`.
    """
    partial = beside.with_name(f".{beside.name}.{secrets.token_hex(4)}{PARTIAL}")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.mkdir()
        yield partial
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # what went wrong is what is told
        raise


def page(path: Path, text: str) -> None:
    """Write a file that whoever may read its folder may read. Raise OSError if it cannot be written.

    The folder is made if need be, for its owner alone: who else may read is for its owner to say.
    """
    parent = path.parent
    try:
        parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    except FileExistsError:
        # The system's own word for it, "File exists", does not say which one is meant.
        raise NotADirectoryError(errno.ENOTDIR, f"{parent} is a file, not a folder", str(parent)) from None
    write(path, text, mode=parent.stat().st_mode & 0o644)


def settle_all(folder: Path) -> None:
    """Let a folder and all that is in it survive a crash of the machine."""
    for where, _, files in os.walk(folder):
        for name in files:
            descriptor = os.open(Path(where, name), os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        settle(Path(where))


def settle(folder: Path) -> None:
    """Let the names in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
