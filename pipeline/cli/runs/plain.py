"""`pipeline run CHAIN` for chains without a command of their own: all of a chain, judged by its steps."""

import argparse
import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline import access, alerts, chains, ledger, postgres, settings
from pipeline.access import Access
from pipeline.alerts.failures import AlertSubject
from pipeline.chains import Chain
from pipeline.cli import terminal
from pipeline.cli.runs import killed, supervise
from pipeline.errors import AlreadyRunningError, PipelineError, common_kind
from pipeline.ledger import liveness, runs
from pipeline.postgres import Connection
from pipeline.settings import Settings
from pipeline.step import State, Step


def add_chains(parsers: Any) -> None:
    """Add each of them to the command line."""
    for chain in chains.CHAINS:
        if chain.is_plain:
            _add(parsers, chain)


def _add(parsers: Any, chain: Chain) -> None:
    parser = parsers.add_parser(chain.name, help=chain.help, description=f"{chain.help.capitalize()}.")
    supervise.add_workers(parser)
    supervise.add_arguments(parser)
    parser.set_defaults(
        command=functools.partial(run_chain, chain),
        subject=lambda arguments: AlertSubject.of(chain.whole(_run_of(arguments))),
    )


def _run_of(arguments: argparse.Namespace) -> str:
    return runs.parse(arguments.run) if arguments.run else runs.logical_date(datetime.now(UTC))


def run_chain(chain: Chain, arguments: argparse.Namespace) -> int:
    """Run a chain to its root. Return 0 once all of its steps are done; raise what failed, which is told."""
    configured, run = settings.read(), _run_of(arguments)
    with (
        supervise.log_file(arguments.log_file, configured, run) as log,
        access.opened(configured) as databases,
        databases.warehouse(autocommit=True) as warehouse,
    ):
        ledger.require_migrated(warehouse)
        again = functools.partial(databases.warehouse, autocommit=True)
        with runs.running(warehouse, run, chain.name, again) as begun:
            if not begun:
                raise AlreadyRunningError(f"{chain.name} is already running", hint="wait for it to end")
            supervision = supervise.Supervision(
                f"{chain.name} {run}",
                len(chain.steps),
                lambda: _progress(warehouse, chain, run),
                log,
                configured.run,
                functools.partial(killed.fail_step, databases, run),
            )
            line = supervise.luigi(chain.module, [chain.root], run, "--workers", str(arguments.workers))
            try:
                returncode, tail = supervision.run(line)
            except PipelineError as error:
                killed.fail_unseen(databases, run, error)
                raise
            with databases.warehouse(autocommit=True) as judging:
                _judge(databases, judging, chain, run, returncode, tail)
    return 0


def _steps(warehouse: Connection, chain: Chain, run: str) -> list[Step]:
    return [step for step in ledger.steps_of(warehouse, run) if step.key.task in chain.steps]


def _progress(warehouse: Connection, chain: Chain, run: str) -> tuple[float | None, str]:
    try:
        steps = _steps(warehouse, chain, run)
    except postgres.Error:  # the run goes on without being looked at
        return None, "the warehouse does not answer"
    now = [f"{step.key.task} {step.key.name}" for step in steps if step.state == State.RUNNING]
    return float(sum(step.done for step in steps)), ", ".join(now)


def _judge(
    databases: Access, warehouse: Connection, chain: Chain, run: str, returncode: int, tail: Sequence[str]
) -> None:
    """Tell of each step that failed, and raise that, also where Luigi ended before any did; else all is well.

    Luigi's exit code alone tells too little.
    """
    liveness.fail_killed_steps(warehouse, run, {step.key.name for step in _steps(warehouse, chain, run)})
    steps = _steps(warehouse, chain, run)
    failed = [step for step in steps if not step.done]
    for step in failed:
        part = chain.task(step.key.task).part
        subject = AlertSubject.of(chain.part(part, step.key.name, run) if part else chain.whole(run))
        alerts.send(databases.settings, subject.failed(step.key.task, step.error, step.exit_code, step.hint))
    if failed:
        lines = [f"{step.key.task} {step.key.name}: {step.error or 'did not end'}" for step in failed]
        lines.append(f"  next: {chain.command(run)}")
        failure = common_kind(step.exit_code or 3 for step in failed)("\n".join(lines))
        failure.alerted = True
        raise failure
    if returncode or not steps:
        when = "though every step that began is done" if steps else "before any step began"
        last = f"Luigi ended with {returncode} {when}; its last log lines are above"
        raise common_kind([returncode])("\n".join([*tail, last]))
    _take_back(databases.settings, chain, run)
    terminal.print_text(f"run {run} of {chain.name}: {terminal.counted(len(steps), 'step')} done")


def _take_back(configured: Settings, chain: Chain, run: str) -> None:
    """Send of all parts that failed that it is over: another machine's worker tells its own machine alone.

    A warning, such as of a check that does not hold, is for the step to take back that has sent it.
    """
    for alert in alerts.open_alerts(configured):
        if alert.key.startswith(f"{chain.name}/") and alert.kind == alerts.Kind.FAILED:
            alerts.send_recovery(configured, alert.key, f"resolved: {alert.summary}", run=run)
