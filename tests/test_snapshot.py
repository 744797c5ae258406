"""One moment of a source, held for others to read as long as somebody needs it and no longer."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from pipeline import access, extract, postgres, snapshot
from pipeline.errors import StepError, UnreachableError
from tests.night import Night, next_run, wait_until

SHOP = """
    CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1);
    CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1);
"""
DECLARATION = "source: shop\ntables: {a: {}, b: {}}\n"


@pytest.fixture
def shop(night: Night, monkeypatch: pytest.MonkeyPatch) -> Night:
    night.platform.source("shop", SHOP, DECLARATION)
    for name, value in night.platform.env.items():
        monkeypatch.setenv(name, value)  # for the process that holds the snapshot
    return night


@contextlib.contextmanager
def owner() -> Iterator[int]:
    """A process that stands for the worker."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def holders(night: Night) -> list[psutil.Process]:
    return [process for process in night.ours() if "pipeline.snapshot" in process.cmdline()]


def idle_transactions(night: Night) -> int:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%%'"
    )
    found: int = night.value("shop", query)
    return found


def test_it_is_held_until_every_table_is_extracted(shop: Night) -> None:
    """A production database must not be kept from cleaning up for longer than we read."""
    run = next_run()
    with owner() as pid:
        snapshot.open_snapshot(shop.settings, "shop", run, pid)
        assert snapshot.held(shop.settings, "shop", run)
        shop.ask("shop", "INSERT INTO a VALUES (2)")
        extract.extract_table(shop.settings, shop.table("shop", "a"), run)
        assert snapshot.held(shop.settings, "shop", run)
        extract.extract_table(shop.settings, shop.table("shop", "b"), run)
        wait_until(lambda: not holders(shop), "the holder has ended")
    assert not snapshot.held(shop.settings, "shop", run)
    assert idle_transactions(shop) == 0
    assert shop.extraction(run, "shop.a")[1] == 1, "read at the moment of the snapshot"


def test_it_ends_with_the_process_that_asked_for_it(shop: Night) -> None:
    run = next_run()
    with owner() as pid:
        snapshot.open_snapshot(shop.settings, "shop", run, pid)
        assert len(holders(shop)) == 1
    wait_until(lambda: not holders(shop), "the holder has ended")
    wait_until(lambda: idle_transactions(shop) == 0, "its transaction has ended")


def test_a_source_that_ends_the_transaction_is_noticed(shop: Night) -> None:
    run = next_run()
    with owner() as pid:
        snapshot.open_snapshot(shop.settings, "shop", run, pid)
        shop.ask(
            "shop",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state LIKE 'idle in%%'",
        )
        wait_until(lambda: not holders(shop), "the holder has ended")
        assert not snapshot.held(shop.settings, "shop", run)
        with pytest.raises(StepError, match=r"the snapshot of \S+ is gone"):
            extract.extract_table(shop.settings, shop.table("shop", "a"), run)


def test_why_no_snapshot_could_be_taken_is_told(shop: Night) -> None:
    run = next_run()
    shop.ask("shop", f"ALTER ROLE {shop.platform.reader('shop')} NOLOGIN")
    with (
        owner() as pid,
        pytest.raises(UnreachableError, match=r"source shop: no connection: .*not permitted"),
    ):
        snapshot.open_snapshot(shop.settings, "shop", run, pid)
    step = shop.step(run, "OpenSnapshot", "shop")
    assert step is not None
    assert (step.state, step.exit_code) == ("failed", 5)
    assert holders(shop) == []


def test_reading_at_it_sees_that_moment_and_cannot_write(shop: Night) -> None:
    with access.opened(shop.settings) as databases, databases.source("shop") as first:
        taken = snapshot.take(first)
        shop.ask("shop", "INSERT INTO a VALUES (2)")
        with databases.source("shop") as second:
            snapshot.read_at(second, taken)
            assert postgres.value(second, "SELECT count(*) FROM public.a") == 1
            with pytest.raises(postgres.Error, match="read-only"):
                postgres.rows(second, "CREATE TABLE public.mine (id int)")
    assert snapshot.Snapshot.from_json(taken.to_json()) == taken
