"""A file in parts: where each begins, and a part as a body that B2 can check."""

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from pipeline.bucket.objects import Progress
from pipeline.bucket.refusals import passing_through
from pipeline.bucket.throttle import Throttle
from pipeline.errors import StepError, StoppedError

# Small enough that little is sent twice after a cut, large enough that requests cost nothing.
PART_SIZE_BYTES = 16 * 1024 * 1024
MOST_PARTS = 10_000
READ_SIZE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Part:
    """A part of a file, counted from 1."""

    number: int
    offset: int
    size_bytes: int


def parts_of(size_bytes: int, part_size_bytes: int) -> list[Part]:
    """Return the parts of a file, of the given size or the smallest one that makes few enough of them."""
    step = max(part_size_bytes, -(-size_bytes // MOST_PARTS))
    offsets = range(0, max(size_bytes, 1), step)
    return [
        Part(number, offset, min(step, size_bytes - offset)) for number, offset in enumerate(offsets, start=1)
    ]


@dataclass(frozen=True)
class Hashes:
    """SHA-1 is what B2 knows, SHA-256 what we trust."""

    sha1: str
    sha256: str


def hashes_of(path: Path) -> Hashes:
    """Return a file's hashes, reading it once."""
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(READ_SIZE_BYTES):
            sha1.update(piece)
            sha256.update(piece)
    return Hashes(sha1.hexdigest(), sha256.hexdigest())


def part_sha1(descriptor: int, part: Part) -> str:
    """Return the SHA-1 of a part of an open file."""
    digest, done = hashlib.sha1(usedforsecurity=False), 0
    while done < part.size_bytes:
        wanted = min(READ_SIZE_BYTES, part.size_bytes - done)
        piece = os.pread(descriptor, wanted, part.offset + done)
        if not piece:
            break
        digest.update(piece)
        done += len(piece)
    return digest.hexdigest()


class Meter:
    """Adds up what several threads have done, and tells a Progress."""

    def __init__(self, progress: Progress | None, total_bytes: int) -> None:
        self._progress = progress
        self._total = total_bytes
        self._done = 0
        self._lock = threading.Lock()

    def add(self, size_bytes: int) -> None:
        """Count bytes; fewer than none when they have to be done again."""
        with self._lock:
            self._done += size_bytes
            if self._progress is not None:
                self._progress(self._done, self._total)


class PartBody:
    """A part of an open file as the body of a request: its bytes, then their SHA-1, as B2 lets one send it.

    A file that has become shorter is an error; the SDK's own streams take it for the end.
    """

    def __init__(
        self,
        path: Path,
        descriptor: int,
        part: Part,
        *,
        meter: Meter,
        throttle: Throttle,
        stop: threading.Event,
    ) -> None:
        self._path = path
        self._descriptor = descriptor
        self._part = part
        self._meter = meter
        self._throttle = throttle
        self._stop = stop
        self.rewind()

    def __len__(self) -> int:
        return self._part.size_bytes + len(self._digest.hexdigest())

    def rewind(self) -> None:
        """Start again from the beginning."""
        self._done = 0
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._tail: bytes | None = None

    def give_back(self) -> None:
        """Take what was counted of a failed attempt off the meter."""
        self._meter.add(-self._done)
        self.rewind()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to the beginning: the SDK does before it sends."""
        if offset != 0 or whence != os.SEEK_SET:
            raise ValueError("a part can only be sent from its beginning")
        if self._done:
            self.give_back()
        return 0

    def tell(self) -> int:
        """Return how much was read of the body."""
        return self._done

    @property
    def sha1(self) -> str:
        """The SHA-1 of what was read so far."""
        return self._digest.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes of the body, fewer than asked for where the part ends."""
        if self._done == self._part.size_bytes:
            return self._hash(size)
        left = self._part.size_bytes - self._done
        wanted = min(left, READ_SIZE_BYTES if size < 0 else size)
        with passing_through():
            if self._stop.wait(self._throttle.reserve(wanted)):
                raise StoppedError(f"{self._path.name}: the upload was stopped")
            piece = os.pread(self._descriptor, wanted, self._part.offset + self._done)
            if not piece:
                raise StepError(
                    f"{self._path}: it was truncated during the upload",
                    hint="run the step again",
                )
            self._done += len(piece)
            self._digest.update(piece)
            self._meter.add(len(piece))
        return piece

    def _hash(self, size: int) -> bytes:
        if self._tail is None:
            self._tail = self._digest.hexdigest().encode()
        wanted = len(self._tail) if size < 0 else size
        piece, self._tail = self._tail[:wanted], self._tail[wanted:]
        return piece
