"""Objects copied within the bucket, by B2 itself: no byte comes here."""

from typing import Any

from pipeline.bucket.connection import Connection
from pipeline.bucket.listing import cancel, list_unfinished, newest
from pipeline.bucket.objects import Stored
from pipeline.bucket.parts import parts_of

NEEDS = ("writeFiles", "readFiles")
# B2 copies so much at once; what is larger goes by parts.
LARGEST_BYTES = 5_000_000_000
PART_BYTES = 1_000_000_000


def copy(connection: Connection, source: Stored, name: str) -> Stored:
    """Copy an object to another name, with its info and the bucket's own lock; return the copy.

    The same content under that name is done already.
    """
    existing = newest(connection, name)
    if existing is not None and (existing.sha256, existing.size_bytes) == (source.sha256, source.size_bytes):
        return existing
    what = f"copy {source.name} to {name}"
    if source.size_bytes <= LARGEST_BYTES:
        connection.call(what, lambda: connection.session.copy_file(source.file_id, name), needs=NEEDS)
    else:
        _copy_parts(connection, source, name, what)
    copied = newest(connection, name)
    assert copied is not None  # noqa: S101 - B2 shows at once what it has said is there
    return copied


def _copy_parts(connection: Connection, source: Stored, name: str, what: str) -> None:
    for left in list(list_unfinished(connection, name)):
        cancel(connection, left)
    session: Any = connection.session
    started = connection.call(
        what,
        lambda: session.start_large_file(connection.bucket_id, name, source.content_type, dict(source.info)),
        needs="writeFiles",
    )
    hashes: list[str] = []
    for part in parts_of(source.size_bytes, PART_BYTES):
        # First and last byte, as B2 counts them.
        span = (part.offset, part.offset + part.size_bytes - 1)
        answer = connection.call(
            what,
            lambda part=part, span=span: session.copy_part(  # type: ignore[misc]
                source.file_id, started["fileId"], part.number, bytes_range=span
            ),
            needs=NEEDS,
        )
        hashes.append(answer["contentSha1"])
    connection.call(what, lambda: session.finish_large_file(started["fileId"], hashes), needs="writeFiles")


def hide(connection: Connection, name: str) -> None:
    """Hide an object: the rules of the bucket remove it a day later, or once its lock has ended."""
    if newest(connection, name) is not None:
        connection.call(
            f"hide {name}",
            lambda: connection.session.hide_file(connection.bucket_id, name),
            needs="writeFiles",
        )
