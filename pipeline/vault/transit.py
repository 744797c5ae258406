"""Vault's transit engine, which signs with keys that never leave it."""

import base64
from collections.abc import Callable
from typing import Any

from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, VaultError

from pipeline.settings import Auth, VaultSettings
from pipeline.vault.request import Connection, Refusal

TYPE = "ed25519"
# Says that the login may not do something with a path, and how that is mended.
Forbid = Callable[[str, str], Refusal]


class Transit:
    """The keys of [vault] transit; each is called as the folder of the entries and what it is for."""

    def __init__(self, settings: VaultSettings, connection: Connection, forbidden: Forbid) -> None:
        self._settings, self._connection, self._forbidden = settings, connection, forbidden
        self._mount = settings.transit

    def sign(self, database: str, version: int, data: bytes) -> str:
        """Return the signature of the key of a database's backups, `vault:vVERSION:...`.

        Raise UnreachableError, with what to type, if there is no such key or we may not sign with it.
        """
        key = self._settings.signing_key(database)
        engine = self._connection.client.secrets.transit
        answer = self._connection.ask(
            f"{self._mount}/sign/{key}",
            lambda: engine.sign_data(
                name=key,
                hash_input=base64.b64encode(data).decode(),
                key_version=version,
                mount_point=self._mount,
            ),
            refusals=self._refusals(f"{self._mount}/sign/{key}", "update", key),
        )
        with self._connection.understood(f"{self._mount}/sign/{key}"):
            return str(answer["data"]["signature"])

    def public_keys(self, database: str) -> dict[int, str]:
        """Return the public half of each version of a database's key, in base64.

        Raise UnreachableError, with what to type, if there is no such key or we may not see it.
        """
        data = self._key(database)
        with self._connection.understood(f"the keys that sign the backups of {database}"):
            return public_keys(data)

    def faults(self, database: str) -> list[str]:
        """Return what is wrong with a database's key. Raise UnreachableError if there is none to be seen."""
        return faults(f"{self._mount}/keys/{self._settings.signing_key(database)}", self._key(database))

    def _key(self, database: str) -> dict[str, Any]:
        key = self._settings.signing_key(database)
        engine = self._connection.client.secrets.transit
        answer = self._connection.ask(
            f"{self._mount}/keys/{key}",
            lambda: engine.read_key(name=key, mount_point=self._mount),
            refusals=self._refusals(f"{self._mount}/keys/{key}", "read", key),
        )
        with self._connection.understood(f"{self._mount}/keys/{key}"):
            return dict(answer["data"])

    def _refusals(self, path: str, what: str, key: str) -> dict[type[VaultError], Refusal]:
        make = f"bao write -f {self._mount}/keys/{key} type={TYPE}"
        jobs = "bin/vault-setup, or " if self._settings.auth == Auth.JWT else ""
        missing = (
            f"there is no key {key} in a transit engine at {self._mount}",
            f"type: {jobs}bao secrets enable -path={self._mount} transit (unless it is there), then: {make}",
        )
        return {Forbidden: self._forbidden(path, what), InvalidPath: missing, InvalidRequest: missing}


def faults(path: str, data: dict[str, Any]) -> list[str]:
    """Return why a key, as Vault shows it, cannot sign, or could sign elsewhere; with what to type."""
    anew = (
        f"create it again: bao write {path}/config deletion_allowed=true && bao delete {path} && "
        f"bao write -f {path} type={TYPE}; then put the new line of it into the file of [backup] signers"
    )
    if data.get("type") != TYPE:
        return [f"{path} is of type {data.get('type')}, which cannot sign backups; {anew}"]
    out = [name for name in ("exportable", "allow_plaintext_backup") if data.get(name)]
    problem = f"{path} can be exported from Vault ({' and '.join(out)}) and used elsewhere; {anew}"
    return [problem] if out else []


def public_keys(data: dict[str, Any]) -> dict[int, str]:
    """Return the public half of each version of a key, as Vault shows it; none of another type."""
    if data.get("type") != TYPE:
        return {}
    return {int(version): one["public_key"] for version, one in data["keys"].items()}
