"""A step that waits for a lock says for whom: in its log, in the ledger and, while it waits, in status."""

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline import access, postgres
from pipeline.errors import StepError
from pipeline.ledger import lease, runs, waiting
from pipeline.loading import extract
from pipeline.postgres import locks as advisory
from pipeline.step import Step
from pipeline.warehouse import locks
from tests.support.night import Night, next_run, wait_until
from tests.support.platforms import Connection

SHOP = """
    CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 20) AS n;
    CREATE VIEW cheap AS SELECT id, name FROM item;
"""
DECLARATION = "source: shop\ntables:\n  item: {}\n  cheap: {changes: full, key: [id]}\n"
SECRET = "what nobody else may read"


@pytest.fixture
def shop(night: Night) -> Night:
    night.platform.source("shop", SHOP, DECLARATION)
    return night


@contextlib.contextmanager
def other(night: Night, where: str, statement: str) -> Iterator[Connection]:
    """Somebody else's transaction, in which this was run; it ends with the block."""
    with night.platform.connect(where) as connection:
        connection.autocommit = False
        postgres.rows(connection, statement)
        yield connection


@contextlib.contextmanager
def publishing(night: Night, run: str) -> Iterator[None]:
    """Load what is staged in a thread of its own; it has to be done some time after the block."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            night.publish("shop", run, "item")
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    working = threading.Thread(target=work)
    working.start()
    try:
        yield
    finally:
        working.join(90)
        assert not working.is_alive()
    assert not failed, failed


@contextlib.contextmanager
def going(night: Night, run: str) -> Iterator[str]:
    """Be a run that is going, and yield what its role in the warehouse is called."""
    with (
        access.opened(night.settings) as databases,
        databases.warehouse(autocommit=True) as holding,
        runs.running(holding, run, "etl"),
    ):
        yield holding.info.user


def waiting_step(night: Night, run: str) -> Step:
    def found() -> Step | None:
        step = night.step(run, "LoadTable", "shop.item")
        return step if step and step.progress else None

    step: Step = wait_until(found, "it says for whom it waits")
    return step


def status(night: Night) -> tuple[str, dict[str, Any]]:
    return night.run("status").out, json.loads(night.run("status", "--json").out)


def test_a_load_that_waits_for_a_reader_says_for_whom_and_status_shows_it(
    shop: Night, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its ledger's row must be free until the table is its own: nobody would see what it says there."""
    monkeypatch.setattr(locks, "LOG_TRIES", 1)
    shop.load("shop", "item")
    shop.ask("shop", "DROP VIEW cheap; ALTER TABLE item ALTER COLUMN id TYPE bigint")
    run = next_run()
    shop.extract("shop", run, "item")
    query = f"SELECT '{SECRET}' FROM shop.item LIMIT 1"
    with going(shop, run) as loader, publishing(shop, run), other(shop, "warehouse", query) as reader:
        shop.ask("warehouse", f'GRANT pg_read_all_stats TO "{loader}"')
        step = waiting_step(shop, run)
        who = f"process {reader.info.backend_pid} ({reader.info.user}, since 20"
        assert f"waits for those who read shop.item: {who}" in (step.progress or "")
        text, data = status(shop)
        assert who in " ".join(text.split())
        (told,) = [one["progress"] for one in data["steps"] if one["task"] == "LoadTable" and one["progress"]]
        assert who in told
        assert SECRET not in f"{text}{data}{step.detail}"
    assert caplog.text.count(who) == 1
    done = shop.step(run, "LoadTable", "shop.item")
    assert done is not None
    assert done.progress is None
    assert shop.differing("shop", "item") == []


def test_a_load_that_waits_for_a_row_says_for_whom(
    shop: Night, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What has no limit of its own is found by the heartbeat."""
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.05)
    shop.load("shop", "item")
    shop.ask("shop", "UPDATE item SET name = 'new' WHERE id = 1")
    run = next_run()
    shop.extract("shop", run, "item")
    with publishing(shop, run), other(shop, "warehouse", "UPDATE shop.item SET name = 'x'") as writer:
        step = waiting_step(shop, run)
        who = f"process {writer.info.backend_pid} ({writer.info.user}; its start is visible"
        assert f"waits for {who}" in (step.progress or "")
        assert caplog.text.count("waits for process") == 1
    assert shop.differing("shop", "item") == []


def test_a_step_that_waits_for_who_makes_the_types_of_its_source_says_so(
    shop: Night, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a session of its own: who is in the way there may be at another table."""
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.05)
    run = next_run()
    with (
        shop.snapshot("shop", run),
        access.opened(shop.settings) as databases,
        databases.warehouse() as maker,
    ):
        advisory.take(maker, "types shop")
        who = f"shop.item: waits for process {maker.info.backend_pid} ("

        def leave() -> None:
            try:
                wait_until(lambda: who in caplog.text, "it says for whom it waits")
            finally:
                maker.rollback()

        leaving = threading.Thread(target=leave)
        leaving.start()
        extract.extract_table(shop.settings, shop.table("shop", "item"), run)
        leaving.join()
    assert who in caplog.text
    assert extract.is_extracted(shop.settings, shop.table("shop", "item"), run)


def test_a_step_that_waits_for_another_worker_names_it_in_the_log_and_status_tells_it(
    shop: Night, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no row in the ledger yet, for it may turn out to be done; nothing is left once it goes on."""
    caplog.set_level("INFO", logger="pipeline")
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)
    shop.load("shop", "item")
    run = next_run()
    shop.extract("shop", run, "item")
    with access.opened(shop.settings) as databases, databases.warehouse() as worker:
        lease.lock_table(worker, "shop", "item")
        with going(shop, run), publishing(shop, run):
            told = (
                "waits for another worker that runs a step of this table: process "
                f"{worker.info.backend_pid} ("
            )
            wait_until(lambda: told in caplog.text, "it says for whom it waits")
            text = shop.run("status", "--run", run).out
            data = json.loads(shop.run("status", "--json").out)
            assert f"shop.item: ValidateExtract of {run}: {told}" in " ".join(text.split())
            (one,) = data["waiting"]
            assert (one["run"], one["task"], one["name"]) == (run, "ValidateExtract", "shop.item")
            assert one["waits"].startswith(told)
            assert shop.step(run, "ValidateExtract", "shop.item") is None
            worker.rollback()
    assert caplog.text.count(told) == 1
    with shop.warehouse() as warehouse:
        assert waiting.steps(warehouse, ["shop.item"]) == []


@pytest.mark.parametrize("name", ["item", "cheap"])
@pytest.mark.parametrize("sees", [True, False])
def test_who_keeps_a_table_locked_in_the_source_is_named(
    shop: Night, name: str, sees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the one dictionary that whoever opens a session looks into as well.
    monkeypatch.setitem(access.SOURCE_SESSION, "lock_timeout", "50ms")
    if sees:
        shop.ask("shop", f"GRANT pg_read_all_stats TO pipeline_{shop.platform.database('shop')}")
    run = next_run()
    since = ", since 20" if sees else "; its start is visible only to members of pg_read_all_stats)"
    with shop.snapshot("shop", run), other(shop, "shop", "LOCK TABLE item") as vendor:
        who = f"process {vendor.info.backend_pid} ({vendor.info.user}{since}"
        with pytest.raises(StepError) as raised:
            extract.extract_table(shop.settings, shop.table("shop", name), run)
    told = f"shop.{name}: the load waited longer than 50ms for public.item, which {who}"
    assert raised.value.fact.startswith(told)
    assert raised.value.hint.startswith("wait for it to end, ")
    assert raised.value.retryable
