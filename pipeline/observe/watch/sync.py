"""Judges syncs of the analysts' repository: each tells how it failed, and none that it was not begun."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from pipeline import durations
from pipeline.observe.observed.observations import Observations
from pipeline.observe.watch import limits
from pipeline.observe.watch.finding import Finding, Severity
from pipeline.settings import Settings

KEY, COMMAND = "watch/sync", "pipeline sync"


def judge(settings: Settings, observations: Observations, now: datetime) -> Iterator[Finding]:
    """Yield what is to be thought of when one last ended on this machine, where there is a repository."""
    if settings.analysts is None or settings.analysts.repository is None:
        return
    allowed, last = timedelta(hours=settings.watch.sync_hours), observations.synced_at
    limit = f"the limit is {durations.exact(allowed)}"
    if last is None:
        summary = f"the analysts' repository: no sync has ended on this machine; {limit}"
        yield Finding(KEY, Severity.STALE, summary, COMMAND)
        return
    summary = f"the analysts' repository: the last sync ended {limits.ago(now, last)}; {limit}"
    if limits.exceeded(now, last, allowed):
        yield Finding(KEY, Severity.STALE, summary, COMMAND, since=last + allowed)
    else:
        yield Finding(KEY, Severity.OK, summary)
