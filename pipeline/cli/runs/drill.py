"""`pipeline run drill`: backups are restored into the drill server and proven; what was found is told."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline import alerts, chains, settings
from pipeline.alerts import failures
from pipeline.alerts.failures import AlertSubject
from pipeline.backup.drills import attempt, drill, due, recovery, report
from pipeline.backup.drills.attempt import DrillWork
from pipeline.backup.drills.report import Origin, Report
from pipeline.backup.store import signature
from pipeline.cli import terminal
from pipeline.cli.runs import supervise
from pipeline.errors import CheckError, PipelineError, UsageError, common_kind
from pipeline.ledger import runs
from pipeline.settings import Settings

STEPS = {Origin.BACKUP: drill.STEP, Origin.PGBACKREST: recovery.STEP}
MARKS = {True: "yes", False: "NO", None: "?"}


def add_chain(parsers: Any) -> None:
    """Add `run drill` to the command line."""
    parser = parsers.add_parser(
        chains.DRILL.name,
        help="restore the newest backups, and prove them",
        description="Restore the newest backup of a database, or of each, into the server of [drill], "
        "compare it with its manifest, time it, and verify that a damaged copy is refused. With --from "
        "pgbackrest: restore what pgBackRest has of a database's server into a folder of this machine, "
        "recover it to the end of the archive, read all of the database, and remove it. Ends with 4 if one "
        "did not hold.",
    )
    parser.add_argument("database", metavar="DATABASE", nargs="?", help="only this one")
    parser.add_argument(
        "--month",
        type=_month,
        help="the month that it is for (default: this one, UTC); for another drill within a month add "
        "a suffix, such as 2026-11-again",
    )
    parser.add_argument(
        "--changed",
        action="store_true",
        help="only the databases whose definitions or recipients changed since their last drill, or that "
        "were not proven this month; meant for every night",
    )
    parser.add_argument(
        "--from",
        dest="origin",
        choices=list(Origin),
        default=Origin.BACKUP,
        help="restore our backup (the default), or the archive of pgBackRest, where luigi.cfg names a stanza",
    )
    supervise.add_log_file(parser)
    parser.set_defaults(command=run_drill, subject=_subject)


def _subject(arguments: argparse.Namespace) -> AlertSubject:
    if arguments.origin == Origin.PGBACKREST:
        return failures.archive_drills(_month_of(arguments), arguments.database)
    return failures.drills(_month_of(arguments), arguments.database)


def _month_of(arguments: argparse.Namespace) -> str:
    # A drill for a change is known by its day.
    return arguments.month or (_today() if arguments.changed else f"{datetime.now(UTC):%Y-%m}")


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def _month(text: str) -> str:
    try:
        return runs.parse_month(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run_drill(arguments: argparse.Namespace) -> int:
    """Drill one database or all. Return 0 once the bucket has a report for each that says that it held."""
    configured = settings.read()
    configured.require_restore()
    origin = Origin(arguments.origin)
    databases = _databases(configured, arguments)
    month = _month_of(arguments)
    if arguments.changed:
        databases = due.due(configured, databases, month[:7])
        if not databases:
            terminal.print_text(
                "no drill is due: each database was proven this month, and its definitions have not "
                "changed since, nor have the keys to which it is encrypted"
            )
            return 0
    elif arguments.month is None and (again := due.failed_since(configured, databases, month, origin)):
        # What held at the beginning of the month says nothing of that: another drill, of today.
        databases, month = again, _today()
    folders = {name: DrillWork(configured, name, month, origin) for name in databases}
    with (
        supervise.log_file(arguments.log_file, configured, month) as log,
        next(iter(folders.values())).running(),
    ):
        before = attempt.reports(configured, databases, month, origin)
        todo = [name for name in databases if name not in before or not before[name].held]
        if todo:
            for name in todo:
                folders[name].clear_failure()
            root = [
                chains.DRILL.root,
                "--month",
                month,
                "--databases",
                _listed(todo),
                "--origin",
                str(origin),
            ]
            supervision = supervise.Supervision(
                f"drill {month}",
                len(todo),
                lambda: _progress([folders[name] for name in todo]),
                log,
                configured.run,
                lambda pid, error: _fail([folders[name] for name in todo], pid, error),
            )
            returncode, tail = supervision.run(supervise.luigi_root(chains.DRILL.module, root))
        else:
            terminal.print_text(
                f"the drills of {month} held already; nothing to do; for another one: --month {month}-again"
            )
        reports = attempt.reports(configured, databases, month, origin)
        _show(reports)
        terminal.warn(signature.warning(configured))
        if todo:
            _judge(configured, origin, reports, {name: folders[name] for name in todo}, returncode, tail)
        for folder in folders.values():
            folder.remove()
    return 0


def _databases(configured: Settings, arguments: argparse.Namespace) -> list[str]:
    """Return what is to be drilled. Raise UsageError if that is nothing, or luigi.cfg lacks what it needs."""
    named = [arguments.database] if arguments.database else []
    if arguments.origin == Origin.PGBACKREST:
        if arguments.changed:
            raise UsageError("--changed is for drills of our backups; leave it out, or --from pgbackrest")
        there = list(configured.with_archive)
        for name in named:
            recovery.stanza_of(configured, name)
        if not (named or there):
            raise UsageError("no archive to drill: no [database.NAME] in luigi.cfg has pgbackrest = STANZA")
        return named or there
    configured.require_drill()
    databases = named or sorted(configured.databases)
    for name in databases:
        configured.database(name)
    if not databases:
        raise UsageError("no database to drill: luigi.cfg has no [database.NAME]")
    return databases


def _part(origin: Origin, database: str, month: str) -> AlertSubject:
    subject = failures.drill if origin is Origin.BACKUP else failures.archive_drill
    return subject(database, month)


def _listed(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _fail(folders: Sequence[DrillWork], pid: int, error: PipelineError) -> None:
    for folder in folders:
        folder.fail_step_of(pid, error)


def _progress(folders: Sequence[DrillWork]) -> tuple[float, str]:
    progress = {folder.run: folder.read_progress() for folder in folders}
    done = sum(1 for folder in folders if folder.is_finished)
    for name, words in progress.items():
        if words:
            return done + min(words.percent, 99) / 100, f"{name} {words.message}"
    return float(done), ""


def _judge(
    configured: Settings,
    origin: Origin,
    reports: Mapping[str, Report],
    folders: Mapping[str, DrillWork],
    returncode: int,
    tail: Sequence[str],
) -> None:
    """Raise all that did not hold, by the reports in the bucket: Luigi's exit code alone tells too little."""
    wrong = [name for name in folders if name not in reports or not reports[name].held]
    for name in folders:
        if name not in wrong:
            subject = _part(origin, name, folders[name].month)
            alerts.send_recovery(configured, subject.key, f"the {subject.name} held")
    if not wrong:
        return
    codes, errors, hints = [], {}, {}
    for name in wrong:
        if known := folders[name].failure():
            codes.append(known.exit_code)
            errors[name] = [known.error]
            hints[name] = known.hint
        elif name in reports:
            codes.append(CheckError.exit_code)
            errors[name] = list(reports[name].failures)
            hints[name] = reports[name].hint
    for name in wrong if errors else ():
        errors.setdefault(name, ["it ended without an error message; it may have been killed"])
    for name, what in errors.items():
        subject = _part(origin, name, folders[name].month)
        alert = subject.failed(STEPS[origin], "; ".join(what), hint=hints.get(name))
        alerts.send(configured, alert)
    lines = [f"{name}: the drill did not hold: {each}" for name, what in errors.items() for each in what]
    if not lines:
        last = f"Luigi ended with {returncode} before any drill began; its last log lines are above"
        raise common_kind([returncode])("\n".join([*tail, last]))
    next_step = chains.DRILL.command(None, wrong[0] if len(wrong) == 1 else None)
    if origin is not Origin.BACKUP:
        next_step += f" --from {origin}"
    fix = "; ".join(dict.fromkeys(filter(None, hints.values()))) or "fix that"
    failure = common_kind(codes)("\n".join([*lines, f"  next: {fix}, then {next_step}"]))
    failure.alerted = True
    raise failure


