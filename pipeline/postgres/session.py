"""Connections: how they are opened, what each session is told first, and how it ends.

A connection lives inside one step and is never kept over a fork.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from pipeline.errors import LostError, Outage, StepError, UnreachableError
from pipeline.postgres.failures import (
    OF_A_LOGIN,
    PASSING_REFUSAL,
    Session,
    environmental,
    marked,
    message_of,
    session_of,
)
from pipeline.postgres.imposed import SUPERUSERS, UNLIMITED, imposed, limits
from pipeline.postgres.statements import Composable, Connection
from pipeline.postgres.uri import KEEPALIVES, address, plain

CONNECT_TIMEOUT_SECONDS = 10

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

# How a session behaves, whatever its role, its database or its server is set to. What only a superuser may
# set is looked at, and told if it is otherwise. Whether it may write is for its server to say.
CONDUCT: Mapping[str, str] = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # Rows that a policy hides from us are an error instead of a gap.
    "row_security": "off",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    # All that an index finds, and not a sample of it.
    "gin_fuzzy_search_limit": "0",
    # A session whose step was killed ends soon, also while it waits for a lock.
    "client_connection_check_interval": "5000",
    **SUPERUSERS,
}
# Not every system other than Linux can do it, and there it is an error to ask for it.
LINUX_ONLY = "client_connection_check_interval"
# What pg_dump and pg_restore do not see to by themselves.
PROGRAMS = ("array_nulls", *(name for name in CONDUCT if name not in SUPERUSERS and name != LINUX_ONLY))

# The limits first, for those of the role hold for what asks for others as well. Then the path by itself:
# nothing else is looked up in the one that the role has. Then what the server knows of the rest, for not
# every version has all of it.
UNHURRIED = ("statement_timeout", "lock_timeout")
UNHURRIED_SINCE = {"transaction_timeout": 17}
BEGIN = f"""
    SELECT pg_catalog.set_config('search_path', 'pg_catalog', false);
    SELECT known.name, wanted.value, set_config(known.name, wanted.value, false)
    FROM unnest(%s, %s) AS wanted (name, value)
    JOIN pg_settings AS known ON lower(known.name) = lower(wanted.name)
    WHERE (known.context = 'user' OR known.setting <> wanted.value)
      AND (known.name <> '{LINUX_ONLY}' OR version() LIKE '%%linux%%')
