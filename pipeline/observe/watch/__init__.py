"""Watch: sees what nobody tells of, such as a run that never began. It looks at the ledger and at the bucket
itself, judges, and tells; nothing is changed but what was told.

`look` finds the facts, `judge` alone says what they mean: of the same facts it always says the same.
"""

from collections.abc import Sequence
from datetime import datetime

from pipeline import alerts
from pipeline.observe.watch import archive, audits, loads, marts, opened, surroundings, tell
from pipeline.observe.watch.facts import Facts
from pipeline.observe.watch.look import look
from pipeline.observe.watch.verdict import Verdict
from pipeline.settings import Settings

__all__ = ["Facts", "Verdict", "judge", "look", "watch"]


def judge(settings: Settings, facts: Facts, now: datetime) -> list[Verdict]:
    """Return what is to be thought, at a moment, of each thing of which enough is known."""
    return [
        *surroundings.judge(settings, facts, now),
        *loads.judge(settings, facts, now),
        *audits.judge(settings, facts, now),
        *marts.judge(settings, facts, now),
        *archive.judge(settings, facts, now),
    ]


def watch(settings: Settings, now: datetime) -> Sequence[Verdict]:
    """Look at everything, tell what is new and what is over, and return what was found."""
    alerts.send_spooled(settings)
    facts = look(settings, now)
    found = judge(settings, facts, now)
    tell.tell(settings, found)
    tell.forget(settings, facts, found)
    still_open = list(opened.judge(facts, alerts.open_alerts(settings), found))
    spool = surroundings.spool(alerts.send_spooled(settings))
    pulse = tell.heartbeat(settings, well=not any(one.is_wrong for one in (*found, *still_open, spool)))
    last = [spool, *([pulse] if pulse else [])]
    tell.tell(settings, last)
    if still_open:
        # They were told when they came up.
        alerts.let_cron_know()
    return [*found, *still_open, *last]
