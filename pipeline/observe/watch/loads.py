"""Judges loads: whether runs begin, and how old each table and source is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pipeline import chains, durations
from pipeline.alerts import hints
from pipeline.alerts.message import one_line
from pipeline.observe.watch import limits
from pipeline.observe.watch.facts import Facts, Failing, LedgerFacts, TableFacts
from pipeline.observe.watch.verdict import Verdict, at
from pipeline.settings import Settings
from pipeline.step import StepKey

RUN_KEY = "watch/run/etl"


@dataclass(frozen=True)
class Table:
    """A table that should be loaded, and what is known of that."""

    name: str
    facts: TableFacts
    declared_at: datetime | None

    @property
    def counts_from(self) -> datetime | None:
        """Return the moment from which its age counts: while it was never loaded, when it could have been."""
        tried = [moment for moment in (self.facts.first_tried_at, self.declared_at) if moment]
        return self.facts.fresh_as_of or min(tried, default=None)

    def is_overdue(self, now: datetime, allowed: timedelta) -> bool:
        return self.counts_from is None or limits.exceeded(now, self.counts_from, allowed)

    def told(self, now: datetime) -> str:
        """Return its age, for people."""
        if self.facts.fresh_as_of:
            shown = self.facts.fresh_as_of
            return f"shows the source of {at(shown)}, {limits.ago(now, shown)}"
        if self.counts_from:
            return f"was never loaded, and could have been since {limits.ago(now, self.counts_from)}"
        return "was never loaded"


def judge(settings: Settings, facts: Facts, now: datetime) -> Iterator[Verdict]:
    """Yield what is to be thought of the last run, and of each source and its tables."""
    if facts.ledger is None:
        return
    known = tables(settings, facts, facts.ledger)
    run = _run(settings, facts.ledger, known, now)
    if run is not None:
        yield run
    for source, found in sorted(known.items()):
        yield from _source(settings, source, found, facts.ledger, run, now)
    yield from unmatched(settings, facts)


def tables(settings: Settings, facts: Facts, ledger: LedgerFacts) -> Mapping[str, Sequence[Table]]:
    """Return the tables of each source: those declared or, where that could not be read, those loaded."""
    if facts.declared is not None:
        return {
            source: [
                Table(f"{source}.{table}", ledger.tables.get(f"{source}.{table}", TableFacts()), since)
                for table, since in sorted(tables.items())
            ]
            for source, tables in facts.declared.items()
            if source in settings.sources
        }
    loaded = {name: found for name, found in ledger.tables.items() if found.fresh_as_of}
    return {
        source: [
            Table(name, found, None)
            for name, found in sorted(loaded.items())
            if name.startswith(f"{source}.")
        ]
        for source in settings.sources
    }


def _run(
    settings: Settings, ledger: LedgerFacts, tables: Mapping[str, Sequence[Table]], now: datetime
) -> Verdict | None:
    """Return what is to be thought of the last load as such: whether it began at all."""
    allowed = limits.run(settings)
    command = chains.ETL.command()
    found = ledger.run
    if found is None:
        waiting = [one.counts_from for all_ in tables.values() for one in all_ if one.counts_from]
        since = min(waiting, default=None)
        if since is None or not limits.exceeded(now, since, allowed):
            return None
        summary = (
            f"etl: no run ever began, and it could have since {limits.ago(now, since)}; "
            f"the limit is {durations.exact(allowed)}"
        )
        return Verdict(RUN_KEY, "stale", summary, command, since=since + allowed)
    age = limits.ago(now, found.attempted_at)
    summary = f"etl: the last run, {found.run}, began {age}; the limit is {durations.exact(allowed)}"
    if found.alive or not limits.exceeded(now, found.attempted_at, allowed):
        return Verdict(RUN_KEY, "well", summary)
    said = one_line(found.error) if found.error else None
    return Verdict(RUN_KEY, "stale", summary, command, said, found.attempted_at + allowed)


def _source(
    settings: Settings, source: str, tables: Sequence[Table], ledger: LedgerFacts, run: Verdict | None,
    now: datetime,
) -> Iterator[Verdict]:  # fmt: skip
    """Yield one verdict where all tables of the source are overdue, else one for each of them."""
    allowed = limits.table(settings, source)
    late = [one for one in tables if one.is_overdue(now, allowed)]
    untold = [one for one in late if not _explained(one, ledger, run)]
    if len(late) == len(tables) and len(untold) > 1:
        yield _all_late(source, tables, ledger, allowed, now)
        return
    if len(late) < len(tables):
        in_time = f"{len(tables) - len(late)} of {len(tables)} tables"
        in_time += f" are within the limit of {durations.exact(allowed)}"
        yield Verdict(f"watch/source/{source}", "well", f"source {source}: {in_time}")
    for one in tables:
        if one in untold:
            yield _late(one, allowed, now)
        elif one not in late and one.facts.fresh_as_of:
            summary = f"{one.name}: {one.told(now)}; the limit is {durations.exact(allowed)}"
            yield Verdict(f"watch/table/{one.name}", "well", summary)


def _explained(table: Table, ledger: LedgerFacts, run: Verdict | None) -> bool:
    """Whether a table is late only because no run began since: that is told once, of the run."""
    if run is None or run.kind != "stale" or table.facts.failing:
        return False
    since = table.facts.loaded_at or table.counts_from
    return ledger.run is None or since is None or ledger.run.attempted_at <= since


def _all_late(
    source: str, tables: Sequence[Table], ledger: LedgerFacts, allowed: timedelta, now: datetime
) -> Verdict:
    never = datetime.min.replace(tzinfo=UTC)
    newest = max(tables, key=lambda one: one.facts.fresh_as_of or never)
    own = ledger.tables.get(source, TableFacts()).failing
    what = f"source {source}: all {len(tables)} tables are late; the newest, {newest.name}, "
    found = _told(
        f"watch/source/{source}",
        f"{what}{newest.told(now)}; the limit is {durations.exact(allowed)}",
        chains.ETL.command(None, source),
        (source, own) if own else (newest.name, newest.facts.failing),
    )
    return replace(found, since=newest.counts_from and newest.counts_from + allowed)


def _late(table: Table, allowed: timedelta, now: datetime) -> Verdict:
    source, _, name = table.name.partition(".")
    found = _told(
        f"watch/table/{table.name}",
        f"{table.name}: {table.told(now)}; the limit is {durations.exact(allowed)}",
        chains.ETL.command(None, source, name),
        (table.name, table.facts.failing),
    )
    return replace(found, since=table.counts_from and table.counts_from + allowed)


def _told(key: str, summary: str, command: str, failing: tuple[str, Failing | None]) -> Verdict:
    """Return what is too old, with how the last step of it failed if one did, and what helps against that."""
    name, last = failing
    if last is None:
        return Verdict(key, "stale", summary, command)
    mend = hints.find(last.run, last.task, name, last.exit_code, last.hint, last.again)
    often = f" in {last.runs} runs since {at(last.since)}" if last.runs > 1 else ""
    said = one_line(f"{last.task} failed{often}: {last.error}")
    step = StepKey(last.run, last.task, name)
    return Verdict(key, "stale", summary, mend.command, said, step=step, hint=mend.before)


def unmatched(settings: Settings, facts: Facts) -> Iterator[Verdict]:
    """Yield the sources that stand in luigi.cfg alone, or in the analysts' repository alone."""
    if facts.declared is None:
        return
    for name in sorted(settings.sources.keys() - facts.declared.keys()):
        allowed = durations.exact(limits.table(settings, name))
        summary = (
            f"source {name}: nothing of it is ever loaded, within {allowed} or at all: luigi.cfg has "
            f"[source.{name}], but there is no sources/{name}.yaml"
        )
        yield Verdict(f"watch/source/{name}", "warning", summary, f"pipeline init {name}")
    for name in sorted(facts.declared.keys() - settings.sources.keys()):
        allowed = durations.exact(limits.table(settings, name))
        summary = (
            f"source {name}: nothing of it can be loaded, within {allowed} or at all: there is "
            f"sources/{name}.yaml, but luigi.cfg has no [source.{name}]"
        )
        yield Verdict(f"watch/source/{name}", "warning", summary, "pipeline check")
