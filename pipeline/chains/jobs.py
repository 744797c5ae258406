"""The jobs that a school's settings ask for: who starts them, Nomad or one machine's own clock, asks here."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.chains import DUTIES, Duty
from pipeline.settings import Settings

PREFIX = "pipeline-"
# The backup of the first database begins at its duty's minute, each further one so many minutes later.
MINUTES_APART = 10
MINUTES_PER_HOUR = 60


@dataclass(frozen=True)
class Job:
    """One job as it is to be started: of a duty, and of a database where it is about one."""

    duty: Duty
    database: str | None = None

    @property
    def name(self) -> str:
        """Return what people call it: etl, backup-hr."""
        return self.duty.name + (f"-{self.database}" if self.database else "")

    @property
    def id(self) -> str:
        """Return what Nomad, Vault and systemd call it."""
        return PREFIX + self.name

    def begins(self, wanted: Sequence["Job"]) -> str:
        """Return when it begins, as a crontab says it: not all backups at once. `wanted` are all jobs."""
        if not self.database:
            return self.duty.schedule
        position = [job.database for job in wanted if job.duty is self.duty].index(self.database)
        minute, hour, *rest = self.duty.schedule.split()
        minutes = int(hour) * MINUTES_PER_HOUR + int(minute) + position * MINUTES_APART
        return " ".join([str(minutes % MINUTES_PER_HOUR), str(minutes // MINUTES_PER_HOUR % 24), *rest])


def wanted(settings: Settings) -> list[Job]:
    """Return the jobs that these settings ask for: of what they do not name there is none."""
    jobs = []
    for duty in DUTIES:
        if all(getattr(settings, section) for section in duty.sections):
            names = sorted(settings.databases) if duty.per_database else [None]
            jobs += [Job(duty, name) for name in names]
    return jobs
