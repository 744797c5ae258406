"""The log of a step: what Luigi puts around the process of a task, and the link to it in the visualizer."""

import contextlib
from types import TracebackType
from typing import Any

from luigi.task_status import RUNNING

from pipeline import log
from pipeline.errors import UsageError
from pipeline.scheduler import links, step_logs
from tasks import luigi_internals
from tasks.progress_reporter import reporter
from tasks.step import Shown, configured

# The step waits no longer than this for its link.
LINK_SECONDS = 3.0


class StepLog:
    """Luigi makes one with the process of a task, and enters it there before anything is run."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> None:
        task = self._process.task
        if not isinstance(task, Shown):
            return
        log.about(task.about_run, task.about)
        written = self._stack.enter_context(step_logs.written(configured(), task.about_run, task.task_id))
        # Where the worker sees to that, it need not be done by each step.
        if written and not getattr(self._process, "is_linked_by_its_worker", False):
            self._link(task)

    def _link(self, task: Shown) -> None:
        """Let the visualizer link to the log, if the scheduler answers at once.

        Now or never: the call says that the task is running, and must not arrive once it is done. By Luigi's
        own call the scheduler would forget the task's resources, and how often it may be tried.
        """
        link(luigi_internals.scheduler_of(self._process), self._process.worker_id, task)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Nobody is shown how far a step is that is over.
        reporter.drop("progress")
        reporter.flush()
        self._stack.close()


def link(scheduler: Any, worker_id: str, task: Shown) -> None:
    """Let the visualizer link to the log of a task that is running, if the scheduler answers at once."""
    scheduler = luigi_internals.asked_once(scheduler, LINK_SECONDS)
    # Whatever is wrong with the scheduler: the worker will find out.
    with contextlib.suppress(Exception):
        scheduler.add_task(
            task_id=task.task_id,
            worker=worker_id,
            status=RUNNING,
            tracking_url=links.log_path(task.about_run, task.task_id),
            resources=task.process_resources(),
            priority=task.priority,
            retry_policy_dict={
                "retry_count": task.retry_count,
                "disable_hard_timeout": task.disable_hard_timeout,
                "disable_window": task.disable_window,
            },
        )


def is_kept(task: Shown) -> bool:
    """Whether there is a log of the task's step."""
    try:
        return step_logs.path(configured(), task.about_run, task.task_id).exists()
    except (OSError, UsageError):
        return False
