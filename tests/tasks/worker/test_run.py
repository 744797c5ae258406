"""What the scheduler is told of workers that were killed: a real scheduler, processes that have ended."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from luigi.scheduler import Scheduler

from pipeline.sandbox import provision
from pipeline.system import process_tree
from tasks.worker.run import clear_earlier_failures, give_back
from tests.support.night import next_run
from tests.support.platforms import Sandbox
from tests.support.schedulers import Door


class Calls:
    """The scheduler's calls, as Luigi's own RemoteScheduler has them, but by the operator."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a call by its name."""
        signature = inspect.signature(getattr(Scheduler, name))

        def call(*arguments: Any, **named: Any) -> Any:
            bound = signature.bind(self, *arguments, **named).arguments
            more = bound.pop("kwargs", {})
            return self._door.call(name, **{key: bound[key] for key in bound if key != "self"}, **more)

        return call


@pytest.fixture
def scheduler(sandbox: Sandbox) -> Any:
    url = f"http://127.0.0.1:{sandbox.home.state.ports['luigid']}"
    return Calls(Door(url, sandbox.vault.read(provision.SCHEDULER) or {}))


def _taken(scheduler: Any, task_id: str, pid: int, host: str) -> None:
    """Let a worker with that process take a task that may be tried once only."""
    worker = f"worker of {task_id}"
    scheduler.add_worker(worker, [("pid", pid), ("host", host)])
    scheduler.add_task(
        worker=worker,
        task_id=task_id,
        family="Probe",
        params={"run": task_id},
        retry_policy_dict={"retry_count": 1},
    )
    assert scheduler.get_work(worker=worker, host=host)["task_id"] == task_id


def _dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.mark.parametrize(
    ("dead", "here", "status"), [(True, True, "PENDING"), (False, True, "RUNNING"), (True, False, "RUNNING")]
)
def test_a_task_whose_worker_was_killed_here_is_to_be_had_again(
    scheduler: Any, *, dead: bool, here: bool, status: str
) -> None:
    """Also where one try is all there is: else the next run would wait for minutes, and then not do it."""
    run = next_run()
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        _taken(scheduler, run, _dead_pid() if dead else living.pid, process_tree.place() if here else "other")
        give_back(scheduler)
        give_back(scheduler)
        # A failed task becomes due when the delay of its retry is over; a disabled one does not.
        found = scheduler.task_list(status="", upstream_status="", search=run)[run]
        assert ("PENDING" if found["status"] == "FAILED" else found["status"]) == status
    finally:
        living.communicate()


def test_a_task_that_failed_too_often_may_start_again_with_the_same_run_only(scheduler: Any) -> None:
    runs = [next_run(), next_run()]
    for run in runs:
        _taken(scheduler, run, _dead_pid(), "other")
        scheduler.add_task(worker=f"worker of {run}", task_id=run, status="FAILED")
        assert run in scheduler.task_list(status="DISABLED", upstream_status="")
    clear_earlier_failures(scheduler, runs[0])
    disabled = scheduler.task_list(status="DISABLED", upstream_status="")
    assert [run in disabled for run in runs] == [False, True]
