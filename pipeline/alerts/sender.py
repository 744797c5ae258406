"""Takes alerts from the spool to the webhook, one process at a time, and lets the warehouse know of them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pipeline import access, postgres
from pipeline.access import Access
from pipeline.alerts import forms, webhook
from pipeline.alerts.message import Alert
from pipeline.alerts.spool import Spool
from pipeline.errors import PipelineError, StoppedError, UnreachableError
from pipeline.ledger.alerts import record_alerts
from pipeline.settings import AlertSettings, Settings

logger = logging.getLogger(__name__)


class Address(NamedTuple):
    """Where alerts go, and what they are signed with. Both are credentials: never shown."""

    url: str
    hmac_key: str | None

    def __repr__(self) -> str:
        return "Address(...)"


class SentAlert(NamedTuple):
    """An alert, and when the webhook took it; None while it did not."""

    alert: Alert
    sent_at: datetime | None


class Sender:
    """Takes alerts from the spool to the webhook, whose address it remembers in memory only."""

    def __init__(self, settings: Settings, alerting: AlertSettings) -> None:
        self._settings, self._alerting = settings, alerting
        self.spool = Spool(alerting.spool)
        self._known: Address | None = None
        self._complaint = ""
        # What was refused is for another sender to try: this one may look every other second.
        self._refused: set[Path] = set()

    @property
    def wanted(self) -> bool:
        """Whether something is to be sent, and it is not known to be in vain."""
        try:
            return bool(self.spool.due()) and not self.spool.is_quiet
        except OSError:
            return False

    def learn(self) -> None:
        """Ask for the webhook's address before it is needed."""
        try:
            with access.opened(self._settings) as databases:
                self.ask(databases)
        except PipelineError as error:
            logger.warning("alerts could not be sent now: %s", error)
        except Exception:
            logger.exception("the webhook's address could not be read from Vault")

    def send_due(self) -> None:
        """Send what is due, if it is not known to be in vain. Raise nothing: nobody else would go on."""
        if self.wanted:
            self.deliver(0.0)

    def deliver(self, wait_seconds: float) -> None:
        """Send what is due. What others spool meanwhile is ours as well: they do not wait for their turn."""
        tried = set(self._refused)
        try:
            while not tried.issuperset(self.spool.due()):
                with self.spool.sending(wait_seconds) as ours:
                    due = [path for path in self.spool.due() if path not in tried]
                    tried.update(due)
                    if not ours or not self._send(due):
                        return
        except StoppedError:
            raise
        except OSError as error:
            self._complain(f"alerts cannot be sent from the spool: {os_message(error)}")
        except Exception:
            # An alert is never a reason for work to fail; but a bug is not to be hidden either.
            logger.exception("alerts could not be sent, and stay in the spool")

    def send_alone(self, alert: Alert) -> None:
        """Send an alert that could not be kept."""
        try:
            with self._vault() as databases:
                self._post(self._address(databases), alert)
        except Exception:
            logger.exception("this alert could neither be kept nor sent, and is lost: %s", alert.summary)

    def _send(self, due: Sequence[Path]) -> bool:
        """Send these files in their order. Return False if the webhook, or its address, is out of reach."""
        sent: dict[str, SentAlert] = {}
        try:
            with self._vault() as databases:
                try:
                    self._post_all(self._address(databases), due, sent)
                finally:
                    if databases is not None:
                        _record(databases, list(sent.values()))
        except StoppedError:
            raise
        except PipelineError as error:
            self.spool.hush(quiet=True)
            self._complain(f"alerts stay in {self.spool.folder} until they can be sent: {error}")
            return False
        self.spool.hush(quiet=False)
        self._complaint = ""
        return True

    def _complain(self, complaint: str) -> None:
        """Say what keeps alerts from being sent; once, for who tries again and again."""
        if complaint != self._complaint:
            logger.warning("%s", complaint)
        self._complaint = complaint

    @contextmanager
    def _vault(self) -> Iterator[Access | None]:
        """Log in to Vault, or do without if the address is known."""
        try:
            opened = access.opened(self._settings)
            databases = opened.__enter__()
        except PipelineError as error:
            if self._known is None:
                raise
            logger.info("alerts go to the last known address: %s", error)
            yield None
            return
        try:
            yield databases
        finally:
            opened.__exit__(None, None, None)

    def _address(self, databases: Access | None) -> Address:
        if databases is not None:
            try:
                return self.ask(databases)
            except UnreachableError:
                if self._known is None:
                    raise
        assert self._known is not None  # noqa: S101 - else there is a login to Vault
        return self._known

    def ask(self, databases: Access) -> Address:
        """Return where alerts go. Raise UnreachableError if Vault does not say."""
        entry = databases.vault.read(self._alerting.secret)
        if not entry.get("url", "").startswith(("https://", "http://")):
            raise UnreachableError(
                f"Vault: {self._alerting.secret} has no url",
                hint="write the webhook's address there",
            )
        self._known = Address(entry["url"], entry.get("hmac_key"))
        return self._known

    def _post(self, address: Address, alert: Alert) -> None:
        body = forms.body(alert, self._alerting.form)
        webhook.post(address.url, body, hmac_key=address.hmac_key, message_id=alert.id)

    def _post_all(self, address: Address, due: Sequence[Path], sent: dict[str, SentAlert]) -> None:
        for path in due:
            alert = self.spool.read(path)
            if alert is None:
                continue
            sent[alert.id] = SentAlert(alert, None)
            try:
                self._post(address, alert)
            except webhook.RefusedError as error:
                # Others may be taken.
                logger.error("the alert of %s stays in %s: %s", alert.key, path, error)  # noqa: TRY400
                self._refused.add(path)
                continue
            sent[alert.id] = SentAlert(alert, datetime.now(UTC))
            path.unlink(missing_ok=True)


def _record(databases: Access, sent: Sequence[SentAlert]) -> None:
    """Let the warehouse know as well, if it is up: for dashboards. The spool is what counts."""
    if databases.settings.warehouse is None or not sent:
        return
    try:
        with databases.warehouse(autocommit=True) as warehouse:
            record_alerts(warehouse, ({**alert.model_dump(), "sent_at": sent_at} for alert, sent_at in sent))
    except StoppedError:
        raise
    except (PipelineError, postgres.Error) as error:
        logger.info("the warehouse did not record alerts: %s", error)


def os_message(error: OSError) -> str:
    """Return what the system said, and of which file."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
