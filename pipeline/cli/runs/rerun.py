"""`pipeline rerun`: runs what is incomplete of a run, or clears it from a step on and runs that again."""

import argparse
from collections.abc import Callable, Sequence, Set
from datetime import UTC, datetime
from typing import Any

from pipeline import access, catalog, chains, ledger, settings
from pipeline.backup.work import attempts
from pipeline.cli import terminal
from pipeline.cli.runs import supervise
from pipeline.errors import StoppedError, UsageError, common_kind
from pipeline.ledger import runs
from pipeline.loading import clear, listing
from pipeline.names import nearest
from pipeline.settings import Settings

COMMANDS = {"rerun": "run the incomplete steps of a run, or run steps again"}
ETL, MART, BACKUP, DRILL = (chain.name for chain in (chains.ETL, chains.MARTS, chains.BACKUP, chains.DRILL))
MONTH_CHARACTERS = len("2026-11")

# Runs `pipeline ARGUMENTS`, and returns its exit code.
Main = Callable[[Sequence[str]], int]


def add_commands(commands: Any) -> None:
    """Add `rerun` to the command line."""
    parser = commands.add_parser(
        "rerun",
        help=COMMANDS["rerun"],
        description="Run the incomplete steps of a run. With --from, clear the steps of its tables from that "
        "one on, and run them again: no loaded row is lost or doubled by that.",
    )
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        default=[],
        help="only this source, table (hr.employee), mart (mart.staff) or database; where a source and a "
        "database have one name, both, unless it is written etl/hr, backup/hr or drill/hr (default: "
        "everything of the run)",
    )
    parser.add_argument("--run", help="the logical date (default: the latest run)")
    parser.add_argument(
        "--from", dest="since", choices=list(clear.Since), help="clear the tables' steps from this one on"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="with --from extract: read all rows of its tables, not only those that seem to have changed",
    )
    supervise.add_workers(parser)
    supervise.add_log_file(parser)
    parser.set_defaults(command=run_rerun)


def run_rerun(arguments: argparse.Namespace) -> int:
    """Type the commands that do it."""
    from pipeline.cli import main  # noqa: PLC0415 - it imports this

    return rerun(arguments, main)


def rerun(arguments: argparse.Namespace, main: Main) -> int:
    """Run what is incomplete, one chain after the other though one fail. Return 0 once everything is done."""
    configured = settings.read()
    codes: list[int] = []
    commands: list[list[str]] = []
    for name in [name for name in arguments.names if name] or [None]:
        commands += [each for each in _chosen(configured, arguments, name) if each not in commands]
    for chosen in commands:
        if len(commands) > 1:
            terminal.print_text(f"pipeline {' '.join(chosen)}")
        codes.append(main([*chosen, *_passed_on(arguments)]))
        if codes[-1] == StoppedError.exit_code:
            return codes[-1]
    failed = [code for code in codes if code]
    if len(failed) > 1:
        return common_kind(failed).exit_code
    return failed[0] if failed else 0


def _passed_on(arguments: argparse.Namespace) -> list[str]:
    options = {"--log-file": arguments.log_file, "--log-format": arguments.log_format}
    return [word for option, value in options.items() if value for word in (option, str(value))]


def _chosen(configured: Settings, arguments: argparse.Namespace, wanted: str | None) -> list[list[str]]:
    """Return the commands that do it. Raise UsageError if NAME is none, or has no such step."""
    chain, name = _split(configured, wanted)
    if arguments.full and arguments.since != clear.Since.EXTRACT:
        raise UsageError("--full reads tables again, so it needs '--from extract' as well")
    if arguments.since and chain in (BACKUP, DRILL, MART):
        raise UsageError(
            f"--from {arguments.since}: only tables have that step; without it, 'pipeline rerun "
            f"{chain}/{name}' continues where that chain stopped"
        )
    if chain == DRILL:
        return [["run", DRILL, name, "--month", _month(arguments.run)]]
    given = runs.parse(arguments.run) if arguments.run else None
    if chain == MART:
        return [["run", MART, name, "--run", _known_load(configured, given)[0], *_workers(arguments)]]
    if chain == BACKUP:
        return [["run", BACKUP, name, "--run", given or _latest_backup(configured, name)]]
    (run, scope), marts = _known_load(configured, given), _marts(configured)
    names = [name] if name else scope or [""]
    chosen = _selections([one for one in names if one not in marts])
    loads = [["run", ETL, "--run", run, *one, *_more(arguments)] for one in chosen]
    if not name:
        loads += [
            ["run", MART, marts[one], "--run", run, *_workers(arguments)] for one in scope if one in marts
        ]
    if arguments.since:
        return loads
    both = [] if chain == ETL else [name] if name else sorted(configured.databases)
    begun = [database for database in both if _is_begun(configured, database, run)]
    return [*loads, *(["run", BACKUP, database, "--run", run] for database in begun)]


def _more(arguments: argparse.Namespace) -> list[str]:
    clearing = ["--clear", arguments.since, *(["--full"] if arguments.full else [])]
    return [*_workers(arguments), *(clearing if arguments.since else [])]


def _workers(arguments: argparse.Namespace) -> list[str]:
    return ["--workers", str(arguments.workers)]


