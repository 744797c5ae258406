"""Watch: sees what nobody tells of, such as a run that never began. It looks at the ledger and at the bucket
itself, judges, and tells; nothing is changed but what was told.

`observe` gathers the observations, and `judge` alone says what they mean: the same of the same, always.
"""

from collections.abc import Sequence
from datetime import datetime

from pipeline import alerts
from pipeline.observe.observed.observations import Observations
from pipeline.observe.observed.observe import observe
from pipeline.observe.watch import (
    archive,
    audits,
    loads,
    marts,
    opened,
    programs,
    repositories,
    sending,
    surroundings,
    sync,
)
from pipeline.observe.watch.finding import Finding, Severity
from pipeline.settings import Settings

__all__ = ["Finding", "Observations", "Severity", "judge", "observe", "watch"]


def judge(settings: Settings, observations: Observations, now: datetime) -> list[Finding]:
    """Return what is to be thought, at a moment, of each thing of which enough is known."""
    return [
        *surroundings.judge(settings, observations, now),
        *loads.judge(settings, observations, now),
        *audits.judge(settings, observations, now),
        *marts.judge(settings, observations, now),
        *archive.judge(settings, observations, now),
        *repositories.judge(settings, observations, now),
        *sync.judge(settings, observations, now),
        *programs.judge(settings, observations, now),
    ]


def watch(settings: Settings, now: datetime) -> Sequence[Finding]:
    """Look at everything, tell what is new and what is over, and return what was found."""
    alerts.send_spooled(settings)
    observations = observe(settings, now)
    findings = judge(settings, observations, now)
    sending.send(settings, findings)
    sending.send_undeclared(settings, observations, findings)
    still_open = list(opened.judge(observations, alerts.open_alerts(settings), findings))
    spool = surroundings.spool(alerts.send_spooled(settings))
    heartbeat = sending.heartbeat(
        settings, ok=not any(one.is_wrong for one in (*findings, *still_open, spool))
    )
    last = [spool, *([heartbeat] if heartbeat else [])]
    sending.send(settings, last)
    if still_open:
        # They were told when they came up.
        alerts.let_cron_know()
    return [*findings, *still_open, *last]
