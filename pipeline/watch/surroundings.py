"""Judges what loads and backups live on: what is within reach, what is going on, keys, unsent alerts."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import median

from pipeline import remedy
from pipeline.crypt import EXPIRES_SOON
from pipeline.settings import Settings
from pipeline.watch import limits
from pipeline.watch.facts import Facts, KeyFacts, Work
from pipeline.watch.verdict import Verdict, at, limit, span

# What takes so many times as long as it usually does hangs, if it has been going for an hour.
TIMES_USUAL, SHORT = 3, timedelta(hours=1)
# Where too little is known of what is usual.
NEEDED, UNKNOWN_LIMIT = 3, timedelta(hours=12)


def judge(settings: Settings, facts: Facts, now: datetime) -> Iterator[Verdict]:
    """Yield what could not be looked at, what is going on, and the keys."""
    for unseen in facts.unseen:
        summary = f"{unseen.thing}: could not be looked at, at {at(now)}"
        reach = f"watch/reach/{unseen.thing}"
        yield Verdict(reach, "unreachable", summary, "pipeline check", unseen.error, now)
    for thing in facts.seen:
        yield Verdict(f"watch/reach/{thing}", "well", f"{thing}: can be looked at")
    yield from _loading(facts, now)
    yield from _working(settings, facts, now)
    for key in facts.keys:
        yield _key(key, now)


def _loading(facts: Facts, now: datetime) -> Iterator[Verdict]:
    run = facts.ledger.run if facts.ledger else None
    if run is None:
        return
    work = Work("etl", run.run, run.started_at, run.alive, f"on {run.host}, process {run.pid}")
    if run.state == "running":
        yield _at_work(work, _usual(facts, "etl"), now, str(remedy.of_run(run.run, "etl")))
    else:
        yield Verdict(_going_key("etl"), "well", f"etl: run {run.run} has ended")


def _working(settings: Settings, facts: Facts, now: datetime) -> Iterator[Verdict]:
    """Yield how backups and drills get on; these leave word on the machine that makes them."""
    if facts.work is None:
        return
    going = {work.name: work for work in facts.work if not _made_up_for(work, facts)}
    for name in (*(f"backup {database}" for database in sorted(settings.databases)), "drill"):
        if name in going:
            again = remedy.find(going[name].run, "BackupDatabase", name.removeprefix("backup ")).command
            command = again if name != "drill" else "pipeline run drill"
            yield _at_work(going[name], _usual(facts, name), now, command)
        else:
            yield Verdict(_going_key(name), "well", f"{name}: none is going on, or was killed")


def _made_up_for(work: Work, facts: Facts) -> bool:
    """Whether a backup was killed, and a later one is there."""
    if work.alive or facts.bucket is None:
        return False
    later = facts.bucket.of(work.name.removeprefix("backup "))
    return any(backup.verified and backup.run >= work.run for backup in later)


def _going_key(name: str) -> str:
    return f"watch/going/{name.replace(' ', '/')}"


def _usual(facts: Facts, name: str) -> Sequence[float]:
    return facts.ledger.seconds.get(name, ()) if facts.ledger else ()


def _at_work(work: Work, seconds: Sequence[float], now: datetime, command: str) -> Verdict:
    known = len(seconds) >= NEEDED
    usual = timedelta(seconds=median(seconds)) if known else None
    allowed = UNKNOWN_LIMIT if usual is None else max(usual * TIMES_USUAL, SHORT)
    where = f"{work.name}: run {work.run}, {work.place}"
    if not work.alive:
        summary = f"{where}, was killed {limits.ago(now, work.since)} or later, and nothing goes on by itself"
        return Verdict(_going_key(work.name), "warning", summary, command, since=work.since)
    summary = f"{where}, began {limits.ago(now, work.since)}; the limit is {span(allowed)}"
    summary += f", usual are {span(usual)}" if usual else ""
    if limits.exceeded(now, work.since, allowed):
        summary += "; if it hangs, end that process there and run it again"
        return Verdict(_going_key(work.name), "warning", summary, command, since=work.since + allowed)
    return Verdict(_going_key(work.name), "well", summary)


def _key(key: KeyFacts, now: datetime) -> Verdict:
    name = f"watch/key/{key.file}"
    if key.recipient is None:
        return Verdict(name, "warning", f"key {key.file}: {key.problem}", "pipeline check")
    who = f"key {key.file}, {key.recipient.user_id}"
    expires_at = key.recipient.expires_at
    if expires_at is None:
        return Verdict(name, "well", f"{who}: does not expire")
    left = expires_at - now
    ends = f"expires on {at(expires_at)}, in {span(left)}"
    if left <= timedelta():
        ends = f"expired on {at(expires_at)}, {span(-left)} ago"
    summary = f"{who}: {ends}; the limit is {limit(EXPIRES_SOON)} before"
    if left >= EXPIRES_SOON:
        return Verdict(name, "well", summary)
    summary += f"; put a longer-lived public key into {key.file}"
    return Verdict(name, "warning", summary, "pipeline check", since=expires_at - EXPIRES_SOON)


def spool(unsent: int) -> Verdict:
    """Return what is to be thought of the alerts that wait to be sent, after they were tried."""
    if not unsent:
        return Verdict("watch/spool", "well", "alerts: all were sent")
    summary = (
        f"alerts: {unsent} could not be sent and are kept, and the limit is 0; nobody has been told of them"
    )
    return Verdict("watch/spool", "unreachable", summary, "pipeline watch")
