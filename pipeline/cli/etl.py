"""`pipeline run etl`: starts Luigi in a child process, shows how it gets on, and judges how it ended."""

import argparse
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from rich.progress import Progress

from pipeline import access, catalog, command, ledger, load, runs, settings
from pipeline.catalog import Catalog, Table
from pipeline.cli import status, terminal
from pipeline.errors import AlreadyRunningError, StepError, UsageError, common_kind
from pipeline.postgres import Connection
from pipeline.settings import Settings

NAME = "etl"
LOOK_SECONDS = 0.5
GRACE_SECONDS = 10.0
# How much of Luigi's log is told when it failed before any step began.
TAIL_LINES = 40
STEPS_PER_TABLE = 3
# Of Luigi's lines, what a person is shown.
LOUD = ("WARNING", "ERROR", "CRITICAL")


def add_command(commands: Any) -> None:
    """Add `run` to the command line."""
    run = commands.add_parser("run", help="run one chain to its end", description=__doc__)
    chains = run.add_subparsers(metavar="CHAIN", required=True)
    parser = chains.add_parser(
        "etl", help="load what changed in every source", description="Load what changed into the warehouse."
    )
    parser.add_argument("--source", help="only this source")
    parser.add_argument("--table", help="only this table (with --source)")
    parser.add_argument("--run", help="the logical date, such as 2026-11-22 (default: today, UTC)")
    parser.add_argument(
        "--workers", type=_workers, default=2, metavar="N", help="tasks at once (default: %(default)s)"
    )
    parser.add_argument(
        "--log-file",
        type=Path,
        metavar="FILE",
        help="append Luigi's lines to FILE, and show only its warnings",
    )
    parser.set_defaults(command=run_etl)


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of workers; write 1 or more")
    return int(text)


def run_etl(arguments: argparse.Namespace) -> int:
    """Load the tables that are asked for. Return 0 once they are loaded, else what went wrong."""
    configured = settings.read()
    declared = catalog.read(configured.require_analysts().checkout)
    tables = _selected(configured, declared, arguments.source, arguments.table)
    run = runs.parse(arguments.run) if arguments.run else runs.logical_date(datetime.now(UTC))
    with (
        _log(arguments.log_file) as log,
        access.opened(configured) as databases,
        databases.warehouse(autocommit=True) as warehouse,
    ):
        ledger.require_migrated(warehouse)
        before = load.are_loaded(configured, tables, run)
        with ledger.running(warehouse, run, NAME) as ours:
            if not ours:
                raise _already_running(warehouse)
            returncode, tail = _Supervision(warehouse, run, tables, log).run(_luigi(arguments, run))
            _judge(configured, warehouse, run, tables, returncode, tail)
        status.show_run(warehouse, run, [f"{table.source}.{table.name}" for table in tables])
        if before:
            terminal.say(f"run {run} was complete before: nothing to do")
    return 0


def _selected(configured: Settings, declared: Catalog, source: str | None, table: str | None) -> list[Table]:
    if table and not source:
        raise UsageError("--table needs --source beside it")
    names = [source] if source else list(declared.sources)
    for name in names:
        configured.source(name)
    if source and table:
        return [declared.source(source).table(table)]
    return [found for name in names for found in declared.source(name).tables.values()]


def _luigi(arguments: argparse.Namespace, run: str) -> list[str]:
    root = ["LoadWarehouse"]
    if arguments.table:
        root = ["etl.LoadTable", "--source", arguments.source, "--table", arguments.table]
    elif arguments.source:
        root = ["etl.LoadSource", "--source", arguments.source]
    return [
        sys.executable, "-m", "tasks.run", "--module", "tasks.etl", *root,
        "--run", run, "--workers", str(arguments.workers),
    ]  # fmt: skip


@contextlib.contextmanager
def _log(path: Path | None) -> Iterator[TextIO | None]:
    """Open the file to which Luigi's lines are added, if there is to be one."""
    if path is None:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}; name another --log-file") from None
    # Line by line, so that whoever follows the file sees each as it comes.
    with os.fdopen(descriptor, "w", buffering=1, encoding="utf-8") as log:
        yield log


def _already_running(warehouse: Connection) -> AlreadyRunningError:
    other = runs.find(warehouse, NAME)
    if other is None:
        return AlreadyRunningError("another load is just beginning; see 'pipeline status'")
    return AlreadyRunningError(
        f"run {other.run} has been going since {other.started_at:%Y-%m-%d %H:%M} UTC "
        f"on {other.host} (process {other.pid}); see 'pipeline status'"
    )


class _Supervision:
    """One Luigi child: its output passed on, its progress shown, its family ended with it."""

    def __init__(self, warehouse: Connection, run: str, tables: Sequence[Table], log: TextIO | None) -> None:
        self._warehouse, self._run, self._log = warehouse, run, log
        self._names = {f"{table.source}.{table.name}" for table in tables}
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def run(self, arguments: Sequence[str]) -> tuple[int, list[str]]:
        with terminal.progress() as bar:
            process, reader = command.start(arguments, on_line=lambda line: self._pass_on(line, bar))
            task = bar.add_task("", name=f"{NAME} {self._run}", total=len(self._names) * STEPS_PER_TABLE)
            try:
                while process.poll() is None:
                    self._show(bar, task)
                    time.sleep(LOOK_SECONDS)
            finally:
                command.stop(process, GRACE_SECONDS)
            reader.join(GRACE_SECONDS)
        return process.wait(), list(self._tail)

    def _pass_on(self, line: str, bar: Progress) -> None:
        self._tail.append(line)
        if self._log is not None:
            self._log.write(line + "\n")
        elif bar.disable:
            sys.stderr.write(line + "\n")
        if line.startswith(LOUD) and (self._log is not None or not bar.disable):
            # Above the bar if there is one.
            bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show(self, bar: Progress, task: Any) -> None:
        if bar.disable:
            return
        found = [step for step in ledger.steps(self._warehouse, self._run) if step.key.name in self._names]
        now = [
            f"{step.key.task} {step.key.name}" + (f" {step.rows:,} rows" if step.rows else "")
            for step in found
            if step.state == "running"
        ]
        bar.update(task, completed=sum(step.done for step in found), description=", ".join(now))


def _judge(
    configured: Settings, warehouse: Connection, run: str, tables: Sequence[Table], returncode: int,
    tail: Sequence[str],
) -> None:  # fmt: skip
    """Raise what went wrong, unless every table is loaded: Luigi's own exit code alone tells too little."""
    if load.are_loaded(configured, tables, run):
        return
    names = {f"{table.source}.{table.name}" for table in tables} | {table.source for table in tables}
    failed = [
        step for step in ledger.steps(warehouse, run) if step.state == "failed" and step.key.name in names
    ]
    if not failed:
        raise StepError(
            "\n".join(
                [*tail, f"Luigi ended with {returncode} before any step failed; its last lines are above"]
            )
        )
    status.show_run(warehouse, run, sorted(names))
    raise common_kind([step.exit_code for step in failed])(
        f"run {run}: {len(failed)} of its steps failed; what to do stands above"
    )
