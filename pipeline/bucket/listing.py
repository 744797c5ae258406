"""What is in the bucket: objects, unfinished uploads and their parts, page by page."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from b2sdk.v3.exception import BadRequest, FileNotPresent

from pipeline.bucket.connection import Connection
from pipeline.bucket.objects import Stored, Unfinished, Version, part, stored, unfinished, version
from pipeline.errors import UnreachableError

# The most that B2 lists for the price of one call; of unfinished uploads a tenth.
LISTED_AT_ONCE = 1000
T = TypeVar("T")


# What of a page is there, and where the next begins, None after the last.
Page = tuple[list[T], Any]


def _pages(
    connection: Connection, what: str, needs: str, page: Callable[[Any], Page[T]], start: Any
) -> Iterator[T]:
    """Yield what is on all pages. Each is taken apart within its call, which tells what is not B2's."""
    while True:
        entries, following = connection.call(what, functools.partial(page, start), needs=needs)
        yield from entries
        if following is None:
            return
        if following == start:
            raise UnreachableError(
                f"bucket {connection.bucket_name}: could not {what}: {connection.realm} "
                "returned the same page twice",
                hint="check whether a proxy in between caches answers",
            )
        start = following


def newest(connection: Connection, name: str) -> Stored | None:
    """Return the object of that name, None if there is none or it is hidden."""

    def ask() -> list[Stored]:
        answer = connection.session.list_file_names(connection.bucket_id, name, 1, name)
        return [stored(file) for file in answer["files"]]

    versions: list[Stored] = connection.call(f"find {name}", ask, needs="listFiles")
    return next((one for one in versions if one.name == name), None)


def list_unfinished(connection: Connection, prefix: str) -> Iterator[Unfinished]:
    """Yield the unfinished uploads whose names start with `prefix`, the newest first."""

    def page(start: str | None) -> Page[Unfinished]:
        answer = connection.session.list_unfinished_large_files(
            connection.bucket_id, start, LISTED_AT_ONCE // 10, prefix
        )
        return [unfinished(file) for file in answer["files"]], answer["nextFileId"]

    return _pages(connection, "list unfinished uploads", "listFiles", page, None)


def cancel(connection: Connection, upload: Unfinished) -> None:
    """Cancel an unfinished upload and its parts; one that is gone already is fine."""

    def cancel_it() -> None:
        try:
            connection.session.cancel_large_file(upload.file_id)
        except (BadRequest, FileNotPresent):
            if upload.file_id in {left.file_id for left in list_unfinished(connection, upload.name)}:
                raise

    connection.call(f"cancel the unfinished upload of {upload.name}", cancel_it, needs="writeFiles")


def list_objects(connection: Connection, prefix: str) -> Iterator[Stored]:
    """Yield the objects whose names start with `prefix`, by name."""

    def page(start: str | None) -> Page[Stored]:
        answer = connection.session.list_file_names(connection.bucket_id, start, LISTED_AT_ONCE, prefix)
        return [stored(file) for file in answer["files"]], answer["nextFileName"]

    return _pages(connection, "list objects", "listFiles", page, prefix or None)


def list_versions(connection: Connection, prefix: str) -> Iterator[Version]:
    """Yield the versions of all names that start with `prefix`, by name, the newest of each first."""

    def page(start: tuple[str | None, str | None]) -> Page[Version]:
        answer = connection.session.list_file_versions(connection.bucket_id, *start, LISTED_AT_ONCE, prefix)
        following = answer["nextFileName"], answer["nextFileId"]
        versions = [one for file in answer["files"] if (one := version(file)) is not None]
        return versions, None if following == (None, None) else following

    return _pages(connection, "list versions", "listFiles", page, (prefix or None, None))


def list_parts(connection: Connection, upload: Unfinished) -> Iterator[dict[str, Any]]:
    """Yield the parts of an unfinished upload as B2 lists them, by number."""

    def page(start: int | None) -> Page[dict[str, Any]]:
        answer = connection.session.list_parts(upload.file_id, start, LISTED_AT_ONCE)
        return [part(one) for one in answer["parts"]], answer["nextPartNumber"]

    return _pages(connection, f"list the parts of {upload.name}", "writeFiles", page, None)
