"""Judges marts: how long ago each was last built."""

from collections.abc import Iterator
from datetime import datetime

from pipeline import chains, durations
from pipeline.alerts import hints
from pipeline.alerts.message import one_line
from pipeline.observe.observed.observations import Observations, TableObservations
from pipeline.observe.watch import limits
from pipeline.observe.watch.finding import Finding, Severity, at
from pipeline.settings import Settings
from pipeline.step import StepKey


def judge(settings: Settings, observations: Observations, now: datetime) -> Iterator[Finding]:
    """Yield what is to be thought of each mart; nothing where no run began since, of which is told once."""
    if observations.ledger is None or observations.marts is None:
        return
    run, allowed = observations.ledger.run, limits.run(settings)
    if run is None or limits.exceeded(now, run.attempted_at, allowed):
        return
    for name, declared_at in sorted(observations.marts.items()):
        state = observations.ledger.tables.get(f"{chains.MART.schema}.{name}", TableObservations())
        since = state.loaded_at or state.first_tried_at or declared_at
        key = f"watch/mart/{name}"
        if limits.exceeded(now, since, allowed):
            yield _late(key, name, state, since, allowed=durations.exact(allowed), now=now)
        elif state.loaded_at:
            summary = f"mart {name}: built {limits.ago(now, since)}; the limit is {durations.exact(allowed)}"
            yield Finding(key, Severity.OK, summary)


def _late(
    key: str, name: str, state: TableObservations, since: datetime, *, allowed: str, now: datetime
) -> Finding:
    line = (
        f"was last built {at(since)}, {limits.ago(now, since)}"
        if state.loaded_at
        else f"was never built, first possible {limits.ago(now, since)}"
    )
    summary = f"mart {name}: {line}; the limit is {allowed}"
    last = state.failing
    if last is None:
        return Finding(key, Severity.STALE, summary, chains.MARTS.command(None, name), since=since)
    step = StepKey(last.run, last.task, f"{chains.MART.schema}.{name}")
    fix = hints.find(step.run, step.task, step.name, last.exit_code, last.hint, last.again)
    error = one_line(f"{last.task} failed: {last.error}")
    return Finding(key, Severity.STALE, summary, fix.command, error, since=since, hint=fix.before)
