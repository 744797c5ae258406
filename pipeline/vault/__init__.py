"""Fetches credentials: the only user of hvac. What is fetched stays in memory and is known to `redact`;
what was made for a step alone (a token, a database login) is revoked at its end.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import quote, unquote

from hvac.exceptions import Forbidden, InternalServerError, InvalidPath, InvalidRequest

from pipeline.errors import UnreachableError
from pipeline.redact import register
from pipeline.settings import Auth, DatabaseSettings, VaultSettings
from pipeline.vault.login import log_in, renew_token, revoke_token, setup_hint
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

            def log_in_anew() -> None:
                """Log in, and keep that login alive in the place of the one before."""
                life_seconds = log_in(connection, settings)
                kept.close()
                kept.enter_context(
                    renewed("the login to Vault", life_seconds, lambda: renew_token(connection))
                )

            log_in_anew()
            if settings.auth != Auth.TOKEN:
                connection.log_in = log_in_anew
            yield Vault(settings, connection)
    finally:
        if settings.auth != Auth.TOKEN and connection.client.token:
            revoke_token(connection)
        connection.close()


class Vault:
    """A Vault server that we are logged in to."""

    def __init__(self, settings: VaultSettings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self.transit = Transit(settings, connection, self._forbidden)

    def read(
        self, secret: str, *, missing: str | None = None, forbidden: str | None = None
    ) -> dict[str, str]:
        """Return the newest version of the KV v2 entry `secret`, below mount and prefix; its values as text.

        Raise UnreachableError if it is not there or we may not read it. `missing` is what to do if it is not,
        `forbidden` if we may not.
        """
        return self.read_version(secret, missing=missing, forbidden=forbidden)[0]

    def read_version(
        self, secret: str, *, missing: str | None = None, forbidden: str | None = None
    ) -> tuple[dict[str, str], str]:
        """Return an entry as `read` does, and what tells this version of it from any other."""
        mount, path = self._settings.mount, f"{self._settings.prefix}/{secret}"
        shown = f"{mount}/data/{path}"
        kv = self._connection.client.secrets.kv.v2
        refused, let_it = self._forbidden(shown)
        answer = self._connection.ask(
            shown,
            lambda: kv.read_secret_version(path=path, mount_point=mount, raise_on_deleted_version=True),
            refusals={
                Forbidden: (refused, forbidden or let_it),
                InvalidPath: (
                    f"nothing is stored at {shown}",
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
            f"let its policy {what} that{setup_hint(self._settings)}, or correct the path",
        )

    def _kept_uri(self, secret: str) -> str:
        values = self.read(secret)
        uri = values.get("uri", "")
        if not uri.startswith(("postgresql://", "postgres://")):
            fault = "has a uri that is not postgresql://" if uri else f"has no uri; it has {_listed(values)}"
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


def _renew_lease(connection: Connection, lease: str) -> float:
    own = Connection(connection.url)
    own.client.token = connection.client.token
    try:
        answer = own.ask("a longer lease", lambda: own.client.sys.renew_lease(lease))
        with own.understood("a longer lease"):
            return float(answer["lease_duration"])
    finally:
        own.close()


def _revoke_lease(connection: Connection, lease: str, path: str) -> None:
    try:
        connection.ask(path, lambda: connection.client.sys.revoke_lease(lease), again=False)
    except UnreachableError as error:
        logger.warning("the login from %s could not be revoked and expires with our own: %s", path, error)


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
    return ", ".join(sorted(values)) or "nothing"
