"""Each job's way into Vault: what bin/vault-setup writes, tried on a real server with tokens as Nomad's."""

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from pipeline import vault
from pipeline.errors import UnreachableError
from pipeline.nomad import vault_setup
from pipeline.settings import VaultSettings
from tests.support.nomad import Issuer, serving
from tests.support.vaults import ROOT_TOKEN, Server, server

# Each takes seconds.
pytestmark = pytest.mark.endurance

__all__ = ["server"]

SETTINGS = """
[vault]
url = {url}
auth = jwt
role = ${{VAULT_ROLE}}
credential_file = ${{NOMAD_SECRETS_DIR}}/nomad_vault.jwt
[warehouse]
secret = warehouse
[source.hr]
secret = source/hr
[database.hr]
secret = database/hr
{more}
[backup]
bucket = school
secret = b2/writer
verify_secret = b2/verifier
recipients = one.asc, two.asc
signers = signers
[restore]
secret = restore/b2
key_secret = restore/private_key
[drill]
secret = drill
[analysts]
checkout = analysts
"""
RECORDS = "[database.records]\nsecret = database/creds/records\naddress = db:5432/records"
ENTRIES = ("warehouse", "source/hr", "database/hr", "b2/writer", "restore/private_key", "drill")

MAY = (
    ("pipeline-backup-hr", "database/hr"),
    ("pipeline-etl", "source/hr"),
    ("pipeline-drill", "restore/private_key"),
)
MAY_NOT = (
    ("pipeline-backup-records", "database/hr"),
    ("pipeline-etl", "database/hr"),
    ("pipeline-etl", "b2/writer"),
    ("pipeline-backup-hr", "source/hr"),
    ("pipeline-backup-hr", "restore/private_key"),
    ("pipeline-watch", "drill"),
)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving(Issuer()) as made:
        yield made


class Setup:
    """bin/vault-setup with settings of its own, and logins as the jobs make them."""

    def __init__(self, server: Server, issuer: Issuer, folder: Path) -> None:
        self.server, self.issuer, self.folder = server, issuer, folder
        self.write(RECORDS)
        for entry in ENTRIES:
            server.write(entry, uri=f"postgresql://role:planted-in-vault@db:5432/{entry.replace('/', '_')}")

    def write(self, more: str) -> None:
        (self.folder / "luigi.cfg").write_text(SETTINGS.format(url=self.server.url, more=more))

    def run(self, *arguments: str) -> int:
        return vault_setup.main([*arguments, "--jwks-url", self.issuer.url])

    def reads(self, job: str, entry: str, *, role: str | None = None, namespace: str = "default") -> str:
        """Return the entry's URI as that job gets it, with the role of its name."""
        with self.opened(job, role=role, namespace=namespace) as opened:
            return opened.read(entry)["uri"]

    def opened(
        self, job: str, *, role: str | None = None, namespace: str = "default"
    ) -> contextlib.AbstractContextManager[vault.Vault]:
        """Log in as that job does, with the role of its name."""
        file = self.server.file(f"jwt-{job}", self.issuer.token(job, namespace))
        found = {"url": self.server.url, "auth": "jwt", "role": role or job, "credential_file": file}
        return vault.session(VaultSettings.model_validate(found))