def _month(run: str | None) -> str:
    """Return the month of a drill, of which a run is a day or the month itself.

    >>> _month("2026-11"), _month("2026-11-22"), _month("2026-11-again")
    ('2026-11', '2026-11', '2026-11-again')
    """
    if run is None:
        return f"{datetime.now(UTC):%Y-%m}"
    return run[:MONTH_CHARACTERS] if runs.is_one(run) else run


def _split(configured: Settings, name: str | None) -> tuple[str | None, str]:
    """Return the chain that a name is of, None where it may be several, and the name without it."""
    if name is None:
        return None, ""
    chain, _, rest = name.partition("/")
    databases = set(configured.databases)
    if chain in (BACKUP, DRILL) and rest in databases:
        return chain, rest
    if name in databases - set(configured.sources):
        return BACKUP, name
    # Only now: a fault in the catalog keeps nobody from a backup.
    tables = _tables(configured)
    loaded = {*tables, *(table.partition(".")[0] for table in tables)}
    if chain == ETL and rest in loaded:
        return ETL, rest
    marts = _marts(configured)
    if mart := marts.get(name):
        return MART, mart
    if name in loaded:
        return (None if name in databases else ETL), name
    written = [f"{BACKUP}/{database}" for database in databases] if rest else []
    match = nearest(name, [*loaded, *written, *marts])
    sources = {table.partition(".")[0] for table in tables}
    what = f"did you mean {match}?" if match else f"known: {', '.join(sorted(sources | databases))}"
    raise UsageError(f'"{name}" is not a source, table, mart or database; {what}')


def _tables(configured: Settings) -> set[str]:
    """Return what is declared to be loaded; a source of which no table is known yet by its own name."""
    if configured.analysts is None:
        return set()
    sources = listing.known(configured, catalog.read(configured.analysts.checkout)).sources
    named = {name: [f"{name}.{table}" for table in source.tables] for name, source in sources.items()}
    return {one for name, tables in named.items() for one in tables or [name]}


def _marts(configured: Settings) -> dict[str, str]:
    """Return the marts by what people may call each: mart.staff, or mart/staff as its alerts do."""
    if configured.analysts is None:
        return {}
    marts = catalog.read(configured.analysts.checkout).marts
    return {f"{MART}{separator}{name}": name for separator in "./" for name in marts}


def _selections(names: Sequence[str]) -> list[list[str]]:
    """Return the options that choose these sources and tables; tables of one source go together.

    >>> _selections(["hr.a", "records", "hr.b"])
    [['--source', 'hr', '--table', 'a', '--table', 'b'], ['--source', 'records']]
    >>> _selections([""])
    [[]]
    """
    by_source: dict[str, list[str]] = {}
    for name in names:
        source, _, table = name.partition(".")
        chosen = by_source.setdefault(source, ["--source", source] if source else [])
        chosen += ["--table", table] if table else []
    return list(by_source.values())


def _known_load(configured: Settings, run: str | None) -> tuple[str, list[str]]:
    """Return this run, or the latest, and the sources and tables that it was to load; none is all of them.

    Raise UsageError if there was none: it would be another one.
    """
    with access.opened(configured) as databases, databases.warehouse(autocommit=True) as warehouse:
        ledger.require_migrated(warehouse)
        latest = runs.find(warehouse, ETL)
        known = runs.find(warehouse, ETL, run)
        # Plain Luigi keeps no more than the steps that it began.
        begun = {step.key.name for step in ledger.steps_of(warehouse, run)} if run and not known else set()
    if run and begun:
        if not (names := _grouped(_tables(configured), begun)):
            raise UsageError(f"run {run}: none of its tables is still declared; name the tables to load")
        return run, names
    if latest is None:
        raise UsageError(f"nothing has run yet, so nothing can be run again; type '{chains.ETL.command()}'")
    if known is None:
        raise UsageError(
            f"run {run} is not known, the latest is {latest.run}",
            hint=f"to begin it, type '{chains.ETL.command(run)}'",
        )
    # A table goes with its source.
    return known.run, [
        one for one in known.scope if one.partition(".")[0] not in known.scope or "." not in one
    ]


def _grouped(declared: Set[str], begun: Set[str]) -> list[str]:
    """Return what of this was begun, whole sources by their name.

    >>> _grouped({"a.x", "a.y", "b.x", "b.y"}, {"a", "a.x", "a.y", "b.x", "c.z"})
    ['a', 'b.x']
    """
    whole = {name.partition(".")[0] for name in declared}
    whole -= {name.partition(".")[0] for name in declared - begun}
    return sorted({*whole, *(name for name in declared & begun if name.partition(".")[0] not in whole)})


def _latest_backup(configured: Settings, database: str) -> str:
    """Return the newest run of a database that is not complete, else today's."""
    begun = attempts.backups(configured.require_backup(), database)
    return begun[-1].key.run if begun else runs.logical_date(datetime.now(UTC))


def _is_begun(configured: Settings, database: str, run: str) -> bool:
    if configured.backup is None or database not in configured.databases:
        return False
    return run in [step.key.run for step in attempts.backups(configured.backup, database)]
