"""PostgreSQL connections, and rows copied from one server to another: the only user of psycopg2.

A connection lives inside one step and is never kept over a fork.
"""

import contextlib
import fcntl
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from pipeline.errors import (
    ConflictError,
    LostError,
    PipelineError,
    ProblemsError,
    StepError,
    UnreachableError,
)
from pipeline.redact import redact

Connection = psycopg2.extensions.connection
Composable = sql.Composable
Error = psycopg2.Error
LockNotAvailable = psycopg2.errors.LockNotAvailable
InsufficientPrivilege = psycopg2.errors.InsufficientPrivilege
UndefinedColumn = psycopg2.errors.UndefinedColumn
UndefinedTable = psycopg2.errors.UndefinedTable
CORRUPTED = (psycopg2.errors.IndexCorrupted, psycopg2.errors.DataCorrupted)

CONNECT_TIMEOUT_SECONDS = 10
# A peer that vanished without a word is noticed after about two minutes: by keepalives while we wait for it,
# by the time-out (in milliseconds) while it owes us an answer to what we sent, when there are no keepalives.
KEEPALIVES: Mapping[str, Any] = {
    "keepalives_idle": 60,
    "keepalives_interval": 15,
    "keepalives_count": 4,
    "tcp_user_timeout": 120_000,
}
Parameters = Sequence[object] | Mapping[str, object]
COPY_BUFFER_BYTES = 256 * 1024
# How libpq and servers say that who is refused now may be let in in a moment; there is no code for it.
PASSING_REFUSAL = re.compile(
    r"connection refused|is the server running|timeout expired|timed out|connection reset|closed"
    r"|no route to host|network is unreachable|temporary failure in name|SYSCALL"
    r"|is starting up|is shutting down|in recovery mode|not yet accepting"
    r"|too many (clients|connections)|connection slots",
    re.IGNORECASE,
)
# libpq's own word for a connection that is as it should be.
CONNECTION_OK = 0
# What a URI says, as libpq's programs read it from their environment.
VARIABLES: Mapping[str, str] = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "application_name": "PGAPPNAME",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslsni": "PGSSLSNI",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "gssencmode": "PGGSSENCMODE",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}

# A session whose step was killed ends soon, also while it waits for a lock: from PostgreSQL 14 on. Not every
# system other than Linux can do it, and there it is an error to ask for it.
LEFT_ALONE = """
    SELECT set_config(name, '5s', false) FROM pg_settings
    WHERE name = 'client_connection_check_interval' AND version() LIKE '%%linux%%'
"""

# The same text for the same value on every server, and no name that resolves by surprise.
SESSION: Mapping[str, str] = {
    "client_encoding": "UTF8",
    "search_path": "pg_catalog",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    # The one locale that every server has: amounts of money are written and read in it.
    "lc_monetary": "C",
    "xmloption": "content",
    "array_nulls": "on",
    "quote_all_identifiers": "off",
}


@contextlib.contextmanager
def connection(
    uri: str,
    name: str,
    *,
    application_name: str = "pipeline",
    autocommit: bool = False,
    session: Mapping[str, str] | None = None,
) -> Iterator[Connection]:
    """Open the database at `uri`, called `name` in messages; commit at the end, roll back on an error.

    `session` adds to, or overrides, the server settings of `SESSION`.
    Raise UnreachableError if it does not let us in, LostError if that may pass or if it is lost on the way,
    and ConflictError if the server ended a transaction that was in the way of another.
    """
    opened = _open(uri, name, application_name)
    try:
        opened.autocommit = True
        with opened.cursor() as cursor:
            chosen = {**SESSION, **(session or {})}
            calls = ", ".join(["set_config(%s, %s, false)"] * len(chosen))
            query = f"SELECT {calls}, ({LEFT_ALONE})"
            cursor.execute(query, [word for pair in chosen.items() for word in pair])
        opened.autocommit = autocommit
        yield opened
        if not opened.closed:
            opened.commit()
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        if isinstance(error, psycopg2.extensions.TransactionRollbackError):
            raise ConflictError(f"{name}: {said(error)}") from None
        if opened.closed or is_lost(error):
            raise LostError(f"{name}: the connection was lost: {said(error)}") from None
        raise
    finally:
        # Closing without a commit is a rollback, also in the middle of a COPY.
        opened.close()


def program_environment(uri: str, name: str) -> dict[str, str]:
    """Return the variables that take one of PostgreSQL's programs to `uri`: for that one child's environment.

    Raise UnreachableError if there is something in it that cannot be said so.
    """
    try:
        parts = psycopg2.extensions.parse_dsn(_plain(uri, name))
    except psycopg2.Error as error:
        raise UnreachableError(f"{name}: its uri in Vault is faulty: {said(error)}") from None
    for part in parts.keys() - VARIABLES.keys() - KEEPALIVES.keys():
        raise UnreachableError(f"{name}: its uri in Vault has {part}, which cannot be handed on; take it out")
    return {VARIABLES[part]: value for part, value in parts.items() if part in VARIABLES}


