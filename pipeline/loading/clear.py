"""Forgets steps of a run, so that they are done again: all of them or none, and under nobody's hands.

What is believed of a table stays: its watermark says up to where the table is loaded, which a cleared step
does not change. So a table that is read again goes on from there, and a merge of rows that it has is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline import chains, ledger, postgres
from pipeline.access import Access
from pipeline.catalog import Table
from pipeline.chains import EXTRACT_TASK
from pipeline.errors import AlreadyRunningError, StepError
from pipeline.ledger import lease
from pipeline.loading import extract
from pipeline.postgres import Connection
from pipeline.warehouse import staging
from pipeline.warehouse.staging import Staged


class Since(StrEnum):
    """From which step on a table is done over, by the words that people type."""

    EXTRACT = "extract"
    VALIDATE = "validate"
    LOAD = "load"


TASKS = chains.ETL.steps_of(chains.TABLE)
# The steps that are cleared then.
FROM = {Since.EXTRACT: TASKS, Since.VALIDATE: TASKS[1:], Since.LOAD: TASKS[2:]}
# Somebody may be looking at what is to be dropped.
LOCK_TIMEOUT = "5s"
IN_FULL = "asked for"


@dataclass(frozen=True)
class Cleared:
    """How many steps that were done are to be done again, and of which tables more than was asked for."""

    steps: int
    read_again: tuple[str, ...]


def clear_tables(
    databases: Access, tables: Sequence[Table], run: str, since: Since, *, in_full: bool = False
) -> Cleared:
    """Clear what the run did with these tables from `since` on, and drop what is staged.

    With `in_full`, their next load reads all of them, whatever is believed of what changed.

    Where the staged rows are gone, as they are once they are loaded, the table has to be read again.
    Raise AlreadyRunningError, and clear nothing, if one of them is just being read or loaded.
    """
    steps, read_again = 0, []
    with databases.warehouse() as warehouse, postgres.explained(f"run {run}"):
        postgres.rows(warehouse, f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        try:
            for table in sorted(tables, key=lambda one: (one.source, one.name)):
                _require_idle(warehouse, table)
                done = _clear_table(warehouse, table, run, since)
                steps += len(done)
                if in_full:
                    ledger.read_in_full(warehouse, table.source, table.name, IN_FULL)
                if EXTRACT_TASK in done and since != Since.EXTRACT:
                    read_again.append(f"{table.source}.{table.name}")
        except postgres.LockNotAvailable:
            raise StepError(
                "another session is reading the staged rows; nothing was cleared",
                hint="try it again",
            ) from None
    return Cleared(steps, tuple(read_again))


def _require_idle(warehouse: Connection, table: Table) -> None:
    if lease.try_lock_table(warehouse, table.source, table.name):
        return
    name = f"{table.source}.{table.name}"
    who = ledger.at_work(warehouse, name) or "another worker is running a step of it"
    raise AlreadyRunningError(f"{name}: {who}; nothing was cleared", hint="wait for it, then try it again")


def _clear_table(warehouse: Connection, table: Table, run: str, since: Since) -> list[str]:
    """Clear the steps of one table. Return which of them were done."""
    name = f"{table.source}.{table.name}"
    done = ledger.clear_steps(warehouse, run, name, FROM[since])
    staged = Staged(table, run)
    if since != Since.EXTRACT and extract.extracted(warehouse, table, run):
        return done
    done += ledger.clear_steps(warehouse, run, name, TASKS)
    staging.drop(warehouse, staged)
    return done
