"""What an alert says."""

import socket
import uuid
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from pipeline.choice import Choice
from pipeline.redact import redact


class Kind(Choice):
    """What an alert says of what it is about."""

    FAILED = "failed"
    RECOVERED = "recovered"
    STALE = "stale"
    WARNING = "warning"
    NOTICE = "notice"


# An alert is read on a telephone; the log has the rest.
LINE_LENGTH = 600
# What is worse is told though what is less bad was told already.
_BADNESS = {Kind.RECOVERED: 0, Kind.NOTICE: 0, Kind.WARNING: 1, Kind.STALE: 2, Kind.FAILED: 2}


def one_line(text: str) -> str:
    """Return `text` on one line, of a length that can be read, and without credentials.

    >>> one_line("no connection:\\n  refused")
    'no connection: refused'
    """
    line = " ".join(redact(text).split())
    return line if len(line) <= LINE_LENGTH else line[: LINE_LENGTH - 3] + "..."


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Line = Annotated[str, AfterValidator(one_line)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class Alert(BaseModel):
    """What went wrong, or is well again, in one thing. Built of text that is redacted as it comes in."""

    # Not "forbid": what a later version left in the spool can be sent by this one.
    model_config = ConfigDict(frozen=True, defer_build=True)

    version: Literal[1] = Field(default=1, description="The version of this format.")
    id: str = Field(
        default_factory=lambda: uuid.uuid4().hex,
        description="The same each time that this message is sent. Ignore a second one with the same id: a "
        "message may be sent again, for instance after a power cut.",
    )
    key: Line = Field(
        description="What it is about, such as etl/hr.employee, backup/hr or run/etl. After an alert of "
        "kind failed, stale or warning, no other of the same key is sent until it has recovered, unless it "
        "got worse."
    )
    kind: Kind = Field(
        description="failed: work was not done. stale: something is older than its limit. warning: nothing "
        "has stopped yet. recovered: the problem of this key is over. notice: nothing is wrong; no alert of "
        "kind recovered follows."
    )
    summary: Line = Field(description="What happened, in one line.")
    task: str | None = Field(default=None, description="The Luigi task that failed, such as ExtractTable.")
    error: Line | None = Field(default=None, description="The error in one line, if there is one.")
    hint: Line | None = Field(
        default=None, description="What to fix before typing the command, if that is known."
    )
    server: Line | None = Field(
        default=None,
        description="The server that was out of reach, if that is why it failed: its host:port, or its "
        "name if only its login was refused.",
    )
    run: str | None = Field(default=None, description="The logical date of the run, if it is about one.")
    host: str = Field(default_factory=socket.gethostname, description="The machine that sent it.")
    since: Moment = Field(
        default_factory=lambda: datetime.now(UTC),
        description="When the problem began; of kind recovered: when it had begun.",
    )
    at: Moment = Field(default_factory=lambda: datetime.now(UTC), description="When this was written.")
    command: Line | None = Field(default=None, description="What to type.")
    task_url: Line | None = Field(default=None, description="The task in Luigi's visualizer.")
    log_url: Line | None = Field(default=None, description="The log of the step.")

    def is_worse_than(self, other: "Alert") -> bool:
        """Whether this is to be told though `other`, of the same key, was told and has not recovered."""
        return _BADNESS[self.kind] > _BADNESS[other.kind]

    def recovery(self, summary: str) -> "Alert":
        """Return the message that this one is over. Made twice, it has the same id twice."""
        return Alert(
            id=uuid.uuid5(uuid.NAMESPACE_OID, f"{self.id} recovered").hex,
            key=self.key,
            kind=Kind.RECOVERED,
            summary=summary,
            run=self.run,
            since=self.since,
        )
