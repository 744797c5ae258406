"""What servers and the driver say when something fails, and which of our errors that is."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from pipeline.errors import ConflictError, LostError, Outage, PipelineError, StepError
from pipeline.postgres.imposed import UNLIMITED, limits, read_only
from pipeline.postgres.statements import Connection
from pipeline.redact import redact, without_values

# How libpq and servers say that who is refused now may be let in in a moment; there is no code for it: before
# there is a connection the driver has no SQLSTATE, also where the server has sent one.
PASSING_REFUSAL = re.compile(
    r"connection refused|is the server running|timeout expired|timed out|connection reset|closed"
    r"|no route to host|network is unreachable|temporary failure in name|SYSCALL"
    r"|is starting up|is shutting down|in recovery mode|not yet accepting"
    r"|too many (clients|connections)|connection slots|conflict with recovery",
    re.IGNORECASE,
)
# Of these it refuses one role's, or one database's.
OF_A_LOGIN = re.compile(r"too many connections", re.IGNORECASE)

# Bytes that are no character (a database in SQL_ASCII holds any), or one that UTF-8 lacks.
UNFIT = (psycopg2.errors.CharacterNotInRepertoire, psycopg2.errors.UntranslatableCharacter)

# Classes of SQLSTATE in which a server tells of itself, and not of what it was asked: no room (53), somebody
# who steps in (57), its system (58).
ITS_OWN = ("53", "57", "58")


# Limits by which a server ends a session, by SQLSTATE.
ENDED_BY: Mapping[str, str] = {
    "25P03": "idle_in_transaction_session_timeout",
    "25P04": "transaction_timeout",
    "57P05": "idle_session_timeout",
}
# The function of the server that refuses to hide rows by row-level security.
HIDES_ROWS = "check_enable_rls"
# What a server says last, in whatever language: how severe it is, and two spaces.
LAST_WORDS = re.compile(r"^[^\W\d_a-z]{4,}:  (.+)$", re.MULTILINE)

# Classes in which it refuses what it is asked, and would do so again: a feature (0A), a value (22), a
# constraint (23), a session that may only read (25), a login (28), a database (3D), a privilege, a name (42).
REFUSALS = ("0A", "22", "23", "25", "28", "3D", "42")


class Cursor(psycopg2.extensions.cursor):
    """As the driver's, but what fails knows where, also when the driver forgets it."""

    def execute(self, query: Any, vars: Any = None) -> None:
        """Run a statement."""
        with marked(self.connection):
            super().execute(query, vars)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        """Run a COPY."""
        with marked(self.connection):
            super().copy_expert(sql, file, size)


class Session(psycopg2.extensions.connection):
    """A connection that knows whose it is, so that what fails on it can be told as that server's."""

    name = "the database"
    # What it was told as it began, by setting; and what of that its server took.
    chosen: Mapping[str, str] = {}
    accepted: Mapping[str, str] = {}
    # Opens another one like it.
    again: Callable[[], "Session"] | None = None

    def cursor(self, *arguments: Any, **more: Any) -> Any:
        """As the driver's, but what fails knows where."""
        with marked(self):
            return super().cursor(*arguments, **{"cursor_factory": Cursor, **more})

    def commit(self) -> None:
        """As the driver's, but what fails knows where."""
        with marked(self):
            super().commit()

    def rollback(self) -> None:
        """As the driver's, but what fails knows where."""
        with marked(self):
            super().rollback()


@contextlib.contextmanager
def marked(connection: Connection) -> Iterator[None]:
    """Let what fails in the block know on which connection it did; of a cursor the driver tells by itself."""
    try:
        yield
    except psycopg2.Error as error:
        error.session = connection  # type: ignore[attr-defined]
        raise


def session_of(error: psycopg2.Error) -> Connection | None:
    """Return the connection on which something failed, None if nobody knows."""
    known: Connection | None = getattr(error, "session", None)
    return known or (error.cursor.connection if error.cursor is not None else None)


def server_of(error: psycopg2.Error) -> str:
    """Return what the server is called on which something failed, with a colon; nothing if nobody knows."""
    session = session_of(error)
    return f"{session.name}: " if isinstance(session, Session) else ""


def outage_of(error: psycopg2.Error) -> Outage | None:
    """Return the server that was lost, as an error of ours has it; None if nobody knows which."""
    session = session_of(error)
    return Outage(session.name) if isinstance(session, Session) else None


def environmental(error: psycopg2.Error) -> PipelineError | None:
    """Return an error that names the server, if it tells of itself rather than of what it was asked.

    A connection that was lost, another transaction in the way, a session that may only read, a limit.
    """
    server, code = server_of(error), error.pgcode or ""
    if isinstance(error, psycopg2.errors.ReadOnlySqlTransaction):
        return StepError(f"{server}{_why_read_only(error) or message_of(error)}", retryable=False)
    if (imposed := limited(error)) is not None:
        return imposed
    if is_lost(error):
        fact = f"{server}the connection was lost: {message_of(error)}"
        return LostError(fact, outage=outage_of(error))
    if isinstance(error, psycopg2.extensions.TransactionRollbackError):
        return ConflictError(f"{server}{message_of(error)}")
    if code.startswith(ITS_OWN):
        return StepError(f"{server}{message_of(error)}")
    return None


