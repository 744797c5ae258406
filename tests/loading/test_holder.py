"""One moment of a source, held for others to read as long as somebody needs it and no longer."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from pipeline import access, catalog, postgres
from pipeline.errors import StepError, UnreachableError, UsageError
from pipeline.loading import extract, snapshot_holder
from pipeline.postgres import snapshot
from tests.support.night import Night, next_run, wait_until

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


def declared(night: Night) -> catalog.Source:
    return catalog.read(night.platform.analysts).source("shop")


def holders(night: Night) -> list[psutil.Process]:
    found = []
    for process in night.ours():
        with contextlib.suppress(psutil.NoSuchProcess):  # it may just have ended
            if "pipeline.loading.snapshot_holder" in process.cmdline():
                found.append(process)
    return found


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
        snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
        assert snapshot_holder.held(shop.settings, "shop", run)
        shop.ask("shop", "INSERT INTO a VALUES (2)")
        extract.extract_table(shop.settings, shop.table("shop", "a"), run)
        assert snapshot_holder.held(shop.settings, "shop", run)
        extract.extract_table(shop.settings, shop.table("shop", "b"), run)
        wait_until(lambda: not holders(shop), "the holder has ended")
    assert not snapshot_holder.held(shop.settings, "shop", run)
    assert idle_transactions(shop) == 0
    assert shop.extraction(run, "shop.a")[1] == 1, "read at the moment of the snapshot"


def test_it_ends_with_the_process_that_asked_for_it(shop: Night) -> None:
    run = next_run()
    with owner() as pid:
        snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
        assert len(holders(shop)) == 1
    wait_until(lambda: not holders(shop), "the holder has ended")
    wait_until(lambda: idle_transactions(shop) == 0, "its transaction has ended")


def test_a_source_that_ends_the_transaction_is_noticed(shop: Night) -> None:
    run = next_run()
    with owner() as pid:
        snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
        shop.ask(
            "shop",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state LIKE 'idle in%%'",
        )
        wait_until(lambda: not holders(shop), "the holder has ended")
        assert not snapshot_holder.held(shop.settings, "shop", run)
        with pytest.raises(StepError, match=r"the snapshot of \S+ is gone"):
            extract.extract_table(shop.settings, shop.table("shop", "a"), run)


def test_why_no_snapshot_could_be_taken_is_told(shop: Night) -> None:
    run = next_run()
    shop.ask("shop", f"ALTER ROLE {shop.platform.reader('shop')} NOLOGIN")
    with (
        owner() as pid,
        pytest.raises(UnreachableError, match=r"source shop: no connection: .*not permitted"),
    ):
        snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
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


@pytest.mark.endurance
def test_it_is_not_held_without_end_for_tables_that_nobody_reads(shop: Night) -> None:
    """A table that is blocked would keep a production database from cleaning up until somebody looks."""
    hastily = "from pipeline.loading import snapshot_holder as it; it.LONGEST_SECONDS = 0.0; it.main()"
    run = next_run()
    with owner() as pid:
        descriptor = os.pidfd_open(pid)
        ended = subprocess.run(
            [sys.executable, "-c", hastily, "shop", run, str(descriptor)],
            input='["a", "b"]',
            capture_output=True,
            text=True,
            pass_fds=[descriptor],
            timeout=60,
            check=False,
        )
        os.close(descriptor)
        assert psutil.pid_exists(pid)
    assert idle_transactions(shop) == 0
    assert ended.returncode == 0, ended.stderr
    assert "identifier" in ended.stdout
    assert "source shop: its snapshot was held for 0 hours and is let go" in ended.stderr


def test_a_source_that_is_down_holds_no_snapshot(shop: Night) -> None:
    """Then the step that takes another one runs, and says so; a question that fails stops Luigi instead."""
    run = next_run()
    with owner() as pid:
        snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
        assert snapshot_holder.held(shop.settings, "shop", run)
        shop.ask("shop", f"ALTER ROLE {shop.platform.reader('shop')} NOLOGIN")
        assert not snapshot_holder.held(shop.settings, "shop", run)


def test_a_setting_that_is_wrong_is_told_as_one(shop: Night) -> None:
    """What the holder ends with is what the step ends with."""
    configured = shop.settings
    shop.platform.settings_file.write_text("[vault]\nurl = ftp://nowhere\n")
    with owner() as pid, pytest.raises(UsageError, match=r"\[vault\] url: is not a valid URL") as caught:
        snapshot_holder.open_snapshot(configured, declared(shop), next_run(), pid)
    assert caught.value.exit_code == 2


def test_a_holder_that_dies_is_told_as_that(shop: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a bug, and not a source that is slow."""
    monkeypatch.setenv("PYTHONPATH", "/dev/null/nothing")
    monkeypatch.setenv("PYTHONHOME", "/dev/null/nothing")
    with owner() as pid, pytest.raises(StepError, match="its snapshot ended with 1 before it had one"):
        snapshot_holder.open_snapshot(shop.settings, declared(shop), next_run(), pid)


@pytest.mark.endurance
def test_a_checkout_that_breaks_in_mid_run_takes_no_snapshot_away(shop: Night) -> None:
    """All steps go by what was declared as the run began, and so does what holds its moment."""
    run, tables = next_run(), [shop.table("shop", name) for name in ("a", "b")]
    source = declared(shop)
    shop.platform.declare("shop", "source: shop\ntables: [\n")
    with owner() as pid:
        snapshot_holder.open_snapshot(shop.settings, source, run, pid)
        for table in tables:
            assert snapshot_holder.held(shop.settings, "shop", run)
            extract.extract_table(shop.settings, table, run)
        wait_until(lambda: not holders(shop), "the holder has ended")
