"""Killed: records how steps failed that could not say so; what cannot be recorded is told all the same."""

import contextlib
from collections.abc import Iterator

from pipeline import ledger, postgres
from pipeline.access import Access
from pipeline.errors import PipelineError
from pipeline.ledger import liveness
from pipeline.postgres import Connection


def fail_step(databases: Access, run: str, pid: int, error: PipelineError) -> None:
    """Record how the step of a run failed that process `pid` was at, if it was at one."""
    with _recording(databases) as warehouse:
        ledger.fail_step_of(warehouse, run, pid, error)


def fail_unseen(databases: Access, run: str, error: PipelineError) -> None:
    """Record how steps failed that nobody saw: begun while all were told to end, and ended by Luigi."""
    with _recording(databases) as warehouse:
        liveness.fail_killed_steps(warehouse, run, error=error)


@contextlib.contextmanager
def _recording(databases: Access) -> Iterator[Connection]:
    with (
        contextlib.suppress(postgres.Error, PipelineError),
        databases.warehouse(autocommit=True) as warehouse,
    ):
        yield warehouse
