"""What `pipeline run` starts: Luigi, after the scheduler was told what it cannot know of an earlier run.

A worker that was killed keeps its tasks until the scheduler misses it (worker_disconnect_delay), and a task
that failed too often is disabled for a while. Who starts the same run again wants neither.
"""

import contextlib
import gc
import itertools
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import luigi.configuration
import psutil
from luigi.retcodes import run_with_retcodes
from luigi.rpc import RemoteScheduler, RPCError
from luigi.scheduler import WORKER_STATE_DISABLED
from luigi.task_status import DISABLED, FAILED

from pipeline import alerts, chains, log
from pipeline.alerts import failures
from pipeline.alerts.failures import AlertSubject
from pipeline.errors import StoppedError, UnreachableError
from pipeline.scheduler import step_logs, visualizer
from pipeline.system import process_tree
from tasks import luigi_internals
from tasks.step import configured
from tasks.worker import client, stop
from tasks.worker.clear import clear_done
from tasks.worker.worker import Worker

logger = logging.getLogger(__name__)

# Chains that are fenced by locks of their own, and are wanted most when everything else is down.
ALONE = {chain.module for chain in chains.CHAINS if chain.goes_alone}
# Ours, not Luigi's: steps of this run are cleared in the ledger, and the scheduler is to do so too.
CLEAR = "--clear"
GRACE_SECONDS = 5
POLL_SECONDS = 3


def clear_earlier_failures(scheduler: Any, run: str) -> None:
    """Give back the tasks of killed workers of this machine, and let disabled tasks of this run start again.

    `scheduler` is Luigi's RemoteScheduler, which makes its methods up as it goes.
    """
    give_back(scheduler)
    for task_id, task in _disabled(scheduler).items():
        if run in (task["params"].get("run"), task["params"].get("month")):
            scheduler.re_enable_task(task_id)


def give_back(scheduler: Any) -> None:
    """Give the tasks of killed workers of this machine to whoever else wants to do them."""
    given: set[str] = set()
    for worker in scheduler.worker_list():
        if worker["state"] == WORKER_STATE_DISABLED or not _is_dead(worker):
            continue
        for task_id in worker["running"]:
            # In the name of the dead worker: the scheduler takes this from nobody else.
            scheduler.add_task(
                worker=worker["name"], task_id=task_id, status=FAILED, expl="its worker was killed"
            )
            given.add(task_id)
        scheduler.disable_worker(worker=worker["name"])
    # Its end was no failure of the task's own, so it does not count as a try.
    for task_id in given.intersection(_disabled(scheduler) if given else ()):
        scheduler.re_enable_task(task_id)


def _disabled(scheduler: Any) -> Mapping[str, Any]:
    tasks: Mapping[str, Any] = scheduler.task_list(status=DISABLED, upstream_status="")
    return tasks


def keep_giving_back(scheduler: Any) -> None:
    """Do so from now on: a worker may be on its way out now, or be killed while we wait for its task."""

    def watch() -> None:
        while True:
            time.sleep(POLL_SECONDS)
            # What is wrong with the scheduler, or our login, is told by those who cannot do without it.
            with contextlib.suppress(RPCError, SystemExit):
                give_back(scheduler)

    threading.Thread(target=watch, name="dead workers", daemon=True).start()


def _is_dead(worker: Mapping[str, Any]) -> bool:
    """Whether a worker's process, where we could find it, is no more, or is another one by now."""
    if worker.get("host") != process_tree.place():
        return False
    # The scheduler heard of the worker after its process began.
    return not process_tree.is_at_work(int(worker["pid"]), worker["started"])


def scheduler_url() -> str:
    """Return where Luigi looks for its scheduler."""
    config = luigi.configuration.get_config()
    host = config.get("core", "default-scheduler-host", "localhost")
    port = config.getint("core", "default-scheduler-port", visualizer.DEFAULT_PORT)
    url: str = config.get("core", "default-scheduler-url", "")
    return url or f"http://{host}:{port}/"


