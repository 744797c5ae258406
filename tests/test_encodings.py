"""Names, labels and values are the same whichever encoding a database has, or a role asks for."""

import hashlib
import hmac
from typing import Any

import pytest
from psycopg2 import sql

from pipeline import postgres
from pipeline.backup.restoring import restore
from pipeline.backup.restoring.restoration import Order
from pipeline.errors import StepError
from tests.support.marks import in_depth
from tests.support.night import Night, next_run
from tests.support.restores import RUN, Restores

KEY = "a key for these hashes that is long enough"
# All of it is in LATIN1 and WIN1252 as well.
SCRIPT = """
CREATE SCHEMA "gehälter";
CREATE TYPE "gehälter"."größe" AS ENUM ('größer', 'übel', 'naïve');
CREATE TYPE "gehälter"."maß" AS ("länge" int, "stück" text);
CREATE DOMAIN "gehälter"."kürzel" AS text CHECK (VALUE <> 'ß');
CREATE TABLE "gehälter"."Schüler" (
    "schlüssel" int PRIMARY KEY, "größe" "gehälter"."größe", "maß" "gehälter"."maß",
    "kürzel" "gehälter"."kürzel", "straße" text, "größen" "gehälter"."größe"[]
);
COMMENT ON COLUMN "gehälter"."Schüler"."straße" IS 'où ça';
INSERT INTO "gehälter"."Schüler" VALUES
    (1, 'größer', ROW(3, 'ä'), 'é', 'Königstraße 1', ARRAY['übel', 'naïve']::"gehälter"."größe"[]),
    (2, 'naïve', NULL, NULL, 'Æsops Allé', '{}');
CREATE SEQUENCE "gehälter"."zähler";
"""
DECLARED = """
source: shop
defaults: {schema: gehälter}
tables:
  pupil:
    table: Schüler
    key: [schlüssel]
    checks: [{unique: [straße]}]
    columns: {größe: {accepted: [größer, übel, naïve]}, kürzel: {mask: hash}}
"""
# How a database, and the role that reads it, may be set.
SOURCES = {
    "utf8": ("UTF8", None),
    "latin1": ("LATIN1", None),
    "win1252": ("WIN1252", None),
    "role": ("UTF8", "LATIN1"),
    "ascii_role": ("UTF8", "SQL_ASCII"),
    "latin1_with_role": ("LATIN1", "SQL_ASCII"),
}
ROWS = """SELECT "schlüssel", "größe"::text, "maß"::text, "kürzel", "straße", "größen"::text FROM shop.pupil
          ORDER BY 1"""
# Whatever a load makes beside the rows.
NAMES = """
    SELECT t.typname, e.enumlabel, NULL FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
    JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = 'shop'
    UNION ALL
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'shop'
    ORDER BY 1, 2
"""


def source(night: Night, encoding: str, client_encoding: str | None) -> None:
    night.platform.sandbox.vault.write("mask", {"key": KEY})
    night.platform.source("shop", encoding=encoding)
    with night.platform.connect("shop") as connection:
        postgres.rows(connection, SCRIPT)
        for role in (night.platform.reader("shop"), f"backup_{night.platform.database('shop')}"):
            grant = sql.SQL(
                "GRANT USAGE ON SCHEMA {s} TO {r}; GRANT SELECT ON ALL TABLES IN SCHEMA {s} TO {r}"
            )
            postgres.rows(connection, grant.format(s=sql.Identifier("gehälter"), r=sql.Identifier(role)))
            if client_encoding:
                setting = sql.SQL("ALTER ROLE {} SET client_encoding = {}")
                postgres.rows(connection, setting.format(sql.Identifier(role), sql.Literal(client_encoding)))
    night.platform.declare("shop", DECLARED)


def hashed(value: str) -> str:
    return hmac.new(KEY.encode(), value.encode(), hashlib.sha256).hexdigest()


@in_depth(("encoding", "client_encoding"), SOURCES.values(), ids=list(SOURCES), quick=2)
def test_names_labels_and_values_are_loaded_as_from_utf8(
    night: Night, encoding: str, client_encoding: str | None
) -> None:
    source(night, encoding, client_encoding)
    loaded = night.load("shop", "pupil")
    assert loaded.total == 2
    rows = night.ask("warehouse", ROWS)
    masked = rows[0][3]
    assert masked == hashed("é")
    assert rows == [
        (1, "größer", "(3,ä)", masked, "Königstraße 1", "{übel,naïve}"),
        (2, "naïve", None, None, "Æsops Allé", "{}"),
    ]
    found: list[tuple[Any, ...]] = night.ask("warehouse", NAMES)
    assert {row[1] for row in found if row[2] is None} == {"größer", "übel", "naïve"}
    assert {row[1] for row in found if row[0] == "pupil"} >= {"schlüssel", "größe", "maß", "kürzel", "straße"}
    assert {row[1] for row in found if row[0].endswith("maß")} == {"länge", "stück"}
    assert all("Ã" not in str(row) and "\ufffd" not in str(row) for row in found)


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("encoding", "client_encoding"),
    [
        pytest.param(*how, id=name, marks=[] if name in ("latin1", "role") else pytest.mark.endurance)
        for name, how in SOURCES.items()
    ],
)
def test_a_database_with_names_outside_ascii_is_backed_up_and_restored_whole(
    restores: Restores, encoding: str, client_encoding: str | None
) -> None:
    archive = restores.archive
    night = Night(archive.platform)
    source(night, encoding, client_encoding)
    archive.write_sections()
    restores.back_up("shop")
    told = archive.manifest("shop", RUN).contents
    assert told.database.encoding == encoding
    assert [(one.full_name, one.rows) for one in told.tables] == [("gehälter.Schüler", 2)]
    assert told.tables[0].columns == ("schlüssel", "größe", "maß", "kürzel", "straße", "größen")
    assert [one.name for one in told.sequences] == ["zähler"]
    new = restores.name("new")
    restored = restore.restore_into_new(archive.settings, Order("shop"), new)
    assert restored.held, restored.assertions
    with restores.connect(new) as connection:
        found = postgres.rows(connection, 'SELECT * FROM "gehälter"."Schüler" ORDER BY 1')
        assert postgres.value(connection, "SHOW server_encoding") == encoding
    assert [row[4] for row in found] == ["Königstraße 1", "Æsops Allé"]
    # One table alone, by its name as people type it.
    one = restores.name("one")
    table = restore.restore_into_new(archive.settings, Order("shop", table="gehälter.Schüler"), one)
    assert table.held, table.assertions


