"""Rows that are gone from the source: found however it is read, and never taken for gone by mistake."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline import postgres
from pipeline.errors import CheckError
from pipeline.sandbox import provision
from pipeline.sandbox.servers import clusters
from tests.support.night import Night, counts, next_run

ITEMS = """
    CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, changed_at timestamptz DEFAULT now());
    INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 100) AS n;
"""
READ = {"xmin": "changes: xmin", "cursor": "changes: cursor, cursor: changed_at", "full": "changes: full"}


def declared(*said: str) -> str:
    return f"source: shop\ntables: {{item: {{{', '.join(said)}}}}}\n"


def load(night: Night) -> tuple[str, tuple[int, int, int, int]]:
    run = next_run()
    loaded = night.load("shop", "item", run)
    return night.extraction(run, "shop.item")[0], counts(loaded)


@pytest.mark.endurance
@pytest.mark.parametrize("changes", READ)
@pytest.mark.parametrize("emptying", ["DELETE FROM item", "TRUNCATE item"])
def test_an_emptied_table_is_held_back_until_somebody_agrees(
    night: Night, changes: str, emptying: str
) -> None:
    """However it is read: a table without any row is not a success unless a person says so."""
    night.platform.source("shop", ITEMS, declared(READ[changes]))
    night.load("shop", "item")
    night.ask("shop", emptying)
    for _ in range(2):
        with pytest.raises(CheckError, match=r"100 of 100 rows \(100%\) are gone from the source"):
            night.load("shop", "item")
    assert night.value("warehouse", "SELECT count(*) FROM shop.item") == 100
    night.platform.declare("shop", declared(READ[changes], "max_deleted: 100%"))
    assert load(night)[1] == (0, 0, 100, 0)
    night.ask("shop", "INSERT INTO item VALUES (1, 'new')")
    assert load(night)[1] == (1, 0, 0, 1)
    assert night.differing("shop") == []


@pytest.mark.endurance
@pytest.mark.parametrize("changes", READ)
@pytest.mark.parametrize(
    ("deletes", "left", "marked"), [("hard", 90, 0), ("soft", 90, 10), ("ignore", 100, 0)]
)
def test_what_is_gone_is_deleted_marked_or_left(
    night: Night, changes: str, deletes: str, left: int, marked: int
) -> None:
    night.platform.source("shop", ITEMS, declared(READ[changes], f"deletes: {deletes}"))
    night.load("shop", "item")
    night.ask("shop", "DELETE FROM item WHERE id <= 10")
    for expected in (0 if deletes == "ignore" else 10, 0):
        assert load(night)[1] == (0, 0, expected, left)
    total = "SELECT count(*) FROM shop.item"
    assert night.value("warehouse", total) == left + marked
    if deletes == "soft":
        assert night.value("warehouse", f"{total} WHERE _deleted_at IS NOT NULL") == marked
    # They come back.
    night.ask("shop", "INSERT INTO item SELECT n, 'back' FROM generate_series(1, 10) AS n")
    load(night)
    assert night.differing("shop") == []


@pytest.mark.parametrize(
    ("deletes", "there", "live"), [("hard", 39, 39), ("soft", 41, 39), ("ignore", 41, 41)]
)
def test_without_a_key_repeated_rows_are_counted(night: Night, deletes: str, there: int, live: int) -> None:
    """Two of three rows that are the same are gone: one stays, whatever is done with the others."""
    night.platform.source(
        "shop",
        "CREATE TABLE item (n int, name text);"
        "INSERT INTO item SELECT n % 10, NULL FROM generate_series(1, 40) AS n",
        declared(f"deletes: {deletes}"),
    )
    night.load("shop", "item")
    night.ask("shop", "DELETE FROM item WHERE ctid IN (SELECT ctid FROM item WHERE n = 3 LIMIT 2)")
    night.ask("shop", "INSERT INTO item VALUES (11, 'new')")
    mode, (inserted, _, deleted, total) = load(night)
    assert (mode, inserted, deleted, total) == ("full", 1, 0 if deletes == "ignore" else 2, live)
    assert night.value("warehouse", "SELECT count(*) FROM shop.item") == there
    assert load(night)[1] == (0, 0, 0, live)
    assert night.differing("shop") == [] or deletes == "ignore"


def test_an_empty_table_is_a_table(night: Night) -> None:
    night.platform.source("shop", ITEMS + "TRUNCATE item;", declared())
    assert load(night) == ("first", (0, 0, 0, 0))
    assert load(night) == ("increment", (0, 0, 0, 0))
    night.ask("shop", "INSERT INTO item VALUES (1, 'new')")
    assert load(night) == ("increment", (1, 0, 0, 1))


# Older copies.


def dump(night: Night, path: Path) -> None:
    _program(night, "pg_dump", provision.SOURCES, "--format=custom", f"--file={path}")


def _program(night: Night, name: str, cluster: str, *arguments: str) -> None:
    home = night.platform.sandbox.home
    subprocess.run(
        [
            clusters.BINARIES / name,
            *clusters.socket_arguments(home, cluster),
            f"--dbname={night.platform.database('shop')}",
            *arguments,
        ],
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )


def a_day_passes(night: Night) -> None:
    """Load what a restore will undo: new rows, changed ones, and some that are gone."""
    night.ask("shop", "UPDATE item SET name = 'of the second day' WHERE id <= 5")
    night.ask("shop", "DELETE FROM item WHERE id > 97")
    night.ask("shop", "INSERT INTO item SELECT n, 'new' FROM generate_series(201, 203) AS n")
    assert load(night)[1] == (3, 5, 3, 100)


def test_an_older_copy_that_is_restored_over_a_table_is_read_whole(night: Night, tmp_path: Path) -> None:
    """As many rows as before and old transaction ids: neither a count nor a watermark would tell."""
    night.platform.source("shop", ITEMS, declared())
    night.load("shop", "item")
    dump(night, tmp_path / "day-1")
    a_day_passes(night)
    _program(night, "pg_restore", provision.SOURCES, "--clean", "--exit-on-error", str(tmp_path / "day-1"))
    assert load(night) == ("full", (3, 5, 3, 100))
    assert night.differing("shop") == []


def test_an_older_copy_that_was_made_as_a_template_is_read_whole(night: Night) -> None:
    """It has the same tables by their oids, in the same server's history: only the database is another."""
    night.platform.source("shop", ITEMS, declared())
    night.load("shop", "item")
    name = night.platform.database("shop")
    with clusters.connection(night.platform.sandbox.home, provision.SOURCES, "postgres") as server:
        postgres.rows(server, f'CREATE DATABASE "{name} of day 1" TEMPLATE "{name}"')
        try:
            a_day_passes(night)
            postgres.rows(server, f'ALTER DATABASE "{name}" RENAME TO "{name} of day 2"')
            postgres.rows(server, f'ALTER DATABASE "{name} of day 1" RENAME TO "{name}"')
            assert load(night) == ("full", (3, 5, 3, 100))
            assert night.differing("shop") == []
            assert load(night) == ("increment", (0, 0, 0, 100))
        finally:
            for day in (1, 2):
                postgres.rows(server, f'DROP DATABASE IF EXISTS "{name} of day {day}" WITH (FORCE)')


