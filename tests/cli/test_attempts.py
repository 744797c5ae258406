"""A run is begun once, tried as often as needed, known by its date; the ledger keeps what it was to do."""

import re
import subprocess
from typing import Any

import pytest

from pipeline import access
from pipeline.cli.runs import rerun
from pipeline.ledger import runs
from tests.support.night import Night, next_run, program
from tests.support.platforms import Platform

SHOP = """
    CREATE TABLE item (id int PRIMARY KEY);
    INSERT INTO item SELECT generate_series(1, 40);
    CREATE TABLE other (id int PRIMARY KEY);
    INSERT INTO other VALUES (1);
"""
DECLARATION = "source: shop\ntables: {item: {}, other: {}}\n"


@pytest.fixture
def shop(night: Night) -> Night:
    night.platform.source("shop", SHOP, DECLARATION)
    return night


def recorded(night: Night, run: str) -> dict[str, Any]:
    """Return a run as the ledger has it."""
    columns = "state", "started_at", "attempted_at", "attempts", "finished_at", "pid", "error", "scope"
    query = f"SELECT {', '.join(columns)} FROM ops.run WHERE run = %s"
    return dict(zip(columns, night.ask("warehouse", query, (run,))[0], strict=True))


def loaded(night: Night, run: str) -> set[str]:
    query = "SELECT name FROM ops.step WHERE run = %s AND task = 'LoadTable' AND state = 'done'"
    return {name for (name,) in night.ask("warehouse", query, (run,))}


@pytest.mark.endurance
def test_a_run_in_which_nothing_is_to_be_done_is_not_touched_and_does_not_become_the_newest(
    shop: Night,
) -> None:
    older, newer = next_run(), next_run()
    assert [shop.etl(run).code for run in (newer, older)] == [0, 0], "the newest is so by its date"
    assert shop.run("status").out.splitlines()[1].startswith(f"etl {newer} ok")
    before = recorded(shop, older)
    for command in (["run", "etl", "--run", older], ["rerun", "--run", older]):
        ended = shop.run(*command)
        assert (ended.code, ended.errors) == (0, [])
        assert f"run {older} is complete already; nothing to do" in ended.out
    assert recorded(shop, older) == before
    assert shop.run("status").out.splitlines()[1].startswith(f"etl {newer} ok")


@pytest.mark.endurance
def test_first_begin_and_last_attempt_of_a_run_are_two_things(shop: Night) -> None:
    run = next_run()
    reader = shop.platform.reader("shop")
    shop.ask("shop", f"REVOKE SELECT ON other FROM {reader}")
    assert shop.etl(run).code == 3
    first = recorded(shop, run)
    shop.ask("shop", f"GRANT SELECT ON other TO {reader}")
    assert shop.run("rerun", "--run", run).code == 0
    second = recorded(shop, run)
    assert (second["state"], second["attempts"], first["attempts"]) == ("done", 2, 1)
    assert second["started_at"] == first["started_at"] == first["attempted_at"] < second["attempted_at"]
    told = shop.run("status", "--run", run).out
    assert re.match(rf"etl {run} ok, began \S+ \S+ UTC, attempt 2 at \S+ \S+ UTC, took \d+ s\n", told)


@pytest.mark.endurance
def test_a_rerun_of_a_run_of_one_table_loads_that_table_alone(shop: Night) -> None:
    shop.platform.source("store", SHOP, DECLARATION.replace("shop", "store"))
    run = next_run()
    reader = shop.platform.reader("shop")
    shop.ask("shop", f"REVOKE SELECT ON other FROM {reader}")
    assert shop.etl(run, "--source", "shop", "--table", "other").code == 3
    shop.ask("shop", f"GRANT SELECT ON other TO {reader}")
    assert "not begun" not in shop.run("status", "--run", run).out, "the others were not meant"
    ended = shop.run("rerun", "--run", run)
    assert (ended.code, loaded(shop, run)) == (0, {"shop.other"}), ended.err
    assert (recorded(shop, run)["scope"], recorded(shop, run)["state"]) == (["shop.other"], "done")


