"""Files of the work folder: each is there whole under its name, or not at all."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.crypt import Digest

HASH_BYTES = 1024 * 1024
# What is being written is called so; it is complete only under its own name.
PARTIAL = ".partial"


def write(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file that is private; `durable`, it survives a crash of the machine as well."""
    partial = path.with_name(path.name + PARTIAL)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    partial.replace(path)
    if durable:
        settle(path.parent)


def settle(folder: Path) -> None:
    """Let the names in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """Return what a file has, or nothing if there is none, or none that was written so."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found


@contextlib.contextmanager
def new(path: Path) -> Iterator[int]:
    """Open a new file (0600), on disk for certain at the end of the block."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> Digest:
    """Return size and checksum of a file."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(HASH_BYTES):
            found.update(piece)
        return Digest(size_bytes=file.tell(), sha256=found.hexdigest())
