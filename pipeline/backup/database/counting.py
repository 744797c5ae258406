"""Counts and checksums of all tables of a database, over several connections that see one snapshot."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

from pipeline import postgres
from pipeline.backup.database import contents
from pipeline.backup.database.contents import TableShape
from pipeline.backup.store.manifest import LargeObjects, Table
from pipeline.postgres import Connection

# Beside them pg_dump is at work, which takes as much.
Open = Callable[[], AbstractContextManager[Connection]]
COUNTERS = max(1, min(4, (os.cpu_count() or 2) - 1))


class Counting:
    """Counts in the background for as long as its block lasts; whoever waits asks how it gets on."""

    def __init__(
        self, opened: Open, shapes: list[TableShape], piece_bytes: int | None = contents.PIECE_BYTES
    ) -> None:
        """Count tables over connections that `opened` opens, each of which sees the same moment.

        `piece_bytes` is how large objects are hashed, as `LargeObjects` has it.
        """
        self._opened = opened
        self._shapes, self._queue = shapes, list(reversed(shapes))
        self._piece_bytes = piece_bytes
        self._connections: list[Connection] = []
        self._counted: list[tuple[TableShape, Table]] = []
        self._large_objects: LargeObjects | None = None
        self._stopped = threading.Event()
        self._begun, self.seconds = time.monotonic(), 0.0
        self._pool = ThreadPoolExecutor(COUNTERS, thread_name_prefix="counting")
        self._futures: list[Future[None]] = []

    def __enter__(self) -> "Counting":
        self._futures = [self._pool.submit(self._work, number) for number in range(COUNTERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for connection in self._connections:
            with contextlib.suppress(postgres.Error):
                connection.cancel()
        self._pool.shutdown()

    def _work(self, number: int) -> None:
        with self._opened() as connection:
            self._connections.append(connection)
            if number == 0:
                self._large_objects = contents.large_objects(connection, self._piece_bytes)
            while not self._stopped.is_set():
                try:
                    shape = self._queue.pop()
                except IndexError:
                    break
                self._counted.append((shape, contents.count(connection, shape)))
        self.seconds = max(self.seconds, time.monotonic() - self._begun)

    def raise_failure(self) -> None:
        """Raise what one of the connections failed with, if one did."""
        for future in self._futures:
            if future.done():
                future.result()

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to count. Raise what a connection failed with."""
        self.raise_failure()
        return all(future.done() for future in self._futures)

    @property
    def share(self) -> float:
        """How much of all the bytes has been counted, from 0 to 1."""
        whole = sum(shape.size_bytes for shape in self._shapes)
        return sum(shape.size_bytes for shape, _ in list(self._counted)) / whole if whole else 1.0

    @property
    def progress(self) -> str:
        """How far it is, for people."""
        return f"{len(self._counted)} of {len(self._shapes)} tables counted"

    @property
    def rows(self) -> dict[int, int]:
        """The rows of each table that was counted, by its oid."""
        return {shape.oid: table.rows for shape, table in list(self._counted)}

    def result(self) -> tuple[list[Table], LargeObjects]:
        """Return what was counted, but for extensions' own tables; only once it has ended."""
        assert self._large_objects is not None  # noqa: S101 - the first connection ended well
        own = [table for shape, table in self._counted if shape.extension_condition is None]
        return own, self._large_objects
