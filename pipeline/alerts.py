"""Alerts: tells people, by a webhook, what went wrong and that it is over. One message for each thing.

An alert is written into the spool first and sent from there, by whoever gets to it, so that none is lost and
telling never depends on what has just failed. The work itself waits for it a few seconds at the most.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline import access, message, postgres, webhook
from pipeline.access import Access
from pipeline.errors import PipelineError, UnreachableError
from pipeline.message import Alert, Kind
from pipeline.settings import AlertSettings, Settings
from pipeline.spool import Spool

__all__ = ["Alert", "Kind", "open_alerts", "recovered", "send_spooled", "tell"]

logger = logging.getLogger(__name__)

# The work waits so long for an alert to be sent; what takes longer goes on beside it.
ATTEMPT_SECONDS = 5.0
# Whoever sends as its own job waits so long for another that does.
TURN_SECONDS = 10.0

# Where bin/cron wants to find a file once a failure of its command was told. Not for what the command starts.
CRON_TOLD = "CRON_TOLD"

_unset_told = False


def tell(settings: Settings, alert: Alert, *, patience_seconds: float = 0.0) -> None:
    """Tell of an alert, once per key until it recovers, over retries, runs and processes.

    With patience, what recovers within so many seconds and is not told again meanwhile is not told at all.
    Raise nothing: what cannot be sent stays in the spool for the next run, or for `pipeline watch`.
    """
    alerting = _alerting(settings)
    if alerting is None:
        return
    spool = Spool(alerting.spool)
    try:
        spool.add(alert, patience_seconds)
        wanted = bool(spool.due()) and not spool.is_quiet
    except OSError as error:
        logger.error("alerts cannot be kept: %s; this one is sent without", _said(error))  # noqa: TRY400
        _within(ATTEMPT_SECONDS, lambda: _send_unkept(settings, alerting, alert))
        return
    if alert.kind in ("failed", "stale"):
        _let_cron_know()
    if wanted:
        _within(ATTEMPT_SECONDS, lambda: _deliver(settings, alerting, 0.0))


def _let_cron_know() -> None:
    """Leave word with bin/cron, if it has started us: it tells of what fails without a word."""
    if told := os.environ.get(CRON_TOLD):
        with contextlib.suppress(OSError):
            Path(told).touch(mode=0o600)


def recovered(settings: Settings, key: str, summary: str) -> None:
    """Tell that what was told of `key` is over; do nothing if nothing was told. Raise nothing."""
    if settings.alerts is None:
        return
    alerting = settings.alerts
    spool = Spool(alerting.spool)
    try:
        wanted = spool.recover(key, summary) and not spool.is_quiet
    except OSError as error:
        logger.error("that %s recovered cannot be told: %s", key, _said(error))  # noqa: TRY400
        return
    if wanted:
        _within(ATTEMPT_SECONDS, lambda: _deliver(settings, alerting, 0.0))


def send_spooled(settings: Settings) -> int:
    """Send what is to be sent, and return how many alerts remain because they could not be. Raise nothing."""
    alerting = _alerting(settings)
    if alerting is None:
        return 0
    _deliver(settings, alerting, TURN_SECONDS)
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


def _alerting(settings: Settings) -> AlertSettings | None:
    global _unset_told  # noqa: PLW0603 - once for each process
    if settings.alerts is None and not _unset_told:
        _unset_told = True
        logger.warning("luigi.cfg has no [alerts]: nobody is told when something fails")
    return settings.alerts


def _within(seconds: float, work: Callable[[], object]) -> None:
    """Do something beside the work, and wait for it no longer than `seconds`."""
    thread = threading.Thread(target=work, name="alert", daemon=True)
    thread.start()
    thread.join(seconds)


def _deliver(settings: Settings, alerting: AlertSettings, wait_seconds: float) -> None:
    """Send what is due. What others spool while we send is ours as well: they do not wait for their turn."""
    spool = Spool(alerting.spool)
    tried: set[Path] = set()
    try:
        while not tried.issuperset(spool.due()):
            with spool.sending(wait_seconds) as ours:
                due = [path for path in spool.due() if path not in tried]
                tried.update(due)
                if not ours or not _send(settings, alerting, spool, due):
                    return
    except OSError as error:
        logger.error("alerts cannot be sent from the spool: %s", _said(error))  # noqa: TRY400
    except Exception:
        # An alert is never a reason for work to fail; but a bug is not to be hidden either.
        logger.exception("alerts could not be sent, and stay in the spool")


def _send(settings: Settings, alerting: AlertSettings, spool: Spool, due: Sequence[Path]) -> bool:
    """Send these files in their order. Return False if the webhook, or its address, is out of reach."""
    told: dict[str, tuple[Alert, datetime | None]] = {}
    try:
        with access.opened(settings) as databases:
            try:
                _post_all(alerting, databases, spool, due, told)
            finally:
                _record(databases, list(told.values()))
    except PipelineError as error:
        spool.hush(quiet=True)
        logger.warning(
            "%d alerts stay in %s until they can be sent: %s", len(spool.due()), spool.folder, error
        )
        return False
    spool.hush(quiet=False)
    return True


def _post_all(
    alerting: AlertSettings, databases: Access, spool: Spool, due: Sequence[Path],
    told: dict[str, tuple[Alert, datetime | None]],
) -> None:  # fmt: skip
    url, key = _address(alerting, databases)
    for path in due:
        alert = spool.read(path)
        if alert is None:
            continue
        told[alert.id] = (alert, None)
        try:
            webhook.post(url, message.body(alert, alerting.form), hmac_key=key, message_id=alert.id)
        except webhook.RefusedError as error:
            # Others may be taken.
            logger.error("the alert of %s stays in %s: %s", alert.key, path, error)  # noqa: TRY400
            continue
        told[alert.id] = (alert, datetime.now(UTC))
        path.unlink(missing_ok=True)


def _address(alerting: AlertSettings, databases: Access) -> tuple[str, str | None]:
    entry = databases.vault.read(alerting.secret)
    if not entry.get("url", "").startswith(("https://", "http://")):
        raise UnreachableError(f"Vault: {alerting.secret} has no url; write the webhook's address there")
    return entry["url"], entry.get("hmac_key")


def _send_unkept(settings: Settings, alerting: AlertSettings, alert: Alert) -> None:
    try:
        with access.opened(settings) as databases:
            url, key = _address(alerting, databases)
            webhook.post(url, message.body(alert, alerting.form), hmac_key=key, message_id=alert.id)
    except Exception:
        logger.exception("this alert is lost, for it could neither be kept nor sent: %s", alert.summary)


def _record(databases: Access, told: Sequence[tuple[Alert, datetime | None]]) -> None:
    """Let the warehouse know as well, if it is up: for dashboards. The spool is what counts."""
    if databases.settings.warehouse is None or not told:
        return
    try:
        with databases.warehouse(autocommit=True) as warehouse:
            if postgres.value(warehouse, "SELECT to_regclass('ops.alert')") is None:
                return
            for alert, sent_at in told:
                postgres.rows(
                    warehouse, postgres.statement("alert"), {**alert.model_dump(), "sent_at": sent_at}
                )
    except (PipelineError, postgres.Error) as error:
        logger.info("the warehouse was not told of alerts: %s", error)


def _said(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
