"""The log of a step as Luigi writes and shows it: its lines, and the link to it; no step waits for either."""

import json
import logging
import multiprocessing
import stat
import threading
from functools import partial
from typing import Any

import pytest
import requests
from luigi.scheduler import Scheduler
from luigi.task_status import FAILED, PENDING, RUNNING
from luigi.worker import TaskProcess, TaskStatusReporter

from pipeline import log
from pipeline.scheduler import step_logs, visualizer
from tasks.backup import EncryptDump
from tasks.etl import ExtractTable
from tasks.progress_reporter import ProgressReporter
from tasks.worker.log import StepLog
from tests.support.night import Night, next_run

SHOP = "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item SELECT generate_series(1, 300);"
DECLARATION = "source: shop\ntables: {item: {}}\n"


def test_a_step_links_to_its_log_and_its_rules_stay_as_they_are(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Luigi's own call for a link makes the scheduler forget resources, and how often a task may be tried."""
    monkeypatch.setattr("tasks.worker.log.configured", lambda: night.settings)
    run, scheduler = next_run(), Scheduler(retry_count=2)
    tasks: list[Any] = [
        EncryptDump(database="shop", run=run),
        ExtractTable(source="shop", table="item", run=run),
    ]
    for task in tasks:
        scheduler.add_task(
            worker="worker",
            task_id=task.task_id,
            status=PENDING,
            family=task.task_family,
            params=task.to_str_params(),
            resources=task.process_resources(),
            retry_policy_dict={
                "retry_count": task.retry_count,
                "disable_hard_timeout": None,
                "disable_window": 600,
            },
        )
        assert scheduler.get_work(worker="worker")["task_id"] == task.task_id
        reporter = TaskStatusReporter(scheduler, task.task_id, "worker", None)
        queue: Any = multiprocessing.Queue()
        with StepLog(TaskProcess(task, "worker", queue, reporter)):
            logging.getLogger("pipeline.test").info("a word")
        (found,) = scheduler.task_list(status=RUNNING, upstream_status="").values()
        assert found["tracking_url"] == f"/log/{run}/{task.task_id}"
        assert found["resources"] == task.process_resources()
        file = step_logs.path(night.settings, run, task.task_id)
        assert f"[{run} {task.about}] a word" in file.read_text()
        scheduler.add_task(worker="worker", task_id=task.task_id, status=FAILED)
        disabled = scheduler.task_list(status="DISABLED", upstream_status="")
        assert (task.task_id in disabled) == (task.retry_count == 1)
        if task.task_id not in disabled:
            scheduler.add_task(worker="worker", task_id=task.task_id, status=RUNNING)
    log.about("", "")


def test_a_scheduler_that_hangs_keeps_no_step_waiting() -> None:
    """What is told meanwhile is the newest of its kind once it answers; what fails is dropped."""
    hanging, answering = threading.Event(), threading.Event()
    told: list[int] = []

    def hang() -> None:
        hanging.set()
        answering.wait()

    def fail() -> None:
        raise ConnectionError

    reporter = ProgressReporter()
    reporter.report("message", hang)
    assert hanging.wait(60)
    for number in range(1000):
        reporter.report("message", partial(told.append, number))
    reporter.report("progress", fail)
    reporter.flush(0.01)
    assert told == []
    answering.set()
    reporter.flush(60)
    assert told == [999]


@pytest.mark.endurance
def test_a_night_in_json_with_a_log_of_each_step_that_the_scheduler_shows(night: Night) -> None:
    """Every line of the run is an object with its run; the log is behind the scheduler's login."""
    night.platform.source("shop", SHOP, DECLARATION)
    run = next_run()
    file = night.platform.folder / "etl.log"
    ended = night.etl(run, "--log-file", str(file), "--log-format", "json")
    assert (ended.code, ended.errors) == (0, []), ended.err
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {line["run"] for line in lines} == {run}
    assert {"ExtractTable shop.item", "ValidateExtract shop.item", "LoadTable shop.item"} <= {
        line["task"] for line in lines
    }
    extraction = [line["message"] for line in lines if line["task"] == "ExtractTable shop.item"]
    assert any(message.startswith("300 rows (all) read in ") for message in extraction)

    task = ExtractTable(source="shop", table="item", run=run)
    kept = step_logs.path(night.settings, run, task.task_id)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "300 rows (all) read in " in kept.read_text()
    assert not kept.read_text().startswith("{")

    declared = night.settings.require_visualizer()
    login = ("reader", visualizer.passwords(night.settings)["reader"])
    link = f"{declared.url}/log/{run}/{task.task_id}"
    assert requests.get(link, timeout=30).status_code == 401
    answer = requests.get(link, auth=login, timeout=30)
    assert (answer.status_code, answer.text) == (200, kept.read_text())
    assert (
        requests.get(f"{declared.url}/log/{run}/..%2F..%2Fluigi.cfg", auth=login, timeout=30).status_code
        == 404
    )
