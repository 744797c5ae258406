"""Bodies on their way in and out: streamed to and from disk, hashed, cut or slowed as faults say."""

import hashlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from b2sdk.v3.exception import BadRequest, StorageCapExceeded

from pipeline.sandbox.b2.faults import Fault, FaultKind

PIECE_SIZE_BYTES = 256 * 1024
HASH_AT_END = "hex_digits_at_end"
HASH_LENGTH = 40


class CutError(Exception):
    """The connection is to be reset now."""


def pace(pieces: Iterator[bytes], fault: Fault | None) -> Iterator[bytes]:
    """Yield the pieces as a fault has it: only the first bytes and then a cut, or slowly, or as they are."""
    passed = 0
    for piece in pieces:
        if fault is not None and fault.kind == FaultKind.RESET and passed + len(piece) >= fault.after_bytes:
            yield piece[: fault.after_bytes - passed]
            raise CutError
        if fault is not None and fault.kind == FaultKind.SLOW and fault.bytes_per_second > 0:
            time.sleep(len(piece) / fault.bytes_per_second)
        passed += len(piece)
        yield piece
    if fault is not None and fault.kind == FaultKind.RESET:
        raise CutError


def body(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the body of a request in pieces. Raise CutError if the client goes away before its end."""
    while size > 0:
        piece = stream.read(min(PIECE_SIZE_BYTES, size))
        if not piece:
            raise CutError
        size -= len(piece)
        yield piece


def receive(pieces: Iterator[bytes], folder: Path, size: int, sha1: str) -> tuple[Path, int, str]:
    """Write a body to a file of its own and return it, its size and its SHA-1.

    `sha1` is the header's: a hash to compare with, or that the hash follows the content. Raise BadRequest
    where it differs, and StorageCapExceeded when this machine's disk is full.
    """
    content_size = size - HASH_LENGTH if sha1 == HASH_AT_END else size
    target = folder / secrets.token_hex(16)
    digest = hashlib.sha1(usedforsecurity=False)
    tail = b""
    try:
        with target.open("xb") as file:
            for piece in pieces:
                room = content_size - file.tell()
                content, rest = piece[:room], piece[room:]
                file.write(content)
                digest.update(content)
                tail += rest
    except OSError as error:
        target.unlink(missing_ok=True)
        raise StorageCapExceeded from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    wanted = tail.decode("ascii", "replace") if sha1 == HASH_AT_END else sha1
    if wanted != digest.hexdigest():
        target.unlink()
        raise BadRequest("Sha1 did not match data received", "bad_request")
    return target, content_size, wanted
