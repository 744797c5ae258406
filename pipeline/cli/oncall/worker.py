"""`pipeline worker`: takes steps of loads off the runs, and does what the visualizer's buttons ask for."""

import argparse
import contextlib
import math
from typing import Any

from pipeline import access, ledger, postgres, settings
from pipeline.cli import terminal
from pipeline.cli.runs import supervise
from pipeline.errors import PipelineError, StepError, StoppedError, UnreachableError, UsageError
from pipeline.settings import Settings
from pipeline.system import command

COMMANDS = {"worker": "help with every running load, until stopped"}
# The worker finishes its steps for up to 20 seconds, then gives them back; Nomad waits 30 at most.
FINISH_SECONDS = 25.0
KINDS = {kind.exit_code: kind for kind in (UsageError, UnreachableError, StoppedError)}


def add_commands(commands: Any) -> None:
    """Add `worker` to the command line."""
    parser = commands.add_parser(
        "worker",
        help=COMMANDS["worker"],
        description="Take over steps of the running loads of this machine and others, and serve "
        '"Re-enable" and "Forgive failures" in the visualizer. Runs until '
        "SIGTERM: then it finishes its steps within 20 seconds, or gives them back, and exits with 143.",
    )
    supervise.add_workers(parser)
    supervise.add_log_file(parser)
    parser.set_defaults(command=run_worker)


def run_worker(arguments: argparse.Namespace) -> int:
    """Assist until told to stop, which raises StoppedError. Raise StepError if the worker ends by itself."""
    configured = settings.read()
    configured.require_warehouse()
    configured.require_analysts()
    with supervise.log_file(arguments.log_file, configured, "worker") as file:
        supervision = supervise.Supervision(
            "worker",
            1,
            lambda: (None, "helps with loads; Ctrl-C ends it"),
            file,
            configured.run.model_copy(update={"run_minutes": math.inf}),
            lambda pid, error: _fail(configured, pid, error),
            FINISH_SECONDS,
        )
        started = command.python("tasks.worker.assistant", "--workers", str(arguments.workers))
        returncode, tail = supervision.run(started)
    if returncode == 0:
        terminal.print_text("the worker was disabled in the visualizer")
        return 0
    shown = [] if arguments.log_file is None else tail
    message = "\n".join([*shown, f"the worker ended with {returncode}; see its last log lines"])
    raise KINDS.get(returncode, StepError)(message)


def _fail(configured: Settings, pid: int, error: PipelineError) -> None:
    """Record how a step ended that was over its limit; one that is given back did not fail."""
    if isinstance(error, StoppedError):
        return
    # What is told is the error itself, also where it cannot be recorded.
    with (
        contextlib.suppress(postgres.Error, PipelineError),
        access.opened(configured) as databases,
        databases.warehouse(autocommit=True) as warehouse,
    ):
        ledger.fail_step_of(warehouse, None, pid, error)
