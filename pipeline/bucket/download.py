"""Downloads and read-backs: ranges that go on where they were cut, believed only with their SHA-256."""

import contextlib
import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
import urllib3
from b2sdk.v3.exception import B2Error

from pipeline.bucket.connection import Connection
from pipeline.bucket.objects import Progress, Stored
from pipeline.bucket.parallel import in_parallel
from pipeline.bucket.parts import PART_SIZE_BYTES, Meter, hashes_of, parts_of
from pipeline.errors import CheckError, StepError, StoppedError
from pipeline.retry import Attempts

PIECE_SIZE_BYTES = 256 * 1024
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Sink = Callable[[bytes], object]


def read_range(
    connection: Connection, object_: Stored, first: int, end: int, sink: Sink, stop: threading.Event
) -> None:
    """Hand the bytes from `first` up to `end` (not included) to `sink`, in order, each once.

    A request that breaks is made again for what is missing.
    """
    url = connection.session.get_download_url_by_id(object_.file_id)
    attempts = Attempts(connection.retries, stop)
    position = first
    while position < end:
        try:
            for piece in _pieces(connection, url, position, end):
                if stop.is_set():
                    raise StoppedError(f"{object_.name}: the download was stopped")
                if position + len(piece) > end:
                    raise requests.ConnectionError("the answer was longer than the range that was asked for")
                sink(piece)
                position += len(piece)
                attempts.progressed()
            if position < end:
                raise requests.ConnectionError("the answer was shorter than the range that was asked for")
        except urllib3.exceptions.HTTPError:
            broken = requests.ConnectionError("the answer was cut off")
            connection.again(f"download {object_.name}", broken, attempts, needs="readFiles")
        except (B2Error, requests.RequestException) as error:
            connection.again(f"download {object_.name}", error, attempts, needs="readFiles")


def _pieces(connection: Connection, url: str, first: int, end: int) -> Iterator[bytes]:
    with connection.session.download_file_from_url(url, range_=(first, end - 1)) as response:
        try:
            # A page of a proxy, or all of the object, must not be written where the range belongs.
            if not response.headers.get("Content-Range", "").startswith(f"bytes {first}-{end - 1}/"):
                raise requests.ConnectionError("the answer was not the range that was asked for")
            yield from response.iter_content(PIECE_SIZE_BYTES)
        finally:
            response.close()  # the SDK's context manager does not


def read_all(connection: Connection, object_: Stored, sink: Sink, progress: Progress | None) -> str:
    """Hand the whole object to `sink` in order and return its SHA-256. Memory is bounded."""
    digest, meter = hashlib.sha256(), Meter(progress, object_.size_bytes)

    def take(piece: bytes) -> None:
        digest.update(piece)
        sink(piece)
        meter.add(len(piece))

    read_range(connection, object_, 0, object_.size_bytes, take, threading.Event())
    return digest.hexdigest()


def download(
    connection: Connection,
    object_: Stored,
    path: Path,
    *,
    sha256: str,
    progress: Progress | None,
    threads: int,
) -> None:
    """Write the object to `path`, which appears only once it is complete and its SHA-256 is right.

    Raise CheckError if it is not, StepError if there is no room.
    """
    with _beside(path) as (descriptor, temporary):
        try:
            _reserve(descriptor, object_.size_bytes)
            _fill(connection, object_, descriptor, progress, threads)
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise StepError(
                f"{path}: no room for {object_.name} ({object_.size_bytes} bytes)",
                hint=f"free some space in {path.parent}",
            ) from error
        require(connection, object_, hashes_of(temporary).sha256, sha256)
        temporary.replace(path)


def require(connection: Connection, object_: Stored, actual: str, wanted: str) -> None:
    """Raise CheckError unless the two hashes are equal."""
    if actual != wanted:
        raise CheckError(
            f"bucket {connection.bucket_name}: {object_.name} is damaged: its SHA-256 is "
            f"{actual[:12]}... and should be {wanted[:12]}...",
            hint="use another backup, and find out who changed this one",
        )


def compare_samples(
    connection: Connection, object_: Stored, path: Path, *, samples: int, progress: Progress | None
) -> None:
    """Compare evenly spread ranges of a huge object, its first and last bytes among them, with the file it
    was made from. Raise CheckError where they differ. What lies between them is not looked at.
    """
    parts = parts_of(object_.size_bytes, PART_SIZE_BYTES)
    step = max((len(parts) - 1) / max(samples - 1, 1), 1)
    chosen = sorted({round(index * step) for index in range(samples) if round(index * step) < len(parts)})
    meter = Meter(progress, sum(parts[index].size_bytes for index in chosen))
    with path.open("rb") as file:
        for index in chosen:
            part = parts[index]
            file.seek(part.offset)

            def compare(piece: bytes) -> None:
                if file.read(len(piece)) != piece:
                    raise CheckError(
                        f"bucket {connection.bucket_name}: {object_.name} is damaged: it differs from {path} "
                        f"near byte {file.tell()}",
                        hint="upload it again under a new run",
                    )
                meter.add(len(piece))

            end = part.offset + part.size_bytes
            read_range(connection, object_, part.offset, end, compare, threading.Event())


def _fill(
    connection: Connection, object_: Stored, descriptor: int, progress: Progress | None, threads: int
) -> None:
    stop, meter = threading.Event(), Meter(progress, object_.size_bytes)

    def fetch(first: int, size_bytes: int) -> None:
        position = first

        def write(piece: bytes) -> None:
            nonlocal position
            view = memoryview(piece)
            while view:
                written = os.pwrite(descriptor, view, position)
                position += written
                view = view[written:]
            meter.add(len(piece))

        read_range(connection, object_, first, first + size_bytes, write, stop)

    parts = parts_of(object_.size_bytes, PART_SIZE_BYTES)
    in_parallel(threads, [lambda part=part: fetch(part.offset, part.size_bytes) for part in parts], stop)  # type: ignore[misc]


def _reserve(descriptor: int, size_bytes: int) -> None:
    """Take the room before the first byte is fetched, where the file system can."""
    if size_bytes == 0:
        return
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
            raise


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[tuple[int, Path]]:
    """Yield a new file (mode 0600) in the same folder; it is removed unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        yield descriptor, temporary
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)
