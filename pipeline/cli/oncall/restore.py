"""`pipeline restore`: a backup is restored into an empty database, from the bucket alone."""

import argparse
import getpass
import signal
import sys
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from rich.progress import Progress as Bar

from pipeline import postgres, redact, settings
from pipeline.backup.restoring import restore, target
from pipeline.backup.restoring.restoration import JOBS, Order, Restored
from pipeline.backup.store import signature
from pipeline.cli import terminal
from pipeline.cli.runs import drill
from pipeline.errors import CheckError, StoppedError, UnreachableError, UsageError
from pipeline.names import MAXIMUM_BYTES

COMMANDS = {"restore": "restore a backup"}
PHASES = ("download", "hash", "decrypt", "roles", "restore", "check")
# What libpq says of a login that wants a password and was given none.
NO_PASSWORD = ("no password supplied", "password authentication failed")

EPILOG = """\
The URI must not hold a password: everyone on the machine can read arguments. Put it into ~/.pgpass (or the
file that PGPASSFILE names), or type it when asked, or keep the whole URI in Vault and write vault:PATH.
The target must be empty. A restore needs the login to Vault that [restore] in luigi.cfg names."""


def add_commands(commands: Any) -> None:
    """Add `restore` to the command line."""
    parser = commands.add_parser(
        "restore",
        help=COMMANDS["restore"],
        description="Restore a backup into an empty database, and compare it with its manifest.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("database", metavar="DATABASE", help="the database, as 'pipeline backups' lists it")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--into", metavar="URI", help="postgresql://ROLE@HOST:PORT/NAME, or vault:PATH")
    place.add_argument(
        "--into-new", type=_name, metavar="NAME", help="a new database on the server of [drill]"
    )
    parser.add_argument("--at", metavar="RUN", help="the backup of this run (default: the newest)")
    parser.add_argument(
        "--unsigned",
        action="store_true",
        help="accept the backup of --at without a signature: it was made before backups were signed",
    )
    parser.add_argument("--table", metavar="SCHEMA.TABLE", help="only this table, with its indexes and data")
    parser.add_argument(
        "--clean",
        action="store_true",
        help="drop the objects of the backup from the target first, as pg_restore does",
    )
    parser.add_argument(
        "--jobs", type=_jobs, default=JOBS, metavar="N", help="tables in parallel (default: %(default)s)"
    )
    parser.add_argument(
        "--all-roles",
        action="store_true",
        help="create every role of the server that was backed up, not only those that own or may use "
        "something",
    )
    parser.set_defaults(command=run_restore)


def _name(text: str) -> str:
    if not 0 < len(text.encode()) <= MAXIMUM_BYTES:
        raise argparse.ArgumentTypeError(
            f'"{text}" is not a valid name; write one of 1 to {MAXIMUM_BYTES} characters'
        )
    return text


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of jobs; write 1 or more")
    return int(text)


def run_restore(arguments: argparse.Namespace) -> int:
    """Restore, and say what was restored. Raise CheckError if it is not what was backed up."""
    if arguments.into:
        _refuse_password(arguments.into)
    if arguments.unsigned and not arguments.at:
        raise UsageError("--unsigned: needs --at RUN; 'pipeline backups' lists the runs")
    # A closed terminal ends a restore as Ctrl-C does: with everything tidied up.
    signal.signal(signal.SIGHUP, _stop)
    configured = settings.read()
    table = arguments.table
    order = Order(
        arguments.database,
        arguments.at,
        table if table is None or "." in table else f"public.{table}",
        clean=arguments.clean,
        all_roles=arguments.all_roles,
        jobs=arguments.jobs,
        unsigned=arguments.unsigned,
    )
    # Before anything of it runs: a dump is code.
    terminal.warn(signature.warning(configured))
    uri = _with_password(arguments.into) if arguments.into else ""
    with terminal.progress() as bar:
        show = _Shown(bar, order.database)
        if arguments.into_new:
            restored = restore.restore_into_new(configured, order, arguments.into_new, show)
        else:
            restored = restore.restore_into(configured, order, uri, show)
    _print(restored, order)
    if not restored.held:
        wrong = [f"{one.name}: {one.detail}" for one in restored.assertions if one.held is False]
        raise CheckError(f"{restored.target.name}: differs from the backup: {'; '.join(wrong)}")
    return 0