@pytest.mark.endurance
def test_a_part_that_is_loaded_makes_no_failed_run_well(shop: Night) -> None:
    """What a run was to do adds up over its attempts; it is done once all of that is loaded."""
    run = next_run()
    reader = shop.platform.reader("shop")
    shop.ask("shop", f"REVOKE SELECT ON other FROM {reader}")
    assert shop.etl(run).code == 3
    failed = recorded(shop, run)
    ended = shop.etl(run, "--source", "shop", "--table", "item")
    assert (ended.code, recorded(shop, run)) == (0, failed), "nothing was to be done"
    ended = shop.run("rerun", "--run", run, "--from", "extract", "shop.item")
    assert ended.code == 0, ended.err
    found = recorded(shop, run)
    assert (found["state"], found["error"], found["attempts"]) == ("failed", failed["error"], 2)
    shop.ask("shop", f"GRANT SELECT ON other TO {reader}")
    assert shop.run("rerun", "--run", run, "shop.other").code == 0
    assert recorded(shop, run)["state"] == "done"


@pytest.mark.endurance
def test_a_rerun_of_what_plain_luigi_began_loads_no_more_than_that(shop: Night) -> None:
    run = next_run()
    words = ["--module", "tasks.etl", "etl.LoadTable", "--source", "shop", "--table", "other", "--run", run]
    subprocess.run([program("luigi"), *words], env=shop.platform.env, check=True, capture_output=True)
    ended = shop.run("rerun", "--run", run, "--from", "extract")
    assert (ended.code, loaded(shop, run)) == (0, {"shop.other"}), ended.err


def test_the_run_that_goes_on_is_named_and_not_the_latest(night: Night) -> None:
    """An old one may be gone on with, while the latest has ended; what is still to come is not the latest."""
    older, newer = next_run(), next_run()
    with access.opened(night.settings) as databases, databases.warehouse(autocommit=True) as warehouse:
        for run in ("2026-11-20", "2026-11-21T1430", "2026-11-21", newer):
            with runs.running(warehouse, run, "etl"):
                pass
        with runs.running(warehouse, "2026-11-20", "etl"):
            latest, going = runs.find(warehouse, "etl"), runs.going(warehouse, "etl")
            assert latest is not None
            assert going is not None
            assert (latest.run, going.run) == ("2026-11-21T1430", "2026-11-20")
        assert runs.going(warehouse, "etl") is None
        ended = night.run("rerun", "--run", older)
        assert f"run {older} is not known, the latest is 2026-11-21T1430" in ended.errors[0]


@pytest.mark.endurance
def test_a_ledger_of_before_keeps_its_runs(platform: Platform) -> None:
    """They were begun and attempted once, at the same moment, as far as is known."""
    night = Night(platform)
    night.migrate()
    # What came after that goes first.
    night.ask("warehouse", "DROP SCHEMA platform CASCADE")
    night.ask("warehouse", "DROP TABLE ops.surface, ops.source_relation, ops.listing, ops.audit_stopped")
    night.ask("warehouse", "DROP TABLE ops.archive_drill")
    night.ask("warehouse", "ALTER TABLE ops.audit DROP after_key")
    night.ask("warehouse", "ALTER TABLE ops.run DROP attempted_at, DROP attempts, DROP scope")
    night.ask("warehouse", "ALTER TABLE ops.step DROP COLUMN hint")
    night.ask("warehouse", "UPDATE ops.alembic_version SET version_num = '0009'")
    night.ask(
        "warehouse",
        "INSERT INTO ops.run (run, name, state, host, pid, started_at, finished_at)"
        " VALUES ('2026-11-20', 'etl', 'done', 'here', 1, '2026-11-20 02:15Z', '2026-11-20 02:20Z')",
    )
    night.migrate()
    found = recorded(night, "2026-11-20")
    assert found["attempted_at"] == found["started_at"]
    assert (found["attempts"], found["scope"]) == (1, [])


def test_what_a_run_was_to_do_is_what_a_rerun_of_it_does(shop: Night) -> None:
    """It adds up over attempts; a table goes with its source."""
    run = next_run()
    with access.opened(shop.settings) as databases, databases.warehouse(autocommit=True) as warehouse:
        for scope in (["shop.other"], ["shop.item"], ["shop.other", "store"]):
            with runs.running(warehouse, run, "etl", scope=scope):
                pass
            known = rerun._known_load(shop.settings, run)
            assert set(scope) <= set(known[1])
        assert known == (run, ["shop.item", "shop.other", "store"])
        with runs.running(warehouse, run, "etl", scope=["shop"]):
            pass
        assert rerun._known_load(shop.settings, run) == (run, ["shop", "store"])
        with runs.running(warehouse, run, "etl", scope=[]):
            pass
        assert rerun._known_load(shop.settings, run) == (run, [])
