"""What a restore needs is asked of the server before anything is fetched, and the login that docs/restore.md
describes restores all that does not need a superuser.
"""

import json
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from psycopg2.extensions import encrypt_password

from pipeline import postgres
from pipeline.backup.drills import drill
from pipeline.backup.store.manifest import Manifest
from pipeline.errors import StepError
from pipeline.sandbox import provision
from pipeline.sandbox.home import PROJECT
from pipeline.sandbox.servers import clusters
from tests.backup.test_restore import fetched, restored
from tests.support.archive import SMALL
from tests.support.restores import RUN, Restores

MONTH = "2026-11"
ONLY_A_SUPERUSER = """
RESET ROLE;
CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION noted();
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE EXTENSION dblink;
CREATE FUNCTION quiet() RETURNS int LANGUAGE sql LEAKPROOF AS 'SELECT 1';
"""


def passed_on(restores: Restores) -> None:
    """Make a database in which a role passed on what it had got WITH GRANT OPTION, and back it up."""
    restores.source("shop", SMALL)
    prefix = restores.archive.platform.prefix
    with restores.archive.platform.connect("shop") as connection:
        for name in ("giver", "taker"):
            postgres.rows(connection, f"CREATE ROLE {prefix}_{name}")
        postgres.rows(connection, f"GRANT SELECT ON item TO {prefix}_giver WITH GRANT OPTION")
        postgres.rows(connection, f"SET ROLE {prefix}_giver")
        postgres.rows(connection, f"GRANT SELECT ON item TO {prefix}_taker WITH GRANT OPTION")
        postgres.rows(connection, "RESET ROLE")
        # Of the roles that may grant these, the restoring login is in all.
        postgres.rows(connection, f"GRANT SELECT (id) ON item TO {prefix}_giver WITH GRANT OPTION")
        postgres.rows(connection, f"GRANT SELECT (name) ON item TO {prefix}_taker")
        # Filled after the privileges, which it may need.
        postgres.rows(connection, f"SET ROLE {restores.owner('shop')}")
        postgres.rows(connection, "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM item")
    restores.back_up("shop")


@pytest.fixture
def granted(restores: Restores) -> Iterator[Restores]:
    """A backup with a privilege that was passed on."""
    passed_on(restores)
    yield restores
    prefix = restores.archive.platform.prefix
    with restores.archive.platform.connect("shop") as connection:
        for name in ("giver", "taker"):
            postgres.rows(connection, f"REVOKE ALL ON item FROM {prefix}_{name} CASCADE")
            postgres.rows(connection, f"REVOKE ALL (id, name) ON item FROM {prefix}_{name} CASCADE")
            postgres.rows(connection, f"DROP ROLE {prefix}_{name}")


@pytest.mark.endurance
def test_a_privilege_that_was_passed_on_is_restored_by_the_documented_login(granted: Restores) -> None:
    prefix = granted.archive.platform.prefix
    name = granted.name("copy")
    with granted.without_second_login():
        code, said = restored(granted, "--into-new", name)
    assert code == 0, said
    grants = "SELECT grantor::regrole::text, grantee::regrole::text FROM pg_class, aclexplode(relacl)"
    found = granted.ask(name, f"{grants} WHERE relname = 'item' AND grantor <> relowner")
    assert found == [(f"{prefix}_giver", f"{prefix}_taker")]
    # Each privilege is by who had granted it, and not by any other who might have.
    kept = """
        SELECT attname::text, attacl::text FROM pg_attribute
        WHERE attrelid = 'item'::regclass AND attacl IS NOT NULL
        UNION ALL SELECT 'item', relacl::text FROM pg_class WHERE oid = 'item'::regclass ORDER BY 1
        """
    with granted.archive.platform.connect("shop") as connection:
        assert granted.ask(name, kept) == postgres.rows(connection, kept)
    assert granted.ask(name, "SELECT * FROM counted") == [(1000,)]
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert granted.ask(name, owner) == [(granted.owner("shop"),)]


@pytest.mark.endurance
def test_the_drill_proves_a_backup_with_a_privilege_that_was_passed_on(granted: Restores) -> None:
    found = drill.drill_database(granted.archive.settings, "shop", MONTH)
    assert (found.grade, found.notes) == ("A", ())


