"""What is in the bucket: objects, unfinished uploads and their parts, page by page."""

from collections.abc import Iterator
from typing import Any

from b2sdk.v3.exception import BadRequest, FileNotPresent

from pipeline.bucket.connection import Connection
from pipeline.bucket.objects import Stored, Unfinished, stored, unfinished

# The most that B2 lists for the price of one call; of unfinished uploads a tenth.
LISTED_AT_ONCE = 1000


def newest(connection: Connection, name: str) -> Stored | None:
    """Return the object of that name, None if there is none or it is hidden."""

    def ask() -> Any:
        return connection.session.list_file_names(connection.bucket_id, name, 1, name)["files"]

    for answer in connection.call(f"look for {name}", ask, needs="listFiles"):
        if answer["fileName"] == name:
            return stored(answer)
    return None


def list_unfinished(connection: Connection, prefix: str) -> Iterator[Unfinished]:
    """Yield the unfinished uploads whose names start with `prefix`, the newest first."""
    start: str | None = None
    while True:

        def page(start: str | None = start) -> Any:
            return connection.session.list_unfinished_large_files(
                connection.bucket_id, start, LISTED_AT_ONCE // 10, prefix
            )

        answer = connection.call("list unfinished uploads", page, needs="listFiles")
        for file in answer["files"]:
            yield unfinished(file)
        start = answer["nextFileId"]
        if start is None:
            return


def cancel(connection: Connection, upload: Unfinished) -> None:
    """Cancel an unfinished upload and its parts; one that is gone already is fine."""

    def forget() -> None:
        try:
            connection.session.cancel_large_file(upload.file_id)
        except (BadRequest, FileNotPresent):
            if upload.file_id in {left.file_id for left in list_unfinished(connection, upload.name)}:
                raise

    connection.call(f"cancel the unfinished upload of {upload.name}", forget, needs="writeFiles")


def list_objects(connection: Connection, prefix: str) -> Iterator[Stored]:
    """Yield the objects whose names start with `prefix`, by name."""
    start: str | None = prefix or None
    while True:

        def page(start: str | None = start) -> Any:
            return connection.session.list_file_names(connection.bucket_id, start, LISTED_AT_ONCE, prefix)

        answer = connection.call("list objects", page, needs="listFiles")
        for file in answer["files"]:
            yield stored(file)
        start = answer["nextFileName"]
        if start is None:
            return


def list_parts(connection: Connection, upload: Unfinished) -> Iterator[dict[str, Any]]:
    """Yield the parts of an unfinished upload as B2 lists them, by number."""
    start: int | None = None
    while True:

        def page(start: int | None = start) -> Any:
            return connection.session.list_parts(upload.file_id, start, LISTED_AT_ONCE)

        answer = connection.call(f"list the parts of {upload.name}", page, needs="writeFiles")
        yield from answer["parts"]
        start = answer["nextPartNumber"]
        if start is None:
            return
