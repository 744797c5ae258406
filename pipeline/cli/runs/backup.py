"""`pipeline run backup` and `pipeline backups`: a database is backed up, and what there is, is listed."""

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline import access, chains, settings
from pipeline.alerts import failures, hints
from pipeline.alerts.hints import Hint
from pipeline.backup.store import backups, signature
from pipeline.backup.store.backups import Backup, Listing
from pipeline.backup.store.signature import Signature
from pipeline.backup.work.work_folder import Work
from pipeline.cli import terminal
from pipeline.cli.runs import supervise
from pipeline.errors import CheckError, StepError, common_kind
from pipeline.ledger import runs
from pipeline.retry import ASKED
from pipeline.settings import Settings

COMMANDS = {"backups": "list the backups in the bucket"}
STEPS = chains.BACKUP.steps
MEGABYTE = 1e6
COLUMNS = ("database", "run", ">age", ">MB", ">change", "verified", "signed", "locked until", "kept")
SIGNED = {None: "", Signature.SIGNED: "yes", Signature.UNSIGNED: "no", Signature.WRONG: "NO: not ours"}


def add_chain(parsers: Any) -> None:
    """Add `run backup` to the command line."""
    parser = parsers.add_parser(
        chains.BACKUP.name,
        help="dump, encrypt, upload and verify one database",
        description="Back a database up: dump, encrypt, upload, read back.",
    )
    parser.add_argument("database", metavar="DATABASE", help="as in luigi.cfg: [database.DATABASE]")
    supervise.add_arguments(parser)
    parser.set_defaults(
        command=run_backup, subject=lambda parsed: failures.backup(parsed.database, _run(parsed))
    )


def _run(arguments: argparse.Namespace) -> str:
    return arguments.run or runs.logical_date(datetime.now(UTC))


def add_commands(commands: Any) -> None:
    """Add `backups` to the command line."""
    parser = commands.add_parser(
        "backups",
        help=COMMANDS["backups"],
        description="List the backups in the bucket. Works without the warehouse.",
    )
    parser.add_argument("database", metavar="DATABASE", nargs="?", help="only of this database")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=show_backups)


def run_backup(arguments: argparse.Namespace) -> int:
    """Back one database up. Return 0 once the bucket has a verified backup of the run."""
    configured = settings.read()
    database = arguments.database
    configured.database(database)
    run = runs.parse(_run(arguments))
    folder = Work(configured.require_backup(), database, run)
    with supervise.log_file(arguments.log_file, configured, run) as log, folder.running():
        if backups.is_verified(configured, database, run):
            terminal.print_text(f"run {run} of {database} is complete already; nothing to do")
        else:
            folder.clear_failure()
            supervision = supervise.Supervision(
                f"backup {database} {run}",
                len(STEPS),
                lambda: _progress(folder),
                log,
                configured.run,
                folder.fail_step_of,
            )
            root = [chains.BACKUP.root, "--database", database]
            try:
                returncode, tail = supervision.run(supervise.luigi(chains.BACKUP.module, root, run))
            finally:
                # Nobody is left, so nobody else takes away what is half done, and in the clear.
                folder.remove_unfinished()
            _judge(configured, folder, returncode, tail)
        with folder.step("clean-up"):
            folder.sweep()
        folder.remove()
        _show_one(configured, database, run)
    return 0


def _progress(folder: Work) -> tuple[float, str]:
    progress = folder.read_progress()
    if progress is None or progress.step not in STEPS:
        return 0.0, ""
    return STEPS.index(progress.step) + progress.percent / 100, f"{progress.step} {progress.message}"


