"""Judges what loads and backups live on: what is within reach, what is going on, keys, unsent alerts."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import median

from pipeline import durations
from pipeline.alerts import failures
from pipeline.alerts.failures import KEYS, AlertSubject
from pipeline.chains import ANALYSTS, ARCHIVE_DRILL, BACKUP, DRILL, ETL
from pipeline.crypt import EXPIRES_SOON
from pipeline.observe.observed.observations import KeyObservations, Observations, Work
from pipeline.observe.watch import limits
from pipeline.observe.watch.finding import Finding, Severity, at
from pipeline.settings import Settings
from pipeline.step import State

# What takes so many times as long as it usually does hangs, if it has been going for an hour.
TIMES_USUAL, SHORT = 3, timedelta(hours=1)
# Where too little is known of what is usual.
NEEDED, UNKNOWN_LIMIT = 3, timedelta(hours=12)


def judge(settings: Settings, observations: Observations, now: datetime) -> Iterator[Finding]:
    """Yield what could not be observed, what is going on, and the keys."""
    for unseen in observations.unseen:
        summary = f"{unseen.subject}: could not be observed ({at(now)})"
        reach = f"watch/reach/{unseen.subject}"
        yield Finding(reach, Severity.UNREACHABLE, summary, "pipeline check", unseen.error, now)
    for one in observations.seen:
        yield Finding(f"watch/reach/{one}", Severity.OK, f"{one}: can be observed")
    yield from _loading(observations, now)
    yield from _working(settings, observations, now)
    yield from _running_programs(observations, now)
    for key in observations.keys:
        yield _key(key, now)


def _loading(observations: Observations, now: datetime) -> Iterator[Finding]:
    # The one that goes on may be an old one.
    run = (observations.ledger.going or observations.ledger.run) if observations.ledger else None
    if run is None:
        return
    work = Work(ETL.name, run.run, run.attempted_at, run.alive, f"on {run.host}, process {run.pid}")
    going = work if run.state == State.RUNNING else None
    yield from _at_work(ETL.name, going, failures.load(run.run), observations, now)


def _working(settings: Settings, observations: Observations, now: datetime) -> Iterator[Finding]:
    """Yield how backups and drills get on; these leave word on the machine that makes them."""
    if observations.work is None:
        return
    going = {work.name: work for work in observations.work if not _made_up_for(work, observations)}
    for database in sorted(settings.databases):
        work = going.get(f"{BACKUP.name} {database}")
        subject = failures.backup(database, work.run if work else None)
        yield from _at_work(f"{BACKUP.name} {database}", work, subject, observations, now)
    drills = {DRILL.name: failures.drills}
    if settings.drilled_archives:
        drills[ARCHIVE_DRILL] = failures.archive_drills
    for name, subject_of in drills.items():
        work = going.get(name)
        yield from _at_work(name, work, subject_of(work.run if work else None), observations, now)


def _running_programs(observations: Observations, now: datetime) -> Iterator[Finding]:
    """Yield how the analysts' own tasks get on, where this machine runs them: one file after the other."""
    programs = [one for one in observations.programs or () if one.records is not None]
    if not programs:
        return
    running = [one.step for one in programs if one.step and one.step.state == State.RUNNING]
    killed = [one.step for one in programs if one.step and one.was_killed]
    step = max(running or killed, key=lambda one: one.started_at, default=None)
    work = None
    if step is not None:
        place = f"at tasks/{step.key.name}.py"
        work = Work(ANALYSTS.name, step.key.run, step.started_at, bool(running), place)
    yield from _at_work(ANALYSTS.name, work, failures.programs(work.run if work else None), observations, now)


def _made_up_for(work: Work, observations: Observations) -> bool:
    """Whether a backup was killed, and a later one of ours is there."""
    if work.alive or observations.bucket is None:
        return False
    later = observations.bucket.of(work.name.removeprefix(f"{BACKUP.name} "))
    return any(backup.sound and backup.run >= work.run for backup in later)


def _at_work(
    name: str, work: Work | None, subject: AlertSubject, observations: Observations, now: datetime
) -> Iterator[Finding]:
    """Yield whether this hangs; and if it was killed, what others tell as well who may have noticed that.

    That it was done after all is told by who has done it.
    """
    key = f"watch/going/{name.replace(' ', '/')}"
    if work is None or not work.alive:
        yield Finding(key, Severity.OK, f"{name}: is not running")
    if work is None:
        return
    where = f"{name}: run {work.run}, {work.place}"
    if not work.alive:
        killed = f"was killed {limits.ago(now, work.since)} or later"
        summary = f"{where}, {killed}, and does not continue by itself"
        yield Finding(subject.key, Severity.FAILED, summary, subject.command, since=work.since)
        return
    allowed, usual = _allowed(observations.ledger.seconds.get(name, ()) if observations.ledger else ())
    summary = f"{where}, began {limits.ago(now, work.since)}; the limit is {durations.rough(allowed)}{usual}"
    if limits.exceeded(now, work.since, allowed):
        summary += "; if it hangs, end that process there and run it again"
        yield Finding(key, Severity.WARNING, summary, subject.command, since=work.since + allowed)
    else:
        yield Finding(key, Severity.OK, summary)


def _allowed(seconds: Sequence[float]) -> tuple[timedelta, str]:
    """Return how long something may take that took so long before, and what is usual, for people."""
    if len(seconds) < NEEDED:
        return UNKNOWN_LIMIT, ""
    usual = timedelta(seconds=median(seconds))
    return max(usual * TIMES_USUAL, SHORT), f", it usually takes {durations.rough(usual)}"


def _key(key: KeyObservations, now: datetime) -> Finding:
    name = f"{KEYS}{key.file}"
    if key.recipient is None:
        return Finding(name, Severity.WARNING, f"key {key.file}: {key.problem}", "pipeline check")
    who = f"key {key.file}, {key.recipient.user_id}"
    expires_at = key.recipient.expires_at
    if expires_at is None:
        return Finding(name, Severity.OK, f"{who}: does not expire")
    left = expires_at - now
    ends = f"expires on {at(expires_at)}, in {durations.rough(left)}"
    if left <= timedelta():
        ends = f"expired on {at(expires_at)}, {durations.rough(-left)} ago"
    summary = f"{who}: {ends}; the limit is {durations.exact(EXPIRES_SOON)} before"
    if left >= EXPIRES_SOON:
        return Finding(name, Severity.OK, summary)
    summary += f"; put a longer-lived public key into {key.file}, and its private half where the old one is"
    return Finding(name, Severity.WARNING, summary, "pipeline check", since=expires_at - EXPIRES_SOON)


def spool(unsent: int) -> Finding:
    """Return what is to be thought of the alerts that wait to be sent, after they were tried."""
    if not unsent:
        return Finding("watch/spool", Severity.OK, "alerts: all were sent")
    summary = f"alerts not sent: {unsent}, and the limit is 0; they are kept in the spool"
    return Finding("watch/spool", Severity.UNREACHABLE, summary, "pipeline watch")