def _show(reports: Mapping[str, Report]) -> None:
    """Print the reports: one line each, and of one alone every assertion."""
    if not reports:
        return
    table = terminal.table("database", "run", ">MB", ">seconds", "deadline", ">holds up to", "grade")
    for one in reports.values():
        table.add_row(
            one.database,
            one.run,
            f"{one.size_bytes / 1e6:,.1f}",
            f"{one.recovery_seconds:,.1f}",
            f"{one.deadline_seconds / 60:g} min",
            f"{one.limit_bytes / 1e9:,.1f} GB" if one.limit_bytes else "",
            one.grade,
            style=None if one.held else "red",
        )
    terminal.console().print(table)
    for one in reports.values():
        phases = ", ".join(f"{phase} {took:.1f}" for phase, took in one.seconds.items())
        terminal.print_text(f"{one.database}: {phases} s; {report.GRADES[one.grade]}")
        for line in (*one.failures, *one.notes):
            terminal.print_text(f"  {line}")
    if len(reports) == 1:
        show_assertions([*one.assertions, *one.controls])


def show_assertions(assertions: Sequence[Any]) -> None:
    """Print what was looked at, and whether it held."""
    for one in assertions:
        terminal.print_text(f"  {MARKS[one.held]:<4} {one.name}: {one.detail}")
