"""Credentials: each opens what it is for and nothing else, and none lies anywhere but in Vault."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from pipeline import access, postgres, settings
from pipeline.errors import StepError
from pipeline.sandbox import provision
from pipeline.sandbox.servers.server import addresses
from pipeline.sandbox.servers.vault_server import Administrator
from tests.support.night import Night
from tests.support.platforms import Platform, Sandbox

ENTRIES = (
    "warehouse",
    "drill",
    "source/hr",
    "source/records",
    *(f"database/{name}" for name in ("hr", "records", "service_desk")),
)


@pytest.fixture(scope="session")
def sandbox(sandbox: Sandbox) -> Sandbox:
    """The sandbox with its samples."""
    return sandbox.with_samples()


@pytest.fixture
def pipeline_login(sandbox: Sandbox) -> Administrator:
    """Vault with the token that the pipeline gets."""
    secret_id = (sandbox.home.vault_keys / "secret-id").read_text()
    login = {"role_id": provision.role_id(sandbox.home), "secret_id": secret_id}
    answer = sandbox.vault.call("POST", "auth/approle/login", login)
    return Administrator(sandbox.home, answer["auth"]["client_token"])


def _uri(sandbox: Sandbox, entry: str) -> str:
    values = sandbox.vault.read(entry)
    assert values is not None, entry
    return values["uri"]


def _value(uri: str, query: str) -> Any:
    connection = psycopg2.connect(uri)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            ((value,),) = cursor.fetchall()
            return value
    finally:
        connection.close()


def test_the_pipeline_can_read_its_credentials(pipeline_login: Administrator) -> None:
    for entry in (*ENTRIES, "alerts", "scheduler"):
        assert pipeline_login.call("GET", f"secret/data/pipeline/{entry}")["data"]["data"], entry


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "secret/data/other/entry"),
        ("GET", "secret/data/pipeline/restore/b2"),
        ("GET", "secret/data/pipeline/restore/key"),
        ("GET", "secret/data/pipeline/admin/b2"),
        ("GET", "secret/metadata/pipeline/warehouse"),
        ("POST", "secret/data/pipeline/warehouse"),
        ("DELETE", "secret/data/pipeline/warehouse"),
        ("GET", "database/config/service_desk"),
        ("GET", "database/creds/other"),
        ("GET", "auth/approle/role/pipeline/role-id"),
        ("POST", "auth/approle/role/pipeline/secret-id"),
        ("GET", "sys/mounts"),
        # What signs backups is used, and never read, replaced or let out.
        ("GET", "transit/export/signing-key/pipeline-backup-hr"),
        ("GET", "transit/backup/pipeline-backup-hr"),
        ("POST", "transit/keys/pipeline-backup-hr/config"),
        ("POST", "transit/keys/pipeline-backup-hr/rotate"),
    ],
)
def test_the_pipeline_can_do_nothing_else_in_vault(
    sandbox: Sandbox, pipeline_login: Administrator, method: str, path: str
) -> None:
    sandbox.vault.call("POST", "secret/data/other/entry", {"data": {"uri": "another team's"}})
    body: dict[str, Any] | None = {"data": {}} if method == "POST" else None
    with pytest.raises(StepError, match="permission denied"):
        pipeline_login.call(method, path, body)


def test_every_stored_credential_opens_its_database(sandbox: Sandbox) -> None:
    for entry in ENTRIES:
        uri = _uri(sandbox, entry)
        assert _value(uri, "SELECT current_database()") == urlsplit(uri).path[1:]


@pytest.mark.parametrize("entry", ["source/hr", "database/hr"])
def test_what_reads_a_source_or_backs_it_up_may_write_nothing_there(sandbox: Sandbox, entry: str) -> None:
    """No table, no sequence, no schema: by its rights, and not by its session alone."""
    may = """
    SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm')
      AND has_table_privilege(c.oid, {})
    """
    uri = _uri(sandbox, entry)
    assert _value(uri, may.format("'SELECT'")) > 0
    assert _value(uri, may.format("'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER'")) == 0
    makes = (
        "SELECT count(*) FROM pg_namespace WHERE has_schema_privilege(oid, 'CREATE') AND nspname !~ '^pg_'"
    )
    assert _value(uri, makes) == 0
    assert _value(uri, "SELECT has_database_privilege(current_database(), 'CREATE')") is False
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        _value(uri, "DELETE FROM employee RETURNING 1")


def test_no_role_of_the_pipeline_is_superuser(sandbox: Sandbox) -> None:
    for cluster in ("hr", "warehouse", "drill"):
        with sandbox.connect(cluster) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT rolname FROM pg_roles WHERE rolsuper OR rolreplication OR rolbypassrls")
            # The drill server has one beside it, for backups that only a superuser can restore.
            second = [(provision.DRILL_SUPERUSER,)] if cluster == "drill" else []
            assert sorted(cursor.fetchall()) == sorted([("postgres",), *second])


def test_a_made_up_login_of_the_service_desk_reads_and_is_gone_when_revoked(
    sandbox: Sandbox, pipeline_login: Administrator
) -> None:
    answer = pipeline_login.call("GET", "database/creds/pipeline_service_desk")
    login = f"{answer['data']['username']}:{answer['data']['password']}"
    uri = f"postgresql://{login}@127.0.0.1:{sandbox.home.state.ports['sources']}/service_desk"
    assert _value(uri, "SELECT count(*) > 0 FROM ticket") is True
    pipeline_login.call("PUT", "sys/leases/revoke", {"lease_id": answer["lease_id"]})
    with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
        _value(uri, "SELECT 1")


def test_one_role_of_vault_may_log_in_to_several_databases(night: Night) -> None:
    """Whoever asks for the second must not be given the first."""
    home = night.platform.sandbox.home
    section = re.search(r"^\[source\.service_desk\]\n(?:.+\n)+", home.settings_file.read_text(), re.MULTILINE)
    assert section
    other = section[0].replace("source.service_desk", "source.other").replace("/service_desk", "/postgres")
    with night.platform.settings_file.open("a") as file:
        file.write(f"\n{section[0]}\n{other}")
    configured = settings.read([night.platform.settings_file])
    with access.opened(configured) as databases:
        found = []
        for name in ("service_desk", "other"):
            with databases.source(name) as connection:
                found.append(postgres.value(connection, "SELECT current_database()"))
    assert found == ["service_desk", "postgres"]


def test_a_reader_reads_tables_that_are_made_later_in_schemas_that_are_made_later(platform: Platform) -> None:
    platform.source("shop")
    with platform.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE SCHEMA later; CREATE TABLE later.item (id int); INSERT INTO later.item VALUES (7)"
        )
    uri = _uri(platform.sandbox, f"source/{platform.database('shop')}")
    assert _value(uri, "SELECT id FROM later.item") == 7


def test_provisioning_again_keeps_the_credentials(sandbox: Sandbox) -> None:
    before = _uri(sandbox, "source/hr")
    provision.source(sandbox.home, "hr")
    assert _uri(sandbox, "source/hr") == before


def test_no_credential_lies_in_a_file(sandbox: Sandbox) -> None:
    """Neither in the home, logs and settings included, nor in the data of the clusters; Vault's own apart."""
    home = sandbox.home
    keys = json.loads((home.vault_keys / "init.json").read_text())
    passwords = {urlsplit(_uri(sandbox, entry)).password for entry in ENTRIES}
    secret_id = (home.vault_keys / "secret-id").read_text()
    wanted = [
        str(one).encode() for one in (*passwords, keys["root_token"], keys["keys_base64"][0], secret_id)
    ]
    places = [home.path, Path(home.state.server_folder)]
    vaults_own = (home.vault_keys, home.servers("vault"))
    searched = 0
    for path in (path for place in places for path in place.rglob("*") if path.is_file()):
        if any(own in path.parents for own in vaults_own):
            continue
        content = path.read_bytes()
        searched += 1
        assert not [path for one in wanted if one in content], path
    assert searched > 1000


def test_the_environment_holds_addresses_only(sandbox: Sandbox) -> None:
    assert sorted(addresses(sandbox.home)) == ["LUIGI_CONFIG_PATH", "SANDBOX_HOME", "VAULT_ADDR"]
