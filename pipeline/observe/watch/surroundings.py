"""Judges what loads and backups live on: what is within reach, what is going on, keys, unsent alerts."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import median

from pipeline import durations
from pipeline.alerts import failures
from pipeline.alerts.failures import KEYS, Thing
from pipeline.chains import BACKUP, DRILL, ETL
from pipeline.crypt import EXPIRES_SOON
from pipeline.observe.watch import limits
from pipeline.observe.watch.facts import Facts, KeyFacts, Work
from pipeline.observe.watch.verdict import Verdict, at
from pipeline.settings import Settings

# What takes so many times as long as it usually does hangs, if it has been going for an hour.
TIMES_USUAL, SHORT = 3, timedelta(hours=1)
# Where too little is known of what is usual.
NEEDED, UNKNOWN_LIMIT = 3, timedelta(hours=12)


def judge(settings: Settings, facts: Facts, now: datetime) -> Iterator[Verdict]:
    """Yield what could not be looked at, what is going on, and the keys."""
    for unseen in facts.unseen:
        summary = f"{unseen.thing}: could not be looked at ({at(now)})"
        reach = f"watch/reach/{unseen.thing}"
        yield Verdict(reach, "unreachable", summary, "pipeline check", unseen.error, now)
    for thing in facts.seen:
        yield Verdict(f"watch/reach/{thing}", "well", f"{thing}: can be looked at")
    yield from _loading(facts, now)
    yield from _working(settings, facts, now)
    for key in facts.keys:
        yield _key(key, now)


def _loading(facts: Facts, now: datetime) -> Iterator[Verdict]:
    # The one that goes on may be an old one.
    run = (facts.ledger.going or facts.ledger.run) if facts.ledger else None
    if run is None:
        return
    work = Work(ETL.name, run.run, run.attempted_at, run.alive, f"on {run.host}, process {run.pid}")
    going = work if run.state == "running" else None
    yield from _at_work(ETL.name, going, failures.load(run.run), facts, now)


def _working(settings: Settings, facts: Facts, now: datetime) -> Iterator[Verdict]:
    """Yield how backups and drills get on; these leave word on the machine that makes them."""
    if facts.work is None:
        return
    going = {work.name: work for work in facts.work if not _made_up_for(work, facts)}
    for database in sorted(settings.databases):
        work = going.get(f"{BACKUP.name} {database}")
        thing = failures.backup(database, work.run if work else None)
        yield from _at_work(f"{BACKUP.name} {database}", work, thing, facts, now)
    work = going.get(DRILL.name)
    yield from _at_work(DRILL.name, work, failures.drills(work.run if work else None), facts, now)


def _made_up_for(work: Work, facts: Facts) -> bool:
    """Whether a backup was killed, and a later one is there."""
    if work.alive or facts.bucket is None:
        return False
    later = facts.bucket.of(work.name.removeprefix(f"{BACKUP.name} "))
    return any(backup.verified and backup.run >= work.run for backup in later)


def _at_work(name: str, work: Work | None, thing: Thing, facts: Facts, now: datetime) -> Iterator[Verdict]:
    """Yield whether this hangs; and if it was killed, what others tell as well who may have noticed that.

    That it was done after all is told by who has done it.
    """
    key = f"watch/going/{name.replace(' ', '/')}"
    if work is None or not work.alive:
        yield Verdict(key, "well", f"{name}: does not hang, for it is not going on")
    if work is None:
        return
    where = f"{name}: run {work.run}, {work.place}"
    if not work.alive:
        killed = f"was killed {limits.ago(now, work.since)} or later"
        summary = f"{where}, {killed}, and nothing goes on by itself"
        yield Verdict(thing.key, "failed", summary, thing.command, since=work.since)
        return
    allowed, usual = _allowed(facts.ledger.seconds.get(name, ()) if facts.ledger else ())
    summary = f"{where}, began {limits.ago(now, work.since)}; the limit is {durations.rough(allowed)}{usual}"
    if limits.exceeded(now, work.since, allowed):
        summary += "; if it hangs, end that process there and run it again"
        yield Verdict(key, "warning", summary, thing.command, since=work.since + allowed)
    else:
        yield Verdict(key, "well", summary)


def _allowed(seconds: Sequence[float]) -> tuple[timedelta, str]:
    """Return how long something may take that took so long before, and what is usual, for people."""
    if len(seconds) < NEEDED:
        return UNKNOWN_LIMIT, ""
    usual = timedelta(seconds=median(seconds))
    return max(usual * TIMES_USUAL, SHORT), f", usual are {durations.rough(usual)}"


def _key(key: KeyFacts, now: datetime) -> Verdict:
    name = f"{KEYS}{key.file}"
    if key.recipient is None:
        return Verdict(name, "warning", f"key {key.file}: {key.problem}", "pipeline check")
    who = f"key {key.file}, {key.recipient.user_id}"
    expires_at = key.recipient.expires_at
    if expires_at is None:
        return Verdict(name, "well", f"{who}: does not expire")
    left = expires_at - now
    ends = f"expires on {at(expires_at)}, in {durations.rough(left)}"
    if left <= timedelta():
        ends = f"expired on {at(expires_at)}, {durations.rough(-left)} ago"
    summary = f"{who}: {ends}; the limit is {durations.exact(EXPIRES_SOON)} before"
    if left >= EXPIRES_SOON:
        return Verdict(name, "well", summary)
    summary += f"; put a longer-lived public key into {key.file}"
    return Verdict(name, "warning", summary, "pipeline check", since=expires_at - EXPIRES_SOON)


def spool(unsent: int) -> Verdict:
    """Return what is to be thought of the alerts that wait to be sent, after they were tried."""
    if not unsent:
        return Verdict("watch/spool", "well", "alerts: all were sent")
    summary = f"alerts not sent: {unsent}, and the limit is 0; they are kept, and nobody was told of them"
    return Verdict("watch/spool", "unreachable", summary, "pipeline watch")
