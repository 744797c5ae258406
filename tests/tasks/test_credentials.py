"""Credentials are in Vault and in memory only: a night fails in every way, and everything is searched."""

import re
import secrets
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from pipeline import postgres
from pipeline.sandbox import ports, provision
from pipeline.sandbox.home import PROJECT
from tests.support.leaks import (
    Planted,
    Watcher,
    in_files,
    of_the_ledger,
    of_the_scheduler,
    restarted_scheduler,
)
from tests.support.night import Ended, Night, next_run, wait_until
from tests.support.schedulers import door, served

pytestmark = pytest.mark.endurance

# Recognisable, hard to quote, and not in this file.
PLANTED = f"Planted p@ss/word: ü%41 {secrets.token_hex(8)}"
MISTAKEN = f"mistaken-but-secret-all-the-same-{secrets.token_hex(8)}"
ITEM = "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (0);"
# Any URI with a password in it, and any token of Vault's.
SHAPES = re.compile(
    rb"postgres(?:ql)?(?:\+\w+)?://[^\s/:@]+:(?!password@|PASSWORD@)[^\s@\[]+@|\b(?:hv)?s\.[A-Za-z0-9]{24,}\b"
)


def plant(night: Night, source: str, password: str, port: str | None = None) -> str:
    """Write a credential into Vault, and return the URI."""
    vault, entry = night.platform.sandbox.vault, f"source/{night.platform.database(source)}"
    parts = urlsplit((vault.read(entry) or {})["uri"])
    place = f"{parts.hostname}:{port or parts.port}{parts.path}"
    uri = f"postgresql://{parts.username}:{quote(password, safe='')}@{place}"
    vault.write(entry, {"uri": uri})
    return uri


@pytest.fixture
def planted(night: Night) -> tuple[Night, list[str]]:
    """A night with sources that fail in all ways and one that does not, and all of their credentials."""
    sandbox, platform = night.platform.sandbox.with_samples(), night.platform
    for name in ("fine", "refused", "gone", "faulty"):
        platform.source(name, ITEM, f"source: {name}\ntables: {{item: {{}}}}\n")
    platform.declare(
        "faulty",
        "source: faulty\ntables: {item: {checks: [{sql: 'select * from {table} where 1 / id > 0'}]}}\n",
    )
    uris = [
        plant(night, "fine", PLANTED),
        plant(night, "refused", MISTAKEN),
        plant(night, "gone", PLANTED, "1"),
    ]
    with platform.connect("fine") as connection:
        statement = f"ALTER ROLE {platform.reader('fine')} PASSWORD %s"
        postgres.rows(connection, statement, (PLANTED,))
    # One more whose login Vault makes for each step alone.
    shared = sandbox.home.settings_file.read_text()
    section = re.search(r"^\[source\.service_desk\]\n(?:.+\n)+", shared, re.MULTILINE)
    assert section
    with platform.settings_file.open("a") as settings:
        settings.write("\n" + section[0])
    platform.declare("service_desk", "source: service_desk\ntables: {agent: {}}\n")
    uris += [
        (sandbox.vault.read(entry) or {})["uri"]
        for entry in (platform.database("warehouse"), f"source/{platform.database('faulty')}")
    ]
    login = (sandbox.home.vault_keys / "secret-id").read_text().strip()
    passwords = [password for uri in uris if (password := urlsplit(uri).password)]
    passwords += door(platform).passwords.values()
    return night, [*uris, *passwords, PLANTED, repr(PLANTED)[1:-1], login]


