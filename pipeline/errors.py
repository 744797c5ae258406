"""The errors that a person can do something about, each with the exit code it ends a command with.

Anything else that is raised is a bug, and ends with a traceback and exit code 1.
"""

import contextlib
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

# What `again` is where no attempt at the same run can end well.
ANOTHER_RUN = "another run"

# How messages call a source's server, before its name.
_SOURCE = "source "


@dataclass(frozen=True)
class Outage:
    """A server that is out of reach, or refuses our login: what fails for want of it is one failure.

    `server` is its name as messages have it, such as "the warehouse", "source hr" or "Vault". `address` is
    its host:port where the server itself does not answer: what else is there is out of reach as well.
    """

    server: str
    address: str | None = None

    @classmethod
    def of_source(cls, name: str) -> "Outage":
        """Return that of a source.

        >>> Outage.of_source("hr").source, Outage("the warehouse").source
        ('hr', None)
        """
        return cls(f"{_SOURCE}{name}")

    @property
    def source(self) -> str | None:
        """The source whose server it is; None for a server that all need."""
        return self.server.removeprefix(_SOURCE) if self.server.startswith(_SOURCE) else None

    @property
    def place(self) -> str:
        """What is the same for all that fail for want of this server."""
        return self.address or self.server


class PipelineError(Exception):
    """Something a person can fix. The message says what happened, to which thing, and what to do.

    `hint` is what is to be fixed, and where, in the imperative. Where it is given the message ends with it;
    where there is room it is told apart from the fact.
    """

    exit_code: ClassVar[int] = 3
    # Whether another try of the same, a little later, may end otherwise.
    retryable = True
    hint = ""
    # The step from which on it has to be done over, where that is an earlier one than the one that failed;
    # or ANOTHER_RUN.
    again = ""
    # Whether an alert was told for each thing that failed, so that none is needed for the whole.
    alerted = False
    # The server that was not to be had, where it failed for want of one.
    outage: Outage | None = None

    def __init__(
        self,
        message: str = "",
        *,
        hint: str = "",
        retryable: bool | None = None,
        again: str = "",
        outage: Outage | None = None,
    ) -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.hint, self.again, self.outage = hint, again, outage
        if retryable is not None:
            self.retryable = retryable

    @property
    def fact(self) -> str:
        """Return what happened, without the hint."""
        return str(self).removesuffix(f"; {self.hint}") if self.hint else str(self)

    def named(self, name: str) -> "PipelineError":
        """Return the same error with `name` before it, unless it begins so.

        >>> error = CheckError("it is empty", hint="fill it").named("hr.employee")
        >>> str(error), error.fact, error.retryable
        ('hr.employee: it is empty; fill it', 'hr.employee: it is empty', False)
        """
        if self.fact.startswith(name):
            return self
        return type(self)(
            f"{name}: {self.fact}",
            hint=self.hint,
            retryable=self.retryable,
            again=self.again,
            outage=self.outage,
        )


class UsageError(PipelineError):
    """The command, the settings or the catalog are wrong."""

    exit_code = 2
    retryable = False


class ProblemsError(UsageError):
    """Several things are wrong at once; all are told.

    `problems` holds one line each, already with file and line where there is one.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)

    def named(self, name: str) -> "PipelineError":
        """Return the same problems, each with `name` before it."""
        return type(self)([one if one.startswith(name) else f"{name}: {one}" for one in self.problems])


class SettingsError(ProblemsError):
    """The settings are wrong, or were not found."""


class StepError(PipelineError):
    """A step could not do its work."""

    exit_code = 3


class ConflictError(StepError):
    """The server ended a transaction for another's sake (serialization, a deadlock, a standby's replay).

    Worth another try.
    """


class TakenOverError(ConflictError):
    """Another worker is at the step by now, or has done it: whoever tries again sees which."""


class CheckError(PipelineError):
    """A quality check, a drift rule or a drill did not hold."""

    exit_code = 4
    retryable = False


class UnreachableError(PipelineError):
    """Vault, the scheduler, a database or the bucket cannot be reached or refuses our login."""

    exit_code = 5


class LostError(UnreachableError):
    """A connection broke, or was refused for now, as by a server that starts: worth another try."""


class AlreadyRunningError(PipelineError):
    """Another run of the same name is going."""

    exit_code = 6

    @classmethod
    def of(cls, what: str, run: str, since: str, host: str, pid: int) -> "AlreadyRunningError":
        """Return the error that says which run is going; `since` is in UTC.

        >>> print(AlreadyRunningError.of("a load", "2026-11-22", "2026-11-22 02:15", "b", 7).fact)
        a load is already running: run 2026-11-22, since 2026-11-22 02:15 UTC on b (process 7)
        """
        return cls(
            f"{what} is already running: run {run}, since {since} UTC on {host} (process {pid})",
            hint="wait for it to end",
        )


class StoppedError(PipelineError):
    """Somebody told the program to stop (SIGTERM or Ctrl-C)."""

    exit_code = 143


def common_kind(exit_codes: Iterable[int | None]) -> type[PipelineError]:
    """Return the kind of error that all of these exit codes tell, or StepError where they differ."""
    codes = set(exit_codes)
    kinds: tuple[type[PipelineError], ...] = (UsageError, CheckError, UnreachableError)
    return next((kind for kind in kinds if codes == {kind.exit_code}), StepError)


# What it raises to take an answer apart that is shaped otherwise than its server's are. An SDK asserts it.
MISSHAPEN = (AssertionError, AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)
OURS = Path(__file__).parent


@contextlib.contextmanager
def understood(fact: str, hint: str) -> Iterator[None]:
    """Take a server's answer apart in the block. Raise UnreachableError, with that fact, if it does not fit.

    As that of a login page, of a proxy, of a version nobody knows yet. The fact ends with where it did not.
    """
    try:
        yield
    except MISSHAPEN as error:
        raise UnreachableError(f"{fact} ({misfit(error)})", hint=hint) from error


def misfit(error: BaseException) -> str:
    """Return what did not fit and where, without any value of the answer but a key's name.

    Where that is in a library, it says of which line of ours as well: it may be a bug of ours, after all.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if OURS in Path(frame.filename).parents]
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in (frames[-1], *ours[-1:])]
    what = type(error).__name__ + (f" {error}" if isinstance(error, KeyError) else "")
    return f"{what}, {' from '.join(dict.fromkeys(places))}"


def innermost(error: BaseException) -> str:
    """Return the system's own words at the bottom of a network error, or the kind of error.

    What lies above them are the libraries' own, which may name an address that holds a credential.
    """
    kind = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if verified := getattr(cause, "verify_message", None):
            return str(verified)
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return kind
