"""How runs fail once they have begun: real processes, killed in every way; who tells, and told once."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline import postgres
from pipeline.sandbox.ports import any_free
from tests.cli.test_refusals import corrected
from tests.support.archive import SMALL, Archive
from tests.support.hooks import Hook
from tests.support.night import Night, is_luigi, next_run, wait_until

pytestmark = pytest.mark.endurance


@contextlib.contextmanager
def held(shop: Night, run: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a load whose extraction of one table waits, as long as the block lasts."""
    with shop.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE purchase IN ACCESS EXCLUSIVE MODE")
        process = shop.start_etl(run)
        wait_until(lambda: extracting(shop, run), "the extraction has begun")
        yield process


def extracting(shop: Night, run: str, *others: int) -> psutil.Process | None:
    """Return the process that extracts the table, if there is one that is none of `others`."""
    query = "SELECT pid FROM ops.step WHERE run = %s AND name = 'shop.purchase' AND state = 'running'"
    for (pid,) in shop.ask("warehouse", query, (run,)):
        if pid not in others and psutil.pid_exists(pid):
            return psutil.Process(pid)
    return None


def luigi_of(process: "subprocess.Popen[str]") -> psutil.Process:
    """Return the Luigi that a `pipeline run` has started."""
    # Who holds the snapshot has become its child as well.
    (child,) = [one for one in psutil.Process(process.pid).children() if is_luigi(one)]
    return child


# One step.


def test_a_table_that_fails_is_told_once_and_its_recovery_once(hook: Hook, shop: Night) -> None:
    """It is tried twice in one run and again in another, which is one failure; the others are not told of."""
    run = next_run()
    reader = shop.platform.reader("shop")
    shop.ask("shop", f"REVOKE SELECT ON purchase FROM {reader}")
    for _ in range(2):
        assert shop.etl(run).code == 3
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key, alert.run) == ("failed", "etl/shop.purchase", run)
    assert alert.summary == "shop.purchase: ExtractTable failed"
    assert "the source's role may not read" in (alert.error or "")
    assert alert.command == f"pipeline rerun --run {run} shop.purchase"
    shop.ask("shop", f"GRANT SELECT ON purchase TO {reader}")
    for _ in range(2):
        assert shop.etl(run).code == 0
    assert hook.received() == [("failed", "etl/shop.purchase"), ("recovered", "etl/shop.purchase")]
    query = "SELECT kind, key, sent_at IS NOT NULL FROM ops.alert ORDER BY told_at"
    assert shop.ask("warehouse", query) == [
        ("failed", "etl/shop.purchase", True),
        ("recovered", "etl/shop.purchase", True),
    ]


def test_a_check_that_only_warns_is_told_until_it_holds(hook: Hook, night: Night) -> None:
    declared = "source: shop\ntables: {item: {columns: {name: {null_rate: {max: 0%, level: warn}}}}}\n"
    night.platform.source("shop", "CREATE TABLE item (id int PRIMARY KEY, name text)", declared)
    night.ask("shop", "INSERT INTO item VALUES (1, NULL), (2, 'b')")
    for _ in range(2):
        assert night.etl(next_run()).code == 0
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key) == ("warning", "etl/shop.item/name null_rate")
    assert "50" in (alert.error or "")
    night.ask("shop", "UPDATE item SET name = 'a' WHERE id = 1")
    assert night.etl(next_run()).code == 0
    assert hook.received()[1:] == [("recovered", "etl/shop.item/name null_rate")]


def test_a_check_that_does_not_hold_is_told_until_it_does(hook: Hook, night: Night) -> None:
    """Its table is held back, and the run ends with 4."""
    declared = "source: shop\ntables: {item: {checks: [unique: name]}}\n"
    night.platform.source("shop", "CREATE TABLE item (id int PRIMARY KEY, name text)", declared)
    night.ask("shop", "INSERT INTO item VALUES (1, 'a'), (2, 'a')")
    assert night.etl(next_run()).code == 4
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key, alert.task) == ("failed", "etl/shop.item", "ValidateExtract")
    assert "unique" in (alert.error or "")
    night.ask("shop", "UPDATE item SET name = 'b' WHERE id = 1")
    assert night.etl(next_run()).code == 0
    assert hook.received()[1:] == [("recovered", "etl/shop.item")]


def test_a_backup_that_fails_is_told_once_and_its_recovery_once(hook: Hook, archive: Archive) -> None:
    archive.source("shop", SMALL)
    archive.platform.give_up_soon()
    vault = archive.platform.sandbox.vault
    entry = f"database/{archive.platform.database('shop')}"
    uri = (vault.read(entry) or {})["uri"]
    vault.write(entry, {"uri": re.sub(r":\d+/", ":1/", uri)})
    run = next_run()
    for _ in range(2):
        assert archive.backup("shop", run).code == 5
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key, alert.task) == ("failed", "backup/shop", "DumpDatabase")
    assert alert.command == f"pipeline rerun --run {run} backup/shop"
    vault.write(entry, {"uri": uri})
    for _ in range(2):
        assert archive.backup("shop", run).code == 0
    assert hook.received() == [("failed", "backup/shop"), ("recovered", "backup/shop")]
    assert uri not in "".join(request["raw"] for request in hook.requests())


