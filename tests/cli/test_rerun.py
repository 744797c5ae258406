"""`pipeline rerun`: runs what is incomplete, does over what it is told to, and pulls away nobody's work."""

import json
import re
import signal

import pytest

from pipeline import access
from pipeline.ledger import runs
from tests.support.archive import SMALL, Archive
from tests.support.marks import in_depth
from tests.support.night import Night, next_run, wait_until

SHOP = """
    CREATE TABLE item (id int PRIMARY KEY, name text);
    INSERT INTO item SELECT n, 'item' FROM generate_series(1, 1200) AS n;
    CREATE TABLE other (id int PRIMARY KEY);
    INSERT INTO other VALUES (1);
"""
DECLARATION = "source: shop\ntables: {item: {}, other: {}}\n"


@pytest.fixture
def shop(night: Night) -> Night:
    night.platform.source("shop", SHOP, DECLARATION)
    return night


def begun(night: Night, run: str) -> dict[tuple[str, str], object]:
    """Return when each step of a run began."""
    query = "SELECT task, name, started_at FROM ops.step WHERE run = %s AND state = 'done'"
    return {(task, name): at for task, name, at in night.ask("warehouse", query, (run,))}


@pytest.mark.endurance
def test_right_after_success_a_table_is_done_over_and_only_that(shop: Night) -> None:
    """The scheduler has just seen it done, and runs it all the same."""
    run = next_run()
    assert shop.etl(run).code == 0
    before = begun(shop, run)
    shop.ask("shop", "UPDATE item SET name = 'changed' WHERE id <= 7")
    ended = shop.run("rerun", "--from", "load", "shop.item")
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert f"run {run}: 3 steps run again, from load on" in ended.out
    assert "shop.item: its staged rows were dropped by the load, so it is read again" in ended.out
    assert re.search(r"^shop\.item +1,200 +0 +7 +0 +delta", ended.out, re.MULTILINE)
    assert "not granted run permission" not in ended.err
    assert shop.differing("shop") == []
    after = begun(shop, run)
    assert {key for key in after if after[key] != before[key]} == {
        ("OpenSnapshot", "shop"),
        ("ExtractTable", "shop.item"),
        ("ValidateExtract", "shop.item"),
        ("LoadTable", "shop.item"),
    }


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("since", "name"), [("extract", None), ("validate", "shop"), ("load", "etl/shop.other")]
)
def test_each_step_of_everything_of_a_source_and_of_a_table(
    shop: Night, since: str, name: str | None
) -> None:
    run = next_run()
    assert shop.etl(run).code == 0
    before = begun(shop, run)
    shop.ask("shop", "INSERT INTO other VALUES (2); DELETE FROM item WHERE id > 1195")
    ended = shop.run("rerun", "--run", run, "--from", since, *([name] if name else []))
    assert (ended.code, ended.errors) == (0, []), ended.err
    after = begun(shop, run)
    redone = {thing for task, thing in after if after[task, thing] != before[task, thing]} - {"shop"}
    assert redone == ({"shop.other"} if name == "etl/shop.other" else {"shop.item", "shop.other"})
    assert shop.differing("shop", *([] if name != "etl/shop.other" else ["other"])) == []
    ended = shop.run("rerun", "--run", run)
    assert (ended.code, ended.errors) == (0, [])
    assert f"run {run} is complete already; nothing to do" in ended.out
    unknown = next_run()
    ended = shop.run("rerun", "--run", unknown)
    assert ended.code == 2
    assert ended.errors[0].startswith(f"run {unknown} is not known, the latest is {run}; ")


@pytest.mark.endurance
def test_what_failed_is_run_and_nothing_else(shop: Night) -> None:
    run = next_run()
    reader = shop.platform.reader("shop")
    shop.ask("shop", f"REVOKE SELECT ON other FROM {reader}")
    ended = shop.etl(run)
    assert ended.code == 3
    assert 'next: GRANT SELECT ON "public"."other"' in ended.out
    assert ended.out.rstrip().endswith(f", then pipeline rerun --run {run} shop.other")
    before = begun(shop, run)
    shop.ask("shop", f"GRANT SELECT ON other TO {reader}")
    ended = shop.run("rerun")
    assert (ended.code, ended.errors) == (0, []), ended.err
    after = begun(shop, run)
    assert {key[1] for key in after if after[key] != before.get(key)} == {"shop", "shop.other"}
    assert shop.differing("shop") == []