def _judge(configured: Settings, folder: Work, returncode: int, tail: Sequence[str]) -> None:
    """Raise what went wrong, unless the bucket has the manifest: Luigi's exit code alone tells too little."""
    failure = folder.failure()
    if backups.is_verified(configured, folder.database, folder.run):
        return
    command = chains.BACKUP.command(folder.run, folder.database)
    if failure:
        hint = Hint(command, failure.hint)
        if failure.again:
            hint = hints.find(
                folder.run,
                failure.step,
                folder.database,
                failure.exit_code,
                failure.hint,
                failure.again,
            )
        message = terminal.failure(f"{folder.database}: {failure.step} failed", failure.error)
        raise common_kind([failure.exit_code])(f"{message}\n  next: {hint}")
    progress = folder.read_progress()
    at_work = progress.step if progress else "Luigi"
    why = f"{folder.home} is full; make room there" if folder.is_full else "was it killed?"
    message = (
        f"{folder.database}: {at_work} ended without an error message ({why}); Luigi exited with {returncode}"
    )
    raise StepError("\n".join([*tail, message, f"  next: {command}"]))


def _show_one(configured: Settings, database: str, run: str) -> None:
    """Print the backup of a run. Raise CheckError if its objects are not those of its manifest."""
    with access.opened(configured) as databases, backups.reading(databases) as bucket:
        listing = backups.find(bucket, configured, database)
    now = datetime.now(UTC)
    chosen = [backup for backup in listing.of(database) if backup.run == run]
    terminal.console().print(_table(chosen, listing, now))
    if not all(backup.sound for backup in chosen) or not chosen:
        what = chosen[0].flaw if chosen else "is gone"
        raise CheckError(
            f"bucket {bucket.name}: {database} {run} {what}; find out who changed it, and make "
            "another backup\n"
            f"  next: {chains.BACKUP.command(f'{now:%Y-%m-%dT%H%M}', database)}"
        )


def show_backups(arguments: argparse.Namespace) -> int:
    """Print what the bucket has."""
    configured = settings.read()
    now = datetime.now(UTC)
    with access.opened(configured) as databases, backups.reading(databases, retries=ASKED) as bucket:
        listing = backups.find(bucket, configured, arguments.database)
        where = bucket.name
        if arguments.database and not listing.backups and not listing.incomplete:
            # What is no longer backed up may still have backups; what has none must be declared.
            configured.database(arguments.database)
    if arguments.json:
        terminal.print_text(json.dumps(_data(listing, now), indent=2))
        return 0
    if listing.backups:
        terminal.console().print(_table(listing.backups, listing, now))
    else:
        what = f" of {arguments.database}" if arguments.database else ""
        name = arguments.database or "DATABASE"
        terminal.print_text(f"bucket {where} has no backup{what}; type '{chains.BACKUP.command(None, name)}'")
    terminal.warn(signature.warning(configured))
    for database, run in listing.incomplete:
        next_step = f"'{chains.BACKUP.command(run, database)}'"
        terminal.print_text(
            f"{database} {run}: has no manifest, so it is not a backup; to complete it: {next_step}"
        )
    return 0


def _table(chosen: Sequence[Backup], listing: Listing, now: datetime) -> Any:
    shown = terminal.table(*COLUMNS)
    for backup in chosen:
        shown.add_row(
            backup.database,
            backup.run,
            terminal.age((now - backup.taken_at).total_seconds()),
            f"{backup.size_bytes / MEGABYTE:,.1f}",
            _percent(listing.change(backup)),
            "yes" if backup.verified else "NO: changed since",
            SIGNED[backup.signature],
            f"{backup.locked_until:%Y-%m-%d}" if backup.locked_until else "not locked",
            "yes" if backup.kept else "",
            style=None if backup.sound else "red",
        )
    return shown


def _percent(change: float | None) -> str:
    return "" if change is None else f"{change:+.1%}"


def _data(listing: Listing, now: datetime) -> dict[str, Any]:
    return {
        "backups": [
            {
                "database": backup.database,
                "run": backup.run,
                "taken_at": backup.taken_at.isoformat(),
                "age_hours": round((now - backup.taken_at).total_seconds() / 3600, 2),
                "size_bytes": backup.size_bytes,
                "change": listing.change(backup),
                "verified": backup.verified,
                "signature": backup.signature,
                "verified_at": backup.verified_at.isoformat(),
                "locked_until": backup.locked_until.isoformat() if backup.locked_until else None,
                "kept": backup.kept,
            }
            for backup in listing.backups
        ],
        "incomplete": [{"database": database, "run": run} for database, run in listing.incomplete],
    }
