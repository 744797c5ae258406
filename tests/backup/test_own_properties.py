"""What is set on a database and on roles, which may be a credential, is where only a private key reads it,
and it comes back; and all else that a database has of its own: who may connect, how many, and how it sorts.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import sql

from pipeline import access, postgres
from pipeline.backup.database import contents
from pipeline.backup.drills import drill
from pipeline.backup.restoring import properties, restore, roles, target
from pipeline.backup.restoring.restoration import Order, Restored
from pipeline.backup.restoring.roles import Making
from pipeline.backup.store import encrypted_properties
from pipeline.backup.store.encrypted_properties import Properties
from pipeline.backup.store.manifest import Contents, DatabaseGrant, LargeObjects, Manifest, Setting
from pipeline.errors import CheckError, StepError
from pipeline.sandbox import provision
from pipeline.sandbox.servers import clusters
from tests.backup.test_manifest import a_manifest
from tests.support import majors
from tests.support.archive import SMALL, Archive
from tests.support.majors import Major
from tests.support.platforms import Connection
from tests.support.restores import RUN, Restores

MONTH = "2026-11"
SECRET = "planted-jwt-secret"
# As keys are kept: lines, some of which begin like a comment, or end like a statement; quotes of both kinds.
PEM = f"-----BEGIN PRIVATE KEY-----\n{SECRET}'\"\\;\n--;\n\u2028-----END PRIVATE KEY-----"
SETTINGS = """
    SELECT coalesce(r.rolname, ''), split_part(s.setting, '=', 1),
           substr(s.setting, strpos(s.setting, '=') + 1)
    FROM pg_db_role_setting AS c JOIN pg_database AS d ON d.oid = c.setdatabase
    LEFT JOIN pg_roles AS r ON r.oid = c.setrole
    CROSS JOIN unnest(c.setconfig) AS s (setting)
    WHERE d.datname = %s ORDER BY 1, 2
    """
OF_ITSELF = """
    SELECT CASE WHEN d.datacl IS NOT NULL THEN ARRAY(SELECT unnest(d.datacl)::text ORDER BY 1) END,
           d.datconnlimit, shobj_description(d.oid, 'pg_database')
    FROM pg_database AS d WHERE d.datname = %s
    """


def set_on(connection: Connection, what: str, name: str, value: str) -> None:
    """Set a parameter for a role or a database."""
    words = sql.SQL("ALTER {} SET {} TO {}").format(sql.SQL(what), sql.Identifier(name), sql.Literal(value))
    postgres.rows(connection, words)


def source(restores: Restores) -> None:
    """Make a database with credentials in its settings, in those of its roles, and in its comment.

    What nobody knows but the application (app.jwt_secret) only a superuser may set: so he has to restore it.
    """
    restores.source("shop", f"{SMALL} RESET ROLE; CREATE PUBLICATION everything FOR ALL TABLES;")
    database, owner = restores.archive.platform.database("shop"), restores.owner("shop")
    with restores.archive.platform.connect("shop") as connection:
        set_on(connection, f"DATABASE {database}", "app.jwt_secret", PEM)
        set_on(connection, f"DATABASE {database}", "work_mem", "13MB")
        set_on(connection, f"ROLE {owner} IN DATABASE {database}", "pgrst.jwt_secret", SECRET)
        set_on(connection, f"ROLE {owner}", "app.key", PEM)
        postgres.rows(connection, f"COMMENT ON DATABASE {database} IS 'the key is {SECRET}'")


def restored(restores: Restores) -> Restored:
    """Restore into a new database."""
    return restore.restore_into_new(restores.archive.settings, Order("shop"), restores.name("new"))


def plain(archive: Archive) -> str:
    """Return all that is in the bucket, as who has its key reads it: contents, names and labels."""
    with archive.bucket() as bucket:
        return "".join(
            f"{one.name} {dict(one.info)} {bucket.read_small(one.name).decode('latin-1')}"
            for one in bucket.list()
        )


@pytest.mark.endurance
def test_credentials_that_are_set_are_in_nothing_plain_and_come_back_as_they_were(restores: Restores) -> None:
    source(restores)
    database, owner = restores.archive.platform.database("shop"), restores.owner("shop")
    restores.back_up("shop")
    found = drill.drill_database(restores.archive.settings, "shop", MONTH)
    assert (found.grade, found.notes) == ("A", ())
    assert SECRET not in plain(restores.archive)
    manifest = restores.archive.manifest("shop", RUN)
    assert [(one.role, one.name, one.value) for one in manifest.contents.settings] == [
        (None, "app.jwt_secret", None),
        (None, "work_mem", None),
        (owner, "pgrst.jwt_secret", None),
    ]
    done = restored(restores)
    assert {one.held for one in done.assertions} == {True}
    assert (done.remarks, SECRET in repr(done)) == ((), False)
    assert ask(restores, SETTINGS) == [
        ("", "app.jwt_secret", PEM),
        ("", "work_mem", "13MB"),
        (owner, "pgrst.jwt_secret", SECRET),
    ]
    with restores.archive.platform.connect("shop") as connection:
        assert postgres.rows(connection, SETTINGS, (database,)) == ask(restores, SETTINGS)
        assert postgres.rows(connection, OF_ITSELF, (database,)) == ask(restores, OF_ITSELF)
    of_role = f"SELECT rolconfig FROM pg_roles WHERE rolname = '{owner}'"
    assert restores.ask("postgres", of_role) == [([f"app.key={PEM}"],)]


def ask(restores: Restores, query: str) -> list[tuple[Any, ...]]:
    """Ask the drill server about the new database."""
    with restores.connect("postgres") as connection:
        return postgres.rows(connection, query, (restores.name("new"),))


def test_what_is_written_down_of_a_database_has_no_value_of_a_setting(archive: Archive) -> None:
    """The quick one: what the manifest is made of, against the file that is encrypted."""
    archive.source("shop", SMALL)
    database = archive.platform.database("shop")
    with archive.platform.connect("shop") as connection:
        set_on(connection, f"DATABASE {database}", "app.jwt_secret", PEM)
    with access.opened(archive.settings) as databases, databases.database("shop") as connection:
        described = contents.complete(connection, (), (), LargeObjects(count=0, checksum="0"))
        own = contents.properties(connection)
        file = contents.globals_sql(connection, own)
    told = described.model_copy(update={"settings": own.names})
    assert SECRET not in told.model_dump_json() + repr(told) + repr(own)
    assert [one.name for one in told.settings] == ["app.jwt_secret"]
    kept = encrypted_properties.read(file)
    assert [kept.value(one) for one in told.settings] == [PEM]
    # What is not the database's own is not in it.
    assert kept.value(Setting(role="somebody", name="app.jwt_secret")) is None


def test_a_file_of_roles_of_before_has_no_properties_and_a_broken_one_is_not_quoted() -> None:
    assert (
        encrypted_properties.read("-- Roles, memberships and their settings; no passwords.\n") == Properties()
    )
    with pytest.raises(CheckError) as failed:
        encrypted_properties.read(f'{encrypted_properties.BEGIN}{{"settings": "{SECRET}"}}\n')
    assert SECRET not in str(failed.value)
    # What a later version adds does not matter to this one.
    later = f'{encrypted_properties.BEGIN}{{"settings": [], "comment": "c", "more": 1}}\n'
    assert encrypted_properties.read(later).comment == "c"


def test_a_manifest_of_before_is_read_and_its_values_count() -> None:
    data = json.loads(a_manifest().to_bytes())
    for name in ("icu_rules", "connection_limit", "has_acl"):
        del data["contents"]["database"][name]
    data["contents"]["settings"] = [{"role": None, "name": "app.jwt_secret", "value": SECRET}]
    old = Manifest.from_bytes(json.dumps(data).encode(), "m")
    (setting,) = old.contents.settings
    assert Properties().value(setting) == SECRET
    assert SECRET not in repr(old)


@pytest.mark.endurance
def test_a_setting_whose_value_is_in_an_old_manifest_or_nowhere(restores: Restores) -> None:
    restores.source("shop", SMALL)
    restores.back_up("shop")
    before = restores.archive.manifest("shop", RUN).contents
    lost = Setting(role=None, name="app.gone")
    kept = Setting(role=None, name="application_name", value=SECRET)
    restores.change_manifest("shop", contents=before.model_copy(update={"settings": (kept, lost)}))
    done = restored(restores)
    assert done.remarks == (
        "left out: the setting app.gone in the database (its value is not in the backup)",
    )
    assert done.held
    assert ask(restores, SETTINGS) == [("", "application_name", SECRET)]


def test_a_setting_of_a_role_that_our_login_may_not_make_is_named_without_its_value(
    restores: Restores,
) -> None:
    """Its line goes into the report of a drill, which is plain in the bucket."""
    role = f"{restores.archive.platform.prefix}_set"
    statements = f"""
        SELECT concat(
            format('DO $globals$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %%L) '
                   'THEN CREATE ROLE %%I; END IF; END $globals$;', '{role}', '{role}'), E'\\n',
            format('ALTER ROLE %%I SET %%I TO %%L;', '{role}', 'app.key', %(pem)s), E'\\n'
        )
        """
    with restores.connect("postgres") as connection:
        text = postgres.value(connection, statements, {"pem": PEM})
    with target.at(restores.uri("postgres")).opened() as connection:
        made = roles.make(connection, text, Making([role]), "there")
        roles.remove(connection, made.made)
    refused = 'permission denied to set parameter "app.key"'
    assert made.remarks == (f'not done: ALTER ROLE {role} SET "app.key" ({refused})',)


# Who may connect, how many, and how it sorts.


@pytest.mark.endurance
@pytest.mark.parametrize("kept", [(), ("TEMPORARY",), None])
def test_a_database_that_nobody_may_connect_to_lets_nobody_connect_afterwards(
    restores: Restores, kept: tuple[str, ...] | None
) -> None:
    """Its owner too may have revoked his own privileges; `kept` is what he has, None where all is as made."""
    restores.source("shop", SMALL)
    database, owner = restores.archive.platform.database("shop"), restores.owner("shop")
    reader, backup = restores.archive.platform.reader("shop"), f"backup_{database}"
    with restores.archive.platform.connect("shop") as connection:
        # Nobody else could connect.
        postgres.rows(connection, f"ALTER ROLE {backup} SUPERUSER")
        revoke = f"REVOKE ALL ON DATABASE {database} FROM PUBLIC, {owner}, {reader}, {backup}"
        as_made = f"UPDATE pg_database SET datacl = NULL WHERE datname = '{database}'"
        postgres.rows(connection, as_made if kept is None else revoke)
        for privilege in kept or ():
            postgres.rows(connection, f"GRANT {privilege} ON DATABASE {database} TO {owner}")
        postgres.rows(connection, f"ALTER DATABASE {database} CONNECTION LIMIT 0")
        restores.back_up("shop")
        # It looks into the copy, as an ordinary login, and removes it all the same.
        assert drill.drill_database(restores.archive.settings, "shop", MONTH).failures == ()
        done = restored(restores)
        assert done.held, done.assertions
        before = postgres.rows(connection, OF_ITSELF, (database,))
    assert ask(restores, OF_ITSELF) == before
    assert before == [(None if kept is None else [f"{owner}=T/{owner}"] if kept else [], 0, None)]


@pytest.mark.parametrize(
    ("undone", "told"),
    [
        ("set_all", "the setting application_name is missing"),
        (
            "grant_all",
            "CONNECT on the database for PUBLIC is missing; has_acl of the database is False instead of True",
        ),
        ("limit", "the connection limit is -1 instead of 7"),
        (None, "the setting work_mem was not in the backup"),
    ],
)
def test_what_a_new_database_lacks_is_found_by_the_comparison(
    restores: Restores, monkeypatch: pytest.MonkeyPatch, undone: str | None, told: str
) -> None:
    made = restores.empty("made")
    place = target.at(restores.uri(made))
    with place.opened() as connection:
        if undone is None:
            set_on(connection, f"DATABASE {made}", "work_mem", "13MB")
        there = contents.database(connection)
    nothing = Contents(
        database=there.model_copy(update={"has_acl": True, "connection_limit": 7}),
        session={},
        tables=(),
        sequences=(),
        extensions=(),
        objects=(),
        large_objects=LargeObjects(count=0, checksum="0"),
        roles=(),
        settings=(Setting(role=None, name="application_name"), Setting(role=None, name="app.key")),
        grants=(DatabaseGrant(grantee=None, privilege="CONNECT", grantable=False),),
    )
    if undone is not None:
        monkeypatch.setattr(f"pipeline.backup.restoring.properties._Database.{undone}", lambda *_: None)
    own = Properties(settings=tuple(one.model_copy(update={"value": SECRET}) for one in nothing.settings))
    applied = properties.apply(place, nothing, own, passing=True)
    assert SECRET not in repr(applied)
    # Only a superuser may set it: it is left out, and named.
    left_out = 'left out: the setting app.key in the database (permission denied to set parameter "app.key")'
    assert applied.remarks == ((left_out,) if undone != "set_all" else ())
    if undone == "set_all":
        told = f"{told}; the setting app.key is missing"
    assert (applied.assertion.held, applied.assertion.detail) == (False, told)


@pytest.mark.endurance
def test_rules_by_which_a_database_sorts_are_asked_for_and_compared(restores: Restores) -> None:
    """The sandbox's servers have no ICU: that they refuse it shows that it was asked for."""
    restores.source("shop", SMALL)
    restores.back_up("shop")
    before = restores.archive.manifest("shop", RUN).contents
    database = before.database.model_copy(update={"icu_rules": "&a < g"})
    restores.change_manifest("shop", contents=before.model_copy(update={"database": database}))
    with pytest.raises(StepError, match="ICU"):
        restored(restores)
    owner = restores.owner("shop")
    with restores.connect("postgres") as connection:
        postgres.rows(connection, f"CREATE ROLE {owner}; GRANT {owner} TO drill WITH ADMIN OPTION")
    made = restores.uri(restores.empty("made", owner))
    into = restore.restore_into(restores.archive.settings, Order("shop"), made)
    (one,) = (one for one in into.assertions if one.name == "encoding and locale")
    assert (one.held, one.detail.partition("icu_rules")[2]) == (None, " is None instead of &a < g")


