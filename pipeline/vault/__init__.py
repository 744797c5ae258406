"""Fetches credentials: the only user of hvac. What is fetched stays in memory and is known to `redact`;
what was made for a step alone (a token, a database login) is revoked at its end.
"""

import json
import logging
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from hvac.exceptions import Forbidden, InternalServerError, InvalidPath, InvalidRequest, Unauthorized

from pipeline import log
from pipeline.errors import UnreachableError, UsageError
from pipeline.redact import register
from pipeline.settings import DatabaseSettings, VaultSettings
from pipeline.vault.renewal import renewed
from pipeline.vault.request import Connection
from pipeline.vault.transit import Transit

__all__ = ["Vault", "session"]

logger = logging.getLogger(__name__)

# Where a URI's credential, written as it is, could end or seem to end.
_BOUNDS = re.compile(r"[/?#@]")


@contextmanager
def session(settings: VaultSettings) -> Iterator["Vault"]:
    """Log in to Vault, give the body a `Vault`, and revoke the login's token at the end.

    Raise UsageError if the credential file is missing or empty, UnreachableError if Vault cannot be reached,
    is sealed or refuses the login.
    """
    connection = Connection(settings.url)
    try:
        with ExitStack() as kept:

            def log_in() -> None:
                """Log in, and keep that login alive in the place of the one before."""
                life_seconds = _log_in(connection, settings, _credential(settings))
                kept.close()
                kept.enter_context(
                    renewed(
                        "the login to Vault", life_seconds, lambda: _renew_token(settings.url, connection)
                    )
                )

            log_in()
            if settings.auth != "token":
                connection.log_in = log_in
            yield Vault(settings, connection)
    finally:
        if settings.auth != "token" and connection.client.token:
            _revoke_token(connection)
        connection.close()


class Vault:
    """A Vault server that we are logged in to."""

    def __init__(self, settings: VaultSettings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self.transit = Transit(settings, connection, self._forbidden)

    def read(self, secret: str, *, missing: str | None = None) -> dict[str, str]:
        """Return the newest version of the KV v2 entry `secret`, below mount and prefix; its values as text.

        Raise UnreachableError if it is not there or we may not read it. `missing` is what to do if it is not.
        """
        return self.read_version(secret, missing=missing)[0]

    def read_version(self, secret: str, *, missing: str | None = None) -> tuple[dict[str, str], str]:
        """Return an entry as `read` does, and what tells this version of it from any other."""
        mount, path = self._settings.mount, f"{self._settings.prefix}/{secret}"
        shown = f"{mount}/data/{path}"
        kv = self._connection.client.secrets.kv.v2
        answer = self._connection.ask(
            shown,
            lambda: kv.read_secret_version(path=path, mount_point=mount, raise_on_deleted_version=True),
            refusals={
                Forbidden: self._forbidden(shown),
                InvalidPath: (
                    f"there is nothing at {shown}",
                    missing or f"write it (bao kv put -mount={mount} {path} ...), or correct the path",
                ),
            },
        )
        with self._connection.understood(shown):
            values = {key: _text(value) for key, value in answer["data"]["data"].items()}
            version = answer["data"]["metadata"]
            # The number alone begins anew where an entry was removed and written again.
            stamp = f"{version['version']} of {version['created_time']}"
        for value in values.values():
            _register(value)
        return values, stamp

    def write(self, secret: str, values: Mapping[str, str]) -> None:
        """Write a new version of the KV v2 entry `secret`. Raise UnreachableError if we may not."""
        mount, path = self._settings.mount, f"{self._settings.prefix}/{secret}"
        shown = f"{mount}/data/{path}"
        kv = self._connection.client.secrets.kv.v2
        for value in values.values():
            _register(value)
        self._connection.ask(
            shown,
            lambda: kv.create_or_update_secret(path=path, secret=dict(values), mount_point=mount),
            refusals={Forbidden: self._forbidden(shown, "write")},
        )

    @contextmanager
    def database_uri(self, database: DatabaseSettings) -> Iterator[str]:
        """Give the body a postgresql:// URI with a credential in it.

        That is the entry's `uri`, or, where `secret` is ENGINE/creds/ROLE, a login that Vault makes now and
        that is revoked at the end. Raise UnreachableError if there is none to be had.
        """
        if database.dynamic:
            with self._made_login(database) as uri:
                yield uri
        else:
            yield self._kept_uri(database.secret)

    def _forbidden(self, path: str, what: str = "read") -> tuple[str, str]:
        role = f" with role {self._settings.role}" if self._settings.role else ""
        login = f"the {self._settings.auth} login{role}"
        return (
            f"{login} may not {what} {path}",
            f"let its policy {what} that{_setup(self._settings)}, or correct the path",
        )

    def _kept_uri(self, secret: str) -> str:
        values = self.read(secret)
        uri = values.get("uri", "")
        if not uri.startswith(("postgresql://", "postgres://")):
            fault = "has a uri that is not postgresql://" if uri else f"has no uri, only {_listed(values)}"
            path = f"{self._settings.mount}/data/{self._settings.prefix}/{secret}"
            raise UnreachableError(
                f"Vault at {self._settings.url}: {path} {fault}",
                hint="write uri=postgresql://USER:PASSWORD@HOST:PORT/NAME there",
            )
        # libpq would take a part of the password for the host or the port, and tell it in its complaint.
        if {"/", "@"}.intersection(uri.partition("://")[2].rpartition("@")[0]):
            path = f"{self._settings.mount}/data/{self._settings.prefix}/{secret}"
            raise UnreachableError(
                f"Vault at {self._settings.url}: the uri of {path} has a / or @ before its last @",
                hint="write %2F for / and %40 for @ in its role, password and options",
            )
        return uri

    @contextmanager
    def _made_login(self, database: DatabaseSettings) -> Iterator[str]:
        connection, path = self._connection, database.secret
        mount, _, role = path.rpartition("/creds/")
        engine = connection.client.secrets.database
        answer = connection.ask(
            path,
            lambda: engine.generate_credentials(name=role, mount_point=mount),
            refusals={
                Forbidden: self._forbidden(path),
                InvalidPath: (
                    f"there is no database engine at {mount}",
                    f"enable it, or correct the path {path}",
                ),
                InvalidRequest: (
                    f"there is no role {role} at {mount}",
                    f"create it, or correct the path {path}",
                ),
                InternalServerError: (
                    f"no login could be made at {path}",
                    "check that Vault reaches the database and that its own login there may create roles",
                ),
            },
        )
        with connection.understood(path):
            lease, life = str(answer["lease_id"]), float(answer["lease_duration"])
        try:
            with connection.understood(path):
                username, password = str(answer["data"]["username"]), str(answer["data"]["password"])
            uri = f"postgresql://{quote(username, safe='')}:{quote(password, safe='')}@{database.address}"
            register(password)
            register(uri)
            with renewed(path, life, lambda: _renew_lease(connection, lease)):
                yield uri
        finally:
            _revoke_lease(connection, lease, path)


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
            logger, f"{path} can be used by others on this machine; make it private: chmod 600 {path}"
        )
    register(credential)
    return credential


