"""`pipeline status`: what ran, what failed and why, how fresh each table is, and what to type next."""

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline import access, ledger, load, postgres, runs, settings
from pipeline.cli import terminal
from pipeline.cli.terminal import table as new_table
from pipeline.ledger import Step
from pipeline.postgres import Connection
from pipeline.redact import redact
from pipeline.runs import Run, TableState

NAME = "etl"
STALE_HOURS = 26
MODES = {"first": "first", "full": "full", "increment": "delta"}
# Where a table stands that is not loaded yet.
WORDS = {
    (ledger.EXTRACT_TASK, "running"): "reading",
    (ledger.EXTRACT_TASK, "done"): "read",
    (ledger.VALIDATE_TASK, "running"): "checking",
    (ledger.VALIDATE_TASK, "done"): "checked",
    (ledger.LOAD_TASK, "running"): "loading",
}


def add_command(commands: Any) -> None:
    """Add `status` to the command line."""
    parser = commands.add_parser(
        "status", help="what ran, what failed, what to type next", description=__doc__
    )
    parser.add_argument("--run", help="the logical date (default: the latest run)")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(command=show_status)


def show_status(arguments: argparse.Namespace) -> int:
    """Print the state of a run, the latest by default."""
    run = runs.parse(arguments.run) if arguments.run else None
    with access.opened(settings.read()) as databases, databases.warehouse(autocommit=True) as warehouse:
        ledger.require_migrated(warehouse)
        found = runs.find(warehouse, NAME, run)
        if arguments.json:
            terminal.say(json.dumps(_data(warehouse, found), default=str, indent=2))
        elif found is None:
            terminal.say(f"run {run} is not known" if run else "nothing has run yet: type 'pipeline run etl'")
        else:
            terminal.say(_headline(found))
            show_run(warehouse, found.run)
    return 0


def _headline(found: Run) -> str:
    line = f"{found.name} {found.run} {_state(found)}, began {found.started_at:%Y-%m-%d %H:%M} UTC"
    if found.finished_at and not found.alive:
        line += f", took {(found.finished_at - found.started_at).total_seconds():.0f} s"
    elif not found.alive:
        line += f"; process {found.pid} on {found.host} is gone: type 'pipeline run etl --run {found.run}'"
    return line


def _state(found: Run | None) -> str:
    if found is None:
        return "stale"
    if found.actual_state == "done":
        age = datetime.now(UTC) - found.started_at
        return "stale" if age.total_seconds() > STALE_HOURS * 3600 else "ok"
    return found.actual_state


def show_run(warehouse: Connection, run: str, names: Sequence[str] | None = None) -> None:
    """Print what a run did with each table, or with those in `names`, and what to type where it failed."""
    states = [state for state in runs.tables(warehouse, run) if names is None or state.name in names]
    fresh = {name: as_of for name, as_of, _ in load.fresh_as_of(warehouse)}
    # A width of 80 holds names of 28 characters beside millions of rows.
    shown = new_table("table", ">rows", ">new", ">changed", ">deleted", "mode", "as of")
    for state in states:
        style = "red" if state.failed else None
        shown.add_row(state.name, *_cells(state), _short(fresh.get(state.name)), style=style)
    terminal.console().print(shown)
    loaded = [state.loaded for state in states if state.loaded]
    if len(loaded) == len(states) and loaded:
        terminal.say(_summary(run, loaded))
    for state in states:
        if aside := (state.loaded or {}).get("quarantined"):
            terminal.say(f"{state.name}: {aside:,} rows were set aside; they are in the schema quarantine")
    for step in _failures(warehouse, run, names):
        terminal.say(f"{step.key.name}: {step.key.task} failed: {step.error}")
        terminal.say(f"  next: {_next(step)}")


def _short(moment: datetime | None) -> str:
    """Return a moment as the time if it was today, else as the date: both in UTC and of five characters."""
    if moment is None:
        return ""
    moment, now = moment.astimezone(UTC), datetime.now(UTC)
    if moment.date() == now.date():
        return f"{moment:%H:%M}"
    return f"{moment:%m-%d}" if moment.year == now.year else f"{moment:%Y}"


def _failures(warehouse: Connection, run: str, names: Sequence[str] | None) -> list[Step]:
    return [
        step
        for step in ledger.steps(warehouse, run)
        if step.state == "failed" and (names is None or step.key.name in names)
    ]


def _cells(state: TableState) -> list[str]:
    if state.loaded:
        done = state.loaded
        counts = [f"{done[key]:,}" for key in ("total", "inserted", "updated", "deleted")]
        return [*counts, MODES.get(done["mode"], done["mode"])]
    latest = state.failed or state.steps[-1]
    return [f"{latest.rows:,}" if latest.rows else "", "", "", "", word(latest)]


def word(step: Step) -> str:
    """Return how a step of a table stands, in one word for a person."""
    return WORDS.get((step.key.task, step.state), step.state)


def _summary(run: str, loaded: Sequence[dict[str, Any]]) -> str:
    counts = {key: sum(done[key] for done in loaded) for key in ("inserted", "updated", "deleted", "total")}
    what = f"run {run}: {len(loaded)} tables, {counts['total']:,} rows"
    if aside := sum(done.get("quarantined", 0) for done in loaded):
        what += f", {aside:,} set aside"
    if not any(counts[key] for key in ("inserted", "updated", "deleted")):
        return f"{what}: nothing changed"
    return f"{what}: {counts['inserted']:,} new, {counts['updated']:,} changed, {counts['deleted']:,} deleted"


def _next(step: Step) -> str:
    source, _, table = step.key.name.partition(".")
    selection = f"--source {source}" + (f" --table {table}" if table else "")
    return f"pipeline run etl {selection} --run {step.key.run}"


def _data(warehouse: Connection, found: Run | None) -> dict[str, Any]:
    steps = ledger.steps(warehouse, found.run) if found else []
    return {
        "run": found.run if found else None,
        "state": _state(found),
        "steps": [_step_data(step) for step in steps],
        "tables": [
            {"table": name, "fresh_as_of": as_of.isoformat(), "rows": rows}
            for name, as_of, rows in load.fresh_as_of(warehouse)
        ],
        "backups": _backups(warehouse),
    }


def _backups(warehouse: Connection) -> list[dict[str, Any]]:
    """Return the newest verified backup of each database, as the warehouse was told of it."""
    if postgres.value(warehouse, "SELECT to_regclass('ops.backup')") is None:
        return []
    query = """
        SELECT DISTINCT ON (database) database, run, true AS verified, size_bytes, round(
            (extract(epoch FROM clock_timestamp() - taken_at) / 3600)::numeric, 2)::float8 AS age_hours
        FROM ops.backup ORDER BY database, taken_at DESC
        """
    return postgres.records(warehouse, query)


def _step_data(step: Step) -> dict[str, Any]:
    ended = step.finished_at or datetime.now(UTC)
    return {
        "task": step.key.task,
        "name": step.key.name,
        "state": step.state,
        "started_at": step.started_at.isoformat(),
        "seconds": round((ended - step.started_at).total_seconds(), 3),
        "rows": step.rows,
        "error": redact(step.error) if step.error else None,
        "next": _next(step) if step.state == "failed" else None,
    }