def _end_with_tasks(subject: AlertSubject) -> None:
    """Let SIGTERM end the tasks as well, each of which is a process of its own."""
    parent = os.getppid()

    def end() -> None:
        stop.request()
        for worker in _Factory.made:
            worker.announce_stop()
        processes = psutil.Process().children(recursive=True)
        for action in (psutil.Process.terminate, psutil.Process.kill):
            for member in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    action(member)
            _, processes = psutil.wait_procs(processes, timeout=GRACE_SECONDS)
        # A parent that lives tells by itself. What ended us was its death, if it is dead.
        if os.getppid() != parent:
            alerts.send(
                configured(),
                subject.alert("'pipeline run' was killed, with every process that it had started"),
            )
        sys.exit(StoppedError.exit_code)

    # A task itself ends at once, as ever.
    stop.handle(end)


class _Factory(luigi_internals.WorkerFactory):
    """Makes what Luigi's own command line runs with."""

    made: ClassVar[list[Worker]] = []

    def create_worker(self, scheduler: Any, worker_processes: int, assistant: bool = False) -> Worker:
        # All is imported by now. What is forked from here on searches none of it, and so copies none of it.
        gc.freeze()
        gc.enable()
        self.made.append(Worker(scheduler=scheduler, worker_processes=worker_processes, assistant=assistant))
        return self.made[-1]


def _subject(options: Mapping[str, str]) -> AlertSubject:
    """Return what is to be run, as `pipeline run` calls it."""
    module, run = options.get("--module"), options.get("--run")
    if module == chains.BACKUP.module:
        return failures.backup(options["--database"], run)
    if module == chains.DRILL.module:
        named = json.loads(options.get("--databases", "[]"))
        is_archive = options.get("--origin") == chains.RECOVERED.aspect
        subject = failures.archive_drills if is_archive else failures.drills
        return subject(options.get("--month"), named[0] if len(named) == 1 else None)
    if module == chains.ANALYSTS.module:
        named = json.loads(options.get("--programs", "[]"))
        return failures.programs(run, named[0] if len(named) == 1 else None)
    if (chain := chains.of_module(module or "")) and not chain.has_own_command:
        return AlertSubject.of(chain.started(run))
    tables = json.loads(options.get("--only", "[]")) or [
        options[name] for name in ("--table",) if name in options
    ]
    return failures.load(run, options.get("--source"), tables)


def main(arguments: Sequence[str]) -> None:
    """Run Luigi with its own command line, and exit with its code."""
    # Until the tasks are imported, as in `tasks`.
    gc.disable()
    # Ctrl-C reaches the parent, who tells us. Ended by it, we could not be asked which steps were at work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    luigi_internals.use_factory(_Factory)
    log.configure()
    log.leave_failures()
    # Luigi would write its own lines beside ours.
    luigi.configuration.get_config().set("core", "no_configure_logging", "true")
    clears = CLEAR in arguments
    arguments = [argument for argument in arguments if argument != CLEAR]
    options = dict(itertools.pairwise(arguments))
    _end_with_tasks(_subject(options))
    # A drill is known by its month.
    run = options.get("--run") or options.get("--month", "")
    log.about(run)
    step_logs.prepare(configured())
    if options.get("--module") in ALONE and (obstacle := client.obstacle(scheduler_url())):
        logger.warning("%s; continuing without it", obstacle)
        run_with_retcodes([*arguments, "--local-scheduler"])
        return
    scheduler = RemoteScheduler(scheduler_url())
    try:
        clear_earlier_failures(scheduler, run)
        if clears:
            clear_done(scheduler, configured(), run, options[options["--module"]])
    except RPCError:
        logger.warning("the scheduler at %s does not answer", scheduler_url())
    keep_giving_back(scheduler)
    try:
        run_with_retcodes(list(arguments))
    except SystemExit as ended:
        # Luigi has told so with a traceback, and exits as for any other.
        if ended.code and (obstacle := client.obstacle(scheduler_url())):
            logger.error("%s; start 'pipeline scheduler', then run this again", obstacle)  # noqa: TRY400
            sys.exit(UnreachableError.exit_code)
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
