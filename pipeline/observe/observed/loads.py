"""Loads: the runs and steps of the ledger, each as it is, and not as a process that is gone left it."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime

from pipeline import chains, ledger
from pipeline.audit import proofs
from pipeline.audit.proofs import Proof
from pipeline.backup.work.attempts import KILLED
from pipeline.ledger import Fresh, liveness, runs, waiting
from pipeline.ledger.runs import Run
from pipeline.ledger.waiting import Waiting
from pipeline.postgres import Connection, snapshot
from pipeline.postgres.snapshot import Snapshot
from pipeline.step import State, Step

ETL = chains.ETL.name


def latest(warehouse: Connection, logical_date: str | None) -> tuple[Run | None, list[Step]]:
    """Return the latest run, or the one of that date, with its steps."""
    run = runs.find(warehouse, ETL, logical_date)
    recorded = ledger.steps_of(warehouse, run.run) if run else []
    return run, [truthful(warehouse, step, run) for step in recorded]


def open_steps(warehouse: Connection, since: datetime) -> list[Step]:
    """Return the steps of all runs that are not done and not made up for."""
    return [truthful(warehouse, step) for step in ledger.open_steps(warehouse, since)]


def last_loads(warehouse: Connection) -> dict[str, Step]:
    """Return the last load of each table by its name."""
    return {step.key.name: step for step in ledger.last_loads(warehouse)}


def fresh(warehouse: Connection) -> Sequence[Fresh]:
    """Return what is loaded, declared or not, and how fresh it is."""
    return ledger.fresh_as_of(warehouse)


def waiting_steps(warehouse: Connection, names: Set[str]) -> Sequence[Waiting]:
    """Return the steps of these tables that have not begun, since another worker is at their table."""
    return waiting.steps(warehouse, names)


def proved(warehouse: Connection) -> Mapping[str, Proof]:
    """Return what the audits found of each loaded table."""
    return proofs.read(warehouse)


def snapshots(warehouse: Connection, sources: Iterable[str]) -> Mapping[str, Snapshot]:
    """Return the last snapshot of each source that has one."""
    return ledger.last_snapshots(warehouse, sources)


def held_back(last: Mapping[str, Snapshot]) -> Mapping[str, Sequence[str]]:
    """Return, by source, who kept its horizon back for long, as of its last snapshot."""
    return {source: taken.held_back for source, taken in last.items()}


def behind(last: Mapping[str, Snapshot]) -> Mapping[str, str]:
    """Return, by source, which standby it was read from that did not have all of its primary, in words."""
    return {source: snapshot.standby(taken) for source, taken in last.items() if taken.behind}


def failed_runs(warehouse: Connection, since: datetime) -> Iterator[Run]:
    """Return the runs that failed, those that were killed included."""
    return runs.failed(warehouse, ETL, since)


def done_or_going(warehouse: Connection, run: Run) -> set[str]:
    """Return the tables that were loaded in a run whose process is gone, or that somebody is still at."""
    steps = ledger.steps_of(warehouse, run.run)
    done = {one.key.name for one in steps if one.done and one.key.task in chains.CONCLUDING}
    going = [one for one in steps if one.state == State.RUNNING]
    return done | {one.key.name for one in going if liveness.is_at_work(warehouse, one)}


def truthful(warehouse: Connection, step: Step, run: Run | None = None) -> Step:
    """Return a step as it is: one that says running, but whose process is gone, has failed."""
    if step.state != State.RUNNING:
        return step
    run = run or runs.find(warehouse, ETL, step.key.run)
    if (run and run.alive) or liveness.is_at_work(warehouse, step):
        return step
    return dataclasses.replace(step, state=State.FAILED, error=KILLED)