@pytest.mark.endurance
def test_rows_that_failed_a_check_are_read_again_by_the_command_that_is_told(shop: Night) -> None:
    """What is staged fails for ever: the command has to bring the fixed rows of the source."""
    shop.platform.declare("shop", "source: shop\ntables: {item: {}, other: {checks: [{rows: {min: 2}}]}}\n")
    run = next_run()
    ended = shop.etl(run)
    assert ended.code == 4
    command = ended.out.rstrip().rpartition(", then pipeline ")[2]
    assert command == f"rerun --run {run} --from extract shop.other"
    shop.ask("shop", "INSERT INTO other VALUES (2)")
    ended = shop.run(*command.split())
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert shop.differing("shop") == []


@in_depth(
    ("arguments", "told"),
    [
        (["shop.itme"], '"shop.itme" is not a source, table, mart or database; did you mean shop.item?'),
        (["shpo"], "did you mean shop?"),
        (["backup/shpo"], "did you mean backup/shop?"),
        (["everything_else"], "known: shop"),
        (["--from", "load", "backup/shop"], "--from load: only tables have that step"),
        (["--run", "yesterday"], '"yesterday" is not a valid run'),
        (["--run", "2020-01-01"], "nothing has run yet, so nothing can be run again"),
        ([], "nothing has run yet, so nothing can be run again; type 'pipeline run etl'"),
    ],
    quick=4,
)
def test_a_mistake_is_told_before_anything_is_done(shop: Night, arguments: list[str], told: str) -> None:
    ended = shop.run("rerun", *arguments)
    assert (ended.code, len(ended.errors)) == (2, 1), ended.err
    assert told in ended.errors[0]
    assert shop.ask("warehouse", "SELECT run FROM ops.run") == []


def test_nothing_is_forgotten_while_a_run_is_going(shop: Night) -> None:
    run, other = next_run(), next_run()
    shop.load("shop", "item", run)
    before = begun(shop, run)
    with (
        access.opened(shop.settings) as databases,
        databases.warehouse(autocommit=True) as warehouse,
        runs.running(warehouse, other, "etl"),
    ):
        ended = shop.run("rerun", "--run", run, "--from", "extract")
    assert (ended.code, len(ended.errors)) == (6, 1)
    going = rf"a load is already running: run {other}, since \d{{4}}-.* UTC on \S+ \(process \d+\)"
    assert re.match(going, ended.errors[0])
    assert begun(shop, run) == before


@pytest.mark.endurance
def test_a_rerun_that_is_stopped_can_be_typed_again(shop: Night) -> None:
    """Ctrl-C in the middle: nothing of it goes on, and the same command brings it to its end."""
    run = next_run()
    assert shop.etl(run).code == 0
    shop.ask("shop", "UPDATE item SET name = 'changed'")
    with shop.platform.connect("shop") as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            # Whoever reads it waits.
            cursor.execute("LOCK TABLE item")
        started = shop.start("rerun", "--run", run, "--from", "extract")
        query = "SELECT state FROM ops.step WHERE run = %s AND task = 'ExtractTable' AND name = 'shop.item'"
        wait_until(lambda: shop.ask("warehouse", query, (run,)) == [("running",)], "the table is being read")
        started.send_signal(signal.SIGINT)
        started.communicate(timeout=60)
        assert started.returncode == 143
    wait_until(lambda: not shop.ours(), "nothing of it is left")
    ended = shop.run("rerun", "--run", run)
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert shop.differing("shop") == []


@pytest.mark.endurance
def test_a_backup_that_failed_is_shown_and_run_again_to_its_end(archive: Archive) -> None:
    """Found in the work folder, without any warehouse; both its own name and the plain one bring it back."""
    archive.source("shop", SMALL)
    run = next_run()
    entry = f"{archive.entries}b2/writer"
    writer = archive.platform.sandbox.vault.read(entry)
    assert writer is not None
    archive.platform.sandbox.vault.write(entry, {**writer, "application_key": "mistaken"})
    assert archive.backup("shop", run).code == 5
    ended = archive.run("status")
    assert f"next: pipeline rerun --run {run} backup/shop" in ended.out, ended
    archive.platform.sandbox.vault.write(entry, writer)
    ended = archive.run("rerun", "--run", run, "backup/shop")
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert [one["run"] for one in backups(archive)] == [run]


def backups(archive: Archive) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(archive.run("backups", "shop", "--json").out)["backups"]
    return found
