"""Judges loads: whether runs begin, and how old each table and source is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pipeline import chains, durations
from pipeline.alerts import hints
from pipeline.alerts.message import one_line
from pipeline.observe.observed.observations import (
    Failing,
    LedgerObservations,
    Observations,
    TableObservations,
)
from pipeline.observe.watch import limits
from pipeline.observe.watch.finding import Finding, Severity, at
from pipeline.settings import Settings
from pipeline.step import StepKey

RUN_KEY = "watch/run/etl"
# What helps against a standby that is behind: to load from it once more does not.
FOLLOW = "resume its replication: see its log, or call pg_wal_replay_resume()"


@dataclass(frozen=True)
class Table:
    """A table that should be loaded, and what is known of that."""

    name: str
    observations: TableObservations
    declared_at: datetime | None

    @property
    def counts_from(self) -> datetime | None:
        """Return the moment from which its age counts: while it was never loaded, when it could have been."""
        tried = [moment for moment in (self.observations.first_tried_at, self.declared_at) if moment]
        return self.observations.fresh_as_of or min(tried, default=None)

    def is_overdue(self, now: datetime, allowed: timedelta) -> bool:
        return self.counts_from is None or limits.exceeded(now, self.counts_from, allowed)

    def describe(self, now: datetime) -> str:
        """Return its age, for people."""
        if self.observations.fresh_as_of:
            shown = self.observations.fresh_as_of
            return f"shows the source of {at(shown)}, {limits.ago(now, shown)}"
        if self.counts_from:
            return f"was never loaded, first possible {limits.ago(now, self.counts_from)}"
        return "was never loaded"


def judge(settings: Settings, observations: Observations, now: datetime) -> Iterator[Finding]:
    """Yield what is to be thought of the last run, and of each source and its tables."""
    if observations.ledger is None:
        return
    known = tables(settings, observations, observations.ledger)
    run = _run(settings, observations.ledger, known, now)
    if run is not None:
        yield run
    for source, of_source in sorted(known.items()):
        yield from _source(settings, source, of_source, observations.ledger, run, now)
    yield from _held_back(observations.ledger)
    yield from unmatched(settings, observations)


def _held_back(ledger: LedgerObservations) -> Iterator[Finding]:
    """Yield who keeps the horizon of a source back: every night reads more, and nobody sees why."""
    for source, holders in sorted(ledger.held_back.items()):
        key = f"watch/horizon/{source}"
        if holders:
            summary = (
                f"{source}: each load reads again all that was written since, because these are still open: "
                f"{'; '.join(holders)}"
            )
            hint = "end it in the source: ROLLBACK PREPARED '...', or SELECT pg_terminate_backend(PROCESS)"
            yield Finding(key, Severity.WARNING, summary, f"pipeline plan {source}", hint=hint)
        else:
            yield Finding(key, Severity.OK, f"{source}: no transaction holds its horizon back")


def tables(
    settings: Settings, observations: Observations, ledger: LedgerObservations
) -> Mapping[str, Sequence[Table]]:
    """Return the tables of each source: those declared or, where that could not be read, those loaded."""
    if observations.declared is not None:
        return {
            source: [
                Table(f"{source}.{table}", ledger.tables.get(f"{source}.{table}", TableObservations()), since)
                for table, since in sorted(tables.items())
            ]
            for source, tables in observations.declared.items()
            if source in settings.sources
        }
    loaded = {name: state for name, state in ledger.tables.items() if state.fresh_as_of}
    return {
        source: [
            Table(name, state, None)
            for name, state in sorted(loaded.items())
            if name.startswith(f"{source}.")
        ]
        for source in settings.sources
    }


def _run(
    settings: Settings, ledger: LedgerObservations, tables: Mapping[str, Sequence[Table]], now: datetime
) -> Finding | None:
    """Return what is to be thought of the last load as such: whether it began at all."""
    allowed = limits.run(settings)
    command = chains.ETL.command()
    last = ledger.run
    if last is None:
        waiting = [one.counts_from for all_ in tables.values() for one in all_ if one.counts_from]
        since = min(waiting, default=None)
        if since is None or not limits.exceeded(now, since, allowed):
            return None
        summary = (
            f"etl: no run has ever started, first possible {limits.ago(now, since)}; "
            f"the limit is {durations.exact(allowed)}"
        )
        return Finding(RUN_KEY, Severity.STALE, summary, command, since=since + allowed)
    age = limits.ago(now, last.attempted_at)
    summary = f"etl: the last run, {last.run}, began {age}; the limit is {durations.exact(allowed)}"
    if last.alive or not limits.exceeded(now, last.attempted_at, allowed):
        return Finding(RUN_KEY, Severity.OK, summary)
    error = one_line(last.error) if last.error else None
    return Finding(RUN_KEY, Severity.STALE, summary, command, error, last.attempted_at + allowed)


def _source(
    settings: Settings,
    source: str,
    tables: Sequence[Table],
    ledger: LedgerObservations,
    run: Finding | None,
    now: datetime,
) -> Iterator[Finding]:
    """Yield one finding where all tables of the source are overdue, else one for each of them."""
    allowed = limits.table(settings, source)
    late = [one for one in tables if one.is_overdue(now, allowed)]
    untold = [one for one in late if not _explained(one, ledger, run)]
    if len(late) == len(tables) and len(untold) > 1:
        yield _all_late(source, tables, ledger, allowed, now)
        return
    if len(late) < len(tables):
        in_time = f"{len(tables) - len(late)} of {len(tables)} tables"
        in_time += f" are within the limit of {durations.exact(allowed)}"
        yield Finding(f"watch/source/{source}", Severity.OK, f"source {source}: {in_time}")
    for one in tables:
        if one in untold:
            yield _late(one, ledger, allowed, now)
        elif one not in late and one.observations.fresh_as_of:
            summary = f"{one.name}: {one.describe(now)}; the limit is {durations.exact(allowed)}"
            yield Finding(f"watch/table/{one.name}", Severity.OK, summary)


def _explained(table: Table, ledger: LedgerObservations, run: Finding | None) -> bool:
    """Whether a table is late only because no run began since: that is told once, of the run."""
    if run is None or run.severity != Severity.STALE or table.observations.failing:
        return False
    since = table.observations.loaded_at or table.counts_from
    return ledger.run is None or since is None or ledger.run.attempted_at <= since


def _all_late(
    source: str, tables: Sequence[Table], ledger: LedgerObservations, allowed: timedelta, now: datetime
) -> Finding:
    never = datetime.min.replace(tzinfo=UTC)
    newest = max(tables, key=lambda one: one.observations.fresh_as_of or never)
    own = ledger.tables.get(source, TableObservations()).failing
    what = f"source {source}: all {len(tables)} tables are late; the newest, {newest.name}, "
    finding = _stale(
        f"watch/source/{source}",
        f"{what}{newest.describe(now)}; the limit is {durations.exact(allowed)}",
        chains.ETL.command(None, source),
        (source, own) if own else (newest.name, newest.observations.failing),
    )
    finding = _with_standby(finding, newest, ledger, allowed, now)
    return replace(finding, since=newest.counts_from and newest.counts_from + allowed)


def _late(table: Table, ledger: LedgerObservations, allowed: timedelta, now: datetime) -> Finding:
    source, _, name = table.name.partition(".")
    finding = _stale(
        f"watch/table/{table.name}",
        f"{table.name}: {table.describe(now)}; the limit is {durations.exact(allowed)}",
        chains.ETL.command(None, source, name),
        (table.name, table.observations.failing),
    )
    finding = _with_standby(finding, table, ledger, allowed, now)
    return replace(finding, since=table.counts_from and table.counts_from + allowed)


def _with_standby(
    finding: Finding, table: Table, ledger: LedgerObservations, allowed: timedelta, now: datetime
) -> Finding:
    """Return what is too old with the standby as its reason, where it was loaded in time and from one."""
    standby = ledger.behind.get(table.name.partition(".")[0])
    loaded_at = table.observations.loaded_at
    if standby is None or finding.error or loaded_at is None or limits.exceeded(now, loaded_at, allowed):
        return finding
    return replace(finding, error=f"it was read from {standby}", hint=FOLLOW)


def _stale(key: str, summary: str, command: str, failing: tuple[str, Failing | None]) -> Finding:
    """Return what is too old, with how the last step of it failed if one did, and what helps against that."""
    name, last = failing
    if last is None:
        return Finding(key, Severity.STALE, summary, command)
    fix = hints.find(last.run, last.task, name, last.exit_code, last.hint, last.again)
    often = f" in {last.runs} runs since {at(last.since)}" if last.runs > 1 else ""
    error = one_line(f"{last.task} failed{often}: {last.error}")
    step = StepKey(last.run, last.task, name)
    return Finding(key, Severity.STALE, summary, fix.command, error, step=step, hint=fix.before)


def unmatched(settings: Settings, observations: Observations) -> Iterator[Finding]:
    """Yield the sources that stand in luigi.cfg alone, or in the analysts' repository alone.

    Of the latter a night tells as of any source that fails; once one has, it is not told here as well.
    """
    if observations.declared is None:
        return
    for name in sorted(settings.sources.keys() - observations.declared.keys()):
        allowed = durations.exact(limits.table(settings, name))
        summary = (
            f"source {name}: none of its tables is loaded (the limit is {allowed}): luigi.cfg has "
            f"[source.{name}], but there is no sources/{name}.yaml"
        )
        yield Finding(f"watch/source/{name}", Severity.WARNING, summary, f"pipeline init {name}")
    tried = observations.ledger.tables if observations.ledger else {}
    for name in sorted(observations.declared.keys() - settings.sources.keys()):
        if tried.get(name, TableObservations()).failing:
            continue
        allowed = durations.exact(limits.table(settings, name))
        summary = (
            f"source {name}: none of its tables can be loaded, nor what reads them (the limit is {allowed}): "
            f"there is sources/{name}.yaml, but luigi.cfg has no [source.{name}]"
        )
        hint = f"write [source.{name}] with secret = PATH_IN_VAULT there, or remove sources/{name}.yaml"
        yield Finding(f"watch/source/{name}", Severity.WARNING, summary, "pipeline check", hint=hint)
