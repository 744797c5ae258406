"""Sends alerts and their recovery, and empties the spool for as long as a command or the scheduler lives."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline import log
from pipeline.access import Access
from pipeline.alerts import message
from pipeline.alerts.message import Alert, Kind
from pipeline.alerts.sender import Sender, os_message
from pipeline.alerts.spool import Spool
from pipeline.settings import AlertSettings, Settings

logger = logging.getLogger(__name__)

# The work waits so long for an alert to be sent; what takes longer goes on beside it.
ATTEMPT_SECONDS = 5.0
# Whoever sends as its own job waits so long for another that does.
TURN_SECONDS = 10.0
# How often the spool is looked into beside the work.
POLL_SECONDS = 2.0

# Where bin/cron wants to find a file once a failure of its command was told. Not for what the command starts.
CRON_ALERTED = "CRON_ALERTED"


def send(settings: Settings, alert: Alert, *, grace_seconds: float = 0.0) -> bool:
    """Send an alert, once per key until it recovers, over retries, runs and processes.

    What recovers within the grace period, and is not sent again meanwhile, is not sent at all;
    the second time it is sent at once, in the words of that time.
    Raise nothing: what cannot be sent stays in the spool for the next run, or for `pipeline watch`. Return
    whether it is there, or was: without [alerts], or room, it is not.
    """
    alerting = _alerting(settings)
    if alerting is None:
        return False
    if keep(settings, alert, grace_seconds=grace_seconds):
        _send_due(settings, alerting)
        return True
    _within(ATTEMPT_SECONDS, lambda: Sender(settings, alerting).send_alone(alert))
    return False


def keep(settings: Settings, alert: Alert, *, grace_seconds: float = 0.0) -> bool:
    """Do as `send`, but leave it to `sending` or the next run. Return whether it could be kept."""
    alerting = _alerting(settings)
    if alerting is None:
        return False
    try:
        Spool(alerting.spool).add(alert, grace_seconds)
    except OSError as error:
        logger.error("an alert cannot be kept: %s: %s", os_message(error), alert.summary)  # noqa: TRY400
        return False
    if alert.kind in (Kind.FAILED, Kind.STALE):
        let_cron_know()
    return True


def let_cron_know() -> None:
    """Leave word with bin/cron, if it has started us: it tells of what fails without a word."""
    if reported := os.environ.get(CRON_ALERTED):
        with contextlib.suppress(OSError):
            Path(reported).touch(mode=0o600)


def send_recovery(
    settings: Settings, key: str, summary: str, *, task: str | None = None, run: str | None = None
) -> None:
    """Send that what was told under `key` is over; do nothing if nothing was. Raise nothing.

    With `task`, only if it was this Luigi task that had failed; with `run`, only if it was that run or an
    earlier one.
    """
    if settings.alerts is None:
        return
    try:
        wanted = Spool(settings.alerts.spool).recover(message.one_line(key), summary, task, run)
    except OSError as error:
        logger.error("the recovery of %s cannot be recorded: %s", key, os_message(error))  # noqa: TRY400
        return
    if wanted:
        _send_due(settings, settings.alerts)


def reconcile(settings: Settings, prefix: str, current: Iterable[Alert], *, run: str | None = None) -> None:
    """Send each of `current`, and that whatever else was told under keys with this prefix is over.

    With `run`, only what was told of that run or an earlier one.
    """
    wrong = {alert.key: alert for alert in current}
    for alert in wrong.values():
        send(settings, alert)
    for known in open_alerts(settings):
        if known.key.startswith(prefix) and known.key not in wrong:
            send_recovery(settings, known.key, f"resolved: {known.summary}", run=run)


def send_spooled(settings: Settings) -> int:
    """Send what is to be sent, and return how many alerts remain because they could not be. Raise nothing."""
    alerting = _alerting(settings)
    if alerting is None:
        return 0
    Sender(settings, alerting).deliver(TURN_SECONDS)
    try:
        return len(Spool(alerting.spool).due())
    except OSError:
        return 0


def open_alerts(settings: Settings) -> list[Alert]:
    """Return what was told on this machine and has not recovered, the oldest first."""
    if settings.alerts is None:
        return []
    try:
        return Spool(settings.alerts.spool).opened()
    except OSError:
        return []


def problems(settings: Settings, databases: Access) -> list[str]:
    """Return what would keep alerts from being sent or kept, with what to do. Nothing is sent."""
    alerting = settings.require_alerts()
    sender = Sender(settings, alerting)
    lines = []
    if sender.ask(databases).hmac_key is None:
        lines.append(
            f"Vault: {alerting.secret} has no hmac_key, so alerts are not signed; write a random one there"
        )
    try:
        sender.spool.prepare()
    except OSError as error:
        lines.append(f"{os_message(error)}; set [alerts] spool to a folder that can be written")
    return lines


@contextlib.contextmanager
def sending(settings: Settings) -> Iterator[None]:
    """Send what is in the spool, and what comes into it, beside the block; at its end once more.

    The webhook's address is asked for at the start and remembered, so that it is known when Vault is sealed.
    """
    if settings.alerts is None:
        yield
        return
    alerting, ended = settings.alerts, threading.Event()
    sender = Sender(settings, alerting)

    def send_due() -> None:
        sender.learn()
        while True:
            last = ended.is_set()
            if last:
                sender.deliver(0.0)
            else:
                sender.send_due()
            if last:
                return
            ended.wait(POLL_SECONDS)

    thread = threading.Thread(target=send_due, name="alerts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(ATTEMPT_SECONDS)


def _alerting(settings: Settings) -> AlertSettings | None:
    if settings.alerts is None:
        log.warn_once(logger, "luigi.cfg has no [alerts]: no alert is sent when something fails")
    return settings.alerts


def _send_due(settings: Settings, alerting: AlertSettings) -> None:
    _within(ATTEMPT_SECONDS, Sender(settings, alerting).send_due)


def _within(seconds: float, work: Callable[[], object]) -> None:
    """Do something beside the work, and wait for it no longer than `seconds`."""
    thread = threading.Thread(target=work, name="alert", daemon=True)
    thread.start()
    thread.join(seconds)
