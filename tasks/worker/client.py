"""Every worker's way to the scheduler: logs in with the worker's password, which is fetched from Vault when
it is first needed and kept in memory only. In no URL: Luigi writes that into its log when a call fails.
"""

import ipaddress
import logging
import time
from functools import cache
from typing import NoReturn
from urllib.parse import urlsplit

import requests
from luigi.rpc import RequestsFetcher

from pipeline import bounded_http, outage, settings
from pipeline.errors import PipelineError, UnreachableError, UsageError, innermost
from pipeline.redact import redact
from pipeline.scheduler import visualizer
from pipeline.settings import Settings
from tasks import luigi_internals

logger = logging.getLogger("luigi-interface")

# A password that was just changed is known to the scheduler a moment later than to us.
PAUSES_SECONDS = (1.5, 3.0)
# How Luigi's own lines begin.
FAILED, AGAIN = "Failed connecting to remote scheduler", ("Retrying attempt ", "Wait for ")
LOOPBACK_NAMES = ("localhost", "ip6-localhost")


class RefusedError(UnreachableError):
    """The scheduler refuses our login, or we do not dare to send it a password."""


class _OnceAMinute(logging.Filter):
    """Lets what Luigi says of a scheduler that does not answer pass once a minute, whichever process says it.

    Luigi has three lines and a traceback for each call that it tries again.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is to be written."""
        message = str(record.msg)
        if not message.startswith(FAILED):
            return not message.startswith(AGAIN)
        at = visualizer.shown(str(record.args[0])) if isinstance(record.args, tuple) and record.args else ""
        record.msg, record.args = f"the scheduler at {at} does not answer; trying again", ()
        record.exc_info = record.exc_text = None
        return outage.is_news(record.msg)


_once_a_minute = _OnceAMinute()


class LoggedIn(RequestsFetcher):
    """Luigi's own client, but logged in.

    Luigi tries for a minute again what may pass. That we are not let in does not pass: unless we were before,
    which means that the password is being changed, the program ends with exit code 5.
    """

    # Of the process, and those forked from it: credentials are fetched once, before any task begins.
    _password: str | None = None
    _welcome = False

    def fetch(self, full_url: str, body: dict[str, str], timeout: float) -> str:
        """Make one call and return the answer's text. Raise requests.RequestException if it may pass."""
        try:
            return self.call(full_url, body, timeout)
        except PipelineError as error:
            if LoggedIn._welcome:
                raise requests.RequestException(redact(str(error))) from None
            _give_up(error)

    def call(self, full_url: str, body: dict[str, str], timeout: float) -> str:
        """Make one call and return the answer's text.

        Raise requests.RequestException, UsageError, or UnreachableError if we cannot log in.
        """
        configured = _configured()
        _require_private(full_url)
        answer = self._post(configured, full_url, body, timeout)
        for pause in PAUSES_SECONDS:
            if answer.status_code != requests.codes.unauthorized:
                break
            time.sleep(pause)
            LoggedIn._password = None
            answer = self._post(configured, full_url, body, timeout)
        if answer.status_code == requests.codes.unauthorized:
            raise RefusedError(visualizer.refused(_origin(full_url), answer.status_code))
        answer.raise_for_status()
        LoggedIn._welcome = True
        return answer.text

    def _post(
        self, configured: Settings, full_url: str, body: dict[str, str], timeout: float
    ) -> requests.Response:
        self.check_pid()
        trusted = visualizer.authority(configured)
        session: requests.Session = self.session
        if session.trust_env:
            bounded_http.bounded(session)
            # What the environment says of proxies and certificates is the same for each call; to look it up
            # takes longer than all the rest of one.
            environment = session.merge_environment_settings(full_url, {}, None, None, None)
            session.proxies, session.verify, session.trust_env = (
                environment["proxies"],
                environment["verify"],
                False,
            )
        return session.post(
            full_url,
            data=body,
            timeout=timeout,
            auth=visualizer.basic(visualizer.WORKER, _worker_password(configured)),
            verify=str(trusted) if trusted else None,
            allow_redirects=False,
        )


def install() -> None:
    """Let every RemoteScheduler of this process log in, Luigi's own included."""
    luigi_internals.use_fetcher(LoggedIn)
    logger.addFilter(_once_a_minute)


def obstacle(url: str) -> str | None:
    """Return why the scheduler at `url` cannot be used at this moment, or None if it can."""
    fetcher = LoggedIn()
    try:
        fetcher.call(
            f"{url.rstrip('/')}/{visualizer.PROBE}", {"data": "{}"}, timeout=visualizer.TIMEOUT_SECONDS
        )
    except PipelineError as error:
        return redact(str(error))
    except requests.RequestException as error:
        return f"the scheduler at {visualizer.shown(url)} does not answer ({innermost(error)})"
    finally:
        fetcher.close()
    return None


@cache
def _configured() -> Settings:
    return settings.read()


def _worker_password(configured: Settings) -> str:
    if LoggedIn._password is None:
        passwords = visualizer.passwords(configured, [visualizer.WORKER])
        LoggedIn._password = passwords[visualizer.WORKER]
    return LoggedIn._password


def _require_private(url: str) -> None:
    """Raise UsageError if a password sent there could be read on the way."""
    parts = urlsplit(url)
    if parts.scheme != "http" or is_loopback(parts.hostname or ""):
        return  # by TLS, or a socket of the file system
    raise UsageError(
        f"the worker's password is not sent to {_origin(url)} unencrypted; give the scheduler a certificate "
        "([visualizer] certificate and key), and write https:// in [core] default_scheduler_url"
    )


def is_loopback(host: str) -> bool:
    """Whether this names the machine itself, whoever answers for names."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return visualizer.shown(parts._replace(path="", query="").geturl())


def _give_up(error: PipelineError) -> NoReturn:
    # Not an error of Luigi's: it would try again, and then end with a code of its own.
    logger.error("%s", redact(str(error)))
    raise SystemExit(error.exit_code)
