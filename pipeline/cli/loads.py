"""What a load did with each table, for people: at the end of `pipeline run etl`, and in `pipeline status`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline import chains, ledger, outage
from pipeline.alerts import hints
from pipeline.alerts.hints import Hint
from pipeline.chains import BUILD_TASK, EXTRACT_TASK, LOAD_TASK, VALIDATE_TASK
from pipeline.cli import terminal
from pipeline.cli.terminal import table as new_table
from pipeline.ledger import Fresh, runs
from pipeline.ledger.runs import Published, TableState
from pipeline.postgres import Connection
from pipeline.step import State, Step

if TYPE_CHECKING:
    # A run looks at its own tables alone, and needs nothing of what is known of all the rest.
    from pipeline.observe.overview import Table

# What a transaction does to a source that does not end.
READ_AGAIN = "each load reads again all that was written since"
MODES = {"first": "first", "full": "full", "increment": "delta"}
# Where a table stands that is not loaded yet.
WORDS = {
    (EXTRACT_TASK, State.RUNNING): "reading",
    (EXTRACT_TASK, State.DONE): "read",
    (VALIDATE_TASK, State.RUNNING): "checking",
    (VALIDATE_TASK, State.DONE): "checked",
    (LOAD_TASK, State.RUNNING): "loading",
    (BUILD_TASK, State.RUNNING): "building",
}


def show_run(warehouse: Connection, run: str, names: Sequence[str]) -> None:
    """Print what a run did with the tables in `names`, and what to type where it failed."""
    steps = [step for step in ledger.steps_of(warehouse, run) if step.key.name in names]
    show_tables(run, steps, ledger.fresh_as_of(warehouse))
    show_failures([step for step in steps if step.state == State.FAILED])


def show_tables(
    run: str,
    steps: Sequence[Step],
    known: Sequence[Fresh],
    others: Sequence["Table"] = (),
    styles: Mapping[str, str | None] | None = None,
) -> None:
    """Print a line for each table of these steps of a run; `known` has the moment that each table shows.

    `others` are tables that may not be among them: of these the load that they show, in whichever run.
    `styles` has how a table is drawn, by its name, where it did not fail.
    """
    states = runs.tables(steps)
    begun = {state.name for state in states}
    more = [TableState(one.name, [one.last] if one.last else []) for one in others if one.name not in begun]
    if not states and not more:
        return
    fresh = {one.name: one.as_of for one in known} | {one.name: one.as_of for one in others if one.as_of}
    # A width of 80 holds names of 28 characters beside millions of rows.
    shown = new_table("table", ">rows", ">new", ">changed", ">deleted", "mode", "as of")
    for state in sorted([*states, *more], key=lambda one: one.name):
        style = "red" if state.failed else (styles or {}).get(state.name)
        shown.add_row(state.name, *_cells(state), _short(fresh.get(state.name)), style=style)
    terminal.console().print(shown)
    marts = [state for state in states if state.name.startswith(f"{chains.MART.schema}.")]
    loaded = [state.loaded for state in states if state.loaded and state not in marts]
    if all(state.loaded for state in states) and loaded:
        terminal.print_text(_summary(run, loaded))
        if marts:
            terminal.print_text(f"run {run}: {len(marts)} mart{'' if len(marts) == 1 else 's'} built")
    for state in states:
        if state.loaded and (aside := state.loaded.quarantined):
            terminal.print_text(
                f"{state.name}: {aside:,} rows failed a check and are in the schema quarantine"
            )


def show_failures(failures: Sequence[Step]) -> None:
    """Print each failure in a line, and the command that fixes it in the next.

    What failed for the same reason, such as a server that is out of reach, is one failure.
    """
    groups: dict[tuple[object, ...], list[Step]] = {}
    for step in failures:
        groups.setdefault(_reason(step), []).append(step)
    for alike in groups.values():
        step = alike[-1]
        server = step.outage if len(alike) > 1 else None
        error = outage.error_of(step.error, server) if server else step.error or "no error message"
        if server and len({one.key.name.partition(".")[0] for one in alike}) > 1:
            # Which source it was that noticed it is no news beside all their names.
            error = error.removeprefix(f"{server.server}: ")
        names = outage.few(sorted({one.key.name for one in alike}))
        tasks = ", ".join(dict.fromkeys(one.key.task for one in alike))
        fix = _fix(alike)
        terminal.print_line(
            terminal.failure(f"{names}: {tasks} failed", "; ".join(error.splitlines())), "red"
        )
        terminal.print_next(fix.before, fix.command)


def _reason(step: Step) -> tuple[object, ...]:
    """Return what steps have in common that failed for the same reason, and are fixed by one command."""
    chain = chains.find(step.key.task)
    server = step.outage
    if server is None or chain is None:
        return (step.key,)
    mart = chains.ETL if chain is chains.MARTS else chain
    return step.key.run, mart.name, server.place


def _fix(alike: Sequence[Step]) -> Hint:
    step = alike[-1]
    fix = hints.of_step(step)
    if len(alike) == 1:
        return fix
    chain = chains.find(step.key.task)
    sources = {one.key.name.partition(".")[0] for one in alike}
    if chain is not chains.ETL or len(sources) > 1:
        name = chain.name if chain and chain is not chains.MARTS else chains.ETL.name
        return Hint(hints.of_run(step.key.run, name).command, fix.before)
    whole = replace(step, key=replace(step.key, name=sources.pop()))
    return hints.of_step(whole)


def _short(moment: datetime | None) -> str:
    """Return a moment as the time if it was today, else as the date: both in UTC and of five characters."""
    if moment is None:
        return ""
    moment, now = moment.astimezone(UTC), datetime.now(UTC)
    if moment.date() == now.date():
        return f"{moment:%H:%M}"
    return f"{moment:%m-%d}" if moment.year == now.year else f"{moment:%Y}"


def _cells(state: TableState) -> list[str]:
    if state.loaded:
        done = state.loaded
        # A mart is made anew.
        counts = (done.total, done.inserted, done.updated, done.deleted)
        shown = ["" if count is None else f"{count:,}" for count in counts]
        return [*shown, MODES.get(done.mode, done.mode)]
    if not state.steps:
        return ["", "", "", "", "never"]
    latest = state.failed or state.steps[-1]
    return [f"{latest.rows:,}" if latest.rows else "", "", "", "", word(latest)]


def word(step: Step) -> str:
    """Return how a step of a table stands, in one word for a person."""
    return WORDS.get((step.key.task, step.state), step.state)


def _summary(run: str, loaded: Sequence[Published]) -> str:
    new, changed, deleted = (
        sum(count or 0 for count in counts)
        for counts in zip(*((done.inserted, done.updated, done.deleted) for done in loaded), strict=True)
    )
    tables = terminal.counted(len(loaded), "table")
    what = f"run {run}: {tables}, {sum(done.total for done in loaded):,} rows"
    if aside := sum(done.quarantined for done in loaded):
        what += f", {aside:,} quarantined"
    if not (new or changed or deleted):
        return f"{what}: nothing changed"
    return f"{what}: {new:,} new, {changed:,} changed, {deleted:,} deleted"


def extent(tables: Sequence["Table"], backups: int) -> str:
    """Return how much there is; marts are no tables of a source, and are counted apart as a run does.

    >>> from pipeline.observe.overview import Table
    >>> tables = [Table(name, None, 1, "ok", None) for name in ("hr.employee", "mart.staff", "martial.arts")]
    >>> extent(tables, 1), extent(tables[:1], 0)
    ('2 tables, 1 mart and 1 backup', '1 table and 0 backups')
    """
    marts = sum(each.name.startswith(f"{chains.MART.schema}.") for each in tables)
    parts = [terminal.counted(len(tables) - marts, "table")]
    if marts:
        parts.append(terminal.counted(marts, "mart"))
    return f"{', '.join(parts)} and {terminal.counted(backups, 'backup')}"


def show_unbuilt(run: str, lacking: Mapping[str, Sequence[str]]) -> None:
    """Print why marts were not built that did not fail themselves: what each reads, and the run has not."""
    for name, reads in sorted(lacking.items())[: outage.FEW]:
        terminal.print_line(f"{name}: not built, because it reads {outage.few(reads)}, which run {run} lacks")
    if (more := len(lacking) - outage.FEW) > 0:
        terminal.print_line(f"{terminal.counted(more, 'mart')} more: not built, for reasons like these")


def show_held_back(holders_by_source: Mapping[str, Sequence[str]]) -> None:
    """Print who keeps the horizon of a source back, of each source."""
    for source, holders in sorted(holders_by_source.items()):
        for one in holders:
            terminal.print_line(f"{source}: {one}, has not ended; {READ_AGAIN}", "yellow")
