"""`pipeline status`: what ran, what failed and why, how fresh everything is, and what to type next."""

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from pipeline import access, chains, ledger, overview, runs, settings
from pipeline.alerts import remedy
from pipeline.cli import loads, terminal
from pipeline.errors import PipelineError, StepError, UnreachableError
from pipeline.overview import Overview
from pipeline.redact import redact
from pipeline.runs import Run
from pipeline.settings import Settings
from pipeline.step import Step

MEGABYTE = 1e6
STYLES = {overview.FAILED: "red", overview.STALE: "yellow"}
# So many tables are named, more are counted.
FEW = 3


def add_command(commands: Any) -> None:
    """Add `status` to the command line."""
    parser = commands.add_parser(
        "status", help="what ran, what failed, what to type next", description=__doc__
    )
    parser.add_argument("--run", help="the logical date (default: the latest load)")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(command=show_status)


def show_status(arguments: argparse.Namespace) -> int:
    """Print how every chain is; without the ledger what can be told, and raise why it could not be seen."""
    run = runs.parse(arguments.run) if arguments.run else None
    configured = settings.read()
    lost: PipelineError | None = None
    try:
        seen = _look(configured, run)
    except (UnreachableError, StepError) as error:
        lost, seen = error, overview.look_without_ledger(configured, run)
    if arguments.json:
        terminal.say(json.dumps(_data(seen), indent=2))
    else:
        _show(seen, run, known=lost is None and configured.warehouse is not None)
    if lost:
        raise lost
    return 0


def _look(configured: Settings, run: str | None) -> Overview:
    if configured.warehouse is None:
        return overview.look_without_ledger(configured, run)
    with access.opened(configured) as databases, databases.warehouse(autocommit=True) as warehouse:
        ledger.require_migrated(warehouse)
        return overview.look(databases, warehouse, run)


def _show(seen: Overview, run: str | None, *, known: bool) -> None:
    if seen.run is not None:
        terminal.tell(_headline(seen, seen.run), STYLES.get(seen.load_state))
        loads.show_tables(seen.run.run, seen.steps, seen.fresh)
    elif known:
        terminal.say(
            f"run {run} is not known" if run else f"nothing has run yet: type '{chains.ETL.command()}'"
        )
    _show_proofs(seen)
    _show_backups(seen, known=known)
    for step in seen.others:
        if step.state == overview.RUNNING:
            told = step.detail.get("told") or "at work"
            terminal.tell(f"{step.key.name}: {step.key.task} of {step.key.run}: {told}")
    for remark in seen.remarks:
        terminal.tell(remark, "red")
    loads.show_failures(seen.failures)
    _show_rest(seen)


def _show_proofs(seen: Overview) -> None:
    """Say when the tables were last proved equal to their sources, and which are not."""
    proved = {name: proof.proved_at for name, proof in seen.proofs.items() if proof.proved_at}
    if proved:
        oldest = min(proved, key=lambda name: proved[name])
        terminal.say(
            f"proved equal to their sources: {len(proved)} of {len(seen.proofs)} tables; "
            f"{oldest} longest ago, {proved[oldest]:%Y-%m-%d %H:%M}"
        )
    for name, proof in seen.proofs.items():
        if proof.differs:
            terminal.tell(f"{name}: not equal to its source: {proof.reason}", "red")
            terminal.tell_next("", f"pipeline rerun --from extract --full {name}")


def _show_rest(seen: Overview) -> None:
    """Say what of a load that failed is no failure of a step."""
    if seen.run is None or seen.run.actual_state != overview.FAILED:
        return
    if names := seen.not_begun:
        more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
        terminal.say(f"not begun: {', '.join(names[:FEW])}{more}")
    elif any(step.state == overview.FAILED for step in seen.steps):
        return
    elif seen.run.error and seen.run.alive is False:
        terminal.say(f"{seen.run.name} {seen.run.run} failed: {seen.run.error.splitlines()[-1]}")
    terminal.say(f"  next: {remedy.of_run(seen.run.run, seen.run.name)}")


def _headline(seen: Overview, found: Run) -> str:
    line = f"{found.name} {found.run} {seen.load_state}, began {found.started_at:%Y-%m-%d %H:%M} UTC"
    if found.alive:
        return f"{line} on {found.host}, process {found.pid}"
    if found.finished_at:
        return f"{line}, took {(found.finished_at - found.started_at).total_seconds():.0f} s"
    return f"{line}; process {found.pid} on {found.host} is gone"


def _show_backups(seen: Overview, *, known: bool) -> None:
    if not seen.backups:
        return
    drills, now = {drill.database: drill for drill in seen.drills}, datetime.now(UTC)
    shown = terminal.table("database", "newest backup", ">age", ">MB", "verified", "drill", "grade")
    for backup in seen.backups:
        drill = drills.get(backup.database)
        shown.add_row(
            backup.database,
            backup.run or "none",
            terminal.age((now - backup.taken_at).total_seconds()) if backup.taken_at else "",
            f"{backup.size_bytes / MEGABYTE:,.1f}" if backup.size_bytes is not None else "",
            ("yes" if backup.verified else "NO") if backup.run else "",
            drill.month if drill else "",
            drill.grade if drill else "",
            style=None if backup.verified and (drill is None or drill.held) else "red",
        )
    terminal.console().print(shown)
    for backup in seen.backups:
        for warning in backup.warnings:
            terminal.tell(warning.removeprefix("database "), "yellow")
    begun = {step.key.name for step in seen.others if chains.find(step.key.task) is chains.BACKUP}
    for backup in seen.backups:
        if backup.run is None and backup.database not in begun:
            where = " in the ledger" if known else ""
            terminal.tell(f"{backup.database}: there is no backup of it{where}", "red")
            terminal.tell_next("", chains.BACKUP.command(None, backup.database))


def _data(seen: Overview) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "run": seen.run.run if seen.run else None,
        "state": seen.state,
        "steps": [_step_data(step) for step in _steps(seen)],
        "tables": [
            {
                "table": name,
                "fresh_as_of": as_of.isoformat(),
                "rows": rows,
                "proved_at": _moment(seen.proofs[name].proved_at if name in seen.proofs else None),
            }
            for name, as_of, rows in seen.fresh
        ],
        "backups": [
            {
                "database": backup.database,
                "run": backup.run,
                "verified": backup.verified,
                "warnings": list(backup.warnings),
                "size_bytes": backup.size_bytes,
                "age_hours": round((now - backup.taken_at).total_seconds() / 3600, 2)
                if backup.taken_at
                else None,
            }
            for backup in seen.backups
        ],
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _steps(seen: Overview) -> list[Step]:
    """Return every step, the drills that did not hold among them."""
    steps = [*seen.steps, *seen.others]
    return [*steps, *(one for one in seen.failures if one not in steps)]


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
        "next": remedy.of_step(step).command if step.state == overview.FAILED else None,
    }
