"""Clears in the scheduler what is cleared in the ledger: else it lets nobody run what it just saw done."""

import os
import socket
from collections.abc import Mapping, Set
from typing import Any

from luigi.task_status import DONE, UNKNOWN

from pipeline import access, chains, ledger
from pipeline.chains import ETL
from pipeline.settings import Settings

STEPS = {ETL.family(task) for task in ETL.steps_of(chains.TABLE)}
EXTRACT, SNAPSHOT = ETL.family(chains.EXTRACT_TASK), ETL.family(chains.OPEN_TASK)
BOARDS, ROOT, SOURCE = chains.DASHBOARDS.root, ETL.root, ETL.family(chains.SOURCE_TASK)
# It knows by itself what was loaded after it.
MART = chains.MARTS.family(chains.BUILD_TASK)


def clear_done(scheduler: Any, settings: Settings, run: str, root: str) -> None:
    """Let the tasks of an etl run be run again that the ledger does not have as done, `root` among them.

    Their status is taken back in the name of a worker of our own, which is gone afterwards: the scheduler
    would not believe (for stable_done_cooldown_secs) that a task is to be done which it has seen done.
    """
    with access.brief(settings).warehouse() as warehouse:
        done = {(step.key.task, step.key.name) for step in ledger.steps_of(warehouse, run) if step.done}
    known = scheduler.task_list(status=DONE, upstream_status="", limit=False)
    ours = {task_id: task for task_id, task in known.items() if task["params"].get("run") == run}
    worker = f"rerun on {socket.gethostname()} ({os.getpid()})"
    for task_id in _to_clear(ours, done, root):
        scheduler.add_task(worker=worker, task_id=task_id, status=UNKNOWN, runnable=False, assistant=True)
    scheduler.disable_worker(worker=worker)


def _to_clear(tasks: Mapping[str, Any], done: Set[tuple[str, str]], root: str) -> list[str]:
    steps = {
        task_id: task for task_id, task in tasks.items() if task["name"] in STEPS and _key(task) not in done
    }
    read_again = {task["params"]["source"] for task in steps.values() if task["name"] == EXTRACT}
    # What only gathers is looked at anew by whoever runs it, and is done again at once if it is.
    whole = (ROOT, SOURCE, MART)
    gathering = {BOARDS: (BOARDS,), ROOT: whole, SOURCE: (SOURCE,)}.get(root, ())
    others = [
        task_id
        for task_id, task in tasks.items()
        if task["name"] in gathering or (task["name"] == SNAPSHOT and task["params"]["source"] in read_again)
    ]
    return [*steps, *others]


def _key(task: Mapping[str, Any]) -> tuple[str, str]:
    parameters = task["params"]
    return task["name"].partition(".")[2], f"{parameters['source']}.{parameters['table']}"
