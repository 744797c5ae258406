"""The worker of a run: Luigi's own, made to outlast the scheduler, and to wait for what a peer is at."""

import contextlib
import logging
import time
from typing import Any, cast

import luigi
from luigi.rpc import RemoteScheduler, RPCError
from luigi.task_status import FAILED, PENDING, RUNNING
from luigi.worker import GetWorkResponse, TaskProcess

from pipeline.scheduler import links
from pipeline.system import process_tree
from tasks import luigi_internals, step
from tasks.scheduler import assist
from tasks.worker import log, stop
from tasks.worker.pool import Pool, Shared
from tasks.worker.results import Results

logger = logging.getLogger(__name__)

# What nobody is at for so long was perhaps forgotten by the scheduler: it is told once more, and as often.
UNKNOWN_SECONDS = 20.0
# Enough for every restart in a night; one that keeps forgetting is not told for ever.
ADDED_AGAIN_TIMES = 100
WORD_SECONDS = 2.0
# The moment of a source that was there just now is not asked for again by each of many small tables.
GROUND_SECONDS = 1.0
# So often a task goes back because what it requires has passed away; then it fails, and people are told.
GIVEN_BACK_TIMES = 3


class Worker(luigi_internals.Worker):
    """The worker of a run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # As it tells of itself, and with each call for work once more.
        self.host = process_tree.place()
        self._root: luigi.Task | None = None
        self._added_at = self._idle_at = time.monotonic()
        self._added_again = 0
        self._ground_seen: dict[str, float] = {}
        # Those that failed once. What they need may have gone with what they failed of: staged rows of a
        # warehouse that crashed.
        self._failed: set[str] = set()
        self._results = Results()
        self.hear(self._results)
        self._pool = Pool(super().create_process, self.running_tasks, self._results)

    def describe_itself(self) -> list[tuple[str, Any]]:
        """Return what the scheduler is told of it: where others may look for its process, too."""
        own = {**dict(super().describe_itself()), "host": process_tree.place()}
        return list(own.items())

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._pool.close()

    def create_process(self, task: luigi.Task) -> TaskProcess:
        """Return what a task is run by: a process of its own, or one that short steps share."""
        process = super().create_process(task)
        if process.use_multiprocessing and isinstance(task, step.Shown) and task.shares_its_process:
            return cast("TaskProcess", self._pool.process_for(process))
        if process.use_multiprocessing:
            process.result_queue = self._results.pipe()
        return process

    def get_work(self) -> GetWorkResponse:
        """Ask for the next task, once what goes on for longer has its link."""
        stop.check()
        for process in self.running_tasks.values():
            # A step that is over in no time gets the link to its log with the word that it is.
            if isinstance(process, Shared) and process.wants_link:
                process.is_linked = True
                if log.is_kept(process.task):
                    log.link(self.scheduler, self.id, process.task)
        self._pool.end_old()
        return super().get_work()

    def report_task(self, *args: Any, **kwargs: Any) -> None:
        """Tell how it is with a task, and where its log is."""
        process = self.running_tasks.get(kwargs["task_id"])
        if isinstance(process, Shared) and log.is_kept(process.task):
            kwargs["tracking_url"] = links.log_path(process.task.about_run, process.task.task_id)
        super().report_task(*args, **kwargs)

    def add(self, task: luigi.Task, multiprocess: bool = False, processes: int = 0) -> bool:
        """Schedule a task and all that it requires. The first one is what the run is about."""
        self._root = self._root or task
        self._added_at = time.monotonic()
        if type(task).__module__ in assist.MODULES:
            self._send_catalog()
        return bool(super().add(task, multiprocess, processes))  # type: ignore[no-untyped-call]

    def _send_catalog(self) -> None:
        """Say by which catalog this one goes, so that nobody helps who goes by another."""
        self.scheduler.add_worker(self.id, [("catalog", step.catalog_digest())])

    def announce_stop(self) -> None:
        """Say that this run is told to stop, so that assistants do not go on with it. Waits for nobody."""
        if isinstance(self.scheduler, RemoteScheduler):
            way = luigi_internals.another_way(self.scheduler)
            scheduler = luigi_internals.asked_once(way, WORD_SECONDS)
            # Nor for a login that is refused at this moment, which ends a program: we are ending as it is.
            with contextlib.suppress(RPCError, SystemExit):
                scheduler.add_worker(self.id, [(assist.STOPPED, True)])

    def stays(self, work: GetWorkResponse) -> bool:
        """Whether the run goes on, though there is nothing for it to do at this moment."""
        if self.keeps_alive and work.running_tasks:
            # Somebody is at what we wait for, for as long as it takes. If he is dead the scheduler finds out.
            self.begin_idling_anew()
            return True
        stays = super().stays(work)
        # A step that took long is no sign of a scheduler that forgets.
        quiet_at = max(self._added_at, self._idle_at)
        unknown = time.monotonic() - quiet_at > UNKNOWN_SECONDS if stays else self._is_unknown()
        if self._root is not None and unknown:
            logger.warning("the scheduler may have lost tasks of this run: they are scheduled again")
            self._added_again += 1
            self.add(self._root)
        return stays or unknown

    def handle_next_task(self) -> None:
        """Wait for what the steps tell."""
        super().handle_next_task()
        self._idle_at = time.monotonic()

    def _is_unknown(self) -> bool:
        """Whether the scheduler knows nothing of this run, or no longer that it is ours.

        As one that was killed and began anew, or that was away for longer than it waits for a silent worker.
        """
        if self._root is None or not self.keeps_alive or self._added_again > ADDED_AGAIN_TIMES:
            return False
        root = self._root.task_id
        tasks_by_status = self.scheduler.task_search(task_str=root)
        for status, tasks in tasks_by_status.items():
            if root in tasks:
                return status in (PENDING, FAILED, RUNNING) and self.id not in tasks[root]["workers"]
        return True

    def on_task_failure(self, task: luigi.Task, message: str) -> None:
        """Do as Luigi before it tells the scheduler of a failure; what no second try can fix gets none."""
        # Perhaps that of its source: the next table has it looked for again.
        self._ground_seen.clear()
        self._failed.add(task.task_id)
        process = self.running_tasks.get(task.task_id)
        if isinstance(process, Shared):
            # Whatever is wrong with it, the next try has a process and a login of its own.
            process.member.end()
        if isinstance(task, step.Shown):
            task.is_final = isinstance(message, step.Final)
            if task.is_final:
                # The scheduler counts a failure by what it knew of the task before.
                self.scheduler.add_task(
                    worker=self.id,
                    task_id=task.task_id,
                    status=RUNNING,
                    resources=task.process_resources(),
                    priority=task.priority,
                    assistant=self.is_assistant,
                    retry_policy_dict=luigi_internals.retry_policy(task),
                )
        super().on_task_failure(task, message)

    def run_task(self, task_id: str) -> None:
        """Begin a task; one that has lost what it requires goes back."""
        task = self.scheduled_tasks[task_id]
        passes = task_id in self._failed or getattr(task, "requires_what_passes", False)
        may_go_back = passes and self.unfulfilled_counts[task_id] < GIVEN_BACK_TIMES
        if may_go_back and _requires_what_is_gone(task, self._ground_seen):
            self.unfulfilled_counts[task_id] += 1
            self._give_back(task)
            self.add(task)
            return
        # Without processes the task itself would be done in here.
        with stop.deferred() if self.forks else contextlib.nullcontext():
            super().run_task(task_id)
        self._results.close_writers()

    def _give_back(self, task: luigi.Task) -> None:
        """Have the scheduler hand out a task again that it gave to us, which is nobody's failure."""
        requires = [required.task_id for required in task.deps()]
        # Luigi takes "pending" from a running task only together with requirements; these it knows already.
        self.scheduler.add_task(
            worker=self.id,
            task_id=task.task_id,
            status=PENDING if requires else FAILED,
            new_deps=requires,
            expl="given back",
            runnable=None,
            resources=task.process_resources(),
            assistant=self.is_assistant,
            retry_policy_dict=luigi_internals.retry_policy(task),
        )


def _requires_what_is_gone(task: luigi.Task, seen: dict[str, float]) -> bool:
    """Whether something has passed away that a task requires.

    `seen`: when that was last there, by its task's id. The step itself looks again.
    """
    try:
        for required in task.deps():
            if time.monotonic() - seen.get(required.task_id, -GROUND_SECONDS) < GROUND_SECONDS:
                continue
            if not required.complete():
                return True
            seen[required.task_id] = time.monotonic()
    except Exception:  # noqa: BLE001 - the step itself finds out, and says so in good order
        return False
    return False