@pytest.fixture
def setup(server: Server, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(tmp_path / "luigi.cfg"))
    monkeypatch.setenv("VAULT_TOKEN", ROOT_TOKEN)
    monkeypatch.setenv("VAULT_ROLE", "any")
    monkeypatch.setenv("NOMAD_SECRETS_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Setup(server, issuer, tmp_path)


def test_a_job_reads_what_it_needs_and_nothing_of_another(
    setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup.run() == 0
    assert "planted-in-vault" not in capsys.readouterr().out
    for job, entry in MAY:
        assert setup.reads(job, entry).startswith("postgresql://")
    for job, entry in MAY_NOT:
        with pytest.raises(UnreachableError, match="may not read"):
            setup.reads(job, entry)


def test_a_job_gets_no_login_with_the_role_of_another_or_from_another_namespace(setup: Setup) -> None:
    assert setup.run() == 0
    with pytest.raises(UnreachableError, match="is refused"):
        setup.reads("pipeline-etl", "database/hr", role="pipeline-backup-hr")
    with pytest.raises(UnreachableError, match="is refused"):
        setup.reads("pipeline-backup-hr", "database/hr", namespace="other")


def test_the_same_again_changes_nothing_and_what_is_no_longer_wanted_goes_only_when_told(
    setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup.run() == 0
    capsys.readouterr()
    assert (setup.run(), capsys.readouterr().out.splitlines()[-1]) == (0, "nothing to change")
    setup.write("")
    assert setup.run() == 0
    assert (
        "auth/jwt-nomad/role/pipeline-backup-records: belongs to no job of luigi.cfg (--rem"
        in capsys.readouterr().out
    )
    roles = setup.server.admin.list("auth/jwt-nomad/role")["data"]["keys"]
    assert "pipeline-backup-records" in roles
    capsys.readouterr()
    assert (setup.run("--plan", "--remove"), capsys.readouterr().out.splitlines()[-1]) == (
        4,
        "2 would change",
    )
    assert (setup.run("--remove"), capsys.readouterr().out.splitlines()[-1]) == (0, "2 changed")
    roles = setup.server.admin.list("auth/jwt-nomad/role")["data"]["keys"]
    assert "pipeline-backup-records" not in roles
    assert "pipeline-backup-hr" in roles


def test_each_database_gets_a_key_that_signs_and_its_line_is_told_until_it_is_in_the_file(
    setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job of one database signs for no other."""
    setup.server.admin.sys.disable_secrets_engine("transit")
    assert setup.run("--plan") == 4
    assert setup.run() == 0
    said = capsys.readouterr().out
    for name in ("hr", "records"):
        assert f"+ transit/keys/pipeline-backup-{name}: signs the backups of {name}" in said
        key = setup.server.admin.secrets.transit.read_key(f"pipeline-backup-{name}")["data"]["keys"]["1"]
        assert f"write this line into {setup.folder}/signers: {name} 1 {key['public_key']}\n" in said
    with setup.opened("pipeline-backup-hr") as opened:
        assert opened.transit.sign("hr", 1, b"x").startswith("vault:v1:")
        with pytest.raises(UnreachableError, match="may not update transit/sign/pipeline-backup-records"):
            opened.transit.sign("records", 1, b"x")
    for other in ("pipeline-drill", "pipeline-watch", "pipeline-restore"):
        with setup.opened(other) as opened, pytest.raises(UnreachableError, match="may not update"):
            opened.transit.sign("hr", 1, b"x")
    # Whoever has not kept what was shown has no other way to it: no job may read the keys.
    file, lines = setup.folder / "signers", [line for line in said.splitlines() if "write this" in line]
    assert (setup.run(), capsys.readouterr().out.splitlines()) == (0, [*lines, "nothing to change"])
    file.write_text("".join(line.rpartition(": ")[2] + "\n" for line in lines))
    assert (setup.run("--plan"), capsys.readouterr().out) == (0, "nothing to change\n")
    setup.server.admin.secrets.transit.rotate_key("pipeline-backup-hr")
    assert setup.run() == 0
    assert f"  write this line into {file}: hr 2 " in capsys.readouterr().out
    # One that was made anew has another key under the same number, with which no backup would be made.
    file.write_text(f"hr 2 {base64.b64encode(bytes(32)).decode()}\n")
    assert setup.run() == 2
    told = "its version 2 of hr is not one of transit/keys/pipeline-backup-hr in Vault; type: bao write -f "
    assert told in capsys.readouterr().err
    file.unlink()
    with pytest.raises(UnreachableError, match=r"may not .* \(bin/vault-setup writes those of the jobs\)"):
        setup.reads("pipeline-etl", "database/hr")


def test_a_key_of_another_type_is_no_key_that_signs_and_is_told_with_what_to_type(
    setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    admin = setup.server.admin
    admin.sys.disable_secrets_engine("transit")
    admin.sys.enable_secrets_engine("transit")
    admin.secrets.transit.create_key("pipeline-backup-hr", key_type="rsa-2048")
    admin.secrets.transit.create_key("pipeline-backup-records", key_type="ed25519", exportable=True)
    for arguments in (["--plan"], []):
        assert setup.run(*arguments) == 2
        told = capsys.readouterr().err
        assert "transit/keys/pipeline-backup-hr is of type rsa-2048, which cannot sign backups" in told
        assert "transit/keys/pipeline-backup-records can be exported from Vault (exportable)" in told
        assert "bao delete transit/keys/pipeline-backup-hr && bao write -f" in told
    admin.sys.disable_secrets_engine("transit")
    assert setup.run() == 0


def test_a_plan_changes_nothing(setup: Setup) -> None:
    assert setup.run() == 0
    setup.write("[database.other]\nsecret = database/other")
    assert setup.run("--plan") == 4
    assert setup.server.admin.read("auth/jwt-nomad/role/pipeline-backup-other") is None


def test_the_tokens_of_a_nomad_with_an_authority_of_its_own_count_once_that_is_told(
    setup: Setup, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By --jwks-ca, or by NOMAD_CACERT as Nomad's own program has it; Vault itself then fetches the keys."""
    authority, stranger = trustme.CA(), trustme.CA()
    file, wrong = setup.folder / "authority.pem", setup.folder / "stranger.pem"
    authority.cert_pem.write_to_path(str(file))
    stranger.cert_pem.write_to_path(str(wrong))
    with serving(Issuer(authority)) as setup.issuer:
        for arguments in ([], ["--jwks-ca", str(wrong)]):
            assert setup.run(*arguments) == 3
            said = capsys.readouterr().err
            assert (
                f"Vault itself must reach {setup.issuer.url} (--jwks-url), and trust its certificate" in said
            )
            assert "name the authority with --jwks-ca FILE" in said
        assert setup.run("--jwks-ca", str(file)) == 0
        assert (
            f"trusts the tokens signed by {setup.issuer.url} (private authority)"
        ) in capsys.readouterr().out
        assert setup.reads("pipeline-backup-hr", "database/hr").startswith("postgresql://")
        monkeypatch.setenv("NOMAD_CACERT", str(file))
        assert (setup.run(), capsys.readouterr().out.splitlines()[-1]) == (0, "nothing to change")
    assert setup.run("--jwks-ca", str(setup.folder / "none.pem")) == 2
    assert "none.pem: No such file" in capsys.readouterr().err
