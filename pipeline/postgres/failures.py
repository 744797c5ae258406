"""What servers and the driver say when something fails, and which of our errors that is."""

import contextlib
import re
from collections.abc import Iterator

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from pipeline.errors import ConflictError, LostError, PipelineError, ProblemsError, StepError
from pipeline.redact import redact

# How libpq and servers say that who is refused now may be let in in a moment; there is no code for it.
PASSING_REFUSAL = re.compile(
    r"connection refused|is the server running|timeout expired|timed out|connection reset|closed"
    r"|no route to host|network is unreachable|temporary failure in name|SYSCALL"
    r"|is starting up|is shutting down|in recovery mode|not yet accepting"
    r"|too many (clients|connections)|connection slots",
    re.IGNORECASE,
)

# Bytes that are no character (a database in SQL_ASCII holds any), or one that UTF-8 lacks.
UNFIT = (psycopg2.errors.CharacterNotInRepertoire, psycopg2.errors.UntranslatableCharacter)


def said(error: psycopg2.Error) -> str:
    """Return what the server or the driver said, in one line and without credentials."""
    diagnostics = error.diag.message_primary
    told = redact(" ".join((diagnostics or str(error)).split()))
    if isinstance(error, psycopg2.errors.InsufficientPrivilege) and "row-level security" in told:
        return (
            f"{told}: it hides rows from the role that reads, and they would be missing without a word; "
            "give it BYPASSRLS (ALTER ROLE), or read a view of what may be seen"
        )
    if isinstance(error, UNFIT):
        return (
            f"{told}: a name or a text there has no form in UTF-8; correct it there (of a table that is "
            "loaded, mask: exclude leaves a column out)"
        )
    return told


def is_lost(error: psycopg2.Error) -> bool:
    """Whether an error says that the connection is gone, rather than that the server refused something."""
    if isinstance(error, psycopg2.errors.AdminShutdown | psycopg2.errors.CrashShutdown):
        return True
    # What libpq itself finds out has no code of the server's.
    return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and error.pgcode is None


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