@pytest.mark.endurance
def test_a_database_with_rules_of_icu_sorts_by_them_afterwards(restores: Restores, tmp_path: Path) -> None:
    """On a server that has ICU, where somebody has one (TEST_POSTGRES_BINARIES)."""
    with with_icu(tmp_path) as server:
        archive = restores.archive
        database = server.backed_up(archive.platform, "shop", "SELECT")
        made = f"""
            CREATE DATABASE {database} OWNER {database}_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'
            LOCALE_PROVIDER icu ICU_LOCALE 'und' ICU_RULES '&a < g' CONNECTION LIMIT 7
            """
        with server.connect("postgres") as connection:
            for statement in (f"DROP DATABASE {database}", made):
                postgres.rows(connection, statement)
        with server.connect(database) as connection:
            postgres.rows(connection, f"GRANT ALL ON SCHEMA public TO {database}_owner")
            postgres.rows(connection, f"SET ROLE {database}_owner; {SMALL}")
        archive.write_settings(postgres_bin=str(majors.binaries()[server.version]))
        archive.write_sections(
            drill={"secret": server.drills(archive.platform, "shop"), "superuser_secret": ""}
        )
        restores.back_up("shop")
        found = drill.drill_database(archive.settings, "shop", MONTH)
        assert found.failures == ()
        restored(restores)
        query = "SELECT daticurules, datconnlimit FROM pg_database WHERE datname = %s"
        sorts = "SELECT string_agg(c, '' ORDER BY c) FROM unnest('{g,b,a}'::text[]) AS t (c)"
        with server.connect(restores.name("new")) as connection:
            assert postgres.rows(connection, query, (restores.name("new"),)) == [("&a < g", 7)]
            assert postgres.value(connection, sorts) == "agb"


