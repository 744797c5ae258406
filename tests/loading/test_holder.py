"""One moment of a source, held for others to read as long as somebody needs it and no longer."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from pipeline import access, catalog, log, postgres
from pipeline.errors import StepError, UnreachableError
from pipeline.loading import extract, snapshot_holder
from pipeline.postgres import snapshot
from pipeline.system import process_tree
from tests.support.night import Night, next_run, wait_until

SHOP = """
    CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1);
    CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1);
"""
DECLARATION = "source: shop\ntables: {a: {}, b: {}}\n"


@pytest.fixture
def shop(night: Night) -> Night:
    night.platform.source("shop", SHOP, DECLARATION)
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


def holders() -> list[psutil.Process]:
    """Those of the shop that live; a dead one is a zombie until this process asks for its exit code."""
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it may just have ended
            if process.name() == f"{snapshot_holder.PROCESS} shop" and process_tree.lives(process):
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
        wait_until(lambda: not holders(), "the holder has ended")
    assert not snapshot_holder.held(shop.settings, "shop", run)
    assert idle_transactions(shop) == 0
    assert shop.extraction(run, "shop.a")[1] == 1, "read at the moment of the snapshot"


def test_it_ends_with_the_process_that_asked_for_it(shop: Night) -> None:
    run = next_run()
    with owner() as pid:
        snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
        assert len(holders()) == 1
    wait_until(lambda: not holders(), "the holder has ended")
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
        wait_until(lambda: not holders(), "the holder has ended")
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
    assert holders() == []


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
def test_it_is_not_held_without_end_for_tables_that_nobody_reads(
    shop: Night, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A table that is blocked would keep a production database from cleaning up until somebody looks."""
    monkeypatch.setattr(snapshot_holder, "LONGEST_SECONDS", 0.0)
    log.configure()
    run = next_run()
    with owner() as pid:
        snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
        wait_until(lambda: not holders(), "the holder has ended")
        assert psutil.pid_exists(pid)
    assert idle_transactions(shop) == 0
    assert "source shop: its snapshot was held for 0 hours and is released" in capfd.readouterr().err


def test_a_source_that_is_down_holds_no_snapshot(shop: Night) -> None:
    """Then the step that takes another one runs, and says so; a question that fails stops Luigi instead."""
    run = next_run()
    with owner() as pid:
        snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
        assert snapshot_holder.held(shop.settings, "shop", run)
        shop.ask("shop", f"ALTER ROLE {shop.platform.reader('shop')} NOLOGIN")
        assert not snapshot_holder.held(shop.settings, "shop", run)


def test_an_owner_that_was_killed_before_has_none_taken(shop: Night) -> None:
    """Who is left of a run that was killed says so, and has no traceback to show."""
    run = next_run()
    with owner() as pid:
        pass
    with pytest.raises(StepError, match="the process that asked for its snapshot was killed"):
        snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
    step = shop.step(run, "OpenSnapshot", "shop")
    assert step is not None
    assert (step.state, holders()) == ("failed", [])


