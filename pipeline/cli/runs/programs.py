"""`pipeline run analysts`: the analysts' own tasks, each file confined; what failed is told."""

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline import alerts, chains, settings, sync
from pipeline.alerts import failures
from pipeline.alerts.failures import AlertSubject
from pipeline.alerts.hints import Hint
from pipeline.cli import terminal
from pipeline.cli.runs import supervise
from pipeline.errors import common_kind
from pipeline.ledger import runs
from pipeline.programs import run as programs
from pipeline.settings import Settings


def add_chain(parsers: Any) -> None:
    """Add `run analysts` to the command line."""
    parser = parsers.add_parser(
        chains.ANALYSTS.name,
        help="run the analysts' own tasks",
        description="Run the tasks of every file tasks/*.py of the analysts' repository, or of one, "
        "isolated: without any credential but that of an analyst, without any network but the "
        "warehouse, and within limits of time, memory, processes and files.",
    )
    parser.add_argument("program", metavar="NAME", nargs="?", help="only those of tasks/NAME.py")
    supervise.add_arguments(parser)
    parser.set_defaults(command=run_programs, subject=_subject)


def _subject(arguments: argparse.Namespace) -> AlertSubject:
    return failures.programs(_run_of(arguments), arguments.program)


def _run_of(arguments: argparse.Namespace) -> str:
    return runs.parse(arguments.run) if arguments.run else runs.logical_date(datetime.now(UTC))


def run_programs(arguments: argparse.Namespace) -> int:
    """Run what is not done yet of a run. Return 0 once all of it is."""
    configured = settings.read()
    checkout = configured.require_analysts().checkout
    configured.require_warehouse()
    run = _run_of(arguments)
    with (
        supervise.log_file(arguments.log_file, configured, run) as log,
        programs.running(configured),
        sync.held(checkout) as folder,
    ):
        names = programs.wanted(folder, arguments.program)
        todo = [name for name in names if not programs.is_done(configured, name, run)]
        if not todo:
            terminal.print_text(
                f"{run}: all tasks are already done" if names else f"{folder}/tasks: nothing to run"
            )
            return 0
        programs.clear_outcomes(configured, todo, run)

        def progress() -> tuple[float | None, str]:
            ended = [
                name for name in todo if "pid" not in (programs.outcome(configured, name, run) or {"pid": 0})
            ]
            return float(len(ended)), ""

        supervision = supervise.Supervision(
            f"analysts {run}",
            len(todo),
            progress,
            log,
            configured.run,
            lambda pid, error: programs.fail_step_of(configured, todo, run, pid, error),
        )
        root = [chains.ANALYSTS.root, "--programs", json.dumps(todo)]
        returncode, tail = supervision.run(supervise.luigi(chains.ANALYSTS.module, root, run))
        _judge(configured, todo, run, returncode, tail)
    terminal.print_text(f"{run}: {terminal.counted(len(todo), 'file')} of tasks done: {', '.join(todo)}")
    return 0


def _judge(
    configured: Settings, names: Sequence[str], run: str, returncode: int, tail: Sequence[str]
) -> None:
    """Raise all that failed, by what each has left: Luigi's exit code alone tells too little."""
    outcomes = {name: programs.outcome(configured, name, run) for name in names}
    wrong = {name: outcome for name, outcome in outcomes.items() if not outcome.get("ok")}
    if not wrong:
        return
    if not any(wrong.values()):
        last = f"Luigi ended with {returncode} before any task began; its last log lines are above"
        raise common_kind([returncode])("\n".join([*tail, last]))
    lines, hints = [], []
    for name, outcome in wrong.items():
        error = str(outcome.get("error", "it did not start"))
        subject = AlertSubject.of(chains.ANALYSTS.part(chains.PROGRAM, name, run))
        hint = outcome.get("hint") or f"fix tasks/{name}.py"
        alerts.send(configured, subject.failed(chains.PROGRAM_TASK, error, outcome.get("exit_code"), hint))
        lines += error.splitlines()
        hints.append(hint)
    programs.fail_killed(configured, list(wrong), run)
    command = chains.ANALYSTS.command(run, next(iter(wrong)) if len(wrong) == 1 else None)
    next_step = Hint(command, "; ".join(dict.fromkeys(hints)))
    failure = common_kind(outcome.get("exit_code", 3) for outcome in wrong.values())(
        "\n".join([*lines, f"  next: {next_step}"])
    )
    failure.alerted = True
    raise failure
