"""Alerts: tell people, by a webhook, what went wrong and that it is over. One message for each subject.

An alert is written into the spool first and sent from there, by whoever gets to it, so that none is lost and
telling never depends on what has just failed. The work itself waits for it a few seconds at the most.
"""

from pipeline.alerts.message import Alert, Kind
from pipeline.alerts.notifier import (
    CRON_ALERTED,
    keep,
    let_cron_know,
    open_alerts,
    problems,
    reconcile,
    send,
    send_recovery,
    send_spooled,
    sending,
)

__all__ = [
    "CRON_ALERTED",
    "Alert",
    "Kind",
    "keep",
    "let_cron_know",
    "open_alerts",
    "problems",
    "reconcile",
    "send",
    "send_recovery",
    "send_spooled",
    "sending",
]
