"""Rows copied from one server to another: passed through, neither decoded nor split."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from pipeline.errors import ConflictError, LostError, Outage, PipelineError, StepError
from pipeline.postgres.failures import Session, limited, message_of, refused
from pipeline.postgres.statements import Composable, Connection

COPY_BUFFER_BYTES = 256 * 1024
# libpq's own word for a connection that is as it should be.
CONNECTION_OK = 0


def copy(
    source: Connection,
    copy_out: Composable,
    target: Connection,
    copy_in: Composable,
    on_bytes: Callable[[int], None] = lambda _size: None,
) -> int:
    """Stream `COPY ... TO STDOUT` of one server into `COPY ... FROM STDIN` of another; return the rows.

    The bytes go through one pipe, neither decoded nor split. `on_bytes` is told each piece's size.
    Raise StepError naming the side that failed; the target's transaction must then be rolled back.
    """
    read_end, write_end = os.pipe()
    with contextlib.suppress(OSError):  # a larger pipe is only faster
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, COPY_BUFFER_BYTES)
    sender = _Sender(source, copy_out, write_end)
    with os.fdopen(read_end, "rb", buffering=0) as reader, target.cursor() as cursor:
        sender.start()
        try:
            cursor.copy_expert(copy_in, _Counted(reader, on_bytes), COPY_BUFFER_BYTES)
        except BaseException as error:
            # Asked before we cancel: the server says the same of a cancel and of a time-out of its own.
            began = sender.failed
            reader.close()  # the sender's next write fails, so that it ends
            with contextlib.suppress(psycopg2.Error):
                source.cancel()
            sender.join()
            failed_first = began or sender.failed_by_itself
            if isinstance(error, psycopg2.Error) and not failed_first:
                raise _cut_short("writing", target, error) from None
            if failed_first:
                sender.raise_failure()
            raise
        sender.join()
        # An early end of the source looks like a complete one from here.
        sender.raise_failure()
        return cursor.rowcount


def _cut_short(doing: str, connection: Connection, error: psycopg2.Error) -> PipelineError:
    """Return the error that says how a COPY failed: for lack of a connection, or for what it carried."""
    if (imposed := limited(error)) is not None:
        return StepError(f"{doing} the rows: {imposed.fact}", hint=imposed.hint, retryable=False)
    # A connection that broke in the middle of a COPY is not called closed by the driver.
    broken = connection.closed or connection.info.status != CONNECTION_OK
    if broken or isinstance(error, psycopg2.errors.AdminShutdown):
        server = connection.name if isinstance(connection, Session) else None
        fact = (
            f"{server or 'its server'}: the connection was lost while {doing} the rows: {message_of(error)}"
        )
        return LostError(fact, outage=Outage(server) if server else None)
    if isinstance(error, psycopg2.extensions.TransactionRollbackError):
        return ConflictError(f"{doing} the rows: {message_of(error)}")
    return refused(error, f"{doing} the rows: ")


class _Sender(threading.Thread):
    """Copies out of the source into the pipe, and remembers how that ended."""

    def __init__(self, source: Connection, copy_out: Composable, write_end: int) -> None:
        super().__init__(name="copy out", daemon=True)
        self._source, self._copy_out, self._write_end = source, copy_out, write_end
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            with (
                os.fdopen(self._write_end, "wb", buffering=COPY_BUFFER_BYTES) as writer,
                self._source.cursor() as cursor,
            ):
                try:
                    cursor.copy_expert(self._copy_out, writer, COPY_BUFFER_BYTES)
                except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                    # Known before the pipe is closed, which is what the other side sees of it.
                    self._failure = error
        except BaseException as error:  # noqa: BLE001 - likewise
            self._failure = self._failure or error

    @property
    def failed(self) -> bool:
        return self._failure is not None

    @property
    def failed_by_itself(self) -> bool:
        """Whether it failed for another reason than that we ended it."""
        return self._failure is not None and not isinstance(
            self._failure, BrokenPipeError | psycopg2.errors.QueryCanceled
        )

    def raise_failure(self) -> None:
        if isinstance(self._failure, psycopg2.Error):
            raise _cut_short("reading", self._source, self._failure) from None
        if self._failure is not None:
            raise self._failure


class _Counted:
    """The reading end of the pipe; tells how much went through."""

    def __init__(self, reader: Any, on_bytes: Callable[[int], None]) -> None:
        self._reader, self._on_bytes = reader, on_bytes

    def read(self, size: int = -1, /) -> bytes:
        piece: bytes = self._reader.read(size)
        self._on_bytes(len(piece))
        return piece

    def readline(self, size: int = -1, /) -> bytes:
        # psycopg2 asks for it and never calls it.
        raise NotImplementedError
