"""The archive of WAL that a server has beside our backups, as of pgBackRest: whether it is written."""

from dataclasses import dataclass
from datetime import datetime

from pipeline import postgres
from pipeline.postgres import Connection


@dataclass(frozen=True)
class Archiving:
    """When the server's archiving of WAL last worked and last failed, as it says itself; None: never."""

    archived_at: datetime | None
    failed_at: datetime | None

    @property
    def fails(self) -> bool:
        """Whether what it tried last did not work.

        >>> from datetime import UTC
        >>> early, late = datetime(2026, 11, 22, 1, tzinfo=UTC), datetime(2026, 11, 22, 2, tzinfo=UTC)
        >>> Archiving(early, late).fails, Archiving(late, early).fails, Archiving(None, early).fails
        (True, False, True)
        """
        return self.failed_at is not None and (self.archived_at is None or self.failed_at > self.archived_at)

    def warnings(self, name: str) -> tuple[str, ...]:
        """Return a warning of the database `name` if it fails."""
        if not self.fails:
            return ()
        since = "it never worked"
        if self.archived_at:
            since = f"the last WAL that was archived is of {self.archived_at:%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"{name}: its server fails to archive its WAL: {since}, and the last failure of "
            f"{self.failed_at:%Y-%m-%d %H:%M:%S} UTC; it keeps all WAL until that works, and its disk fills: "
            "see archive_command or archive_library there, and the server's log",
        )


def read(connection: Connection) -> Archiving | None:
    """Return how the server's archiving fares; None where it archives nothing."""
    found = postgres.read(connection, postgres.statement("backup/archiving"), Archiving)
    return found[0] if found else None