@pytest.mark.endurance
def test_bytes_that_win1252_does_not_define_are_backed_up_as_they_are(restores: Restores) -> None:
    """They are in many an old database, and have no equivalent in UTF-8."""
    archive = restores.archive
    archive.platform.source("shop", encoding="WIN1252")
    with archive.platform.connect("shop") as connection:
        postgres.rows(connection, "CREATE TABLE note (id int PRIMARY KEY, body text)")
        postgres.rows(
            connection, "INSERT INTO note VALUES (1, convert_from('\\x81'::bytea, 'WIN1252')), (2, 'plain')"
        )
    archive.write_sections()
    restores.back_up("shop")
    new = restores.name("new")
    restored = restore.restore_into_new(archive.settings, Order("shop"), new)
    assert restored.held, restored.assertions
    with restores.connect(new) as connection:
        body = "SELECT convert_to(body, 'WIN1252') FROM note WHERE id = 1"
        assert bytes(postgres.value(connection, body)) == b"\x81"


@pytest.mark.endurance
@pytest.mark.parametrize(
    "client_encoding",
    ["LATIN1", *(pytest.param(one, marks=pytest.mark.endurance) for one in ("SQL_ASCII", "EUC_JP"))],
)
def test_a_warehouse_whose_role_asks_for_another_encoding_is_loaded_all_the_same(
    night: Night, client_encoding: str
) -> None:
    role = f"{night.platform.prefix}_pipeline"
    with night.warehouse() as connection:
        setting = sql.SQL("ALTER ROLE {} SET client_encoding = {}")
        postgres.rows(connection, setting.format(sql.Identifier(role), sql.Literal(client_encoding)))
    source(night, "UTF8", None)
    run = next_run()
    assert night.run("migrate").code == 0
    ended = night.etl(run)
    assert ended.code == 0, ended.err
    assert night.differing("shop") == []
    told = night.run("status")
    # All but a backup is as it should be.
    assert told.code == 4, told.err
    assert told.out.startswith("stale: 1 database has no new backup or drill\n")
    assert "shop.pupil" in told.out


@pytest.mark.endurance
def test_a_database_in_sql_ascii_is_taken_for_utf8_and_what_is_not_is_told(restores: Restores) -> None:
    archive = restores.archive
    night = Night(archive.platform)
    night.platform.source("shop", encoding="SQL_ASCII")
    latin1 = "convert_from('\\xe9'::bytea, 'SQL_ASCII')"
    with night.platform.connect("shop") as connection:
        postgres.rows(connection, 'CREATE TABLE item (id int PRIMARY KEY, "größe" text)')
        postgres.rows(connection, "INSERT INTO item VALUES (1, 'groß')")
    night.platform.declare("shop", "source: shop\ntables: {item: {}}\n")
    archive.write_sections()
    night.migrate()
    assert night.load("shop", "item").total == 1
    assert night.ask("warehouse", 'SELECT "größe" FROM shop.item') == [("groß",)]
    night.ask("shop", f"INSERT INTO item VALUES (2, {latin1})")
    with pytest.raises(StepError, match=r"shop\.item: .*no form in UTF-8.*correct it there"):
        night.load("shop", "item")
    # Its bytes are nobody's business in a backup.
    restores.back_up("shop")
    restored = restore.restore_into_new(archive.settings, Order("shop"), restores.name("new"))
    assert restored.held, restored.assertions
    rename = "DO $$ BEGIN EXECUTE format('ALTER TABLE item RENAME COLUMN id TO %I', " + latin1 + "); END $$"
    night.ask("shop", rename)
    night.platform.declare("shop", "source: shop\ntables: {item: {changes: full}}\n")
    with pytest.raises(StepError, match=r"shop.*0xe9.*no form in UTF-8: correct it there"):
        night.load("shop", "item")
    with pytest.raises(StepError, match=r"database shop: .*0xe9.*no form in UTF-8"):
        restores.back_up("shop", "2026-11-23")


def test_a_role_named_in_another_database_s_encoding_is_told_of(restores: Restores) -> None:
    """All databases of a server share its roles, and each reads their names in its own encoding."""
    archive = restores.archive
    archive.source("shop", "CREATE TABLE item (id int PRIMARY KEY)")
    archive.platform.source("old", encoding="LATIN1")
    archive.write_sections()
    role = sql.Identifier(f"{archive.platform.prefix}_jörg")
    with archive.platform.connect("old") as connection:
        postgres.rows(connection, sql.SQL("CREATE ROLE {}").format(role))
        try:
            with pytest.raises(StepError, match=r"^database shop: a name .* not UTF-8 .*j.xf6rg.*; rename"):
                restores.back_up("shop")
        finally:
            postgres.rows(connection, sql.SQL("DROP ROLE {}").format(role))
