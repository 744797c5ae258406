"""A source that was put back to an earlier copy of itself: noticed by the load, and found by the audit."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import access, postgres
from pipeline.audit import audit
from pipeline.loading.extracted import Extracted
from pipeline.loading.source import continuity
from tests.support import putbacks
from tests.support.night import Night, next_run
from tests.support.putbacks import Server

ITEMS = """
    CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 100) AS n;
"""
DECLARED = "source: shop\ntables: {item: {}}\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with putbacks.serving(tmp_path / "own") as made:
        yield made


def put_back(night: Night, server: Server, how: signal.Signals) -> None:
    """Load, lose the last hour of the source, and let it use up more transaction ids than it lost."""
    night.platform.source("shop", "", DECLARED)
    database = server.serve(night.platform, "shop", ITEMS)
    night.load("shop", "item")
    server.stop(how)
    server.copy()
    server.start()
    with server.connect(database) as here:
        for number in range(1, 6):
            postgres.rows(here, f"UPDATE item SET name = 'lost' WHERE id = {number}")
    night.load("shop", "item")
    server.stop()
    server.put_back()
    server.start()
    with server.connect(database) as here:
        for number in range(21, 26):
            postgres.rows(here, f"UPDATE item SET name = 'kept' WHERE id = {number}")
        for _ in range(100):
            postgres.rows(here, "SELECT txid_current()")


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGINT, id="cold copy"),
        pytest.param(signal.SIGQUIT, id="storage snapshot", marks=pytest.mark.endurance),
    ],
)
def test_a_source_that_was_put_back_is_read_in_full(
    night: Night, server: Server, how: signal.Signals
) -> None:
    """Five rows of the lost time, and five that were changed under the numbers of lost transactions."""
    put_back(night, server, how)
    if how == signal.SIGINT:
        # As if every count had grown past what it was: the rows alone have to tell.
        night.ask("warehouse", "UPDATE ops.source_history SET marks = NULL")
    run = next_run()
    night.load("shop", "item", run)
    assert night.extraction(run, "shop.item") == ("full", 100)
    step = night.step(run, "ExtractTable", "shop.item")
    read = Extracted.of(step)
    assert read is not None
    assert "was restored" in read.reason
    names = night.ask("warehouse", "SELECT name, count(*) FROM shop.item WHERE name !~ 'item' GROUP BY 1")
    assert names == [("kept", 5)]
    night.load("shop", "item", run := next_run())
    assert night.extraction(run, "shop.item") == ("increment", 0)


def test_a_source_that_was_put_back_is_found_by_the_audit(
    night: Night, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the load notices: here nothing."""
    monkeypatch.setattr(continuity, "_contradictions", lambda *_: iter(()))
    put_back(night, server, signal.SIGINT)
    night.load("shop", "item", run := next_run())
    assert night.extraction(run, "shop.item")[0] == "increment", "the fault is there"
    tables = [night.table("shop", "item")]
    with access.opened(night.settings) as databases, audit.auditor(databases, tables) as auditor:
        (found,) = auditor.everything()
    assert str(found) == "shop.item: differs: 10 rows are different"


def test_a_source_that_goes_on_is_read_by_what_changed(night: Night) -> None:
    """Updates, deletes, places that are used again, and files that are written anew are one history."""
    night.platform.source("shop", ITEMS, DECLARED)
    night.load("shop", "item")
    for change in (
        "UPDATE item SET name = 'new' WHERE id % 2 = 0; DELETE FROM item WHERE id % 7 = 0",
        "VACUUM item",
        "INSERT INTO item SELECT n, 'more' FROM generate_series(200, 230) AS n",
        "VACUUM FULL item",
        "ALTER TABLE item ADD note text",
    ):
        night.ask("shop", change)
        night.load("shop", "item", run := next_run())
        assert night.extraction(run, "shop.item")[0] == "increment", change
    assert night.value("warehouse", "SELECT history FROM ops.source_history") == 0
    assert night.differing("shop") == []


def test_another_text_of_the_same_row_versions_is_no_source_that_was_put_back(night: Night) -> None:
    """A renamed label read the whole source in full, night after night, until somebody had accepted it."""
    night.platform.source(
        "shop",
        ITEMS + "CREATE TYPE mood AS ENUM ('calm', 'cross');"
        "CREATE TABLE place (street text, zip text);"
        "CREATE TABLE felt (id int PRIMARY KEY, a mood, b mood, at place);"
        "INSERT INTO felt VALUES (1, 'calm', 'cross', ROW('street', 'zip'))",
        "source: shop\ntables: {item: {}, felt: {}}\n",
    )
    for change in (
        "ALTER TYPE mood RENAME VALUE 'calm' TO 'serene'",
        "ALTER TABLE felt RENAME a TO c; ALTER TABLE felt RENAME b TO a; ALTER TABLE felt RENAME c TO b",
        "ALTER TABLE felt DROP b; ALTER TABLE felt ADD b mood DEFAULT 'cross'",
        "ALTER TABLE place DROP zip, ADD zip text",
    ):
        night.load("shop", "item")
        night.load("shop", "felt")
        # What was remembered is older than what is compared next.
        night.ask("shop", "SELECT txid_current()")
        night.ask("shop", change)
        night.load("shop", "item", run := next_run())
        assert night.extraction(run, "shop.item")[0] == "increment", change
        night.platform.declare(
            "shop", "source: shop\ntables: {item: {}, felt: {drift: {type: refresh, renamed: refresh}}}\n"
        )
    assert night.value("warehouse", "SELECT history FROM ops.source_history") == 0


def test_a_held_snapshot_locks_no_table_of_its_source(night: Night) -> None:
    """A change of the shape of a table would wait for the end of the night, and everybody behind it."""
    night.platform.source("shop", ITEMS, DECLARED)
    night.load("shop", "item")
    with night.snapshot("shop", next_run()):
        held = night.ask("shop", "SELECT relation::regclass::text FROM pg_locks WHERE relation >= 16384")
    assert held == []


def test_no_value_of_a_row_is_remembered(night: Night) -> None:
    night.platform.source("shop", ITEMS, DECLARED)
    night.load("shop", "item")
    (known,) = night.ask("warehouse", "SELECT witnesses::text FROM ops.watermark")[0]
    assert "item 1" not in known
    assert night.value("warehouse", "SELECT jsonb_array_length(witnesses -> 'rows') FROM ops.watermark") > 0
