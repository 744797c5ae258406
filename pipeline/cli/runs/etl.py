"""`pipeline run etl` and `run mart`: Luigi in a child process, how it gets on, and how it ended."""

import argparse
import functools
from collections.abc import Callable, Sequence, Set
from datetime import UTC, datetime
from typing import Any

from pipeline import access, catalog, chains, ledger, postgres, retry, settings, sync
from pipeline.access import Access
from pipeline.alerts import failures
from pipeline.alerts.failures import AlertSubject
from pipeline.catalog import Catalog, Table
from pipeline.cli import loads, terminal
from pipeline.cli.runs import dashboards, killed, nightly, outcome, scope, supervise
from pipeline.cli.runs.scope import Scope
from pipeline.errors import AlreadyRunningError, CheckError, PipelineError, StepError, common_kind
from pipeline.ledger import liveness, runs
from pipeline.ledger.runs import Run
from pipeline.loading import clear
from pipeline.loading.clear import Since
from pipeline.postgres import Connection
from pipeline.settings import Settings
from pipeline.step import State
from pipeline.system import options

NAME = chains.ETL.name
# So many tables are named, more are counted.
FEW = 3
# Exit codes of programs that were ended by a signal begin here.
SIGNALLED = 128


def add_chain(parsers: Any) -> None:
    """Add `run etl` to the command line."""
    parser = parsers.add_parser(
        NAME,
        help="load the changed rows of every source",
        description="Load the changed rows into the warehouse.",
    )
    parser.add_argument("--source", help="only this source")
    parser.add_argument(
        "--table", action=options.Each, default=[], help="only this table (with --source); may be repeated"
    )
    supervise.add_workers(parser)
    supervise.add_arguments(parser)
    # For `pipeline rerun`, which says what it does.
    parser.add_argument("--clear", choices=list(Since), help=argparse.SUPPRESS)
    parser.add_argument("--full", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(command=run_etl, subject=_subject)


def add_mart_chain(parsers: Any) -> None:
    """Add `run mart` to the command line."""
    parser = parsers.add_parser(
        chains.MARTS.name,
        help="build one mart, after loading the tables that it reads",
        description="Build one mart, after loading or building the tables and marts that it reads, unless "
        "the run has done so.",
    )
    parser.add_argument("mart", metavar="MART", help="as its file marts/NAME.sql is called")
    supervise.add_workers(parser)
    supervise.add_arguments(parser)
    parser.set_defaults(
        command=run_etl,
        source=None,
        table=[],
        clear=None,
        full=False,
        subject=lambda arguments: failures.mart(arguments.mart, _run(arguments)),
    )


def _subject(arguments: argparse.Namespace) -> AlertSubject:
    return failures.load(_run(arguments), arguments.source, _tables(arguments))


def _tables(arguments: argparse.Namespace) -> list[str]:
    """Return the tables that are asked for, each once; none where a job was told none."""
    return [name for name in dict.fromkeys(arguments.table) if name]


def _run(arguments: argparse.Namespace) -> str:
    return arguments.run or runs.logical_date(datetime.now(UTC))


def run_etl(arguments: argparse.Namespace) -> int:
    """Load and build what is asked for. Return 0 once that is done, else what went wrong."""
    configured = settings.read()
    # What analysts push from now on is for the next run.
    with sync.held(configured.require_analysts().checkout) as folder:
        try:
            code = _run_by(catalog.read(folder), configured, arguments)
        except PipelineError as error:
            if _has_ended(error):
                # What has been loaded is shown all the same, and so is what has not.
                _follow(configured, arguments)
            raise
        _follow(configured, arguments)
    return code


def _has_ended(error: PipelineError) -> bool:
    """Whether a night that failed so came to its end all the same, whatever did not.

    One of a kind that also keeps it from beginning did where each thing that failed was told. Where the
    warehouse is gone at its end there is nothing to show, and that is told.
    """
    return error.alerted or isinstance(error, (CheckError, StepError))


def _follow(configured: Settings, arguments: argparse.Namespace) -> None:
    """Do what is done after a whole night."""
    if "mart" not in arguments and arguments.source is None:
        nightly.write_report(configured)


def _run_by(files: Catalog, configured: Settings, arguments: argparse.Namespace) -> int:
    """Load and build it; then apply the dashboards, after a whole night and after a mart of one."""
    is_mart = "mart" in arguments
    try:
        code = _load(files, configured, arguments)
    except PipelineError as error:
        # Each step has had its turn, and what failed was told: it holds back only what needs it.
        if error.alerted and not is_mart:
            _apply(configured, arguments, is_mart=is_mart)
        raise
    _apply(configured, arguments, is_mart=is_mart)
    return code


def _apply(configured: Settings, arguments: argparse.Namespace, *, is_mart: bool) -> None:
    if configured.metabase and arguments.source is None:
        run = runs.parse(_run(arguments))
        dashboards.apply(configured, run, arguments.log_file, of_night_only=is_mart)


def _load(files: Catalog, configured: Settings, arguments: argparse.Namespace) -> int:
    run = runs.parse(_run(arguments))
    declared = scope.with_tables(configured, files, _scope(arguments), run)
    if "mart" in arguments:
        wanted = scope.of_mart(configured, declared, arguments.mart)
    else:
        wanted = scope.of_load(configured, declared, arguments.source, _tables(arguments))
    with (
        supervise.log_file(arguments.log_file, configured, run) as log,
        access.opened(configured) as databases,
        databases.warehouse(autocommit=True) as warehouse,
    ):
        ledger.require_migrated(warehouse)
        before = not arguments.clear and wanted.done(configured, run)

        def is_whole() -> bool:
            # Over a connection of its own, as below.
            with databases.warehouse(autocommit=True) as own:
                known = runs.find(own, NAME, run)
            names = known.scope if known else []
            whole = scope.with_tables(configured, files, names, run)
            return scope.of_run(configured, whole, names).done(configured, run)

        if before and _is_recorded(runs.find(warehouse, NAME, run), is_whole):
            loads.show_run(warehouse, run, wanted.names)
            terminal.print_text(_nothing_to_do(run))
            return 0
        with runs.running(
            warehouse,
            run,
            NAME,
            lambda: databases.warehouse(autocommit=True),
            scope=_scope(arguments),
            is_whole=is_whole,
        ) as ours:
            if not ours:
                raise _already_running(warehouse)
            if arguments.clear:
                _clear(databases, wanted.tables, run, Since(arguments.clear), in_full=arguments.full)
            names = set(wanted.names)
            supervision = supervise.Supervision(
                f"{NAME} {run}",
                wanted.steps,
                lambda: _progress(warehouse, run, names),
                log,
                configured.run,
                functools.partial(killed.fail_step, databases, run),
            )
            try:
                returncode, tail = supervision.run(_luigi(arguments, wanted, run))
            except PipelineError as error:
                killed.fail_unseen(databases, run, error)
                raise
            # Over a connection of its own: the warehouse may have been restarted meanwhile.
            retry.call(lambda: _judge(databases, run, wanted, returncode, tail))
        if before:
            terminal.print_text(_nothing_to_do(run))
    return 0


def _scope(arguments: argparse.Namespace) -> list[str]:
    """Return what the ledger keeps of what is asked for; nothing is everything."""
    if "mart" in arguments:
        return [f"{chains.MART.schema}.{arguments.mart}"]
    if not arguments.source:
        return []
    names = [f"{arguments.source}.{table}" for table in _tables(arguments)]
    return names or [arguments.source]


def _nothing_to_do(run: str) -> str:
    return f"run {run} is complete already; nothing to do"


def _is_recorded(known: Run | None, is_whole: Callable[[], bool]) -> bool:
    """Whether the ledger says of a run what is so; else it is to be recorded that it is done."""
    return known is not None and (known.state == State.DONE or known.alive or not is_whole())


def _luigi(arguments: argparse.Namespace, wanted: Scope, run: str) -> list[str]:
    more = ["--clear"] if arguments.clear else []
    return supervise.luigi(wanted.module, wanted.root, run, "--workers", str(arguments.workers), *more)


def _clear(databases: Access, tables: Sequence[Table], run: str, since: Since, *, in_full: bool) -> None:
    cleared = clear.clear_tables(databases, tables, run, since, in_full=in_full)
    terminal.print_text(f"run {run}: {cleared.steps} steps run again, from {since} on")
    if names := cleared.read_again:
        which = ", ".join(names) if len(names) <= FEW else f"{len(names)} tables"
        terminal.print_text(f"{which}: its staged rows were dropped by the load, so it is read again")


def _already_running(warehouse: Connection) -> AlreadyRunningError:
    other = runs.going(warehouse, NAME)
    if other is None:
        return AlreadyRunningError(
            "a load is already running",
            hint="wait for it to end",
        )
    since = f"{other.attempted_at:%Y-%m-%d %H:%M}"
    return AlreadyRunningError.of("a load", other.run, since, other.host, other.pid)


def _progress(warehouse: Connection, run: str, names: Set[str]) -> tuple[float | None, str]:
    """Return how many steps of the tables are done, and which are at work."""
    try:
        steps = [step for step in ledger.steps_of(warehouse, run) if step.key.name in names]
    except postgres.Error:  # the run goes on without being looked at
        return None, "the warehouse does not answer"
    now = [
        f"{loads.word(step)} {step.key.name}" + (f" {step.rows:,} rows" if step.rows else "")
        for step in steps
        if step.state == State.RUNNING
    ]
    return sum(step.done for step in steps), ", ".join(now)


def _judge(databases: Access, run: str, wanted: Scope, returncode: int, tail: Sequence[str]) -> None:
    """Show what the run did, tell of what failed and raise it, unless all that was asked for is done.

    Luigi's own exit code alone tells too little.
    """
    done = wanted.done(databases.settings, run)
    names, sources = wanted.names, wanted.sources
    with databases.warehouse(autocommit=True) as warehouse:
        if done:
            outcome.send(databases.settings, run, names, succeeded=[*names, *sources], failed=[])
            loads.show_run(warehouse, run, names)
            return
        names += sources
        liveness.fail_killed_steps(warehouse, run, names)
        steps = [step for step in ledger.steps_of(warehouse, run) if step.key.name in names]
        failed = [step for step in steps if step.state == State.FAILED]
        succeeded = [step.key.name for step in steps if step.key.task in chains.CONCLUDING and step.done]
        outcome.send(databases.settings, run, names, succeeded, failed)
        if failed:
            loads.show_run(warehouse, run, names)
            loads.show_unbuilt(run, wanted.lacking(succeeded, {step.key.name for step in failed}))
    if not failed:
        last = f"Luigi ended with {returncode} before any step failed; its last log lines are above"
        raise common_kind([returncode])("\n".join([*tail, last]))
    failure = common_kind([step.exit_code for step in failed])(
        f"run {run}: {len(failed)} of its steps failed; the commands are above"
    )
    # Luigi that came to its end has left nothing undone but what is behind these.
    failure.alerted = 0 <= returncode < SIGNALLED
    raise failure
