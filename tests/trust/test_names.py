"""Names that are made to be taken for SQL, of everything that has one: they are names, and nothing else."""

import json

import pytest

from pipeline import settings
from pipeline.errors import PipelineError
from pipeline.ledger import runs
from tests.support.archive import Archive
from tests.support.marts import declare
from tests.support.night import Night, next_run
from tests.support.restores import RUN, Restores

# Ends a name, a text and a dollar-quoted text, and drops what is watched; and what drivers put values into.
EVIL = """a"b'; DROP TABLE canary; -- $$; DROP TABLE canary; --"""
DRIVER = "%s %(x)s {0} $1 :name %% \\x"
NAMES = (EVIL, DRIVER, "a/../../b", "a\nb", "")
SCHEMA, TABLE, COLUMN = f"s {EVIL}"[:60], f"t {EVIL}"[:60], f"c {EVIL}"[:60]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def script(role: str) -> str:
    """Return SQL that makes a table of which every name is evil."""
    table = f"{quoted(SCHEMA)}.{quoted(TABLE)}"
    kind = f"{quoted(SCHEMA)}.{quoted('e ' + EVIL[:50])}"
    return f"""
        CREATE TABLE canary (id int PRIMARY KEY);
        CREATE SCHEMA {quoted(SCHEMA)};
        CREATE TYPE {kind} AS ENUM ({text(EVIL[:60])}, {text(DRIVER)});
        CREATE TABLE {table} (
            id int, {quoted(COLUMN)} text, {quoted(DRIVER)} {kind} DEFAULT {text(DRIVER)},
            CONSTRAINT {quoted("k " + EVIL[:50])} PRIMARY KEY (id),
            CONSTRAINT {quoted("q " + EVIL[:50])} CHECK (id > 0));
        CREATE INDEX {quoted("i " + EVIL[:50])} ON {table} ({quoted(COLUMN)});
        CREATE SEQUENCE {quoted(SCHEMA)}.{quoted("n " + EVIL[:50])};
        COMMENT ON TABLE {table} IS {text(EVIL)};
        COMMENT ON COLUMN {table}.{quoted(COLUMN)} IS {text(DRIVER)};
        INSERT INTO {table} VALUES (1, {text(EVIL)}, {text(EVIL[:60])}), (2, {text(DRIVER)}, {text(DRIVER)});
        GRANT USAGE ON SCHEMA {quoted(SCHEMA)} TO {quoted(role)};
        GRANT SELECT ON ALL TABLES IN SCHEMA {quoted(SCHEMA)} TO {quoted(role)};
    """


def declaration(**rules: object) -> str:
    """Return what is declared of it; JSON is YAML."""
    table = {"schema": SCHEMA, "table": TABLE, **rules}
    return json.dumps({"source": "shop", "tables": {"evil": table, "canary": {}}})


def test_names_of_a_source_are_names_and_nothing_else(night: Night) -> None:
    platform = night.platform
    platform.source("shop")
    night.ask("shop", script(platform.reader("shop")))
    night.ask("warehouse", "CREATE TABLE canary (id int)")
    rules = {
        "key": ["id"],
        "columns": {COLUMN: {"null_rate": {"max": "50%"}}, DRIVER: {"accepted": [EVIL[:60], DRIVER]}},
        "checks": [{"unique": [COLUMN]}, {"rows": {"min": 1}}],
        "history": True,
    }
    platform.declare("shop", declaration(**rules))
    assert night.load("shop", "evil").total == 2
    relation = f"{quoted(SCHEMA)}.{quoted(TABLE)}"
    night.ask("shop", f"UPDATE {relation} SET {quoted(COLUMN)} = {quoted(COLUMN)} || '!' WHERE id = 1")
    night.ask("shop", f"DELETE FROM {relation} WHERE id = 2")
    loaded = night.load("shop", "evil")
    assert (loaded.updated, loaded.total) == (1, 1)
    assert night.ask("warehouse", f"SELECT {quoted(COLUMN)} FROM shop.evil") == [(f"{EVIL}!",)]
    night.load("shop", "canary")
    for name in ("shop", "warehouse"):
        assert night.value(name, "SELECT count(*) FROM canary") == 0
    # Masks and filters name them in the source's own SELECT.
    masked = {
        "key": ["id"],
        "columns": {COLUMN: {"mask": "hash"}},
        "where": f"{quoted(DRIVER)}::text <> {text(DRIVER)}",
    }
    platform.declare("shop", declaration(**masked))
    assert night.load("shop", "evil").total == 1
    for name in ("shop", "warehouse"):
        assert night.value(name, "SELECT count(*) FROM canary") == 0


@pytest.mark.endurance
def test_names_in_a_backup_are_names_and_nothing_else(restores: Restores) -> None:
    archive: Archive = restores.archive
    archive.source("shop", "")
    platform = archive.platform
    role = f"r {EVIL}"[:60]
    with platform.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {quoted(role)}")
        cursor.execute(f"GRANT CREATE ON DATABASE {quoted(platform.database('shop'))} TO {quoted(role)}")
        cursor.execute(script(platform.reader("shop")).replace("%", "%"))
        cursor.execute(f"GRANT SELECT ON {quoted(SCHEMA)}.{quoted(TABLE)} TO {quoted(role)}")
    try:
        restores.back_up("shop")
        ended = archive.run("restore", "shop", "--into-new", restores.name("evil"), "--at", RUN)
        assert ended.code == 0, ended.err
        rows = restores.ask(
            restores.name("evil"),
            f"SELECT {quoted(COLUMN)} FROM {quoted(SCHEMA)}.{quoted(TABLE)} ORDER BY id",
        )
        assert rows == [(EVIL,), (DRIVER,)]
        assert restores.ask(restores.name("evil"), "SELECT count(*) FROM canary") == [(0,)]
        with archive.platform.connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM canary")
        other = archive.run("restore", "shop", "--into-new", restores.name(EVIL)[:60])
        assert other.code in (0, 2, 3), other.err
    finally:
        with platform.connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP OWNED BY {quoted(role)}")
            cursor.execute(f"DROP ROLE {quoted(role)}")


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_ours_to_give_are_refused_where_they_are_read(night: Night, name: str) -> None:
    """Runs, sources, databases, marts: they become names of files, tasks and tables."""
    with pytest.raises(PipelineError):
        runs.parse(name)
    file = night.platform.settings_file
    kept = file.read_text()
    one_line = name.replace("\n", " ")
    for section in ("source", "database"):
        file.write_text(f"{kept}\n[{section}.{one_line}]\nsecret = x\n")
        with pytest.raises(PipelineError):
            settings.read([file])
    file.write_text(kept)


@pytest.mark.endurance
@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_typed_are_refused_where_there_is_none_such(night: Night, name: str) -> None:
    for arguments in (
        ("run", "mart", name or " "),
        ("plan", name or " "),
        ("restore", name or " ", "--into-new", "x"),
    ):
        ended = night.run(*arguments)
        assert ended.code == 2, (arguments, ended.err)
        assert "Traceback" not in ended.err


@pytest.mark.endurance
def test_names_of_marts_are_refused_with_their_file(night: Night) -> None:
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    evil = EVIL.replace("/", "")
    declare(night, **{evil: "SELECT id FROM shop.item\n"})
    ended = night.etl(next_run())
    assert ended.code == 2
    assert evil[:20] in ended.err
