"""The steps of a table: what the ledger has of them, and the frame in which each is done, one at a time."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline import access, ledger, postgres
from pipeline.access import Access
from pipeline.catalog import Table
from pipeline.ledger import Standing, lease
from pipeline.ledger.lease import Attempt
from pipeline.postgres import Connection
from pipeline.settings import Settings
from pipeline.step import StepKey

# Whether a table's step is done in a run, by what the warehouse holds.
IsDone = Callable[[Connection, Table, str], bool]


@dataclass(frozen=True)
class Begun:
    """A step at work. What it does is in the transaction of `warehouse`; `beside` commits by itself."""

    databases: Access
    warehouse: Connection
    beside: Connection
    attempt: Attempt


def standing(warehouse: Connection, table: Table, run: str) -> Standing:
    """Return what the ledger has of a table's steps in a run."""
    return ledger.standing(warehouse, run, table.source, table.name)


def key_of(table: Table, run: str, task: str) -> StepKey:
    """Return the step of a table in the ledger."""
    return StepKey(run, task, f"{table.source}.{table.name}")


@contextlib.contextmanager
def begun(settings: Settings, table: Table, run: str, task: str, is_done: IsDone) -> Iterator[Begun | None]:
    """Do a step in the block, unless it is done: then yield None.

    The block has the table's lock, and is the only one at work on the step. It has to finish the attempt and
    to commit. If it raises, that is recorded, and the error begins with the table's name.
    """
    key = key_of(table, run, task)
    with (
        access.for_step(settings) as databases,
        databases.asking() as beside,
        databases.warehouse() as warehouse,
        postgres.explained(key.name),
    ):
        lease.lock_table(warehouse, table.source, table.name, step=key)
        if is_done(warehouse, table, run):
            yield None
            return
        with lease.attempted(beside, key, warehouse) as attempt:
            yield Begun(databases, warehouse, beside, attempt)
