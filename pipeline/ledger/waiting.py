"""Steps that wait for another worker: they have no row in the ledger yet, so the server itself is asked.

What it says is true at that moment, and nothing of it is left when who waits is killed.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline import postgres
from pipeline.postgres import Connection, locks
from pipeline.step import StepKey

# How a session of ours is called; one that waits says for which step.
CALLED = "pipeline"


@dataclass(frozen=True)
class Waiting:
    """A step that waits, and for whom, as its log says it."""

    key: StepKey
    waits: str


def begin(connection: Connection, step: StepKey) -> None:
    """Have the server know that this session waits for the table of a step, until `end` or its own end.

    Commit it. Between two looks at the table it waits for no lock, so it holds one that says so.
    """
    # Who sees the lock reads the name.
    _call(connection, f"{CALLED} {step.run} {step.task}")
    locks.share(connection, f"wait {step.name}")


def end(connection: Connection, step: StepKey) -> None:
    """Have the server know that it goes on."""
    locks.release_share(connection, f"wait {step.name}")
    _call(connection, CALLED)


def _call(connection: Connection, name: str) -> None:
    postgres.rows(connection, "SELECT set_config('application_name', %s, false)", (name,))


def for_another(connection: Connection, name: str) -> str:
    """Return that a step of this table waits for who has it now, for people; nothing if nobody has."""
    who = postgres.legible(functools.partial(_holder, connection, name))
    return f"waits for another worker that runs a step of this table: {who}" if who else ""


def _holder(connection: Connection, name: str) -> str:
    query = postgres.statement("ledger/who_is_at_a_table")
    return next(iter(postgres.read(connection, query, postgres.process, (f"table {name}",))), "")


def steps(connection: Connection, names: Iterable[str]) -> list[Waiting]:
    """Return the steps of these tables and marts, such as hr.employee, that wait for another worker."""
    waiting = []
    for row in postgres.records(connection, postgres.statement("ledger/waiting_steps"), (sorted(names),)):
        name = row["name"]
        run, task = row["session"].split(" ")[1:]
        if waits := for_another(connection, name):
            waiting.append(Waiting(StepKey(run, task, name), waits))
    return waiting
