"""Luigi's scheduler seen from outside of Luigi: where it is, its three logins, and whether it lets us in."""

import configparser
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth

from pipeline import bounded_http, vault
from pipeline.errors import UnreachableError, innermost
from pipeline.settings import Settings, VisualizerSettings

OPERATOR, READER, WORKER = "operator", "reader", "worker"
LOGINS = (OPERATOR, READER, WORKER)
# A wrong password is answered at once or a second later, but never shuts out who has the right one.
# So it is the length that keeps a guesser out.
MINIMUM_LENGTH = 16
DEFAULT_PORT = 8082
TIMEOUT_SECONDS = 5.0
# An RPC that changes nothing and asks for nothing.
PROBE = "api/is_paused"


def passwords(settings: Settings, logins: Sequence[str] = LOGINS) -> dict[str, str]:
    """Fetch the passwords of these logins from Vault.

    Raise UsageError without [visualizer], UnreachableError if Vault does not give them or one is not good.
    """
    declared = settings.require_visualizer()
    with vault.session(settings.vault) as session:
        entry = session.read(declared.secret)
    return {login: _password(settings, declared, entry, login) for login in logins}


def _password(settings: Settings, declared: VisualizerSettings, entry: Mapping[str, str], login: str) -> str:
    password = entry.get(login, "")
    others = [other for name, other in entry.items() if name != login]
    fault = ""
    if not password:
        fault = f"has no {login}"
    elif len(password) < MINIMUM_LENGTH:
        fault = f"has a password for the {login} that is too short"
    elif password in others:
        fault = f"has the same password for the {login} and another login"
    if fault:
        path = f"{settings.vault.mount}/data/{settings.vault.prefix}/{declared.secret}"
        raise UnreachableError(
            f"Vault at {settings.vault.url}: {path} {fault}",
            hint=f"write {', '.join(LOGINS)} there, each with its own password of "
            f"{MINIMUM_LENGTH} characters or more",
        )
    return password


def address() -> str:
    """Return the URL at which Luigi's own settings say that its scheduler is."""
    parser = configparser.RawConfigParser()
    usual = ("/etc/luigi/client.cfg", "/etc/luigi/luigi.cfg", "client.cfg", "luigi.cfg")
    parser.read([*usual, os.environ.get("LUIGI_CONFIG_PATH", "")])
    core = parser["core"] if parser.has_section("core") else {}
    values = {key.replace("-", "_"): value for key, value in core.items()}
    host = values.get("default_scheduler_host", "localhost")
    port = values.get("default_scheduler_port", DEFAULT_PORT)
    return values.get("default_scheduler_url") or f"http://{host}:{port}/"


def basic(login: str, password: str) -> HTTPBasicAuth:
    """Return what logs in."""
    # As bytes: requests would write text as Latin-1.
    return HTTPBasicAuth(login.encode(), password.encode())


def authority(settings: Settings) -> Path | None:
    """Return the file of certificates that are trusted, or None for the usual ones."""
    return settings.visualizer.authority if settings.visualizer else None


def problems(settings: Settings, url: str) -> list[str]:
    """Return what keeps our workers from the scheduler at `url`, and what to do; nothing, if all is well.

    Raise UsageError or UnreachableError if the worker's password cannot be had.
    """
    password = passwords(settings, [WORKER])[WORKER]
    try:
        stranger, worker = (_status(settings, url, login) for login in (None, password))
    except requests.RequestException as error:
        return [f"nothing answers at {shown(url)} ({innermost(error)}); start 'pipeline scheduler'"]
    if stranger != requests.codes.unauthorized:
        return [
            f"the server at {shown(url)} requires no login, so anyone who reaches it can run code here; "
            "stop it, and start 'pipeline scheduler'"
        ]
    if worker != requests.codes.ok:
        return [refused(url, worker)]
    return []


def refused(url: str, status: int) -> str:
    """Say that the scheduler does not let a worker in, and what to do."""
    return (
        f"the scheduler at {shown(url)} refuses the worker's login (HTTP status {status}); check that both "
        "read the same [visualizer] secret, and the scheduler's log"
    )


def shown(url: str) -> str:
    """Return a URL without the credential that somebody may have put into it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def _status(settings: Settings, url: str, password: str | None) -> int:
    trusted = authority(settings)
    answer = bounded_http.request(
        "GET",
        f"{url.rstrip('/')}/{PROBE}",
        # None would have it look into ~/.netrc.
        auth=basic(WORKER, password) if password else (lambda request: request),
        verify=str(trusted) if trusted else True,
        timeout=TIMEOUT_SECONDS,
        allow_redirects=False,
    )
    return answer.status_code
