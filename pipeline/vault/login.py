"""A login to Vault: its credential, its token, and how that is renewed and revoked."""

import logging
import stat
from pathlib import Path
from typing import Any

from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, Unauthorized

from pipeline import log
from pipeline.errors import UnreachableError, UsageError
from pipeline.redact import register
from pipeline.settings import Auth, VaultSettings
from pipeline.vault.request import Connection

logger = logging.getLogger(__name__)


def setup_hint(settings: VaultSettings) -> str:
    """Return what writes the roles and policies of jobs, where one of them logs in."""
    return " (bin/vault-setup writes those of the jobs)" if settings.auth == Auth.JWT else ""


def log_in(connection: Connection, settings: VaultSettings) -> float:
    """Give the connection a token, and return its life in seconds; 0 is without end.

    Raise UsageError if the credential file cannot be read or is empty, UnreachableError if Vault does not
    answer or refuses the login.
    """
    credential = _credential(settings)
    client, mount = connection.client, settings.auth_mount
    if settings.auth == Auth.TOKEN:
        client.token = credential
        expired = "the token is not accepted: it has expired or was revoked", "get a new one"
        connection.ask("the token's own data", client.auth.token.lookup_self, refusals={Forbidden: expired})
        return 0.0  # it belongs to a person, who decides how long it lives
    refused = (
        f"the {settings.auth} login at auth/{mount} with role {settings.role} is refused",
        f"check the role{setup_hint(settings)}, whether {settings.credential_file} holds a valid credential, "
        "and auth_mount",
    )
    answer = connection.ask(
        f"a login at auth/{mount}",
        lambda: (
            client.auth.approle.login(settings.role, credential, use_token=False, mount_point=mount)
            if settings.auth == Auth.APPROLE
            else client.auth.jwt.jwt_login(settings.role, credential, use_token=False, path=mount)
        ),
        refusals=dict.fromkeys((InvalidRequest, Forbidden, Unauthorized, InvalidPath), refused),
    )
    with connection.understood(f"a login at auth/{mount}"):
        life, token = _life(answer["auth"]), answer["auth"]["client_token"]
        # It goes into a header.
        client.token = token.encode("ascii").decode()
    register(client.token)
    return life


def renew_token(connection: Connection) -> float:
    """Let the connection's token live longer, and return for how many seconds."""
    # A client of its own: this runs beside the step, and a session of requests belongs to one thread.
    own = Connection(connection.url)
    own.client.token = connection.client.token
    try:
        with own.understood("a longer login"):
            return _life(own.ask("a longer login", own.client.auth.token.renew_self)["auth"])
    finally:
        own.close()


def revoke_token(connection: Connection) -> None:
    """End the login. What cannot be revoked is logged: the error of the step itself is what matters."""
    try:
        connection.ask("the end of the login", connection.client.auth.token.revoke_self, again=False)
    except UnreachableError as error:
        logger.warning("the login to Vault could not be revoked and expires by itself: %s", error)


def _credential(settings: VaultSettings) -> str:
    path = settings.credential_file or Path.home() / ".vault-token"
    try:
        credential = path.read_text(encoding="utf-8").strip()
        others = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}",
            hint=f"put the {settings.auth} credential there, or correct credential_file in [vault]",
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not text", hint=f"put the {settings.auth} credential there") from None
    if not credential:
        raise UsageError(f"{path}: is empty", hint=f"put the {settings.auth} credential there")
    if others:
        log.warn_once(
            logger, f"{path} can be read by other users of this machine; make it private: chmod 600 {path}"
        )
    register(credential)
    return credential


def _life(auth: dict[str, Any]) -> float:
    return float(auth["lease_duration"]) if auth.get("renewable") else 0.0