def test_no_credential_is_anywhere_but_in_vault(
    planted: tuple[Night, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    night, credentials = planted
    home, run = night.platform.sandbox.home, next_run()
    known = Planted()
    for credential in credentials:
        known.add("a credential", credential)
    needles = sorted(known.kinds)
    watcher = Watcher(known)
    watcher.start()
    try:
        ended = night.etl(run)
    finally:
        watcher.stop()
    failed_in_all_ways(night, ended, run)
    assert watcher.looked > 100
    assert watcher.found == set()

    seen = [ended.out.encode(), ended.err.encode(), *of_the_scheduler(night.platform), *of_the_ledger(night)]
    seen.append(restarted_scheduler(home))
    shown = night.run("status", "--json", "--run", run)
    seen += [shown.out.encode(), shown.err.encode(), night.run("status").out.encode()]
    leaked = {needle for needle in needles if any(needle in text for text in seen)}
    assert leaked == set()
    assert [match for text in seen for match in SHAPES.findall(text)] == []
    assert any(run.encode() in text for text in seen), "this test looks at the right places"

    # The Vault server's own folders, and the key that opens it, are where credentials belong.
    scratch = tmp_path_factory.mktemp("patterns")
    folders = [home.path, Path(home.state.server_folder), night.platform.folder]
    assert in_files(needles, folders, scratch, "--exclude-dir=vault") == []
    apart = [f"--exclude-dir={name}" for name in (".git", ".venv", ".sandbox", ".mypy_cache")]
    assert in_files(needles, [PROJECT], scratch, *apart) == []
    control = night.platform.folder / "control"
    control.write_bytes(b"\0 before " + needles[0] + b" after")
    assert in_files(needles, folders, scratch, "--exclude-dir=vault") == [str(control)]


def failed_in_all_ways(night: Night, ended: Ended, run: str) -> None:
    """See that the run did what the search is about."""
    assert ended.code == 3
    query = "SELECT name, coalesce(error, '') FROM ops.step WHERE run = %s AND state = 'failed'"
    errors = dict(night.ask("warehouse", query, (run,)))
    assert "password authentication failed" in errors["refused"]
    assert "no connection" in errors["gone"]
    assert "division by zero" in errors["faulty.item"]
    query = "SELECT count(*) FROM ops.step WHERE run = %s AND task = 'LoadTable' AND state = 'done'"
    assert night.value("warehouse", query, (run,)) == 2
    wait_until(lambda: not night.ours(), "nobody of the run is left")
    assert night.value("warehouse", "SELECT count(*) FROM service_desk.agent") > 0


def made_logins(night: Night) -> str:
    """Let Vault make the logins to the warehouse from now on; return what their names begin with."""
    platform = night.platform
    owner, maker = f"{platform.prefix}_pipeline", f"{platform.prefix}_maker"
    database, password = platform.database("warehouse"), secrets.token_urlsafe(24)
    night.ask("warehouse", f"CREATE ROLE {maker} LOGIN CREATEROLE PASSWORD %s", (password,))
    night.ask("warehouse", f"GRANT CONNECT ON DATABASE {database} TO {maker}")
    night.ask("warehouse", f"GRANT {owner} TO {maker} WITH ADMIN OPTION")
    server = f"{ports.ADDRESS}:{platform.sandbox.home.state.ports[provision.WAREHOUSE]}/{database}"
    vault = platform.sandbox.vault
    connecting = {
        "plugin_name": "postgresql-database-plugin",
        "username": maker,
        "password": password,
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{server}?sslmode=disable",
        "allowed_roles": [f"pipeline_{database}"],
        "password_authentication": "scram-sha-256",
    }
    creation = [
        f"""CREATE ROLE "{{{{name}}}}" LOGIN PASSWORD '{{{{password}}}}' IN ROLE {owner}""",
        f'ALTER ROLE "{{{{name}}}}" SET role = {owner}',
    ]
    role = {"db_name": database, "creation_statements": creation, "default_ttl": "1h"}
    vault.call("POST", f"database/config/{database}", connecting)
    vault.call(
        "POST",
        f"database/roles/pipeline_{database}",
        {**role, "revocation_statements": ['DROP ROLE IF EXISTS "{{name}}"']},
    )
    text = platform.settings_file.read_text()
    kept = f"secret = {database}\n"
    assert text.count(kept) == 1
    platform.settings_file.write_text(
        text.replace(kept, f"secret = database/creds/pipeline_{database}\naddress = {server}\n")
    )
    return "v-approle-"


def test_a_scheduler_with_a_login_made_for_it_keeps_it_while_it_serves(night: Night, tmp_path: Path) -> None:
    """It writes the history with it for as long as it lives; then the login is gone."""
    begins = made_logins(night)
    query = (
        "SELECT rolname FROM pg_roles r WHERE starts_with(rolname, %s) AND pg_has_role(r.oid, %s, 'MEMBER')"
    )
    parameters = (begins, f"{night.platform.prefix}_pipeline")
    with served(night.platform, tmp_path) as own:
        way_in = own.start()
        assert way_in.ask("/history", "reader").status_code == 200
        assert len(night.ask("warehouse", query, parameters)) == 1
        own.end()
        assert night.ask("warehouse", query, parameters) == []
    night.ask("warehouse", f"DROP OWNED BY {night.platform.prefix}_maker")
    night.ask("warehouse", f"DROP ROLE {night.platform.prefix}_maker")