"""  # noqa: S608 - a constant


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
    entry: str | None = None,
) -> Iterator[Connection]:
    """Open the database at `uri`, called `name` in messages; commit at the end, roll back on an error.

    `session` adds to, or overrides, the server settings of `SESSION` and `CONDUCT`. `entry` is where Vault
    keeps the URI, for who has to correct it.
    Raise UnreachableError if it refuses our login, LostError if that may pass or if it is lost on the way,
    ConflictError if the server ended a transaction that was in the way of another, and StepError if the
    server refuses what it should not: a session that may only read, a setting, a limit, room.
    """
    opened = open_session(uri, name, application_name=application_name, session=session, entry=entry)
    with contextlib.closing(opened), used(opened, autocommit=autocommit):
        yield opened


@contextlib.contextmanager
def used(opened: Session, *, autocommit: bool = False) -> Iterator[None]:
    """Use an open session for the block as `connection` does; what raises leaves it closed."""
    try:
        opened.autocommit = autocommit
        with answered(opened):
            yield
            if not opened.closed:
                opened.commit()
    except BaseException:
        # Closing without a commit is a rollback, also in the middle of a COPY.
        opened.close()
        raise


def cleared(opened: Session) -> bool:
    """Make a session as new: nothing temporary, no lock and no setting is left of its use.

    Return whether that went well; if not, it is closed.
    """
    try:
        opened.rollback()
        opened.set_session(
            isolation_level="default", readonly="default", deferrable="default", autocommit=True
        )
        with opened.cursor() as cursor:
            cursor.execute("DISCARD ALL")
            _begin(opened, cursor, opened.chosen)
        opened.autocommit = False
    except psycopg2.Error:
        opened.close()
    return not opened.closed


@contextlib.contextmanager
def answered(opened: Session) -> Iterator[None]:
    """Raise what the server does to a session in the block as `connection` does."""
    name = opened.name
    try:
        yield
    except psycopg2.Error as error:
        # Another server's failure may pass through here: who opened that tells of it.
        failure = environmental(error) if session_of(error) in (opened, None) else None
        if failure is None and session_of(error) is None and opened.closed:
            fact = f"{name}: the connection was lost: {message_of(error)}"
            failure = LostError(fact, outage=Outage(name))
        if failure is None:
            raise
        raise failure from None
    except UnicodeDecodeError as error:
        # A database in SQL_ASCII promises nothing of its bytes; nor do the names of roles, which all
        # databases of a server share, whatever each is in.
        around = error.object[max(0, error.start - 20) : error.end + 20]
        raise StepError(
            f"{name}: a name that it told is not UTF-8 ({around!r})",
            hint="rename it, if it is a role's in the database of the server that gave it",
        ) from None


def open_session(
    uri: str,
    name: str,
    *,
    application_name: str = "pipeline",
    session: Mapping[str, str] | None = None,
    entry: str | None = None,
) -> Session:
    """Open a session as `connection` does, and raise what it raises; who takes it closes it."""
    opened = _open(uri, name, application_name, entry)
    chosen: dict[str, Any] = {**SESSION, **CONDUCT, **(session or {})}
    opened.chosen = chosen
    try:
        opened.autocommit = True
        with opened.cursor() as cursor:
            _begin(opened, cursor, chosen)
        opened.autocommit = False
    except psycopg2.errors.InsufficientPrivilege as error:
        settings = imposed(opened, SUPERUSERS)
        opened.close()
        raise StepError(f"{name}: {'; '.join(settings) or message_of(error)}", retryable=False) from None
    except psycopg2.Error as error:
        opened.close()
        raise environmental(error) or error from None
    opened.again = functools.partial(
        open_session, uri, name, application_name=application_name, session=session, entry=entry
    )
    return opened


def _begin(opened: Session, cursor: psycopg2.extensions.cursor, chosen: Mapping[str, str]) -> None:
    version = opened.server_version // 10000
    later = (name for name, since in UNHURRIED_SINCE.items() if version >= since)
    unhurried = "".join(f"SET {name} = 0;" for name in (*UNHURRIED, *later))
    cursor.execute(unhurried + BEGIN, (list(chosen), list(chosen.values())))
    opened.accepted = {name: value for name, value, _ in cursor.fetchall() if name not in SUPERUSERS}


def for_transaction(connection: Connection, query: str) -> Composable:
    """Return a query with what sets, for the transaction that it is in, all that the session was told before.

    Behind some poolers each transaction has another session than the one that was told.
    """
    accepted = connection.accepted if isinstance(connection, Session) else {}
    settings = [
        sql.SQL("pg_catalog.set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
        for name, value in accepted.items()
    ]
    before = sql.SQL("SELECT {};\n").format(sql.SQL(", ").join(settings)) if settings else sql.SQL("")
    return before + sql.SQL(query)


def _open(uri: str, name: str, application_name: str, entry: str | None) -> Session:
    try:
        opened: Session = psycopg2.connect(
            plain(uri, name),
            connection_factory=Session,
            application_name=application_name,
            # Asked for as the session begins, which no setting of a role or a database overrides: the driver
            # takes the codec for names, labels and texts then, and learns of no later change.
            client_encoding=ENCODING,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            **KEEPALIVES,
        )
    except psycopg2.Error as error:
        fact = f"{name}: no connection: {message_of(error)}"
        # Which of these it is only the words say.
        either = f"check that its server runs and accepts this login, or correct uri in the entry {entry}"
        hint = f"{either} of Vault" if entry else ""
        if PASSING_REFUSAL.search(str(error)):
            # Of a role or a database that has too many, others on that server know nothing.
            at = None if OF_A_LOGIN.search(str(error)) else ":".join(address(uri, name))
            raise LostError(fact, hint=hint, outage=Outage(name, at)) from None
        raise UnreachableError(fact, hint=hint, retryable=False, outage=Outage(name)) from None
    opened.name = name
    return opened


def unheeded(connection: Connection) -> list[str]:
    """Return a problem for each limit of this session's that it asked to have otherwise."""
    if not isinstance(connection, Session):
        return []
    # Behind some poolers each transaction has another session than the one that was told.
    connection.commit()
    return [f"{line}; {UNLIMITED}" for line in limits(connection, connection.chosen)]


def options(connection: Connection) -> str:
    """Return what PGOPTIONS has to say to one of PostgreSQL's programs, beside its own care: mostly nothing.

    It is what the role, the database or the server of `connection` sets otherwise than we rely on.
    """
    wanted = {**SESSION, **CONDUCT}
    query = "SELECT name, reset_val FROM pg_settings WHERE name = ANY(%s)"
    with marked(connection), connection.cursor() as cursor:
        cursor.execute(query, (list(PROGRAMS),))
        current = dict(cursor.fetchall())
    differing = {name: wanted[name] for name, value in current.items() if value != wanted[name]}
    return " ".join("-c {}={}".format(name, value.replace(" ", r"\ ")) for name, value in differing.items())
