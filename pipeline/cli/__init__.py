"""What a person types: `pipeline COMMAND`. The only place that turns an error into a message."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from pipeline import COMMIT, __version__, log, redact
from pipeline.cli import (
    alarm,
    analyst,
    audit,
    backup,
    check,
    drill,
    etl,
    plan,
    platform,
    rerun,
    restore,
    status,
    terminal,
    watch,
    worker,
)
from pipeline.errors import PipelineError, SettingsError, StoppedError

logger = logging.getLogger(__name__)

EXIT_CODES = """\
exit codes: 0 done; 1 a bug; 2 usage or settings; 3 a task failed; 4 a check did not hold;
5 something is out of reach (Vault, scheduler, database); 6 already running; 143 told to stop
"""

SANDBOX = 'for the sandbox of the demo, type first: eval "$(bin/sandbox env)"'

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    redact.install()
    terminal.outlive_the_reader()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["run"]:
            return alarm.watched(arguments, lambda: _parsed(arguments))
        parsed = _parsed(arguments)
        command: Command = parsed.command
        return command(parsed)
    except PipelineError as error:
        _tell(error)
        # Never by itself: a person who means production must not be shown a sandbox.
        if isinstance(error, SettingsError) and not os.environ.get("LUIGI_CONFIG_PATH"):
            sys.stderr.write(f"pipeline: {SANDBOX}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("pipeline: stopped\n")
        return StoppedError.exit_code


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parsed = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    if "log_format" in parsed:
        log.configure(parsed.log_format)
    return parsed


def _tell(error: PipelineError) -> None:
    for line in redact.redact(str(error)).splitlines():
        if log.is_for_machines():
            logger.error("%s", line)
        else:
            sys.stderr.write(f"pipeline: {line}\n")


def _stop(_signal: int, _frame: FrameType | None) -> None:
    # Whoever says it twice, or presses Ctrl-C again and again, must not keep us from ending what we started.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise StoppedError("told to stop")


def _parser() -> argparse.ArgumentParser:
    parser = alarm.Parser(
        prog="pipeline",
        description="The nightly data platform: loads every source into one warehouse.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pipeline {__version__} {COMMIT}".strip())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="run one chain to its end", description="Run one chain to its end.")
    chains = run.add_subparsers(metavar="CHAIN", required=True)
    etl.add_chain(chains)
    etl.add_mart_chain(chains)
    backup.add_chain(chains)
    drill.add_chain(chains)
    status.add_command(commands)
    rerun.add_command(commands, main)
    check.add_command(commands)
    watch.add_command(commands)
    audit.add_command(commands)
    plan.add_command(commands)
    backup.add_commands(commands)
    restore.add_command(commands)
    analyst.add_commands(commands)
    platform.add_commands(commands)
    worker.add_command(commands)
    return parser