def _plain(uri: str, name: str) -> str:
    # SQLAlchemy's form of the scheme is common in shared credentials; libpq knows only the plain one.
    scheme, _, rest = uri.partition("://")
    if scheme.split("+")[0] not in ("postgresql", "postgres") or not rest:
        raise UnreachableError(
            f"{name}: its uri in Vault is not of the form postgresql://role:password@host:port/name"
        )
    return f"postgresql://{rest}"


def _open(uri: str, name: str, application_name: str) -> Connection:
    try:
        opened: Connection = psycopg2.connect(
            _plain(uri, name),
            application_name=application_name,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            **KEEPALIVES,
        )
        return opened  # noqa: TRY300 - one call, one way out
    except psycopg2.Error as error:
        kind = LostError if PASSING_REFUSAL.search(str(error)) else UnreachableError
        raise kind(f"{name}: no connection: {said(error)}") from None


def said(error: psycopg2.Error) -> str:
    """Return what the server or the driver said, in one line and without credentials."""
    diagnostics = error.diag.message_primary
    told = redact(" ".join((diagnostics or str(error)).split()))
    if isinstance(error, psycopg2.errors.InsufficientPrivilege) and "row-level security" in told:
        return (
            f"{told}: it hides rows from the role that reads, and they would be missing without a word; "
            "give it BYPASSRLS (ALTER ROLE), or read a view of what may be seen"
        )
    return told


def is_lost(error: psycopg2.Error) -> bool:
    """Whether an error says that the connection is gone, rather than that the server refused something."""
    if isinstance(error, psycopg2.errors.AdminShutdown | psycopg2.errors.CrashShutdown):
        return True
    # What libpq itself finds out has no code of the server's.
    return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and error.pgcode is None


def rows(
    connection: Connection, query: str | Composable, parameters: Parameters = ()
) -> list[tuple[Any, ...]]:
    """Run one statement and return all of its rows, none if it has none."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        return cursor.fetchall() if cursor.description else []


def row(
    connection: Connection, query: str | Composable, parameters: Parameters = ()
) -> tuple[Any, ...] | None:
    """Run one statement and return its first row, or None."""
    found = rows(connection, query, parameters)
    return found[0] if found else None


def records(
    connection: Connection, query: str | Composable, parameters: Parameters = ()
) -> list[dict[str, Any]]:
    """Run one statement and return all of its rows by the names of its columns."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, found, strict=True)) for found in cursor.fetchall()]


def value(connection: Connection, query: str | Composable, parameters: Parameters = ()) -> Any:
    """Run one statement and return the first column of its first row, or None."""
    found = row(connection, query, parameters)
    return None if found is None else found[0]


def statement(name: str) -> str:
    """Return the SQL statement kept in pipeline/sql/<name>.sql."""
    return resources.files("pipeline").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def identifier(*names: str) -> sql.Identifier:
    """Return a name, qualified if there are several, that the driver quotes."""
    return sql.Identifier(*names)


def columns(names: Sequence[str], prefix: str | None = None) -> Composable:
    """Return quoted column names with commas between them, each with `prefix` before it if given."""
    return sql.SQL(", ").join(
        sql.Identifier(prefix, name) if prefix else sql.Identifier(name) for name in names
    )


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
    # A connection that broke in the middle of a COPY is not called closed by the driver.
    broken = connection.closed or connection.info.status != CONNECTION_OK
    if broken or isinstance(error, psycopg2.errors.AdminShutdown):
        return LostError(f"the connection was lost while {doing} the rows: {said(error)}")
    if isinstance(error, psycopg2.extensions.TransactionRollbackError):
        return ConflictError(f"{doing} the rows: {said(error)}")
    return StepError(f"{doing} the rows: {said(error)}")


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


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn what goes wrong with the server inside the block into an error that begins with `name`.

    Raise LostError if the connection was lost, ConflictError if another transaction was in the way, StepError
    if the server refused something.
    """
    try:
        yield
    except psycopg2.Error as error:
        if is_lost(error):
            raise LostError(f"{name}: the connection was lost: {said(error)}") from None
        if isinstance(error, psycopg2.extensions.TransactionRollbackError):
            raise ConflictError(f"{name}: {said(error)}") from None
        raise StepError(f"{name}: {said(error)}") from None
    except ProblemsError as error:
        raise type(error)(
            [line if line.startswith(name) else f"{name}: {line}" for line in error.problems]
        ) from None
    except PipelineError as error:
        if str(error).startswith(name):
            raise
        raise type(error)(f"{name}: {error}") from None