@contextmanager
def moved(night: Night, copy: Path) -> Iterator[None]:
    """Restore a copy into another cluster, and let the pipeline read it there."""
    home, database = night.platform.sandbox.home, night.platform.database("shop")
    vault, entry, reader = night.platform.sandbox.vault, f"source/{database}", night.platform.reader("shop")
    uri = (vault.read(entry) or {})["uri"]
    there = home.state.ports[provision.DRILL]
    with clusters.connection(home, provision.DRILL, "postgres") as drill:
        password = urlsplit(uri).password
        for statement in (
            f'CREATE DATABASE "{database}"',
            f"CREATE ROLE \"{reader}\" LOGIN PASSWORD '{password}'",
        ):
            postgres.rows(drill, statement)
        try:
            _program(night, "pg_restore", provision.DRILL, "--no-owner", "--no-privileges", str(copy))
            with clusters.connection(home, provision.DRILL, database) as new:
                postgres.rows(new, f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{reader}"')
            vault.write(entry, {"uri": uri.replace(f":{urlsplit(uri).port}/", f":{there}/")})
            yield
        finally:
            vault.write(entry, {"uri": uri})
            postgres.rows(drill, f'DROP DATABASE "{database}" WITH (FORCE)')
            postgres.rows(drill, f'DROP ROLE "{reader}"')


def test_an_older_copy_on_another_cluster_is_read_whole(night: Night, tmp_path: Path) -> None:
    """Another system_identifier is another history: its transaction ids mean nothing here."""
    night.platform.source("shop", ITEMS, declared("drift: {recreated: ignore}"))
    night.load("shop", "item")
    dump(night, tmp_path / "day-1")
    a_day_passes(night)
    with moved(night, tmp_path / "day-1"):
        assert load(night) == ("full", (3, 5, 3, 100))
        assert load(night) == ("increment", (0, 0, 0, 100))
    # And back: what the warehouse has now is the copy, not what is here.
    assert load(night)[0] == "full"
    assert night.differing("shop") == []