def limited(error: psycopg2.Error) -> StepError | None:
    """Return an error that names server, role and limit, if one that we did not set ended it."""
    session = session_of(error)
    if not isinstance(session, Session):
        return None
    if isinstance(error, psycopg2.errors.QueryCanceled):
        imposed = _of_statements(session)
    else:
        imposed = _ended_by(error, session)
    if imposed is None:
        return None
    return StepError(f"{session.name}: {fact_of(error)}: {imposed}", hint=UNLIMITED, retryable=False)


def _of_statements(session: Session) -> str | None:
    """Return the limit of statements that this session did not set, None if there is none."""
    with contextlib.suppress(psycopg2.Error):
        session.rollback()
        asked_for = session.chosen.get("statement_timeout", "0")
        return next(iter(limits(session, {"statement_timeout": asked_for})), None)
    return None


def _ended_by(error: psycopg2.Error, session: Session) -> str | None:
    """Return the limits that may have ended the session, None if it ended for another reason.

    For most the driver keeps no code of what ended a session, and why is told in the server's language: a
    session like it is asked which limits it has, as far as the server lets one in.
    """
    setting = ENDED_BY.get(error.pgcode or "")
    if setting is None and not (error.pgcode is None and is_lost(error) and last_words(session)):
        return None
    asked_for = {name: session.chosen.get(name, "0") for name in ENDED_BY.values() if setting in (None, name)}
    with contextlib.suppress(psycopg2.Error, PipelineError):
        if session.again is not None:
            with contextlib.closing(session.again()) as other:
                if reached := limits(other, asked_for):
                    return "; ".join(reached)
    if setting is None:
        return None
    role = session.info.user
    return f"its role {role} is under {setting}, though the session asked for {asked_for[setting]}"


def last_words(session: Connection | None) -> str:
    """Return what the server said as it ended a session, for the driver tells only that it is gone.

    Neither what it was at nor any of its rows is in it.
    """
    reason = session.info.error_message if session is not None else None
    # The first: what it says beside that may look alike, and quote a row.
    match = LAST_WORDS.search(reason or "")
    return redact(" ".join(match[1].split())) if match else ""


def _why_read_only(error: psycopg2.Error) -> str | None:
    session = session_of(error)
    if session is None or session.closed:
        return None
    with contextlib.suppress(psycopg2.Error):
        session.rollback()
        return read_only(session)
    return None


# The class of errors that a value is the reason of, and which quote it.
DATA_EXCEPTION = "22"


def message_of(error: psycopg2.Error) -> str:
    """Return what the server or the driver said, and what is to be fixed, without credentials and values."""
    fact, hint = fact_of(error), hint_of(error)
    return f"{fact}; {hint}" if hint else fact


def fact_of(error: psycopg2.Error) -> str:
    """Return what the server or the driver said, in one line, without credentials and without values."""
    diagnostics = error.diag.message_primary
    message = redact(diagnostics or (is_lost(error) and last_words(session_of(error))) or str(error))
    if (error.pgcode or "").startswith(DATA_EXCEPTION):
        message = without_values(message)
    return " ".join(message.split())


def hint_of(error: psycopg2.Error) -> str:
    """Return what is to be fixed where the server refused something for a reason that we know."""
    # The words are in the server's language.
    if error.diag.source_function == HIDES_ROWS:
        return hint_of_hidden_rows(session_of(error))
    if isinstance(error, UNFIT):
        return (
            "a name or a text there has no form in UTF-8: correct it there (of a table that is loaded, "
            "mask: exclude leaves a column out)"
        )
    return ""


def hint_of_hidden_rows(session: Connection | None) -> str:
    """Return what is to be fixed where row-level security hides rows from a session's role."""
    role = _role_of(session)
    return f"ALTER ROLE {role} BYPASSRLS, or have it read a view of the rows that it may see"


def _role_of(session: Connection | None) -> str:
    """Return as whom a session was opened, in double quotes; it may be closed by now."""
    role = psycopg2.extensions.parse_dsn(session.dsn).get("user") if session is not None else None
    return '"{}"'.format(role.replace('"', '""')) if role else "of the login"


def is_lost(error: psycopg2.Error) -> bool:
    """Whether an error says that the connection is gone, rather than that the server refused something."""
    if isinstance(error, psycopg2.errors.AdminShutdown | psycopg2.errors.CrashShutdown):
        return True
    # What libpq itself finds out has no code of the server's.
    return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and error.pgcode is None


def error_of(error: psycopg2.Error) -> PipelineError:
    """Return what a server or the driver said as an error of ours, with its hint."""
    return environmental(error) or refused(error)


def refused(error: psycopg2.Error, doing: str = "") -> StepError:
    """Return the error of what a server was asked and refused; `doing` stands before what it said."""
    final = (error.pgcode or "").startswith(REFUSALS)
    return StepError(f"{doing}{fact_of(error)}", hint=hint_of(error), retryable=not final)


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn what goes wrong with the server inside the block into an error that begins with `name`, if any.

    Raise LostError if the connection was lost, ConflictError if another transaction was in the way, StepError
    if the server refused something.
    """
    try:
        yield
    except psycopg2.Error as error:
        raise error_of(error).named(name) from None
    except PipelineError as error:
        if (failure := error.named(name)) is error:
            raise
        raise failure from None
