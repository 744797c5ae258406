"""What failed is open until it is made up for, whichever run it was in: `status` and `watch` say so."""

import json
import re
from datetime import UTC, datetime

import pytest

from tests.support.archive import SMALL, Archive
from tests.support.hooks import Hook
from tests.support.night import Ended, Night, next_run

SHOP = """
    CREATE TABLE item (id int PRIMARY KEY);
    INSERT INTO item SELECT generate_series(1, 40);
    CREATE TABLE other (id int PRIMARY KEY);
    INSERT INTO other VALUES (1);
"""
DECLARATION = "source: shop\ntables: {item: {}, other: {}}\n"


@pytest.fixture
def shop(night: Night) -> Night:
    """Two sources, of which nothing is backed up."""
    night.platform.source("shop", SHOP, DECLARATION)
    night.platform.source("store", SHOP, DECLARATION.replace("shop", "store"))
    path = night.platform.settings_file
    path.write_text(re.sub(r"\[database\..*\n(.+\n)*", "", path.read_text()))
    return night


def first(ended: Ended) -> str:
    return ended.out.splitlines()[0]


@pytest.mark.endurance
def test_a_failure_of_an_earlier_run_is_open_after_an_extra_load_of_another_source(
    hook: Hook, shop: Night
) -> None:
    run, extra = next_run(), next_run()
    reader = shop.platform.reader("shop")
    shop.ask("shop", f"REVOKE SELECT ON other FROM {reader}")
    assert shop.etl(run).code == 3
    assert shop.etl(extra, "--source", "store").code == 0
    ended = shop.run("status")
    assert ended.code == 3
    assert first(ended) == "failed: 1 failure is open"
    assert ended.out.splitlines()[1].startswith(f"etl {extra} ok, began ")
    for name in ("shop.item", "shop.other", "store.item", "store.other"):
        assert f"\n{name} " in ended.out
    assert "shop.other: ExtractTable failed: the source's role may not read" in ended.out
    assert f", then pipeline rerun --run {run} shop.other\n" in ended.out
    told = json.loads(shop.run("status", "--json").out)
    assert told["state"] == "failed"
    assert [(one["run"], one["name"]) for one in told["failures"]] == [(run, "shop.other")]
    assert {one["table"]: (one["rows"], one["state"]) for one in told["tables"]} == {
        "shop.item": (40, "ok"),
        "shop.other": (None, "failed"),
        "store.item": (40, "ok"),
        "store.other": (1, "ok"),
    }
    watched = shop.run("watch")
    assert watched.code == 4
    assert "open: shop.other: ExtractTable failed" in watched.out
    assert f"pipeline rerun --run {run} shop.other\n" in watched.out
    assert json.loads(shop.run("watch", "--json").out)["open"] == 1
    assert shop.run("status", "--run", extra).code == 0, "of one run alone"

    shop.ask("shop", f"GRANT SELECT ON other TO {reader}")
    assert shop.run("rerun", "--run", run, "shop.other").code == 0
    ended = shop.run("status")
    assert (ended.code, first(ended)) == (0, "ok: 4 tables and 0 backups are up to date")
    assert json.loads(shop.run("watch", "--json").out)["open"] == 0
    assert sorted(hook.received()) == [("failed", "etl/shop.other"), ("recovered", "etl/shop.other")]


@pytest.mark.endurance
def test_a_run_that_ended_before_it_came_to_its_tables_is_open_until_they_are_loaded(shop: Night) -> None:
    """None of its steps failed; a later one of another source does not make up for it."""
    run, extra = next_run(), next_run()
    shop.ask(
        "warehouse",
        "INSERT INTO ops.run (run, name, state, host, pid, finished_at, error)"
        " VALUES (%s, 'etl', 'failed', 'here', 1, now(), 'Luigi ended with 40')",
        (run,),
    )
    shop.load("store", "item", extra)
    ended = shop.run("status")
    assert ended.code == 3
    assert f"etl {run} failed: Luigi ended with 40\n" in ended.out
    assert "not loaded: shop.item, shop.other, store.other\n" in ended.out
    assert f"  next: pipeline rerun --run {run}\n" in ended.out
    assert json.loads(shop.run("status", "--json").out)["undone"] == [
        {"run": run, "error": "Luigi ended with 40", "tables": ["shop.item", "shop.other", "store.other"]}
    ]
    for name in ("item", "other"):
        shop.load("shop", name)
    shop.load("store", "other")
    assert shop.run("status").code == 0


def test_a_killed_step_of_an_earlier_run_is_open(shop: Night) -> None:
    run = next_run()
    shop.ask(
        "warehouse",
        "INSERT INTO ops.step (run, task, name, state, host, pid, seen_at)"
        " VALUES (%s, 'ExtractTable', 'shop.item', 'running', 'elsewhere', 1, now() - interval '1 hour')",
        (run,),
    )
    ended = shop.run("status")
    assert ended.code == 3
    assert "shop.item: ExtractTable failed: its process was killed\n" in ended.out


@pytest.mark.endurance
def test_a_table_that_is_too_old_is_told_though_the_last_run_was_well(shop: Night) -> None:
    run = next_run()
    assert shop.etl(run).code == 0
    shop.ask(
        "warehouse", "UPDATE ops.watermark SET snapshot_at = now() - interval '3 days' WHERE source = 'shop'"
    )
    ended = shop.run("status")
    assert (ended.code, first(ended)) == (4, "stale: 2 tables are too old")
    assert "too old: shop.item, shop.other\n  next: pipeline run etl\n" in ended.out
    states = {one["table"]: one["state"] for one in json.loads(shop.run("status", "--json").out)["tables"]}
    assert (states["shop.item"], states["store.item"]) == ("stale", "ok")


@pytest.mark.endurance
def test_what_is_no_longer_declared_is_not_open(shop: Night) -> None:
    run = next_run()
    shop.ask("shop", f"REVOKE SELECT ON other FROM {shop.platform.reader('shop')}")
    assert shop.etl(run).code == 3
    assert shop.run("status").code == 3
    shop.platform.declare("shop", "source: shop\ntables: {item: {}}\n")
    assert shop.run("status").code == 0


@pytest.mark.endurance
def test_a_database_without_a_new_backup_is_told(archive: Archive) -> None:
    archive.source("shop", SMALL)
    night = Night(archive.platform)
    night.migrate()
    ended = night.run("status")
    assert (ended.code, first(ended)) == (4, "stale: 1 database has no new backup or drill")
    assert "shop: no backup in the ledger\n  next: pipeline run backup shop\n" in ended.out
    assert archive.backup("shop", f"{datetime.now(UTC):%Y-%m-%d}").code == 0
    assert night.run("status").code == 0