@pytest.mark.endurance
def test_what_only_a_superuser_restores_is_asked_of_the_target_before_anything_is_fetched(
    restores: Restores,
) -> None:
    restores.source("shop", SMALL + ONLY_A_SUPERUSER)
    restores.back_up("shop")
    restores.archive.control.clear()
    made = restores.empty("made")
    path = restores.keep("target", uri=restores.uri(made))
    with restores.without_second_login():
        for arguments in (["--into-new", restores.name("copy")], ["--into", f"vault:{path}"]):
            code, said = restored(restores, *arguments)
            assert code == 3, said
            assert (
                "only a superuser may create event trigger noted, function public.quiet(), publication for "
                "all tables everything, extension dblink"
            ) in " ".join(said.split())
            assert "only a superuser may act for postgres" in " ".join(said.split())
        assert "[drill] superuser_secret" not in said
        with pytest.raises(StepError, match=r"\[drill\] superuser_secret"):
            drill.drill_database(restores.archive.settings, "shop", MONTH)
    assert fetched(restores) == []
    # With the second login it is restored and proven, and the first one is not locked out afterwards.
    assert drill.drill_database(restores.archive.settings, "shop", MONTH).failures == ()
    code, said = restored(restores, "--into-new", restores.name("copy"))
    assert code == 0, said
    assert restores.ask(restores.name("copy"), "SELECT evtname FROM pg_event_trigger") == [("noted",)]


@pytest.mark.endurance
def test_after_a_restore_as_superuser_the_lesser_login_restores_as_before(restores: Restores) -> None:
    restores.source("shop", SMALL)
    restores.back_up("shop")
    second = restores.archive.platform.sandbox.vault.read("drill_superuser") or {}
    made = restores.empty("made", "postgres")
    path = restores.keep("target", uri=second["uri"].removesuffix("postgres") + made)
    code, said = restored(restores, "--into", f"vault:{path}")
    assert code == 0, said
    assert restores.owner("shop") in restores.roles()
    code, said = restored(restores, "--into-new", restores.name("copy"))
    assert code == 0, said
    with restores.without_second_login():
        assert drill.drill_database(restores.archive.settings, "shop", MONTH).held


@pytest.mark.endurance
def test_a_role_that_somebody_else_made_is_told_with_the_statement_that_lets_the_login_act_for_it(
    restores: Restores,
) -> None:
    restores.source("shop", SMALL)
    restores.back_up("shop")
    owner = restores.owner("shop")
    with restores.connect("postgres") as connection:
        postgres.rows(connection, f"CREATE ROLE {owner}")
        restores.archive.control.clear()
        with restores.without_second_login():
            code, said = restored(restores, "--into-new", restores.name("copy"))
            assert code == 3
            assert f"GRANT {owner} TO drill" in said
            assert fetched(restores) == []
            postgres.rows(connection, f"GRANT {owner} TO drill")
            code, said = restored(restores, "--into-new", restores.name("copy"))
            assert code == 0, said


@pytest.mark.endurance
def test_a_manifest_of_before_is_still_read(restores: Restores) -> None:
    restores.source("shop", SMALL)
    restores.back_up("shop")
    whole = restores.archive.manifest("shop", RUN)
    older = whole.model_dump(mode="json")
    for name in ("needs", "grantors"):
        del older["contents"][name]
    assert Manifest.from_bytes(json.dumps(older).encode(), "an older one").contents.needs == ()


@pytest.mark.endurance
def test_the_login_that_the_documents_make_restores_and_the_sandbox_has_the_same(granted: Restores) -> None:
    login = granted.name("documented")
    home, drill_server = granted.home, provision.DRILL
    file = PROJECT / "docs" / "restore-login.sql"
    options = ["--no-psqlrc", "--quiet", f"--set=login={login}", "--dbname=postgres", f"--file={file}"]
    arguments = [str(clusters.BINARIES / "psql"), *clusters.socket_arguments(home, drill_server), *options]
    subprocess.run(arguments, check=True, capture_output=True)
    try:
        facts = """
            SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication, rolconfig,
                   ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid ORDER BY 1)
            FROM pg_roles AS r WHERE rolname = '{}'
            """
        assert granted.ask("postgres", facts.format(login)) == granted.ask("postgres", facts.format("drill"))
        with granted.connect("postgres") as connection:
            password = encrypt_password("secret of a test", login, connection, "scram-sha-256")
            postgres.rows(connection, f"ALTER ROLE {login} PASSWORD '{password}'")
        server = urlsplit(granted.uri("postgres"))
        place = f"{login}:secret%20of%20a%20test@{server.hostname}:{server.port}"
        path = granted.keep("target", uri=server._replace(netloc=place).geturl())
        granted.archive.write_sections(drill={"secret": path, "superuser_secret": path})
        code, said = restored(granted, "--into-new", granted.name("copy"))
        assert code == 0, said
        assert "amcheck: " in said
        assert "NO " not in said
    finally:
        with granted.connect("template1") as connection:
            postgres.rows(connection, f"DROP OWNED BY {login}")
