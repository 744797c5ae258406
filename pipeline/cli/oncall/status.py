"""`pipeline status`: what ran, what failed and why, how fresh everything is, and what to type next."""

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline import access, chains, ledger, settings
from pipeline.alerts import hints
from pipeline.backup.store import signature
from pipeline.cli import loads, terminal
from pipeline.cli.oncall import status_json
from pipeline.errors import CheckError, PipelineError, StepError, UnreachableError, UsageError
from pipeline.ledger import runs
from pipeline.ledger.runs import Run
from pipeline.observe import overview
from pipeline.observe.overview import Backup, Drill, Overview, Status, Undone
from pipeline.observe.watch import finding, limits
from pipeline.redact import redact
from pipeline.settings import Settings
from pipeline.step import State

COMMANDS = {"status": "show what ran, what failed, and the next command"}
MEGABYTE = 1e6
STYLES = {Status.FAILED: "red", Status.STALE: "yellow"}
# The worst of everything.
CODES = {Status.FAILED: StepError.exit_code, Status.STALE: CheckError.exit_code}
# So many tables are named, more are counted.
FEW = 3


def add_commands(commands: Any) -> None:
    """Add `status` to the command line."""
    parser = commands.add_parser(
        "status",
        help=COMMANDS["status"],
        description="Show what ran, what failed and why, how fresh everything is, and the next command to "
        "type. Open failures of every run are shown. With --run: of that run alone.",
        epilog="exit codes: 0 all is ok, or is running; 3 something failed; 4 nothing failed, but "
        "something is too old ([watch] in luigi.cfg has the limits); 5 the warehouse is out of reach; "
        "2 settings, or no such run",
    )
    parser.add_argument("--run", help="the logical date of the run (default: the latest load)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=show_status)


def show_status(arguments: argparse.Namespace) -> int:
    """Print how every chain is; without the ledger what can be told, and raise why it could not be seen."""
    run = runs.parse(arguments.run) if arguments.run else None
    configured = settings.read()
    failure: PipelineError | None = None
    try:
        seen = _read(configured, run)
    except (UnreachableError, StepError) as error:
        failure, seen = error, overview.summarize_without_ledger(configured, run)
    known = failure is None and configured.warehouse is not None
    warning = signature.warning(configured) if seen.backups else None
    if arguments.json:
        data = {**status_json.data(seen), "warnings": [warning] if warning else []}
        terminal.print_text(json.dumps(data, indent=2))
    else:
        _show(seen, run, known=known)
        terminal.warn(warning)
    if failure:
        raise failure
    if run and known and seen.run is None:
        return UsageError.exit_code
    return CODES.get(seen.state, 0)


def _read(configured: Settings, run: str | None) -> Overview:
    if configured.warehouse is None:
        return overview.summarize_without_ledger(configured, run)
    with access.opened(configured) as databases, databases.warehouse(autocommit=True) as warehouse:
        ledger.require_migrated(warehouse)
        return overview.summarize(databases, warehouse, run)


def _show(seen: Overview, run: str | None, *, known: bool) -> None:
    if known and not run:
        terminal.print_line(_worst(seen), STYLES.get(seen.state))
    if seen.run is not None:
        terminal.print_line(_headline(seen, seen.run), STYLES.get(seen.load_state))
        styles = {table.name: STYLES.get(table.state) for table in seen.tables}
        loads.show_tables(seen.run.run, seen.steps, seen.fresh, seen.tables, styles)
    elif known:
        terminal.print_text(
            f"run {run} is not known" if run else f"nothing has run yet; type '{chains.ETL.command()}'"
        )
    _show_proofs(seen)
    _show_backups(seen, known=known)
    _show_archives(seen, known=known)
    _show_programs(seen)
    for step in [*(one for one in seen.steps if one.progress is not None), *seen.others]:
        if step.state == State.RUNNING:
            progress = step.progress or "running"
            terminal.print_line(f"{step.key.name}: {step.key.task} of {step.key.run}: {redact(progress)}")
    for waits in seen.waiting:
        terminal.print_line(f"{waits.key.name}: {waits.key.task} of {waits.key.run}: {waits.waits}")
    loads.show_held_back(seen.held_back)
    for source, standby in sorted(seen.behind.items()):
        terminal.print_line(f"{source}: was read from {standby}", "yellow")
    for remark in seen.remarks:
        terminal.print_line(remark, "red")
    loads.show_failures(seen.failures)
    for one in seen.undone:
        _show_undone(seen, one)
    if late := seen.stale_tables:
        terminal.print_line(f"too old: {_few(late)}", STYLES[Status.STALE])
        terminal.print_next("", chains.ETL.command())
    for database in seen.stale_databases:
        _show_stale(seen, database)


def _show_programs(seen: Overview) -> None:
    """Say when each file of the analysts' own tasks was last done, and what is too old."""
    for program in seen.programs:
        last = (
            f"last done {program.done_at:%Y-%m-%d %H:%M} UTC, in run {program.run}"
            if program.done_at
            else "never done here"
        )
        terminal.print_line(f"{program.file}: {last}", STYLES[Status.STALE] if program.is_stale else None)
    if late := seen.stale_programs:
        terminal.print_line(f"too old: {_few([one.file for one in late])}", STYLES[Status.STALE])
        terminal.print_next("", chains.ANALYSTS.command())


def _show_proofs(seen: Overview) -> None:
    """Say when the tables were last proved equal to their sources, and which are not."""
    proved = {name: proof.proved_at for name, proof in seen.proofs.items() if proof.proved_at}
    if proved:
        oldest = min(proved, key=lambda name: proved[name])
        terminal.print_text(
            f"proved equal to their sources: {len(proved)} of {len(seen.proofs)} tables; "
            f"{oldest} longest ago, {proved[oldest]:%Y-%m-%d %H:%M}"
        )
    for name, proof in seen.proofs.items():
        if proof.differs:
            terminal.print_line(f"{name}: not equal to its source: {proof.reason}", "red")
            terminal.print_next("", f"pipeline rerun --from extract --full {name}")


def _worst(seen: Overview) -> str:
    """Return how everything is, the worst first."""
    lack = "no new backup or drill"
    counts = [
        (len(seen.failures) + len(seen.undone), "failure is open", "failures are open"),
        (len(seen.differing), "table differs from its source", "tables differ from their sources"),
        (len(seen.stale_tables), "table is too old", "tables are too old"),
        (len(seen.stale_databases), f"database has {lack}", f"databases have {lack}"),
        (len(seen.stale_programs), "file of tasks is too old", "files of tasks are too old"),
        (len(seen.wrong_archives), "archive has a problem", "archives have problems"),
    ]
    counted = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    if not seen.stale_tables and seen.run and seen.load_state == Status.STALE:
        counted.append("the last load is too old")
    going = ["something is running"] if seen.state == Status.RUNNING else []
    fine = f"{loads.extent(seen.tables, len(seen.backups))} are up to date"
    return f"{seen.state}: {', '.join(counted or [*going, fine])}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return f"{', '.join(names[:FEW])}{more}"


def _show_undone(seen: Overview, undone: Undone) -> None:
    """Say what of a load that failed is no failure of a step."""
    run = undone.run
    if run.error and not any(step.key.run == run.run for step in seen.failures):
        terminal.print_line(f"{run.name} {run.run} failed: {run.error.splitlines()[-1]}", "red")
    if undone.tables:
        terminal.print_text(f"not loaded: {_few(undone.tables)}")
    loads.show_unbuilt(run.run, undone.lacking)
    terminal.print_next("", hints.of_run(run.run, run.name).command)


def _show_stale(seen: Overview, database: str) -> None:
    """Say what of a database is too old; that there is no backup of it at all is told with the others."""
    late = [one for one in seen.backups if one.database == database and one.is_stale and one.run]
    for backup in late:
        terminal.print_line(
            f"{database}: its newest backup, run {backup.run}, is too old", STYLES[Status.STALE]
        )
        terminal.print_next("", chains.BACKUP.command(None, database))
    for drill in [one for one in seen.drills if one.database == database and one.is_stale and one.held]:
        of = "" if drill.task == chains.DRILL_TASK else " from pgBackRest"
        line = f"{database}: its last drill{of}, of {drill.month}, is too old"
        terminal.print_line(line, STYLES[Status.STALE])
        terminal.print_next("", chains.DRILL.subject(drill.task, {"database": database}).command)


def _headline(seen: Overview, run: Run) -> str:
    line = f"{run.name} {run.run} {seen.load_state}, began {run.started_at:%Y-%m-%d %H:%M} UTC"
    if run.attempts > 1:
        line += f", attempt {run.attempts} at {run.attempted_at:%Y-%m-%d %H:%M} UTC"
    if run.alive:
        return f"{line} on {run.host}, process {run.pid}"
    if run.finished_at:
        return f"{line}, took {(run.finished_at - run.attempted_at).total_seconds():.0f} s"
    return f"{line}; process {run.pid} on {run.host} is gone"


def _show_backups(seen: Overview, *, known: bool) -> None:
    if not seen.backups:
        return
    drills, now = seen.drills_of(chains.DRILL_TASK), datetime.now(UTC)
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
            style=_style(backup, drill),
        )
    terminal.console().print(shown)
    for backup in seen.backups:
        for warning in backup.warnings:
            terminal.print_line(warning.removeprefix("database "), "yellow")
    begun = {step.key.name for step in seen.others if chains.find(step.key.task) is chains.BACKUP}
    for backup in seen.backups:
        if backup.run is None and backup.database not in begun:
            where = " in the ledger" if known else ""
            terminal.print_line(f"{backup.database}: no backup{where}", "red")
            terminal.print_next("", chains.BACKUP.command(None, backup.database))


