"""Liveness: whether somebody is still at a step that says running, by its process or by its heartbeat."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from pipeline import postgres
from pipeline.errors import PipelineError, StepError
from pipeline.ledger import lease, steps
from pipeline.postgres import Connection
from pipeline.step import Step
from pipeline.system import process_tree


@dataclass(frozen=True)
class _Worker:
    """Whose a step is: host and process, and whether there was word of him lately."""

    host: str
    pid: int
    heard_of: bool


@dataclass(frozen=True)
class _AtWork:
    """A step of this machine that says running, its process, and when it began."""

    task: str
    name: str
    pid: int
    started_at: datetime


def is_at_work(connection: Connection, step: Step) -> bool:
    """Whether somebody is still at a step of no living run: an assistant, or what plain Luigi started."""
    workers = postgres.read(
        connection,
        """
        SELECT host, pid, seen_at > clock_timestamp() - make_interval(secs => %s) AS heard_of FROM ops.step
        WHERE run = %s AND task = %s AND name = %s
        """,
        _Worker,
        (lease.LEASE_SECONDS, step.key.run, step.key.task, step.key.name),
    )
    if not workers:
        return False
    (worker,) = workers
    if worker.host != process_tree.place():
        # A worker of another machine, or in another PID namespace, says now and then that it is there.
        return bool(worker.heard_of)
    return process_tree.is_at_work(worker.pid, step.started_at.timestamp())


def fail_killed_steps(
    connection: Connection,
    run: str,
    names: Collection[str] | None = None,
    error: PipelineError | None = None,
) -> None:
    """Mark the steps of a run as failed that seem to be running on this machine, but whose process is dead.

    Those of all names where that is None; by `error`, where it is known why they were ended. `connection`
    commits by itself.
    """
    query = """
        SELECT task, name, pid, started_at FROM ops.step
        WHERE run = %s AND name = ANY(coalesce(%s, ARRAY[name])) AND state = 'running' AND host = %s
        """
    asked = (run, None if names is None else list(names), process_tree.place())
    error = error or StepError("its process was killed (by the kernel, for want of memory?)")
    for one in postgres.read(connection, query, _AtWork, asked):
        if not process_tree.is_at_work(one.pid, one.started_at.timestamp()):
            steps.fail_step_of(connection, run, one.pid, error)