@contextmanager
def with_icu(folder: Path) -> Iterator[Major]:
    """Run a server that has ICU and its rules, as they are since PostgreSQL 16; skip the test without one."""
    versions = [version for version in majors.binaries() if version >= 16]
    if not os.environ.get(majors.MORE) or not versions:
        pytest.skip("no server with ICU is here")
    with majors.started(max(versions), folder / "server") as server:
        with server.connect("postgres") as connection:
            query = "SELECT count(*) FROM pg_collation WHERE collprovider = 'i'"
            if not postgres.value(connection, query):
                pytest.skip("the server has no ICU")
        yield server


# What the server has for a role.


@pytest.mark.endurance
def test_who_may_set_a_parameter_may_afterwards_and_a_drill_leaves_nothing_of_it(restores: Restores) -> None:
    restores.source("shop", SMALL)
    owner = restores.owner("shop")
    grants = """
        SELECT p.parname, a.privilege_type, a.is_grantable FROM pg_parameter_acl AS p
        CROSS JOIN LATERAL aclexplode(p.paracl) AS a JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE r.rolname = %s ORDER BY 1, 2
        """
    with restores.archive.platform.connect("shop") as connection:
        postgres.rows(connection, f"GRANT SET ON PARAMETER log_min_messages TO {owner} WITH GRANT OPTION")
        postgres.rows(connection, f"GRANT ALTER SYSTEM ON PARAMETER work_mem TO {owner}")
        try:
            before = postgres.rows(connection, grants, (owner,))
            text = contents.globals_sql(connection, Properties())
            restores.back_up("shop")
        finally:
            postgres.rows(connection, f"REVOKE ALL ON PARAMETER log_min_messages, work_mem FROM {owner}")
    assert before == [("log_min_messages", "SET", True), ("work_mem", "ALTER SYSTEM", False)]
    # Only a superuser may give them.
    found = drill.drill_database(restores.archive.settings, "shop", MONTH)
    assert [line.partition(" (")[0] for line in found.notes] == [
        f"not done: GRANT ALTER SYSTEM ON PARAMETER work_mem TO {owner}",
        f"not done: GRANT SET ON PARAMETER log_min_messages TO {owner} WITH GRANT OPTION",
    ]
    with restores.connect("postgres") as connection:
        made = roles.make(connection, text, Making([owner]), "there")
        assert postgres.rows(connection, grants, (owner,)) == before
        roles.remove(connection, made.made)
    assert restores.roles() == set()