def _stop(_signal: int, _frame: object) -> None:
    raise StoppedError("the terminal was closed")


def _refuse_password(uri: str) -> None:
    if uri.startswith(restore.VAULT):
        return
    if not uri.startswith(("postgresql://", "postgres://")):
        raise UsageError("--into: write postgresql://ROLE@HOST:PORT/NAME, or vault:PATH for a URI in Vault")
    parts = urlsplit(uri)
    secret = parts.password or "".join(parse_qs(parts.query).get("password", []))
    if secret:
        redact.register(uri)
        redact.register(secret)
        raise UsageError(
            "--into: holds a password, and everyone on this machine can see it; change that password, "
            "leave it out here, and put it into ~/.pgpass, type it when asked, or write --into vault:PATH"
        )


def _with_password(uri: str) -> str:
    """Return the URI, with a password that is asked for where the server wants one and a person is there."""
    if uri.startswith(restore.VAULT) or not sys.stdin.isatty():
        return uri
    try:
        with target.at(uri).opened():
            return uri
    except UnreachableError as error:
        if not any(words in str(error) for words in NO_PASSWORD):
            raise
    password = getpass.getpass(f"Password for {target.at(uri).name}: ")
    redact.register(password)
    parts = urlsplit(uri)
    user = parts.username or postgres.program_environment(uri, "--into").get("PGUSER") or getpass.getuser()
    place = parts.netloc.rpartition("@")[2]
    login = f"{quote(user, safe='%')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{login}@{place}").geturl()


class _Shown:
    """How a restore gets on: a bar on a terminal, a line for each phase elsewhere."""

    def __init__(self, bar: Bar, database: str) -> None:
        self._bar, self._phase = bar, ""
        self._task = bar.add_task("", name=f"restore {database}", total=len(PHASES))

    def __call__(self, phase: str, share: float, message: str) -> None:
        """Show a phase, how much of it is done, and a message."""
        if phase != self._phase and self._bar.disable:
            sys.stderr.write(f"pipeline: {phase}\n")
        self._phase = phase
        done = PHASES.index(phase) + share
        self._bar.update(self._task, completed=done, description=f"{phase} {message}".strip())


def _print(restored: Restored, order: Order) -> None:
    manifest = restored.manifest
    what = f"{order.table} of {manifest.database}" if order.table else manifest.database
    took = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in restored.seconds.items())
    terminal.print_text(f"{what} as it was at {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC (run {manifest.run})")
    terminal.print_text(f"  is in {restored.target.name}: {took} s")
    drill.show_assertions(restored.assertions)
    if restored.roles.made:
        terminal.print_text(f"  roles created, without passwords: {', '.join(restored.roles.made)}")
    if restored.roles.others:
        terminal.print_text(
            f"  roles not created: {', '.join(restored.roles.others)}, which own nothing here and were "
            "granted nothing; --all-roles creates them too"
        )
    for remark in restored.remarks:
        terminal.print_text(f"  {remark}")
    terminal.print_text(f"  next: {_next(restored, order)}")


def _next(restored: Restored, order: Order) -> str:
    if order.table and not restored.held:
        return (
            f"{order.table} needs objects that were not restored with it: restore "
            f"{restored.manifest.database} without --table into a new database, and copy from there"
        )
    if order.table:
        return (
            f"ANALYZE {order.table} there, then copy the rows that are needed from it; its foreign keys and "
            "triggers did not come along"
        )
    passwords = "give its roles passwords (ALTER ROLE ... PASSWORD), " if restored.roles.made else ""
    return f"ANALYZE it, {passwords}then let users in"
