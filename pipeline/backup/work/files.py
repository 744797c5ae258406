"""Files of the work folder: how a big one is begun, and its checksum."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.crypt import Digest

HASH_BYTES = 1024 * 1024


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
    sha256 = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(HASH_BYTES):
            sha256.update(piece)
        return Digest(size_bytes=file.tell(), sha256=sha256.hexdigest())
