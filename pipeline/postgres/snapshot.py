"""One moment of a source: a snapshot that any number of connections read, while its transaction is open."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.postgres import Connection
from pipeline.step import Record

logger = logging.getLogger(__name__)

# A standby that is behind by more is told of, and what it shows is as old as that.
LAG_HOURS = 1
# Where what is wanted cannot be read at this moment any more.
ANOTHER = "let this run end, so that its next try takes another snapshot"


class ChangedSinceError(StepError):
    """The source has changed since the snapshot was taken, so that what this shows cannot be read now."""


@dataclass(frozen=True)
class Snapshot(Record):
    """One moment of a source. `horizon` is the oldest transaction (64 bits) that was still going then.

    `next_transaction` is the first one that had not begun; `system_identifier` (of server and
    database) and `timeline` say in which history, so that a restored or failed-over source is noticed.
    """

    identifier: str
    seen: str
    taken_at: datetime
    horizon: int
    next_transaction: int
    system_identifier: str
    timeline: int
    # Of the histories in which this source was seen, which one, and why it is another than before.
    history: int = 0
    history_reason: str = ""
    # Who has kept the horizon back for long, in words.
    held_back: Sequence[str] = ()
    # Of a standby that lacks a part of its primary: in which way, in words, and until when it has everything.
    behind: str = ""
    shows_until: datetime | None = None
    # Whether a table of it could not be read at this moment any more: then the next step takes another one.
    void: bool = False

    @property
    def as_of(self) -> datetime:
        """The moment of the source that is shown: earlier than it was taken, of a standby that is behind."""
        return self.shows_until or self.taken_at

    @property
    def whose(self) -> tuple[str, int, int]:
        """Return which history of which source it is of: only there do numbers of transactions compare."""
        return self.system_identifier, self.timeline, self.history

    def to_json(self) -> dict[str, Any]:
        """Return the snapshot as plain data."""
        until = self.shows_until and self.shows_until.isoformat()
        return {**super().to_json(), "taken_at": self.taken_at.isoformat(), "shows_until": until}

    @classmethod
    def _typed(cls, values: dict[str, Any]) -> dict[str, Any]:
        until = values.get("shows_until")
        return {
            **values,
            "taken_at": datetime.fromisoformat(values["taken_at"]),
            "shows_until": datetime.fromisoformat(until) if until else None,
        }


def take(connection: Connection, before: Callable[[], object] = lambda: None) -> Snapshot:
    """Begin a transaction on `connection` that sees one moment, and export it.

    `before` is called in that transaction before the moment is chosen: for locks, by statements that read
    nothing.
    """
    _begin(connection)
    before()
    query = postgres.for_transaction(connection, postgres.statement("postgres/snapshot"))
    (taken,) = postgres.read(connection, query, Snapshot)
    for lag in postgres.records(connection, postgres.statement("postgres/standby"), {"hours": LAG_HOURS}):
        taken = replace(taken, **lag)
        logger.warning("the source is %s", standby(taken))
    return taken


def standby(taken: Snapshot) -> str:
    """Return, in words, which standby that lacks a part of its primary a snapshot is of; "" otherwise."""
    if not taken.behind:
        return ""
    return (
        f"a standby that {taken.behind}, and shows it as of {taken.as_of.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    )


def read_at(connection: Connection, snapshot: Snapshot) -> None:
    """Begin a transaction on `connection` that sees the moment of `snapshot`.

    Raise StepError if nobody holds it any more.
    """
    _begin(connection)
    try:
        postgres.rows(connection, "SET TRANSACTION SNAPSHOT %s", (snapshot.identifier,))
        seen = postgres.value(
            connection, postgres.for_transaction(connection, "SELECT pg_current_snapshot()::text")
        )
    except postgres.Error as error:
        raise StepError(
            f"the snapshot of {snapshot.taken_at:%H:%M:%S} is gone ({postgres.message_of(error)})",
            hint=ANOTHER,
        ) from None
    # Identifiers are used again after a restart of the server.
    if seen != snapshot.seen:
        raise StepError(
            f"the snapshot of {snapshot.taken_at:%H:%M:%S} is gone, because the source was restarted",
            hint=ANOTHER,
        )


def _begin(connection: Connection) -> None:
    connection.rollback()
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=False)
