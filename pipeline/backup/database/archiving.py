"""The archive of WAL that a server has beside our backups, as of pgBackRest: whether it is written."""

from dataclasses import dataclass
from datetime import datetime

from pipeline import postgres
from pipeline.postgres import Connection


@dataclass(frozen=True)
class Archiving:
    """When the server's archiving of WAL last worked and last failed, as it says itself; None: never.

    `has_means`: whether it is told how, by archive_command or archive_library.
    """

    archived_at: datetime | None
    failed_at: datetime | None
    has_means: bool = True

    @property
    def fails(self) -> bool:
        """Whether what it tried last did not work, or it cannot try anything.

        >>> from datetime import UTC
        >>> early, late = datetime(2026, 11, 22, 1, tzinfo=UTC), datetime(2026, 11, 22, 2, tzinfo=UTC)
        >>> Archiving(early, late).fails, Archiving(late, early).fails, Archiving(None, early).fails
        (True, False, True)
        """
        if not self.has_means:
            return True
        return self.failed_at is not None and (self.archived_at is None or self.failed_at > self.archived_at)

    @property
    def problem(self) -> str | None:
        """What is wrong with it and what to do; None where it works, or has nothing to archive yet."""
        if not self.fails:
            return None
        since = "it never worked"
        if self.archived_at:
            since = f"the last WAL that was archived is from {self.archived_at:%Y-%m-%d %H:%M:%S} UTC"
        why = "archive_mode is on, but neither archive_command nor archive_library is set"
        if self.has_means:
            why = f"the last failure was at {self.failed_at:%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"its server does not archive its WAL: {since}, and {why}. It keeps all WAL until that works, "
            "and its disk fills; see archive_command or archive_library there, and the server's log"
        )


def read(connection: Connection) -> Archiving | None:
    """Return how the server's archiving fares; None where it archives nothing."""
    rows = postgres.read(connection, postgres.statement("backup/archiving"), Archiving)
    return rows[0] if rows else None
