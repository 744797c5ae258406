"""Tells of workers that have gone without a word, as a run that was killed as a whole: the scheduler sees it.

A task whose worker has been silent for `worker_disconnect_delay` is failed by the scheduler itself, of which
no event of the task tells. This is called in the scheduler's only thread: what takes long is done beside it.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from pipeline import alerts, chains
from pipeline.alerts import failures
from pipeline.alerts.failures import AlertSubject
from tasks.step import configured


def alert_if_stalled(task: Any) -> None:
    """Tell of a task that has failed, if no worker has said so: `task` is as the scheduler has it."""
    if task.worker_running is None:
        subject = subject_of(task.family, task.params)
        alert = subject.alert(f"a worker stopped responding; it was running {task.pretty_id}")
        alert = failures.linked(configured(), alert, task.family, task.params)
        _beside(lambda: alerts.send(configured(), alert))


def recover_if_done(task: Any) -> None:
    """Tell that what a lost worker was to do is done after all, if `task` is what that ends with."""
    known = chains.of_family(task.family)
    if known and known[0].makes_up_for_a_loss(known[1].name):
        subject = subject_of(task.family, task.params)
        _beside(lambda: alerts.send_recovery(configured(), subject.key, f"{subject.name} is done"))


def subject_of(family: str, params: Mapping[str, str]) -> AlertSubject:
    """Return what is undone when a worker dies at a task: with a table the whole load, which it did as well.

    >>> subject_of("etl.LoadTable", {"source": "hr", "table": "employee", "run": "2026-11-22"}).key
    'run/etl'
    >>> subject_of("backup.DumpDatabase", {"database": "hr", "run": "2026-11-22"}).key
    'backup/hr'
    """
    if known := chains.of_family(family):
        chain, task = known
        return AlertSubject.of(chain.undone(task.name, params))
    return AlertSubject(f"task/{family}", family, "pipeline status")


def _beside(work: Callable[[], object]) -> None:
    threading.Thread(target=work, name="alert", daemon=True).start()
