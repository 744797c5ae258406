"""What an assistant (`pipeline worker`) may be given, by the scheduler as well as by itself.

An assistant imports the module that the scheduler names: so only ours. It does what any machine can do: the
steps of a load. A backup's dump lies on the machine that made it, and restores have a login of their own.
"""

import time
from typing import Any

import luigi.scheduler
from luigi.task_status import FAILED, PENDING, RUNNING

from pipeline import chains
from tasks import luigi_internals

MODULES = frozenset(chain.module for chain in chains.CHAINS if chain.may_be_helped)
# A run that has not been heard of for so long is not there any more: its worker pings every second.
GONE_SECONDS = 30.0
# The moment of a source is held as long as the worker lives that opened it.
HELD_BY_ITS_WORKER = frozenset(
    chain.family(task.name) for chain in chains.CHAINS for task in chain.tasks if task.held_by_its_worker
)
# To go through all tasks for what is over (a worker that is gone, a task whose second try is due) takes most
# of the time of handing one out, and grows with their number: whoever asks for work has it done this often.
PRUNING_SECONDS = 1.0
# What a worker says of itself when a person, and not a failure, ends its run.
STOPPED = "stopped"


class Scheduler(luigi_internals.Scheduler):
    """Luigi's scheduler, which gives an assistant only what it may do."""

    # Only while an assistant asks: who it is.
    _asking: luigi.scheduler.Worker | None = None
    _handing_out = False
    _pruned_at = -PRUNING_SECONDS

    def add_worker(self, worker, info, **kwargs) -> None:  # type: ignore[no-untyped-def]
        """Take note of what a worker says of itself. What a run that is told to stop leaves stays undone."""
        super().add_worker(worker, info, **kwargs)
        if dict(info).get(STOPPED):
            for task in self.state.get_active_tasks_by_status(PENDING, RUNNING, FAILED):
                if worker in task.stakeholders:
                    # Until a run asks for it again.
                    task.runnable = False

    def get_work(  # type: ignore[no-untyped-def]
        self, host=None, assistant=False, current_tasks=None, worker=None, **kwargs
    ) -> Any:
        """Return what a worker is to do next."""
        self._asking, self._handing_out = self.state.get_worker(worker) if assistant else None, True
        try:
            return super().get_work(host, assistant, current_tasks, worker, **kwargs)
        finally:
            self._asking, self._handing_out = None, False

    def prune(self) -> None:
        """Give up workers that are gone, and let failed tasks be tried again: not at each call for work."""
        if self._handing_out and time.monotonic() - self._pruned_at < PRUNING_SECONDS:
            return
        super().prune()
        self._pruned_at = time.monotonic()

    def may_be_handed_out(self, task: luigi.scheduler.Task) -> bool:
        """Whether a task is ready, and one that who asks for work may do."""
        if not super().may_be_handed_out(task):
            return False
        return self._asking is None or self._may_assist(task, self._asking)

    def _may_assist(self, task: luigi.scheduler.Task, assistant: luigi.scheduler.Worker) -> bool:
        if task.module not in MODULES or not assistant.info.get("catalog"):
            return False
        heard_of = time.time() - GONE_SECONDS
        runs = [
            worker
            for worker in self.state.get_active_workers()
            if worker.id in task.stakeholders and not worker.assistant
            if worker.enabled and worker.last_active > heard_of
        ]
        # Best opened by the run itself: the tables of a night are then of one moment whoever else is killed.
        if runs and task.family in HELD_BY_ITS_WORKER:
            return False
        # Else it would stage what the run, which goes by another declaration, takes for not done.
        return all(run.info.get("catalog") == assistant.info.get("catalog") for run in runs)
