"""What a dump cannot hold is named: at the backup, in its manifest, and at the restore. What it holds of the
database itself comes back under the new name as well.
"""

import pytest

from pipeline import access, postgres
from pipeline.backup.database import contents
from pipeline.backup.drills import drill
from pipeline.backup.store.manifest import LargeObjects
from tests.backup.test_restore import restored
from tests.support.archive import SMALL, Archive
from tests.support.night import Night
from tests.support.restores import RUN, Restores

MONTH = "2026-11"
MISSING = (
    SMALL
    + """
RESET ROLE;
CREATE EXTENSION postgres_fdw;
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '192.0.2.1');
CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'u', password 'planted-secret');
CREATE TABLE of_extension AS SELECT 1 AS one;
ALTER EXTENSION postgres_fdw ADD TABLE of_extension;
"""
)


@pytest.fixture
def secretive(restores: Restores, night: Night) -> Restores:
    """A backup of a database with things that its dump has not."""
    assert night.ask("warehouse", "SELECT count(*) FROM ops.backup") == [(0,)]
    restores.source("shop", MISSING)
    with restores.archive.platform.connect("shop") as connection:
        postgres.rows(connection, f"COMMENT ON ROLE {restores.owner('shop')} IS 'who owns the shop'")
    restores.back_up("shop")
    return restores


@pytest.mark.endurance
def test_what_a_dump_cannot_hold_is_named_at_the_backup_in_the_manifest_and_at_the_restore(
    secretive: Restores,
) -> None:
    manifest = secretive.archive.manifest("shop", RUN)
    lost = [one.description for one in manifest.contents.missing if not one.by_nature]
    owner, backup = secretive.owner("shop"), f"backup_{secretive.archive.platform.database('shop')}"
    assert lost == [
        f"comment on a role {owner}",
        "options of a user mapping public on server far",
        "rows of a table that belongs to an extension public.of_extension (postgres_fdw)",
    ]
    assert [one.name for one in manifest.contents.missing if one.by_nature and one.name == backup] == [backup]
    assert any("not in the backup: options of a user mapping" in line for line in manifest.warnings)
    assert "planted-secret" not in manifest.to_bytes().decode()
    shown = secretive.archive.run("status")
    told = " ".join((shown.out + shown.err).split())
    assert "shop: not in the backup: options of a user mapping public on server far" in told
    code, said = restored(secretive, "--into-new", secretive.name("copy"))
    told = " ".join(said.split())
    assert code == 0, said
    assert "? not in this backup:" in told
    assert "options of a user mapping public on server far" in told
    assert f"in no backup: passwords ({backup}" in told
    found = drill.drill_database(secretive.archive.settings, "shop", MONTH)
    assert found.grade == "B"
    assert any("options of a user mapping" in line for line in found.notes)


@pytest.mark.endurance
def test_settings_and_grants_of_the_database_itself_come_under_its_new_name(restores: Restores) -> None:
    restores.source("shop", SMALL)
    database, owner = restores.archive.platform.database("shop"), restores.owner("shop")
    with restores.archive.platform.connect("shop") as connection:
        for statement in (
            f"ALTER DATABASE {database} SET search_path = 'Odd schema', public",
            f"ALTER DATABASE {database} SET work_mem = '13MB'",
            f"ALTER DATABASE {database} SET default_transaction_read_only = on",
            f"ALTER ROLE {owner} IN DATABASE {database} SET statement_timeout = '17s'",
        ):
            postgres.rows(connection, statement)
    restores.back_up("shop")
    name = restores.name("copy")
    code, said = restored(restores, "--into-new", name)
    assert code == 0, said
    assert "left out" not in said
    settings = f"""
        SELECT CASE setrole WHEN 0 THEN '' ELSE setrole::regrole::text END, unnest(setconfig)
        FROM pg_db_role_setting
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = '{name}') ORDER BY 1, 2
        """
    assert restores.ask("postgres", settings) == [
        ("", "default_transaction_read_only=on"),
        ("", 'search_path="Odd schema", public'),
        ("", "work_mem=13MB"),
        (owner, "statement_timeout=17s"),
    ]
    found = drill.drill_database(restores.archive.settings, "shop", MONTH)
    assert {one.held for one in found.controls} == {True}
    public = f"SELECT has_database_privilege('public', '{name}', 'CONNECT')"
    assert restores.ask("postgres", public) == [(False,)]
    reader = restores.archive.platform.reader("shop")
    assert restores.ask("postgres", public.replace("'public'", f"'{reader}'")) == [(True,)]


def test_what_pg_dump_leaves_out_is_found_in_the_database(archive: Archive) -> None:
    archive.source("shop", MISSING)
    with access.opened(archive.settings) as databases, databases.database("shop") as connection:
        found = contents.complete(connection, (), (), LargeObjects(count=0, checksum="0"))
    lost = [one.description for one in found.missing if not one.by_nature]
    assert "options of a user mapping public on server far" in lost
    assert "rows of a table that belongs to an extension public.of_extension (postgres_fdw)" in lost
    assert f"backup_{archive.platform.database('shop')}" in [
        one.name for one in found.missing if one.by_nature
    ]
