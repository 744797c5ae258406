"""Liveness: whether somebody is still at a step that says running, by its process or by its heartbeat."""

from collections.abc import Collection

from pipeline import postgres
from pipeline.ledger import lease
from pipeline.postgres import Connection
from pipeline.step import Step
from pipeline.system import process_tree


def is_at_work(connection: Connection, step: Step) -> bool:
    """Whether somebody is still at a step of no living run: an assistant, or what plain Luigi started."""
    found = postgres.row(
        connection,
        """
        SELECT host, pid, seen_at > clock_timestamp() - make_interval(secs => %s) FROM ops.step
        WHERE run = %s AND task = %s AND name = %s
        """,
        (lease.SILENT_SECONDS, step.key.run, step.key.task, step.key.name),
    )
    if found is None:
        return False
    host, pid, heard_of = found
    if host != process_tree.place():
        # A worker of another machine, or in another PID namespace, says now and then that it is there.
        return bool(heard_of)
    return process_tree.is_at_work(pid, step.started_at.timestamp())


def fail_killed_steps(connection: Connection, run: str, names: Collection[str]) -> None:
    """Mark the steps of a run as failed that seem to be running on this machine, but whose process is dead.

    `connection` commits by itself.
    """
    query = """
        SELECT task, name, pid, started_at FROM ops.step
        WHERE run = %s AND name = ANY(%s) AND state = 'running' AND host = %s
        """
    for task, name, pid, since in postgres.rows(connection, query, (run, list(names), process_tree.place())):
        if not process_tree.is_at_work(pid, since.timestamp()):
            postgres.rows(
                connection,
                """
                UPDATE ops.step SET state = 'failed', finished_at = clock_timestamp(), exit_code = 3,
                    error = 'its process was killed (by the kernel, for want of memory?)'
                WHERE run = %s AND task = %s AND name = %s AND pid = %s AND state = 'running'
                """,
                (run, task, name, pid),
            )
