"""The worker without a run: it does what any run waits for, or a button of the visualizer asked for."""

import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any

import luigi
import psutil
from luigi.rpc import RPCError
from luigi.task_register import load_task
from luigi.task_status import FAILED
from luigi.worker import GetWorkResponse, TaskProcess

from pipeline import access
from pipeline.ledger import runs
from tasks import step
from tasks.scheduler import assist
from tasks.worker.worker import UNKNOWN_SECONDS, Worker

logger = logging.getLogger(__name__)

# One that is told to stop has so long to finish what it is at; what is left it gives back.
FINISH_SECONDS = 20.0


class _Known(dict[str, Any]):
    """Tasks by their id. Luigi passes over the late result of one that is no longer known, if it is None."""

    def __missing__(self, _task_id: str) -> None:
        return None


class Assistant(Worker):
    """A worker that has no run of its own, and stays until it is told to stop."""

    def __init__(self, scheduler: Any, workers: int) -> None:
        super().__init__(scheduler=scheduler, worker_processes=workers, assistant=True, keep_alive=True)
        self.scheduled_tasks = _Known()
        self._catalog_files: object = None
        self._abandons_at: float | None = None

    def stop(self) -> None:
        """Take no more tasks; finish those at hand within a while, or give them back."""
        self.phase_out()
        self._abandons_at = self._abandons_at or time.monotonic() + FINISH_SECONDS

    def stays(self, _work: GetWorkResponse) -> bool:
        """Whether it goes on: until it is told to stop."""
        return self.keeps_alive

    def get_work(self) -> GetWorkResponse:
        """Ask for the next task, by what is declared now."""
        # It lives for weeks, in which the analysts' repository changes, and the scheduler may forget it.
        if (files := step.catalog_files()) != self._catalog_files:
            step.clear_catalog_cache()
            self._pool.renew()
            self._catalog_files, self._added_at = files, 0.0
        if not self.is_phasing_out and time.monotonic() - self._added_at > UNKNOWN_SECONDS:
            self._added_at = time.monotonic()
            self._send_catalog()
        # Luigi keeps all of these for the summary of a run, of which there is none.
        self.clear_history()
        if not self.running_tasks:
            self.scheduled_tasks.clear()
            self._ground_seen.clear()
            access.end_idle()
        return super().get_work()

    def take_work(self, work: Mapping[str, Any]) -> str | None:
        """Return the id of the task that the scheduler gave, unless it is refused."""
        if "task_family" not in work:
            return None
        task_id = str(work["task_id"])
        try:
            self.scheduled_tasks[task_id] = _load(work)
        except Exception as error:  # noqa: BLE001 - whatever it is that was sent, it is not run
            logger.error("task %s is refused: %s", task_id, error)  # noqa: TRY400 - nothing of ours failed
            self.scheduler.add_task(
                worker=self.id, task_id=task_id, status=FAILED, expl=f"refused: {error}", assistant=True
            )
            return None
        return task_id

    def handle_next_task(self) -> None:
        """Wait for what the steps tell; give them back once there is no more time for them."""
        super().handle_next_task()
        if self._abandons_at is not None and time.monotonic() > self._abandons_at:
            self._abandon()

    def _abandon(self) -> None:
        """End the steps at hand, and give them back."""
        for task_id, process in self.running_tasks.items():
            logger.warning("stopped by a signal: %s is stopped and given back", task_id)
            _kill(process)
            with contextlib.suppress(RPCError):
                self._give_back(process.task)
        self.running_tasks.clear()


def _load(work: Mapping[str, Any]) -> luigi.Task:
    """Return the task that the scheduler sent. Raise what speaks against it before anything is imported."""
    module, family = work.get("task_module"), work["task_family"]
    if module not in assist.MODULES:
        raise ValueError(f"a worker runs no task of module {module}")
    task: luigi.Task = load_task(module, family, work["task_params"])
    if not isinstance(task, step.Step) or type(task).__module__ not in assist.MODULES:
        raise ValueError(f"{family} is not a task of {module}")
    if task.task_id != work["task_id"]:
        raise ValueError(f"its name does not match its parameters: {task.task_id}")
    runs.parse(task.logical_date)
    return task


def _kill(process: TaskProcess) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        for member in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
    process.join()
