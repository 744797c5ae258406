"""Chains without a command of their own: what of each goes on, or failed at its last attempt."""

from collections.abc import Iterator

from pipeline import chains, ledger
from pipeline.backup.work.attempts import KILLED
from pipeline.chains import Chain
from pipeline.ledger import runs
from pipeline.ledger.runs import Run
from pipeline.observe.observed import loads
from pipeline.postgres import Connection
from pipeline.step import State, Step, StepKey


def observe(warehouse: Connection, run: str | None) -> Iterator[Step]:
    """Yield the steps of each that go on or failed; of a run that failed before any did, its root."""
    for chain in chains.CHAINS:
        if chain.is_plain:
            latest = runs.find(warehouse, chain.name, run) if run else runs.last(warehouse, chain.name)
            # What failed before was made up for by an attempt that did not.
            if latest is not None and latest.actual_state in (State.FAILED, State.RUNNING):
                yield from _steps(warehouse, chain, latest)


def _steps(warehouse: Connection, chain: Chain, run: Run) -> Iterator[Step]:
    recorded = [step for step in ledger.steps_of(warehouse, run.run) if step.key.task in chain.steps]
    steps = [loads.truthful(warehouse, step, run) for step in recorded]
    yield from (step for step in steps if step.state in (State.FAILED, State.RUNNING))
    if run.actual_state == State.FAILED and not any(step.state == State.FAILED for step in steps):
        key = StepKey(run.run, chain.root, chain.name)
        error = run.error.splitlines()[-1] if run.error else KILLED
        yield Step(key, State.FAILED, run.attempted_at, run.finished_at, None, error, None)
