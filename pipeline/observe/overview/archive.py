"""Judges backups and drills: which are missing, and which are too old."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from pipeline.chains import ARCHIVE_DRILL_TASK, DRILL_TASK
from pipeline.observe.observed.archive import Backup, Drill
from pipeline.observe.watch import limits
from pipeline.settings import Settings


def judged(settings: Settings, backups: Sequence[Backup], now: datetime) -> list[Backup]:
    """Return the backups, and those that are missing, each with whether it is older than its limit."""
    return [
        dataclasses.replace(one, is_stale=_is_late(settings, one, now))
        for one in _with_missing(settings, backups)
    ]


def judged_drills(settings: Settings, drills: Sequence[Drill], now: datetime) -> list[Drill]:
    """Return the drills, each with whether it is too long ago: of what is not declared none is.

    One of what pgBackRest has only where luigi.cfg still names that.
    """
    return [
        dataclasses.replace(
            one,
            is_stale=_is_drilled(settings, one)
            and limits.exceeded(now, one.finished_at, limits.drill(settings, one.database)),
        )
        for one in drills
        if one.task == DRILL_TASK or one.database in settings.with_archive
    ]


def _is_drilled(settings: Settings, drill: Drill) -> bool:
    if drill.task == ARCHIVE_DRILL_TASK:
        return drill.database in settings.drilled_archives
    return settings.drill is not None and drill.database in settings.databases


def _is_late(settings: Settings, backup: Backup, now: datetime) -> bool:
    if backup.database not in settings.databases:
        return False
    allowed = limits.backup(settings, backup.database)
    return backup.taken_at is None or limits.exceeded(now, backup.taken_at, allowed)


def _with_missing(settings: Settings, backups: Sequence[Backup]) -> list[Backup]:
    known = {backup.database for backup in backups}
    missing = [Backup(name) for name in settings.databases if name not in known]
    return sorted([*backups, *missing], key=lambda one: one.database)