def test_a_holder_that_dies_is_told_as_that(
    shop: Night, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is a bug, and not a source that is slow. Its traceback is there, and this process goes on alone."""
    monkeypatch.setattr(snapshot_holder, "hold", None)
    me = os.getpid()
    with owner() as pid, pytest.raises(StepError, match="its snapshot exited with 1 before it had one"):
        snapshot_holder.open_snapshot(shop.settings, declared(shop), next_run(), pid)
    assert os.getpid() == me
    assert "TypeError: 'NoneType' object is not callable" in capfd.readouterr().err


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
        wait_until(lambda: not holders(), "the holder has ended")


# Where somebody stands still.

WAITING = """
    SELECT pid, query_start FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%%ops.step%%'
"""
LOCK = "BEGIN; LOCK TABLE ops.step IN ACCESS EXCLUSIVE MODE"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A source that waits for a second instead of ten minutes, and a holder that asks it all the time."""
    monkeypatch.setattr(snapshot_holder, "STOPPED_SECONDS", 1.0)
    monkeypatch.setattr(snapshot_holder, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(snapshot_holder, "POLL_SECONDS", 0.05)
    return monkeypatch


@pytest.mark.usefixtures("quick")
def test_a_holder_that_is_stopped_keeps_no_source_back(shop: Night) -> None:
    """A frozen container: it sees neither that its owner is gone nor that time passes."""
    run = next_run()
    with owner() as pid:
        snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
        (holder,) = holders()
        holder.suspend()
    try:
        wait_until(lambda: idle_transactions(shop) == 0, "the source has ended the transaction")
        assert not snapshot_holder.held(shop.settings, "shop", run)
    finally:
        holder.resume()
    wait_until(lambda: not holders(), "the holder has ended")


@pytest.mark.usefixtures("quick")
def test_a_holder_that_is_stopped_and_goes_on_ends_and_the_next_step_takes_another(
    shop: Night, capfd: pytest.CaptureFixture[str]
) -> None:
    log.configure()
    run = next_run()
    with owner() as pid:
        taken = snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
        (holder,) = holders()
        holder.suspend()
        try:
            wait_until(lambda: idle_transactions(shop) == 0, "the source has ended the transaction")
        finally:
            holder.resume()
        wait_until(lambda: not holders(), "the holder has ended")
        with pytest.raises(StepError, match=r"the snapshot of \S+ is gone"):
            extract.extract_table(shop.settings, shop.table("shop", "a"), run)
        assert snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid) != taken
    told = "source shop: its server ended the session that held its snapshot (terminating connection due to "
    assert told in capfd.readouterr().err


@pytest.mark.usefixtures("quick")
def test_a_warehouse_that_stands_still_keeps_no_source_back(shop: Night) -> None:
    """Its machine answers, and it does not: nothing that the holder waits for ever comes."""
    with shop.warehouse() as blocker, owner() as pid:
        snapshot_holder.open_snapshot(shop.settings, declared(shop), next_run(), pid)
        postgres.rows(blocker, LOCK)
        ((backend, _),) = wait_until(lambda: shop.ask("warehouse", WAITING), "the holder asks")
        psutil.Process(backend).suspend()
        try:
            wait_until(lambda: idle_transactions(shop) == 0, "the source has ended the transaction")
        finally:
            psutil.Process(backend).resume()
        postgres.rows(blocker, "ROLLBACK")
        wait_until(lambda: not holders(), "the holder has ended")


def test_a_holder_that_waits_for_the_ledger_holds_on_and_ends_with_its_owner(
    shop: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_holder, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(snapshot_holder, "WAREHOUSE_SESSION", {"statement_timeout": "200ms"})
    asked = set[tuple[Any, ...]]()

    def asks_again() -> bool:
        asked.update(shop.ask("warehouse", WAITING))
        return len(asked) > 1

    with shop.warehouse() as blocker:
        with owner() as pid:
            snapshot_holder.open_snapshot(shop.settings, declared(shop), next_run(), pid)
            postgres.rows(blocker, LOCK)
            wait_until(asks_again, "the holder gives up its question, and asks again")
            assert (len(holders()), idle_transactions(shop)) == (1, 1)
        wait_until(lambda: not holders(), "the holder has ended")
        postgres.rows(blocker, "ROLLBACK")
    assert idle_transactions(shop) == 0


@pytest.mark.endurance
def test_a_holder_that_works_keeps_its_snapshot_for_as_long_as_it_is_needed(
    shop: Night, quick: pytest.MonkeyPatch
) -> None:
    """The source hears of it."""
    quick.setattr(snapshot_holder, "STOPPED_SECONDS", 3.0)
    query = """
        SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND state LIKE 'idle in%%' AND xact_start < clock_timestamp() - interval '5 s'
        """
    run = next_run()
    with owner() as pid:
        snapshot_holder.open_snapshot(shop.settings, declared(shop), run, pid)
        wait_until(lambda: shop.value("shop", query) or not holders(), "its transaction is older than that")
        assert snapshot_holder.held(shop.settings, "shop", run)


@pytest.mark.endurance
def test_it_is_not_held_without_end_while_the_warehouse_lets_nobody_in(
    shop: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_holder, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(snapshot_holder, "LONGEST_SECONDS", 5.0)
    role = f"{shop.platform.prefix}_pipeline"
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
    with owner() as pid:
        snapshot_holder.open_snapshot(shop.settings, declared(shop), next_run(), pid)
        shop.ask("warehouse", f'ALTER ROLE "{role}" CONNECTION LIMIT 0')
        try:
            shop.ask("warehouse", end, (role,))
            wait_until(lambda: not holders(), "the holder has ended")
        finally:
            shop.ask("warehouse", f'ALTER ROLE "{role}" CONNECTION LIMIT -1')
        assert psutil.pid_exists(pid)
    assert idle_transactions(shop) == 0