# What comes by pg_restore --create alone.


@contextmanager
def set_apart(archive: Archive) -> Iterator[None]:
    """Give a database a tablespace, a security label and the mark of a template, and take them away again."""
    database, space = archive.platform.database("shop"), f"{archive.platform.prefix}_space"
    label = f"""
        INSERT INTO pg_shseclabel (objoid, classoid, provider, label)
        SELECT oid, 'pg_database'::regclass, 'somebody', 'secret' FROM pg_database
        WHERE datname = '{database}'
        """
    home = archive.platform.sandbox.home
    with clusters.connection(home, provision.SOURCES, "postgres") as connection:
        for statement in (
            "SET allow_in_place_tablespaces = on",
            f"CREATE TABLESPACE {space} LOCATION ''",
            f"ALTER DATABASE {database} SET TABLESPACE {space}",
            f"ALTER DATABASE {database} IS_TEMPLATE true",
            label,
        ):
            postgres.rows(connection, statement)
        try:
            yield
        finally:
            for statement in (
                "DELETE FROM pg_shseclabel WHERE provider = 'somebody'",
                f"ALTER DATABASE {database} IS_TEMPLATE false",
                f"ALTER DATABASE {database} SET TABLESPACE pg_default",
                f"DROP TABLESPACE {space}",
            ):
                postgres.rows(connection, statement)


def test_what_else_a_database_has_of_its_own_is_named(archive: Archive) -> None:
    archive.source("shop", SMALL)
    with (
        set_apart(archive),
        access.opened(archive.settings) as databases,
        databases.database("shop") as reading,
    ):
        found = contents.complete(reading, (), (), LargeObjects(count=0, checksum="0"))
    assert [one.description for one in found.missing if not one.by_nature] == [
        f"mark as a template {archive.platform.database('shop')}",
        f"place in the tablespace {archive.platform.prefix}_space of the database",
        "security label of the database somebody",
    ]
