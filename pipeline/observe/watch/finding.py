"""What is thought of one thing that was looked at, and the words for its age."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from pipeline.step import StepKey


class Severity(StrEnum):
    """How bad a finding is; `OPEN` is a failure that was told already, by who noticed it, and is not over."""

    OK = "ok"
    INFO = "info"
    OPEN = "open"
    WARNING = "warning"
    STALE = "stale"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class Finding:
    """One thing, and how it is. `key` is the same each time; what is not judged at all has no finding.

    `summary` names the thing, its age and the limit, `error` what was last said of it, both in one line;
    `command` is what to type. `since` is when it became so, as far as that is known.
    """

    key: str
    severity: Severity
    summary: str
    command: str = ""
    error: str | None = None
    since: datetime | None = None
    # The step that failed last, if one did.
    step: StepKey | None = None
    # What a person has to fix before the command.
    hint: str = ""

    @property
    def is_alert(self) -> bool:
        """Whether somebody should be told."""
        return self.is_wrong and self.severity != Severity.OPEN

    @property
    def is_wrong(self) -> bool:
        """Whether not all is well with it."""
        return self.severity not in (Severity.OK, Severity.INFO)

    @property
    def text(self) -> str:
        """Return everything in one line."""
        line = f"{self.summary}: {self.error}" if self.error else self.summary
        return f"{line}; next: {self.next_step}" if self.command else line

    @property
    def next_step(self) -> str:
        """Return what to do: what is to be fixed, if that is known, then what to type."""
        return f"{self.hint}, then {self.command}" if self.hint else self.command


def at(moment: datetime) -> str:
    """Return a moment, in UTC.

    >>> at(datetime(2026, 11, 22, 2, 15, tzinfo=UTC))
    '2026-11-22 02:15 UTC'
    """
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
