"""Backups and drills: the newest of each database, and what goes on, failed or was killed."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from pipeline import access
from pipeline.backup.store import backups
from pipeline.backup.work import attempts
from pipeline.ledger import archive
from pipeline.observe.overview.model import Backup, Drill
from pipeline.observe.watch import limits
from pipeline.postgres import Connection
from pipeline.settings import Settings
from pipeline.step import Step


def judged(settings: Settings, found: Sequence[Backup], now: datetime) -> list[Backup]:
    """Return the backups, and those that are missing, each with whether it is older than its limit."""
    return [
        dataclasses.replace(one, is_stale=_is_late(settings, one, now))
        for one in _with_missing(settings, found)
    ]


def judged_drills(settings: Settings, found: Sequence[Drill], now: datetime) -> list[Drill]:
    """Return the drills, each with whether it is too long ago; of what is not declared none is."""
    return [
        dataclasses.replace(
            one,
            is_stale=settings.drill is not None
            and one.database in settings.databases
            and limits.exceeded(now, one.finished_at, limits.drill(settings, one.database)),
        )
        for one in found
    ]


def _is_late(settings: Settings, backup: Backup, now: datetime) -> bool:
    if backup.database not in settings.databases:
        return False
    allowed = limits.backup(settings, backup.database)
    return backup.taken_at is None or limits.exceeded(now, backup.taken_at, allowed)


def _with_missing(settings: Settings, found: Sequence[Backup]) -> list[Backup]:
    known = {backup.database for backup in found}
    missing = [Backup(name) for name in settings.databases if name not in known]
    return sorted([*found, *missing], key=lambda one: one.database)


def in_ledger(warehouse: Connection) -> list[Backup]:
    """Return the newest backup of each database that the ledger knows."""
    return [Backup(*found) for found in archive.newest_backups(warehouse)]


def in_bucket(settings: Settings) -> list[Backup]:
    """Return the newest backup of each database in the bucket. Raise PipelineError if that cannot be told."""
    with access.opened(settings) as databases, backups.reading(databases) as bucket:
        listing = backups.find(bucket, settings)
    # One that is not sound is the newest only where there is no other.
    by_age = sorted(listing.backups, key=lambda one: (one.sound, one.taken_at))
    newest = {one.database: one for one in by_age}
    return [Backup(one.database, one.run, one.taken_at, one.size_bytes, one.sound) for one in newest.values()]


def drills_in_ledger(warehouse: Connection) -> list[Drill]:
    """Return the newest drill of each database that the ledger knows."""
    return [Drill(*found) for found in archive.newest_drills(warehouse)]


def going(
    settings: Settings, run: str | None, known: Sequence[Backup], drills: Sequence[Drill] = ()
) -> list[Step]:
    """Return the backups and drills that are not complete, but for those that a later one made up for."""
    if settings.backup is None:
        return []
    newest = {backup.database: backup.run or "" for backup in known}
    found = [step for name in settings.databases for step in attempts.backups(settings.backup, name)]
    wanted = [
        step
        for step in found
        if (step.key.run == run if run else step.key.run > newest.get(step.key.name, ""))
    ]
    held = {drill.database: drill.finished_at for drill in drills if drill.held}
    drilling = [
        step
        for step in attempts.drills(settings.backup)
        if step.key.name not in held or step.started_at > held[step.key.name]
    ]
    return [*wanted, *drilling]
