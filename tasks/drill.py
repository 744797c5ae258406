"""Restore drills: RestoreDrill proves a database's newest backup, each month; DrillEverything gathers them.

They need the bucket, Vault and the drill server, and nothing else.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import luigi

from pipeline.backup.drills import attempt, drill, recovery
from pipeline.backup.drills.report import Origin
from pipeline.chains import DRILL
from tasks import events  # noqa: F401 - people are told of what fails
from tasks.step import Done, MonthParameter, Shown, configured


def this_month() -> str:
    """Return the month in which we are, in UTC."""
    return f"{datetime.now(UTC):%Y-%m}"


class Drill(Shown):
    """A drill of one database, in a month."""

    task_namespace = DRILL.name
    # What failed was not a passing thing: who waits for the result is told at once.
    retry_count = 1

    database = luigi.Parameter(description="the database, as in luigi.cfg")
    month = MonthParameter(description="the month, such as 2026-11")

    def require_declared(self) -> None:
        """Raise UsageError if luigi.cfg has no such database."""
        configured().database(self.database)


class RestoreDrill(Drill):
    """The newest backup of a database was restored, and found to be what was backed up."""

    def output(self) -> Done:
        return Done(
            f"proven backup of {self.database} in {self.month}",
            lambda: attempt.is_held(configured(), self.database, self.month),
        )

    def run(self) -> None:
        drill.drill_database(configured(), self.database, self.month, self.show)


class ArchiveDrill(Drill):
    """What pgBackRest has of a database's server was recovered, and found to be that server's."""

    def require_declared(self) -> None:
        """Raise UsageError if luigi.cfg has no such database, or no stanza for it."""
        recovery.stanza_of(configured(), self.database)

    def output(self) -> Done:
        return Done(
            f"proven archive of {self.database} in {self.month}",
            lambda: attempt.is_held(configured(), self.database, self.month, Origin.PGBACKREST),
        )

    def run(self) -> None:
        recovery.drill_archive(configured(), self.database, self.month, self.show)


class DrillEverything(luigi.WrapperTask):
    """Every database of the settings, or of those that are named, has a proven backup: the root."""

    databases: Sequence[str] = luigi.ListParameter(default=(), description="only these")
    month = MonthParameter(default=this_month(), description="the month, by default this one (UTC)")
    origin = luigi.ChoiceParameter(
        default=str(Origin.BACKUP),
        choices=[str(one) for one in Origin],
        description="what is restored: our backups, or pgBackRest's archive",
    )

    def require_declared(self) -> None:
        """Raise UsageError if luigi.cfg has not all of these databases."""
        for name in self.databases:
            configured().database(name)

    def requires(self) -> Iterator[Drill]:
        if self.origin == Origin.PGBACKREST:
            for name in self.databases or configured().with_archive:
                yield ArchiveDrill(database=name, month=self.month)
            return
        for name in self.databases or sorted(configured().databases):
            yield RestoreDrill(database=name, month=self.month)
