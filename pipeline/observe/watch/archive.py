"""Judges the bucket: how old each database's backup and drill is, whether its size is strange, the rules."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from statistics import median

from pipeline import chains, durations
from pipeline.backup.store.backups import Backup
from pipeline.backup.store.signature import Signature
from pipeline.observe.observed.observations import BucketObservations, DrillObservations, Observations, newest
from pipeline.observe.watch import limits
from pipeline.observe.watch.finding import Finding, Severity, at
from pipeline.observe.watch.outliers import THRESHOLD, modified_z
from pipeline.settings import Settings

# A size is compared with those of so many backups before it, if there are as many as that at least.
COMPARED, NEEDED = 14, 7
# What a size may differ without a word, where all before it were alike: gpg and the catalog's own noise.
# With the threshold that is about a tenth of the size, and 20 kB of a tiny database.
FLOOR_SHARE, FLOOR_BYTES = 0.02, 4096


def judge(settings: Settings, observations: Observations, now: datetime) -> Iterator[Finding]:
    """Yield what is to be thought of each database's backups and drills, and of the bucket itself."""
    bucket = observations.bucket
    if bucket is None:
        return
    for name in sorted(settings.databases):
        yield _age(bucket, name, limits.backup(settings, name), now)
        yield from _changed(settings, bucket, name, now)
        yield from _not_ours(bucket, name, now)
        yield from _size(bucket, name, now)
        if settings.warehouse is None or observations.ledger is not None:
            if settings.drill is not None:
                yield from _drill(settings, observations, bucket, name, chains.DRILL_TASK, now)
            if name in settings.drilled_archives:
                yield from _drill(settings, observations, bucket, name, chains.ARCHIVE_DRILL_TASK, now)
    yield from _undeclared(settings, bucket, now)
    if bucket.rule_problems is not None:
        yield _rules(bucket)


def _age(bucket: BucketObservations, database: str, allowed: timedelta, now: datetime) -> Finding:
    key, command = f"watch/backup/{database}", _another(bucket, database, now)
    sound = [backup for backup in bucket.of(database) if backup.sound]
    begun = [run for name, run in bucket.incomplete if name == database]
    if not sound:
        unsigned = [one for one in bucket.of(database) if one.signature is Signature.UNSIGNED]
        what = f", only the unfinished run {begun[-1]}" if begun else ""
        if unsigned:
            run = unsigned[-1].run
            what = f" and signed: run {run} was made before backups were signed, or by somebody else"
        summary = (
            f"backup of {database}: bucket {bucket.name} has none that is verified{what}; "
            f"the limit is {durations.exact(allowed)}"
        )
        return Finding(key, Severity.STALE, summary, command)
    last = sound[-1]
    after = [run for run in begun if run > last.run]
    what = f"; run {after[-1]} was begun and has no manifest" if after else ""
    summary = (
        f"backup of {database}: the newest verified one, run {last.run}, was taken at {at(last.taken_at)}, "
        f"{limits.ago(now, last.taken_at)}; the limit is {durations.exact(allowed)}{what}"
    )
    if limits.exceeded(now, last.taken_at, allowed):
        return Finding(key, Severity.STALE, summary, command, since=last.taken_at + allowed)
    return Finding(key, Severity.OK, summary)


def _another(bucket: BucketObservations, database: str, now: datetime) -> str:
    """Return what makes another backup: as today's run, or as one of its own where that name is taken."""
    taken = any(backup.run == f"{now:%Y-%m-%d}" for backup in bucket.of(database))
    return chains.BACKUP.command(f"{now:%Y-%m-%dT%H%M}" if taken else None, database)


def _changed(
    settings: Settings, bucket: BucketObservations, database: str, now: datetime
) -> Iterator[Finding]:
    # On their last day the objects of a backup are not removed all at once.
    kept = timedelta(days=settings.require_backup().keep_days - 1)
    there = [backup for backup in bucket.of(database) if now - backup.taken_at < kept]
    wrong = [backup for backup in there if not backup.verified]
    gone = {one.run: one for one in bucket.hidden if one.database == database}
    key, what = f"watch/changed/{database}", []
    if wrong:
        last = wrong[-1]
        what.append(
            f"{len(wrong)} of {len(there)} differ from the verified ones; the newest, run {last.run}, was "
            f"taken {limits.ago(now, last.taken_at)}: an object was replaced, hidden or deleted since"
        )
    if gone:
        newest = gone[max(gone)]
        what.append(
            f"{len(gone)} hidden, the newest, run {newest.run}, at {at(newest.hidden_at)}: "
            "'b2 file unhide' brings back each object of it"
        )
    if what:
        summary = f"backup of {database}: {'; '.join(what)}; find out who did it"
        yield Finding(key, Severity.WARNING, summary, f"pipeline backups {database}")
    elif there:
        yield Finding(key, Severity.OK, f"backup of {database}: all {len(there)} are as they were verified")


