"""Backups and drills: the newest of each database, and what goes on, failed or was killed."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline import access
from pipeline.backup.store import backups
from pipeline.backup.work import attempts
from pipeline.ledger import archive
from pipeline.postgres import Connection
from pipeline.retry import ASKED
from pipeline.settings import Settings
from pipeline.step import State, Step, StepKey


@dataclass(frozen=True)
class Backup:
    """The newest backup of a database; all None where there is none. `is_stale`: older than its limit."""

    database: str
    run: str | None = None
    taken_at: datetime | None = None
    size_bytes: int | None = None
    verified: bool = False
    warnings: Sequence[str] = ()
    is_stale: bool = False


@dataclass(frozen=True)
class Drill:
    """The newest drill of a database, and what did not hold; `held_at` is when one last held.

    `task` tells one of our backup from one of what pgBackRest has. `is_stale`: longer ago than its limit.
    """

    task: str
    database: str
    month: str
    held: bool
    grade: str
    seconds: float
    finished_at: datetime
    error: str | None
    hint: str | None = None
    held_at: datetime | None = None
    is_stale: bool = False

    def as_failure(self) -> Step:
        """Return it as a step that failed."""
        began = self.finished_at - timedelta(seconds=self.seconds)
        key = StepKey(self.month, self.task, self.database)
        return Step(key, State.FAILED, began, self.finished_at, None, self.error, 4, self.hint or None)


def in_ledger(warehouse: Connection) -> list[Backup]:
    """Return the newest backup of each database that the ledger knows."""
    return archive.newest_backups(warehouse, Backup)


def in_bucket(settings: Settings) -> list[Backup]:
    """Return the newest backup of each database in the bucket. Raise PipelineError if that cannot be told."""
    with access.opened(settings) as databases, backups.reading(databases, retries=ASKED) as bucket:
        listing = backups.find(bucket, settings)
    # One that is not sound is the newest only where there is no other.
    by_age = sorted(listing.backups, key=lambda one: (one.sound, one.taken_at))
    newest = {one.database: one for one in by_age}
    return [Backup(one.database, one.run, one.taken_at, one.size_bytes, one.sound) for one in newest.values()]


def drills_in_ledger(warehouse: Connection) -> list[Drill]:
    """Return the newest drill of each database, of our backup and of what pgBackRest has, that is known."""
    return [
        one
        for task in (attempts.DRILL, attempts.ARCHIVE_DRILL)
        for one in archive.last_drills(warehouse, task, functools.partial(Drill, task=task))
    ]


def going(
    settings: Settings, run: str | None, known: Sequence[Backup], drills: Sequence[Drill] = ()
) -> list[Step]:
    """Return the backups and drills that are not complete, but for those that a later one made up for."""
    if settings.backup is None:
        return []
    newest = {backup.database: backup.run or "" for backup in known}
    attempted = [step for name in settings.databases for step in attempts.backups(settings.backup, name)]
    wanted = [
        step
        for step in attempted
        if (step.key.run == run if run else step.key.run > newest.get(step.key.name, ""))
    ]
    held = {(drill.task, drill.database): drill.finished_at for drill in drills if drill.held}
    drilling = [
        step
        for step in attempts.drills(settings.backup)
        if (made := held.get((step.key.task, step.key.name))) is None or step.started_at > made
    ]
    return [*wanted, *drilling]