def _show_archives(seen: Overview, *, known: bool) -> None:
    """Say what pgBackRest has beside our backups, what is wrong with it, and when it was last proven."""
    archives = {one.database: one for one in seen.archives}
    drills = seen.drills_of(chains.ARCHIVE_DRILL_TASK)
    for name in sorted({*archives, *drills}):
        if one := archives.get(name):
            style = STYLES[Status.STALE] if one.problems else None
            terminal.print_line(f"{name}: {one.description}", style)
            for problem in one.problems:
                terminal.print_line(f"{name}: {problem}", STYLES[Status.STALE])
        if known:
            _show_archive_drill(name, drills.get(name))


def _show_archive_drill(database: str, drill: Drill | None) -> None:
    """Say when the archive of a server was last restored and proven, and how its last drill ended."""
    if drill is None:
        terminal.print_line(f"{database}: pgBackRest not proven by a drill yet")
        return
    proven, style = "never proven", STYLES[Status.STALE] if drill.is_stale else None
    if drill.held_at:
        proven = f"last proven {finding.at(drill.held_at)}, {limits.ago(datetime.now(UTC), drill.held_at)}"
    if not drill.held:
        proven, style = f"{proven}; drill of {drill.month}", STYLES[Status.FAILED]
    terminal.print_line(f"{database}: pgBackRest {proven}: grade {drill.grade}", style)


def _style(backup: Backup, drill: Drill | None) -> str | None:
    if not backup.verified or (drill and not drill.held):
        return STYLES[Status.FAILED]
    return STYLES[Status.STALE] if backup.is_stale or (drill and drill.is_stale) else None
