"""Judges the repositories of pgBackRest: how old the newest backup and WAL of each database's server are."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from pipeline import durations
from pipeline.observe.observed.observations import Observations
from pipeline.observe.observed.repositories import Repository
from pipeline.observe.watch import limits
from pipeline.observe.watch.finding import Finding, Severity, at
from pipeline.settings import Settings


def judge(settings: Settings, observations: Observations, now: datetime) -> Iterator[Finding]:
    """Yield what is to be thought of each."""
    for database, repository in sorted(observations.repositories.items()):
        key, line = f"watch/pgbackrest/{database}", f"{database}: {describe(repository, now)}"
        wrong = problems(settings, repository, now)
        if wrong:
            severity = Severity.STALE if is_stale(settings, repository, now) else Severity.WARNING
            command = f"pgbackrest --stanza={repository.stanza} info"
            yield Finding(key, severity, f"{line}; {'; '.join(wrong)}", command)
        else:
            yield Finding(key, Severity.OK, line)


def describe(repository: Repository, now: datetime) -> str:
    """Return what there is, for people."""
    newest = "pgBackRest: no backup"
    if repository.backup:
        taken_at = repository.backup.taken_at
        newest = f"pgBackRest {repository.backup.kind} of {at(taken_at)}, {limits.ago(now, taken_at)}"
    wal = "no WAL"
    if repository.archived_at:
        wal = f"WAL until {at(repository.archived_at)}, {limits.ago(now, repository.archived_at)}"
    return f"{newest}; {wal}"


def problems(settings: Settings, repository: Repository, now: datetime) -> list[str]:
    """Return what is wrong with it, each with what to do where that is ours to say."""
    wrong = (
        [f"pgBackRest reports for stanza {repository.stanza}: {repository.problem}"]
        if repository.problem
        else []
    )
    if _is_late(_taken_at(repository), _backup_limit(settings), now):
        wrong.append(f"the limit for a backup is {durations.exact(_backup_limit(settings))}")
    if _is_late(repository.archived_at, _wal_limit(settings), now):
        wrong.append(
            f"the limit for WAL is {durations.exact(_wal_limit(settings))}: check archive_command there, and "
            "archive_timeout if little is written"
        )
    if repository.backup and repository.backup.is_damaged:
        wrong.append(
            f"backup {repository.backup.label} has pages with a wrong checksum: the disk of its server is "
            "damaged, or was"
        )
    return wrong


def is_stale(settings: Settings, repository: Repository, now: datetime) -> bool:
    """Whether its newest backup or WAL is older than its limit, or there is none."""
    is_late = _is_late(_taken_at(repository), _backup_limit(settings), now)
    return is_late or _is_late(repository.archived_at, _wal_limit(settings), now)


def _taken_at(repository: Repository) -> datetime | None:
    return repository.backup.taken_at if repository.backup else None


def _backup_limit(settings: Settings) -> timedelta:
    return timedelta(hours=settings.pgbackrest.backup_hours)


def _wal_limit(settings: Settings) -> timedelta:
    return timedelta(hours=settings.pgbackrest.wal_hours)


def _is_late(moment: datetime | None, allowed: timedelta, now: datetime) -> bool:
    return moment is None or limits.exceeded(now, moment, allowed)