def test_a_key_that_expires_soon_is_told_until_another_is_in_its_place(hook: Hook, archive: Archive) -> None:
    archive.source("shop", SMALL)
    archive.add_key("short", expires="10d")
    archive.write_settings(recipients="school.asc, short.asc")
    for _ in range(2):
        assert archive.backup("shop", next_run()).code == 0
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key) == ("warning", "watch/key/short.asc")
    assert "short@test.invalid" in alert.summary
    archive.write_settings(recipients="school.asc, safe.asc")
    assert archive.backup("shop", next_run()).code == 0
    assert hook.received()[1:] == [("recovered", alert.key)]


# kill -9


def test_a_step_that_is_killed_and_done_at_its_second_try_wakes_nobody(hook: Hook, shop: Night) -> None:
    run = next_run()
    with held(shop, run) as process:
        found = extracting(shop, run)
        assert found is not None
        found.kill()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert hook.received() == []


def test_a_step_that_is_killed_twice_is_told_once(hook: Hook, shop: Night) -> None:
    run = next_run()
    with held(shop, run) as process:
        killed: list[int] = []
        for _ in range(2):
            found = wait_until(lambda: extracting(shop, run, *killed), "the extraction is tried")
            killed.append(found.pid)
            found.kill()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 3, out + err
    assert hook.received() == [("failed", "etl/shop.purchase")]
    assert "its process was killed" in (hook.alerts()[0].error or "")
    assert "shop.purchase: ExtractTable failed: its process was killed" in out
    assert shop.etl(run).code == 0
    assert hook.received()[1:] == [("recovered", "etl/shop.purchase")]


def test_a_luigi_that_is_killed_is_told_by_its_parent(hook: Hook, shop: Night) -> None:
    run = next_run()
    with held(shop, run) as process:
        luigi_of(process).kill()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 3, out + err
    assert "run/etl" in [key for _, key in hook.received()]
    assert {kind for kind, _ in hook.received()} == {"failed"}
    wait_until(lambda: not shop.ours(), "nobody is left", 30)


def test_a_parent_that_is_killed_is_told_by_its_luigi(hook: Hook, shop: Night) -> None:
    run = next_run()
    with held(shop, run) as process:
        process.kill()
        wait_until(lambda: not shop.ours(), "what it had started has ended", 60)
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key, alert.run) == ("failed", "run/etl", run)
    assert "'pipeline run' was killed" in alert.summary
    assert alert.command == f"pipeline run etl --run {run}"


@dataclass
class Scheduler:
    """A scheduler of this test's own, which gives up workers soon."""

    night: Night
    process: "subprocess.Popen[bytes]"
    port: int


def scheduled(shop: Night, port: int) -> None:
    """Have the scheduler at `port`, with little patience on both sides."""
    lines = f"default-scheduler-port = {port}\nrpc_retry_attempts = 2\nrpc_retry_wait = 1"
    corrected(shop, r"^default-scheduler-port = .*$", lines)
    corrected(shop, r"^(state_path = .*)$", r"\1\nworker_disconnect_delay = 4")


@pytest.fixture
def scheduler(hook: Hook, shop: Night, tmp_path: Path) -> Iterator[Scheduler]:
    """Start one for a shop, and let it end with the test."""
    port = any_free()
    scheduled(shop, port)
    started = start_scheduler(shop, port, tmp_path / "state.pickle")
    yield Scheduler(shop, started, port)
    started.terminate()
    started.wait(30)
    assert hook.platform is shop.platform


def start_scheduler(night: Night, port: int, state: Path) -> "subprocess.Popen[bytes]":
    arguments = ["--address", "127.0.0.1", "--port", str(port), "--state-path", str(state)]
    started = subprocess.Popen(
        [sys.executable, "-m", "tasks.scheduler", *arguments],
        env=night.platform.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: listens(started, port), "the scheduler")
    return started


def listens(process: "subprocess.Popen[Any]", port: int) -> bool:
    assert process.poll() is None
    return any(one.laddr.port == port for one in psutil.Process(process.pid).net_connections())


@pytest.mark.usefixtures("scheduler")
def test_a_run_that_is_killed_as_a_whole_is_told_by_the_scheduler(hook: Hook, shop: Night) -> None:
    """Nothing of it is left that could: no event, no parent."""
    run = next_run()
    with held(shop, run) as process:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        told = wait_until(hook.alerts, "the scheduler gives the worker up, and tells", 150)
    assert [(alert.kind, alert.key, alert.run) for alert in told] == [("failed", "run/etl", run)]
    assert "a worker stopped responding" in told[0].summary
    assert told[0].command == f"pipeline run etl --run {run}"
    assert shop.etl(run).code == 0
    assert hook.received()[1:] == [("recovered", "run/etl")]


# The scheduler.


def test_a_scheduler_that_is_not_there_is_told(hook: Hook, shop: Night) -> None:
    scheduled(shop, 1)
    ended = shop.etl(next_run())
    assert ended.code == 5
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key) == ("failed", "run/etl")
    assert "does not answer" in (alert.error or "")
    assert "start 'pipeline scheduler'" in (alert.error or "")


def test_a_scheduler_that_goes_in_the_middle_is_told(hook: Hook, shop: Night, scheduler: Scheduler) -> None:
    run = next_run()
    with held(shop, run) as process:
        scheduler.process.kill()
        scheduler.process.wait()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 5, out + err
    assert ("failed", "run/etl") in hook.received()
    wait_until(lambda: not shop.ours(), "nobody is left", 30)
