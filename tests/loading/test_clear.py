"""Steps that are cleared are done over: nothing is lost or doubled, and nobody's work is pulled away."""

from collections.abc import Sequence

import luigi
import pytest
from luigi.scheduler import Scheduler
from luigi.task_status import DONE, PENDING

from pipeline import access
from pipeline.errors import AlreadyRunningError
from pipeline.ledger import lease
from pipeline.loading import clear
from pipeline.loading.clear import Cleared, Since
from pipeline.step import StepKey
from tasks.etl import ExtractTable, LoadTable, LoadWarehouse, OpenSnapshot, ValidateExtract
from tasks.worker.clear import clear_done
from tests.support.night import Night, counts, next_run

SHOP = """
    CREATE TABLE item (id int PRIMARY KEY, name text, changed_at timestamptz NOT NULL DEFAULT now());
    INSERT INTO item (id, name) SELECT n, 'item' FROM generate_series(1, 300) AS n;
    CREATE TABLE event (what text);
    INSERT INTO event SELECT 'event ' || n % 7 FROM generate_series(1, 300) AS n;
    CREATE TABLE other (id int PRIMARY KEY);
    INSERT INTO other VALUES (1);
"""
CHANGES = """
    UPDATE item SET name = 'changed', changed_at = now() WHERE id <= 10;
    DELETE FROM item WHERE id > 290;
    INSERT INTO item (id, name) SELECT n, 'new' FROM generate_series(1001, 1005) AS n;
    DELETE FROM event WHERE ctid = (SELECT min(ctid) FROM event);
    INSERT INTO event VALUES ('new');
"""
EVERY_STEP = ("ExtractTable", "ValidateExtract", "LoadTable")


def shop(night: Night, item: str = "{}") -> Night:
    declaration = f"source: shop\ntables: {{item: {item}, event: {{changes: full}}, other: {{}}}}\n"
    night.platform.source("shop", SHOP, declaration)
    return night


def cleared(night: Night, run: str, since: Since, *names: str) -> Cleared:
    tables = [night.table("shop", name) for name in names]
    with access.opened(night.settings) as databases:
        return clear.clear_tables(databases, tables, run, since)


def known(night: Night, run: str, name: str) -> list[str]:
    query = "SELECT task FROM ops.step WHERE run = %s AND name = %s AND state = 'done'"
    return sorted(task for (task,) in night.ask("warehouse", query, (run, f"shop.{name}")))


def staged(night: Night) -> Sequence[str]:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'staging' ORDER BY 1"
    return [name for (name,) in night.ask("warehouse", query)]


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("item", "{}"),
        ("item", "{changes: cursor, cursor: changed_at}"),
        ("item", "{changes: full}"),
        ("item", "{deletes: soft, history: true}"),
        ("event", "{}"),
    ],
)
@pytest.mark.parametrize("since", list(Since))
def test_a_loaded_table_is_done_over_without_loss_or_doubles(
    night: Night, name: str, item: str, since: Since
) -> None:
    """In the same run: once with a source that is as it was, once with one that has changed since."""
    shop(night, item)
    run = next_run()
    night.load("shop", name, run)
    told = cleared(night, run, since, name)
    assert told == Cleared(3, () if since == Since.EXTRACT else (f"shop.{name}",))
    assert known(night, run, name) == []
    assert counts(night.load("shop", name, run)) == (0, 0, 0, 300)
    assert night.differing("shop", name) == []

    night.ask("shop", CHANGES)
    cleared(night, run, since, name)
    inserted, updated, deleted, _ = counts(night.load("shop", name, run))
    assert (inserted, updated, deleted) == ((5, 10, 10) if name == "item" else (1, 0, 1))
    assert night.differing("shop", name) == []
    if "history" in item:
        versions = night.value("warehouse", "SELECT count(*) FROM shop.item_history")
        assert versions == 300 + 5 + 10, "what did not change has one version only"

    night.ask("shop", "UPDATE item SET name = 'again' WHERE id = 1; INSERT INTO event VALUES ('again')")
    night.load("shop", name)
    assert night.differing("shop", name) == [], "the next run goes on from there"


def test_what_is_staged_stays_where_it_is_still_wanted(night: Night) -> None:
    shop(night)
    run = next_run()
    night.extract("shop", run, "item")
    before = staged(night)
    assert cleared(night, run, Since.LOAD, "item") == Cleared(0, ())
    assert cleared(night, run, Since.VALIDATE, "item") == Cleared(0, ())
    assert (known(night, run, "item"), staged(night)) == (["ExtractTable"], before)
    assert counts(night.publish("shop", run, "item")) == (300, 0, 0, 300)

    run = next_run()
    night.extract("shop", run, "item")
    assert cleared(night, run, Since.EXTRACT, "item") == Cleared(1, ())
    assert (known(night, run, "item"), staged(night)) == ([], [])


def test_nothing_is_forgotten_while_somebody_is_at_work_on_one_of_them(night: Night) -> None:
    shop(night)
    run = next_run()
    for name in ("item", "other"):
        night.load("shop", name, run)
    key = StepKey(next_run(), "LoadTable", "shop.other")
    with (
        access.opened(night.settings) as databases,
        databases.warehouse() as warehouse,
        databases.warehouse(autocommit=True) as beside,
    ):
        lease.lock_table(warehouse, "shop", "other")
        lease.Attempt(beside, key)
        with pytest.raises(AlreadyRunningError) as caught:
            cleared(night, run, Since.EXTRACT, "item", "other")
    assert caught.value.exit_code == 6
    assert f"shop.other: LoadTable of run {key.run} has been running since " in str(caught.value)
    assert known(night, run, "item") == known(night, run, "other") == sorted(EVERY_STEP)


def test_somebody_elses_scheduler_lets_what_was_forgotten_run_at_once(night: Night) -> None:
    """With Luigi's own setting it would not take, for a while, a task that it has just seen done."""
    shop(night)
    run = next_run()
    scheduler = Scheduler(stable_done_cooldown_secs=600)
    chain: list[luigi.Task] = [OpenSnapshot(source="shop", run=run), LoadWarehouse(run=run)]
    for name in ("item", "other"):
        chain += [
            task(source="shop", table=name, run=run) for task in (ExtractTable, ValidateExtract, LoadTable)
        ]
    for task in chain:
        scheduler.add_task(
            worker="night",
            task_id=task.task_id,
            status=DONE,
            family=task.task_family,
            params=task.to_str_params(),
        )
    for name in ("item", "other"):
        night.load("shop", name, run)
    cleared(night, run, Since.LOAD, "item")
    clear_done(scheduler, night.settings, run, "LoadWarehouse")
    for task in chain:
        scheduler.add_task(worker="rerun", task_id=task.task_id, status=PENDING)
    accepted = set(scheduler.task_list(status=PENDING, upstream_status=""))
    assert accepted == {task.task_id for task in chain if getattr(task, "table", "item") == "item"}
    assert scheduler.get_work(worker="rerun")["task_id"] in accepted
