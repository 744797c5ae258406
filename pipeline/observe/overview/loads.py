"""Loads: how old each declared table is, and all that failed and was not made up for, in whichever run."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import datetime

from pipeline import chains
from pipeline.errors import PipelineError
from pipeline.observe.observed import declared as catalogued
from pipeline.observe.observed import loads as observed
from pipeline.observe.observed.observations import LedgerObservations, Observations, TableObservations
from pipeline.observe.observed.observe import HISTORY
from pipeline.observe.observed.observe import tables as read_tables
from pipeline.observe.overview.model import Status, Table, Undone
from pipeline.observe.watch import limits
from pipeline.observe.watch import loads as ages
from pipeline.postgres import Connection
from pipeline.settings import Settings
from pipeline.step import State, Step


@dataclasses.dataclass(frozen=True)
class Loads:
    """What there is of loads, all runs together."""

    tables: Sequence[Table]
    open: Sequence[Step]
    undone: Sequence[Undone]
    remarks: Sequence[str]


@dataclasses.dataclass(frozen=True)
class _Aged:
    """A table, or mart, and the source that it fails with."""

    name: str
    source: str
    as_of: datetime | None
    loaded_at: datetime | None
    is_late: bool


def observe(settings: Settings, warehouse: Connection, now: datetime) -> Loads:
    """Return how each declared table and mart is, and what is open."""
    since, remarks, declared = now - HISTORY, [], None
    try:
        declared = catalogued.read(settings, warehouse) if settings.analysts else None
    except PipelineError as error:
        remarks.append(
            f"the analysts' catalog cannot be read, so tables are shown as they were loaded: {error}"
        )
    seen = Observations(
        declared=declared.tables if declared else None, marts=declared.marts if declared else None
    )
    known = LedgerObservations(tables=read_tables(warehouse, since))
    remarks += [one.text for one in ages.unmatched(settings, dataclasses.replace(seen, ledger=known))]
    aged = [*_tables(settings, seen, known, now), *_marts(settings, seen, known, now)]
    names = {name for one in aged for name in (one.name, one.source)}
    # And of a source that luigi.cfg lacks, of which no table can be late.
    names |= set(seen.declared or ())
    steps = observed.open_steps(warehouse, since)
    failed = [step for step in steps if step.state == State.FAILED and step.key.name in names]
    failing = {step.key.name for step in failed}
    last = observed.last_loads(warehouse)
    if declared is not None:
        remarks += catalogued.no_longer(warehouse, declared, last)
    tables = [_table(one, failing, last.get(one.name)) for one in sorted(aged, key=lambda one: one.name)]
    reads = declared.reads if declared else {}
    return Loads(tables, failed, _undone(warehouse, aged, failing, since, reads), remarks)


def _tables(
    settings: Settings, seen: Observations, known: LedgerObservations, now: datetime
) -> Iterator[_Aged]:
    for source, tables in ages.tables(settings, seen, known).items():
        allowed = limits.table(settings, source)
        for one in tables:
            late = one.is_overdue(now, allowed)
            yield _Aged(one.name, source, one.observations.fresh_as_of, one.observations.loaded_at, late)


def _marts(
    settings: Settings, seen: Observations, known: LedgerObservations, now: datetime
) -> Iterator[_Aged]:
    for mart, declared_at in (seen.marts or {}).items():
        name = f"{chains.MART.schema}.{mart}"
        one = known.tables.get(name, TableObservations())
        late = limits.exceeded(now, one.loaded_at or declared_at, limits.run(settings))
        # Built an hour ago of tables that are of last week, it shows last week.
        yield _Aged(name, name, one.fresh_as_of or one.loaded_at, one.loaded_at, late)


def _table(one: _Aged, failing: Set[str], last: Step | None) -> Table:
    state = Status.OK
    if one.name in failing or one.source in failing:
        state = Status.FAILED
    elif one.is_late:
        state = Status.STALE
    return Table(one.name, one.as_of, last.rows if last else None, state, last)


def _undone(
    warehouse: Connection,
    tables: Sequence[_Aged],
    failing: Set[str],
    since: datetime,
    reads: Mapping[str, Sequence[str]],
) -> list[Undone]:
    """Return the runs that failed, each with the tables that nobody loaded since, though none of them failed.

    As when Luigi ended before any step began, or a run was killed before it came to them.
    """
    undone, reported = [], set(failing)
    for run in observed.failed_runs(warehouse, since):
        waiting = {
            one.name
            for one in tables
            if run.is_to_load(one.name) and not reported.intersection((one.name, one.source))
            if one.loaded_at is None or one.loaded_at < run.attempted_at
        }
        if waiting and not run.alive:
            waiting -= observed.done_or_going(warehouse, run)
            if waiting:
                undone.append(Undone(run, sorted(waiting), _lacking(waiting, failing, reads)))
        # Whatever it goes on with is not undone yet.
        reported |= waiting
    return undone


def _lacking(
    waiting: Set[str], failing: Set[str], reads: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[str]]:
    """Return, by mart that waits, what of that which it reads waits as well, or failed, or its source did."""
    missing = {*waiting, *failing}
    lacking: dict[str, Sequence[str]] = {}
    for mart, names in reads.items():
        lacks = [name for name in names if missing.intersection((name, name.partition(".")[0]))]
        if lacks and (name := f"{chains.MART.schema}.{mart}") in waiting:
            lacking[name] = lacks
    return lacking
