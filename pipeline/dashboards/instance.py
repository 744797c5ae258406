"""The instance itself: the first set-up of an empty one, and the key that everything else is done with.

Set up with a password once; then a key is made and kept in Vault, and the login with the password is ended.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus

from pipeline.errors import PipelineError, UnreachableError
from pipeline.ledger.surface import Kept, Memory
from pipeline.metabase import ADMINISTRATORS, Client, NotAcceptedError, RefusedError, versions
from pipeline.settings.sections import MetabaseSettings
from pipeline.vault import Vault

logger = logging.getLogger(__name__)

SESSION_HEADER, KEY_HEADER = "X-Metabase-Session", "x-api-key"
KEY = "api key"
PROPERTIES = "/api/session/properties"
TRACKING: dict[str, object] = {"anon-tracking-enabled": False}
SET_UP: dict[str, object] = {"site-name": "School", "site-locale": "en"}

PrintLine = Callable[[str], object]


def opened(
    client: Client, settings: MetabaseSettings, vault: Vault, memory: Memory | None, print_line: PrintLine
) -> bool:
    """Log the client in with our key. Where there is none, or the instance is empty, set that up first.

    With `memory` None change nothing: return False if it is still to be set up.
    """
    client.wait_until_up()
    version = client.version()
    logger.info("Metabase at %s is %s", client.url, version.tag)
    is_empty = bool(client.get(PROPERTIES).get("setup-token"))
    key = None if is_empty else _known_key(vault, settings)
    if key is not None and _log_in(client, key):
        return True
    if memory is None:
        return False
    with _password_login(client, settings, vault, print_line):
        # Tracking is on after a set-up, whatever that was told; also if who set it up was killed right then.
        _require(client, TRACKING | SET_UP if is_empty else TRACKING)
        key = _make_key(client, memory)
        # Before anything is done with it: who is killed here finds it again.
        vault.write(settings.api_key, {"api_key": key})
    if not _log_in(client, key):
        raise UnreachableError(f"Metabase at {client.url} does not accept the key that it has just created")
    print_line(f"an API key was created, and is in Vault at {settings.api_key}")
    return True


def _known_key(vault: Vault, settings: MetabaseSettings) -> str | None:
    with contextlib.suppress(_MissingError):
        return _entry(vault, settings.api_key, "api_key")["api_key"]
    return None


class _MissingError(UnreachableError):
    """There is no such entry, or it lacks a value."""


def _entry(vault: Vault, path: str, *names: str, forbidden: str | None = None) -> dict[str, str]:
    # To Vault what is not there and what one may not read are different things; an outage is a third.
    advice = f"write {' and '.join(names)} there"
    try:
        entry = vault.read(path, missing=advice, forbidden=forbidden)
    except UnreachableError as error:
        if error.hint == advice:
            raise _MissingError(error.fact, hint=advice) from None
        raise
    if missing := [name for name in names if not entry.get(name)]:
        raise _MissingError(f"Vault: the entry {path} has no {' and no '.join(missing)}", hint=advice)
    return entry


def _log_in(client: Client, key: str) -> bool:
    """Whether the server accepts our key, as that of an administrator."""
    client.log_in(KEY_HEADER, key)
    try:
        user = client.get("/api/user/current")
    except NotAcceptedError:
        client.log_out(KEY_HEADER)
        return False
    if not user.get("is_superuser"):
        raise UnreachableError(
            f"Metabase at {client.url}: our API key does not belong to the group Administrators",
            hint="remove its entry in Vault, then run this again: it creates a new key",
        )
    return True


@contextlib.contextmanager
def _password_login(
    client: Client, settings: MetabaseSettings, vault: Vault, print_line: PrintLine
) -> Iterator[None]:
    """Log in as the first administrator, who is made where there is none; log out at the end."""
    # The jobs may not, and are not to: their key is made once, by somebody.
    person = (
        "create Metabase's key once, by hand: 'pipeline dashboards apply' with a login that may read "
        f"{settings.secret} and write {settings.api_key} (docs/dashboards.md)"
    )
    entry = _entry(vault, settings.secret, "email", "password", forbidden=person)
    session = _first_user(client, entry["email"], entry["password"], print_line)
    if session is None:
        answer = client.post("/api/session", {"username": entry["email"], "password": entry["password"]})
        session = answer["id"]
    client.log_in(SESSION_HEADER, session)
    try:
        yield
    finally:
        # The error of what was done meanwhile is what matters; the session ends by itself.
        with contextlib.suppress(PipelineError):
            client.delete("/api/session")
        client.log_out(SESSION_HEADER)


def _first_user(client: Client, email: str, password: str, print_line: PrintLine) -> str | None:
    """Set an empty instance up, and return the session; None where somebody has done so."""
    token = client.get(PROPERTIES).get("setup-token")
    if not token:
        return None
    body = {
        "token": token,
        "user": {"email": email, "password": password, "first_name": None, "last_name": None},
        "prefs": {
            "site_name": SET_UP["site-name"],
            "site_locale": SET_UP["site-locale"],
            "allow_tracking": False,
        },
    }
    try:
        answer = client.post("/api/setup", body)
    except RefusedError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return None
        raise
    print_line("an empty Metabase was set up")
    return str(answer["id"])


def _require(client: Client, wanted: Mapping[str, object]) -> None:
    """Give settings of the instance the values that are wanted, or raise UnreachableError.

    They are read from the properties: a setting asked for by its own address answers with nothing while it
    has its default, and tracking is on by default.
    """
    properties = client.get(PROPERTIES)
    for key, value in wanted.items():
        if properties.get(key) != value:
            client.put(f"/api/setting/{key}", {"value": value})
    properties = client.get(PROPERTIES)
    for key, value in wanted.items():
        if properties.get(key) != value:
            raise UnreachableError(
                f"Metabase at {client.url} keeps its setting {key} at {properties.get(key)!r}, not {value!r}",
                hint="check its Admin settings, General, and whether its environment sets it",
            )


def _make_key(client: Client, memory: Memory) -> str:
    """Make a key, or another one for that which we made and never saw."""
    known = memory.find(KEY)
    if known is not None:
        for one in client.get("/api/api-key"):
            if one["name"] == known.name:
                answer = client.put(f"/api/api-key/{one['id']}/regenerate", {})
                return str(answer["unmasked_key"])
    intended = memory.intend(Kept(KEY, KEY, ""))
    name = f"school-nightly-pipeline {intended.nonce}"
    memory.save(Kept(KEY, KEY, name, nonce=intended.nonce))
    group = versions.group(client.get("/api/permissions/group"), ADMINISTRATORS)
    answer = client.post("/api/api-key", {"name": name, "group_id": group})
    return str(answer["unmasked_key"])