def _not_ours(bucket: BucketObservations, database: str, now: datetime) -> Iterator[Finding]:
    """Yield what is to be said of backups that we did not sign; those from before we did are nobody's."""
    there = [backup for backup in bucket.of(database) if backup.signature]
    signed = [backup for backup in there if backup.signature is Signature.SIGNED]
    strange = [
        backup
        for backup in there
        if backup.signature is Signature.WRONG
        or (backup.signature is Signature.UNSIGNED and signed and backup.taken_at > signed[0].taken_at)
    ]
    key = f"watch/signature/{database}"
    if strange:
        last = strange[-1]
        summary = (
            f"backup of {database}: {len(strange)} of {len(there)} are not ours: the newest, run "
            f"{last.run}, claims to be taken {limits.ago(now, last.taken_at)}, {last.flaw}. Type 'pipeline "
            "check', which shows if [backup] signers lacks a line here; otherwise somebody else wrote to "
            "the bucket: make a new key for [backup] secret, and delete the old one"
        )
        yield Finding(key, Severity.WARNING, summary, f"pipeline backups {database}")
    elif there:
        summary = f"backup of {database}: {len(signed)} of {len(there)} are signed by us"
        yield Finding(key, Severity.OK, summary)


def _size(bucket: BucketObservations, database: str, now: datetime) -> Iterator[Finding]:
    sound = [backup for backup in bucket.of(database) if backup.sound]
    before = [backup.size_bytes for backup in sound[:-1]][-COMPARED:]
    if len(before) < NEEDED:
        return
    last = sound[-1]
    usual = median(before)
    score = modified_z(last.size_bytes, before, floor=max(usual * FLOOR_SHARE, FLOOR_BYTES))
    key = f"watch/size/{database}"
    summary = (
        f"backup of {database}: run {last.run}, taken {limits.ago(now, last.taken_at)}, has "
        f"{_megabytes(last.size_bytes)}; the {len(before)} before it had a median of {_megabytes(usual)}"
    )
    if abs(score) <= THRESHOLD:
        yield Finding(key, Severity.OK, summary)
        return
    summary += (
        f" (modified z-score {score:+.1f}, the limit is {THRESHOLD:g}); find out which rows were lost "
        "or added"
    )
    yield Finding(key, Severity.WARNING, summary, f"pipeline backups {database}", since=last.taken_at)


def _megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:,.2f} MB"


def _drill(
    settings: Settings,
    observations: Observations,
    bucket: BucketObservations,
    database: str,
    task: str,
    now: datetime,
) -> Iterator[Finding]:
    allowed = limits.drill(settings, database)
    subject = chains.DRILL.subject(task, {"database": database})
    key, command = f"watch/{subject.key}", subject.command
    latest = _latest(observations, bucket, database, task)
    if latest is None or latest.held_at is None:
        first = _first_backup(observations, bucket, database)
        if first is None:
            return  # told of the backup
        if settings.warehouse is None:
            # The bucket alone is asked, and it forgets its first backup and its drills after so long.
            allowed = min(allowed, timedelta(days=settings.require_backup().keep_days))
        what = f"none held yet (grade {latest.grade} in {latest.month})" if latest else "there was none yet"
        summary = (
            f"{subject.name}: {what}, and our first backup is of {at(first)}, {limits.ago(now, first)}; "
            f"the limit is {durations.exact(allowed)}"
        )
        if latest or limits.exceeded(now, first, allowed):
            yield Finding(key, Severity.STALE, summary, command, since=first + allowed)
        return
    summary = (
        f"{subject.name}: the last that held was {limits.ago(now, latest.held_at)}; "
        f"the limit is {durations.exact(allowed)}"
    )
    if not latest.held:
        summary += f"; the latest, for {latest.month}, has grade {latest.grade}: it did not hold"
        yield Finding(key, Severity.WARNING, summary, command, since=latest.finished_at)
    elif limits.exceeded(now, latest.held_at, allowed):
        if latest.month == f"{now:%Y-%m}":
            # The one of this month held, so that the command would have nothing to do: another, of today.
            command += f" --{chains.DRILL.run_parameter} {now:%Y-%m-%d}"
        yield Finding(key, Severity.STALE, summary, command, since=latest.held_at + allowed)
    else:
        yield Finding(key, Severity.OK, summary)


def _latest(
    observations: Observations, bucket: BucketObservations, database: str, task: str
) -> DrillObservations | None:
    """Return the newest drill that either place knows of: the bucket forgets, the warehouse may not know."""
    places = [bucket.drills, observations.ledger.drills if observations.ledger else {}]
    known = [drills[task][database] for drills in places if database in drills.get(task, {})]
    return newest(known) if known else None


def _first_backup(observations: Observations, bucket: BucketObservations, database: str) -> datetime | None:
    moments = [backup.taken_at for backup in bucket.of(database)]
    if observations.ledger and database in observations.ledger.first_backups:
        moments.append(observations.ledger.first_backups[database])
    return min(moments, default=None)


def _undeclared(settings: Settings, bucket: BucketObservations, now: datetime) -> Iterator[Finding]:
    """Yield what the bucket has of databases that nobody backs up any more: to know, not to act upon."""
    others: dict[str, Backup] = {backup.database: backup for backup in bucket.backups}
    for name, last in sorted(others.items()):
        if name not in settings.databases:
            count = len(bucket.of(name))
            summary = (
                f"bucket {bucket.name}: backups of {name}: {count}, the newest taken "
                f"{limits.ago(now, last.taken_at)}; luigi.cfg has no [database.{name}]"
            )
            yield Finding(f"watch/undeclared/{name}", Severity.INFO, summary, f"pipeline backups {name}")


def _rules(bucket: BucketObservations) -> Finding:
    if not bucket.rule_problems:
        return Finding("watch/rules", Severity.OK, f"bucket {bucket.name}: its rules and lock are correct")
    return Finding(
        "watch/rules",
        Severity.WARNING,
        "; ".join(bucket.rule_problems),
        "pipeline check --fix --admin-secret PATH",
    )
