"""All that we use of Luigi without its word: private names, and what is put in its place while it runs.

A newer Luigi may change any of it unasked. So it has public names here, and stands nowhere else, and a test
(tests/tasks/test_luigi_internals.py) holds each name to the code that it has in the pinned version. What
belongs to the scheduler's server and to its history is in luigi_served: no run needs these.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import luigi
import luigi.interface
import luigi.rpc
import luigi.scheduler
import luigi.worker
import tenacity
from luigi.cmdline_parser import CmdlineParser
from luigi.interface import _WorkerSchedulerFactory
from luigi.worker import GetWorkResponse, TaskProcess

# Makes the workers of Luigi's own command line.
WorkerFactory = _WorkerSchedulerFactory
# Whoever was there first: more may be looked at, one after the other.
_get_task_obj = CmdlineParser.get_task_obj


class Worker(luigi.worker.Worker):
    """Luigi's worker. What it does by itself at each step is done by a method that has a public name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _generate_worker_info(self) -> list[tuple[str, Any]]:
        return self.describe_itself()

    def describe_itself(self) -> list[tuple[str, Any]]:
        """Return what the scheduler is told of it: among others its host and its process."""
        described: list[tuple[str, Any]] = super()._generate_worker_info()  # type: ignore[no-untyped-call]
        return described

    @property
    def scheduler(self) -> Any:
        """The scheduler to which it belongs."""
        return self._scheduler

    @property
    def id(self) -> str:
        """The name under which the scheduler knows it."""
        return str(self._id)

    @property
    def is_assistant(self) -> bool:
        """Whether it does what it has not asked for itself."""
        return bool(self._assistant)

    @property
    def running_tasks(self) -> dict[str, Any]:
        """The processes that are under way, by the ids of their tasks."""
        return self._running_tasks

    @property
    def scheduled_tasks(self) -> dict[str, Any]:
        """The tasks that it knows, by their ids."""
        return self._scheduled_tasks

    @scheduled_tasks.setter
    def scheduled_tasks(self, tasks: dict[str, Any]) -> None:
        self._scheduled_tasks = tasks

    def hear(self, results: Any) -> None:
        """Hear of its tasks by `results`, as queue.Queue has it, and not by Luigi's own queue."""
        self._task_result_queue: Any = results

    @property
    def keeps_alive(self) -> bool:
        """Whether it stays while others are at what it waits for."""
        return bool(self._config.keep_alive)

    @property
    def forks(self) -> bool:
        """Whether each task is done in another process."""
        return bool(self._config.force_multiprocessing or self.worker_processes > 1)

    @property
    def is_phasing_out(self) -> bool:
        """Whether it asks for no more work."""
        return bool(self._stop_requesting_work)

    def phase_out(self) -> None:
        """Ask for no more work, and end once that at hand is done."""
        self._start_phasing_out()

    def begin_idling_anew(self) -> None:
        """Have it not have been idle until now."""
        self._idle_since: Any = None

    def clear_history(self) -> None:
        """Let go of what it keeps for the summary of a run."""
        self._get_work_response_history.clear()
        self._add_task_history.clear()

    # The hooks: Luigi calls the private one, and whoever overrides a public one calls that of super().

    def _create_task_process(self, task: luigi.Task) -> TaskProcess:
        return self.create_process(task)

    def create_process(self, task: luigi.Task) -> TaskProcess:
        """Return what a task is to be run by."""
        made: TaskProcess = super()._create_task_process(task)  # type: ignore[no-untyped-call]
        return made

    def _get_work(self) -> GetWorkResponse:
        return self.get_work()

    def get_work(self) -> GetWorkResponse:
        """Ask the scheduler what is to be done next."""
        response: GetWorkResponse = super()._get_work()  # type: ignore[no-untyped-call]
        return response

    def _get_work_task_id(self, get_work_response: Mapping[str, Any]) -> str | None:
        return self.take_work(get_work_response)

    def take_work(self, work: Mapping[str, Any]) -> str | None:
        """Return the id of the task that the scheduler gave, which is among the known ones then."""
        task_id: str | None = super()._get_work_task_id(work)  # type: ignore[no-untyped-call]
        return task_id

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        self.report_task(*args, **kwargs)

    def report_task(self, *args: Any, **kwargs: Any) -> None:
        """Tell the scheduler how it is with a task."""
        super()._add_task(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _keep_alive(self, get_work_response: GetWorkResponse) -> bool:
        return self.stays(get_work_response)

    def stays(self, work: GetWorkResponse) -> bool:
        """Whether it goes on, though there is nothing for it to do at this moment."""
        return bool(super()._keep_alive(work))  # type: ignore[no-untyped-call]

    def _email_task_failure(self, task: luigi.Task, formatted_traceback: str) -> None:
        self.on_task_failure(task, formatted_traceback)

    def on_task_failure(self, task: luigi.Task, message: str) -> None:
        """Do what is to be done before the scheduler is told of a failure."""
        super()._email_task_failure(task, message)  # type: ignore[no-untyped-call]

    def _run_task(self, task_id: str) -> None:
        self.run_task(task_id)

    def run_task(self, task_id: str) -> None:
        """Begin a task."""
        super()._run_task(task_id)  # type: ignore[no-untyped-call]

    def _handle_next_task(self) -> None:
        self.handle_next_task()

    def handle_next_task(self) -> None:
        """Wait for what a task's process tells, and pass it on."""
        super()._handle_next_task()  # type: ignore[no-untyped-call]


def retry_policy(task: luigi.Task) -> Mapping[str, Any]:
    """Return how often, and when, a task may be tried again, as the scheduler is told."""
    policy: Mapping[str, Any] = luigi.worker._get_retry_policy_dict(task)
    return policy


def scheduler_of(process: TaskProcess) -> Any:
    """Return the scheduler that the process of a task tells how it gets on."""
    return process.status_reporter._scheduler


class RemoteScheduler(luigi.rpc.RemoteScheduler):
    """The scheduler, as Luigi's workers see it, which is tried again as `retrying` says."""

    def __init__(self, url: str, attempts: int) -> None:
        super().__init__(url)  # type: ignore[no-untyped-call]
        self._rpc_retry_attempts = attempts

    @property
    def attempts(self) -> int:
        """How often a call is made, until it has failed."""
        return int(self._rpc_retry_attempts)

    @property
    def pause_seconds(self) -> float:
        """How long it waits between two calls."""
        return float(self._rpc_retry_wait)

    @property
    def logs_retries(self) -> bool:
        """Whether each try is told in the log."""
        return bool(self._rpc_log_retries)

    def _get_retryer(self) -> tenacity.Retrying:
        return self.retrying()

    def retrying(self) -> tenacity.Retrying:
        """Return what tries a call again."""
        retryer: tenacity.Retrying = super()._get_retryer()  # type: ignore[no-untyped-call]
        return retryer


def asked_once(scheduler: Any, seconds: float) -> Any:
    """Return the same way to the scheduler, on which a call is made once, for so long, and none is logged."""
    scheduler = copy.copy(scheduler)
    scheduler._rpc_retry_attempts, scheduler._connect_timeout = 1, seconds
    scheduler._rpc_log_retries = False
    return scheduler


def another_way(scheduler: luigi.rpc.RemoteScheduler) -> luigi.rpc.RemoteScheduler:
    """Return another way to the same scheduler: this one may just be in the middle of a call."""
    made: luigi.rpc.RemoteScheduler = luigi.rpc.RemoteScheduler(scheduler._url)
    return made


class Scheduler(luigi.scheduler.Scheduler):
    """Luigi's scheduler itself."""

    @property
    def state(self) -> Any:
        """Its tasks and workers, as luigi.scheduler.SimpleTaskState."""
        return self._state

    @property
    def metrics_collector(self) -> Any:
        """What it tells of each task."""
        return self._state._metrics_collector

    def _schedulable(self, task: luigi.scheduler.Task) -> bool:
        return self.may_be_handed_out(task)

    def may_be_handed_out(self, task: luigi.scheduler.Task) -> bool:
        """Whether a task is ready for who asks for work."""
        return bool(super()._schedulable(task))  # type: ignore[no-untyped-call]


def take_up(state: Any, saved: Any) -> None:
    """Have a scheduler's state be the one that was saved."""
    state.set_state(saved)
    # Luigi keeps the tasks by status as well, and does not save that.
    state._status_tasks = defaultdict(dict)
    for task in state.get_active_tasks():
        state._status_tasks[task.status][task.id] = task


def use_fetcher(fetcher: type[luigi.rpc.RequestsFetcher]) -> None:
    """Let every RemoteScheduler of this process make its calls by this, Luigi's own included."""
    luigi.rpc.RequestsFetcher = fetcher  # type: ignore[misc]


def use_factory(factory: type[WorkerFactory]) -> None:
    """Let Luigi's command line make its workers by this."""
    setattr(luigi.interface, "_WorkerSchedulerFactory", factory)  # noqa: B010 - no other way in


def replace_root(load: Callable[[Callable[[], luigi.Task]], luigi.Task]) -> None:
    """Let the root of Luigi's command line be what `load` returns, which is given what makes it."""

    def root(parser: CmdlineParser) -> luigi.Task:
        return load(lambda: _get_task_obj(parser))

    CmdlineParser.get_task_obj = root  # type: ignore[method-assign]