def _setup(settings: VaultSettings) -> str:
    """Return what writes the roles and policies of jobs, where one of them logs in."""
    return " (bin/vault-setup writes those of the jobs)" if settings.auth == "jwt" else ""


def _log_in(connection: Connection, settings: VaultSettings, credential: str) -> float:
    """Give the connection a token, and return its life in seconds; 0 is without end."""
    client, mount = connection.client, settings.auth_mount
    if settings.auth == "token":
        client.token = credential
        expired = "the token is not accepted, for it has expired or was revoked", "get a new one"
        connection.ask("the token's own data", client.auth.token.lookup_self, refusals={Forbidden: expired})
        return 0.0  # it belongs to a person, who decides how long it lives
    refused = (
        f"the {settings.auth} login at auth/{mount} with role {settings.role} is refused",
        f"check the role{_setup(settings)}, whether {settings.credential_file} holds a valid credential, "
        "and auth_mount",
    )
    answer = connection.ask(
        f"a login at auth/{mount}",
        lambda: (
            client.auth.approle.login(settings.role, credential, use_token=False, mount_point=mount)
            if settings.auth == "approle"
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


def _renew_token(url: str, connection: Connection) -> float:
    # A client of its own: this runs beside the step, and a session of requests belongs to one thread.
    own = Connection(url)
    own.client.token = connection.client.token
    try:
        with own.understood("a longer login"):
            return _life(own.ask("a longer login", own.client.auth.token.renew_self)["auth"])
    finally:
        own.close()


def _renew_lease(connection: Connection, lease: str) -> float:
    own = Connection(connection.url)
    own.client.token = connection.client.token
    try:
        answer = own.ask("a longer lease", lambda: own.client.sys.renew_lease(lease))
        with own.understood("a longer lease"):
            return float(answer["lease_duration"])
    finally:
        own.close()


def _life(auth: dict[str, Any]) -> float:
    return float(auth["lease_duration"]) if auth.get("renewable") else 0.0


def _revoke_token(connection: Connection) -> None:
    # Never raises what it can help: the error of the step itself is what matters.
    try:
        connection.ask("the end of the login", connection.client.auth.token.revoke_self, again=False)
    except UnreachableError as error:
        logger.warning("The login to Vault could not be revoked and ends by itself: %s", error)


def _revoke_lease(connection: Connection, lease: str, path: str) -> None:
    try:
        connection.ask(path, lambda: connection.client.sys.revoke_lease(lease), again=False)
    except UnreachableError as error:
        logger.warning("The login from %s could not be revoked and ends with our own: %s", path, error)


def _register(value: str) -> None:
    register(value)
    _, scheme, rest = value.partition("://")
    password = rest.rpartition("@")[0].partition(":")[2]
    if not scheme or not password:
        return
    # Where it was not quoted, whoever reads the URI takes it for several things, and tells one of them.
    for part in (password, *_BOUNDS.split(password)):
        register(part)
        register(unquote(part))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _listed(values: dict[str, str]) -> str:
    return ", ".join(sorted(values)) or "nothing at all"
