"""Connections: how they are opened, what each session is told first, and how it ends.

A connection lives inside one step and is never kept over a fork.
"""

import contextlib
from collections.abc import Iterator, Mapping

import psycopg2
import psycopg2.extensions

from pipeline.errors import ConflictError, LostError, StepError, UnreachableError
from pipeline.postgres.failures import PASSING_REFUSAL, is_lost, said
from pipeline.postgres.statements import Connection
from pipeline.postgres.uri import KEEPALIVES, plain

CONNECT_TIMEOUT_SECONDS = 10

# A session whose step was killed ends soon, also while it waits for a lock: from PostgreSQL 14 on. Not every
# system other than Linux can do it, and there it is an error to ask for it.
LEFT_ALONE = """
    SELECT set_config(name, '5s', false) FROM pg_settings
    WHERE name = 'client_connection_check_interval' AND version() LIKE '%%linux%%'
"""

# What every session speaks, whatever the database is in.
ENCODING = "UTF8"

# The same text for the same value on every server, and no name that resolves by surprise.
SESSION: Mapping[str, str] = {
    "client_encoding": ENCODING,
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


def codec(encoding: str) -> str:
    """Return Python's name for an encoding of PostgreSQL's.

    >>> codec("LATIN1"), codec("WIN1252"), codec("SQL_ASCII")
    ('iso8859_1', 'cp1252', 'utf_8')
    """
    known = {"SQL_ASCII": "utf_8", "UTF8": "utf_8"}
    return known.get(encoding) or psycopg2.extensions.encodings.get(encoding, "utf_8")


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
    except UnicodeDecodeError as error:
        # A database in SQL_ASCII promises nothing of its bytes; nor do the names of roles, which all
        # databases of a server share, whatever each is in.
        around = error.object[max(0, error.start - 20) : error.end + 20]
        raise StepError(
            f"{name}: a name that it told is not UTF-8 ({around!r}); rename it, if it is a role's in the "
            "database of the server that gave it"
        ) from None
    finally:
        # Closing without a commit is a rollback, also in the middle of a COPY.
        opened.close()


def _open(uri: str, name: str, application_name: str) -> Connection:
    try:
        opened: Connection = psycopg2.connect(
            plain(uri, name),
            application_name=application_name,
            # Asked for as the session begins, which no setting of a role or a database overrides: the driver
            # takes the codec for names, labels and texts then, and learns of no later change.
            client_encoding=ENCODING,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            **KEEPALIVES,
        )
        return opened  # noqa: TRY300 - one call, one way out
    except psycopg2.Error as error:
        kind = LostError if PASSING_REFUSAL.search(str(error)) else UnreachableError
        raise kind(f"{name}: no connection: {said(error)}") from None
