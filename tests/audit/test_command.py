"""`pipeline audit`, as people and the clock start it: what it says, tells and repairs."""

import re

import pytest

from tests.audit.test_compare import DECLARED, ITEMS
from tests.support.hooks import Hook
from tests.support.night import Night, next_run

# Each takes seconds.
pytestmark = pytest.mark.endurance

REPAIR = "pipeline rerun --from extract --full shop.item"


@pytest.fixture
def shop(night: Night) -> Night:
    night.platform.source("shop", ITEMS, DECLARED % "")
    night.load("shop", "item")
    return night


def test_what_differs_is_told_once_and_repaired_by_the_command_that_it_names(
    hook: Hook, night: Night
) -> None:
    """A row changed by hand: a load does not see it, an audit does, and a load in full makes it good."""
    night.platform.source("shop", ITEMS, DECLARED % "")
    run = next_run()
    assert night.etl(run).code == 0
    night.ask("warehouse", "UPDATE shop.item SET name = 'by hand' WHERE id = 17")
    for _ in range(2):
        ended = night.run("audit", "shop")
        assert ended.code == 4
        assert "shop.item: differs: 1 row is different\n" in ended.out
        assert f"\n  next: {REPAIR}\n" in ended.out
        assert ended.errors == ["not equal to the source: shop.item"]
    ended = night.run("status")
    assert f"shop.item: not equal to its source: 1 row is different\n  next: {REPAIR}\n" in ended.out
    (alert,) = hook.alerts()
    assert (alert.key, alert.kind, alert.command) == ("audit/shop.item", "failed", REPAIR)
    assert (alert.summary, alert.error) == ("shop.item: differs from its source", "1 row is different")
    assert night.run(*REPAIR.split()[1:]).code == 0
    assert night.extraction(run, "shop.item") == ("full", 100)
    ended = night.run("audit")
    assert (ended.code, ended.errors) == (0, [])
    assert "shop.item: equal, 100 rows\n" in ended.out
    assert "proved equal to their sources: 1 of 1 tables; shop.item longest ago" in night.run("status").out
    assert [alert.kind for alert in hook.alerts()] == ["failed", "recovered"]


def test_a_rerun_in_full_needs_to_read(shop: Night) -> None:
    ended = shop.run("rerun", "--full", "shop.item")
    assert ended.code == 2
    assert ended.errors == ["--full reads tables again, so it needs '--from extract' as well"]


def test_a_large_table_is_looked_at_in_parts_and_each_night_goes_on(shop: Night) -> None:
    """Within a tenth of a night: every row has its turn, and what differs in a part is found there."""
    shop.ask("shop", "INSERT INTO item SELECT n, repeat('x', 900) FROM generate_series(101, 500) AS n")
    shop.load("shop", "item")
    night = "INSERT INTO ops.run (run, name, state, started_at, finished_at, host, pid) VALUES"
    shop.ask(
        "warehouse", f"{night} ('2020-01-01', 'etl', 'done', now() - interval '0.2 s', now(), 'here', 1)"
    )
    parts = [(0, 1)]
    while parts[-1][0] < parts[-1][1]:
        ended = shop.run("audit")
        assert ended.code == 0, ended.err
        query = "SELECT part, parts FROM ops.audit ORDER BY id"
        parts = [(part, of) for part, of in shop.ask("warehouse", query)]
    assert parts[0][0] == 1
    assert len(parts) > 1
    rows = shop.ask("warehouse", "SELECT sum(rows) FROM ops.audit")
    assert rows == [(500,)]
    shop.ask("warehouse", "UPDATE shop.item SET name = 'by hand' WHERE id = 1")
    ended = shop.run("audit")
    assert ended.code == 4
    assert re.match(r"shop\.item \(part 1 of \d+\): differs: 1 row is different\n", ended.out)


def test_a_source_that_is_out_of_reach_hides_no_other(night: Night) -> None:
    for name in ("other", "shop"):
        night.platform.source(name, ITEMS, (DECLARED % "").replace("shop", name))
    for name in ("other", "shop"):
        night.load(name, "item")
    vault, entry = night.platform.sandbox.vault, f"source/{night.platform.database('other')}"
    vault.write(entry, {"uri": "postgresql://nobody:nothing@127.0.0.1:1/nowhere"})
    ended = night.run("audit")
    assert ended.code == 5
    assert "shop.item: equal, 100 rows\n" in ended.out
    assert "other.item: source other: no connection: " in ended.out
    assert ended.errors == ["not compared, out of reach: other"]


def test_before_the_first_load_there_is_nothing_to_compare(night: Night) -> None:
    night.platform.source("shop", ITEMS, DECLARED % "")
    ended = night.run("audit")
    assert (ended.code, ended.out.splitlines()[-1][:33]) == (0, "audit: nothing is loaded yet; at ")
