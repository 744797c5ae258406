"""What a person types: `pipeline COMMAND`. The only place that turns an error into a message."""

import argparse
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from pipeline import COMMIT, __version__, log, redact
from pipeline.cli import terminal
from pipeline.errors import PipelineError, SettingsError, StoppedError
from pipeline.system import options

logger = logging.getLogger(__name__)

EXIT_CODES = """\
exit codes: 0 done; 1 a bug; 2 usage or settings; 3 a task failed; 4 a check did not hold;
5 something is out of reach (Vault, scheduler, database); 6 already running; 143 told to stop
"""

SANDBOX = 'for the sandbox of the demo, type first: eval "$(bin/sandbox env)"'

Command = Callable[[argparse.Namespace], int]

# Where each command is declared: only what is called is imported, for most of a short command's time is that.
COMMANDS: Mapping[str, str] = {
    "status": "status:add_command",
    "rerun": "rerun:add_command",
    "check": "check:add_command",
    "watch": "watch:add_command",
    "audit": "audit:add_command",
    "plan": "plan:add_command",
    "backups": "backup:add_commands",
    "restore": "restore:add_command",
    "validate": "analyst:add_commands",
    "init": "analyst:add_commands",
    "lineage": "lineage:add_command",
    "report": "report:add_command",
    "docs": "docs:add_command",
    "sync": "sync:add_command",
    "dashboards": "dashboards:add_commands",
    "metabase": "metabase:add_commands",
    "migrate": "platform:add_commands",
    "scheduler": "platform:add_commands",
    "worker": "worker:add_command",
}
RUN = "run"
CHAINS: Mapping[str, str] = {
    "etl": "etl:add_chain",
    "mart": "etl:add_mart_chain",
    "backup": "backup:add_chain",
    "drill": "drill:add_chain",
    "analysts": "programs:add_chain",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    redact.install()
    terminal.outlive_the_reader()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == [RUN]:
            from pipeline.cli import alarm  # noqa: PLC0415 - only a run tells how it ended

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
    parsed = _parser(arguments).parse_args(arguments)
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


def _parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser of the command that the arguments begin with; of all, where they begin with none."""
    parser = options.Parser(
        prog="pipeline",
        description="The nightly data platform: loads every source into one warehouse.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pipeline {__version__} {COMMIT}".strip())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command, chain = [*arguments[:2], "", ""][:2]
    if command not in COMMANDS:
        run = commands.add_parser(
            RUN, help="run one chain to its end", description="Run one chain to its end."
        )
        _add(CHAINS, chain, run.add_subparsers(metavar="CHAIN", required=True))
    if command != RUN:
        _add(COMMANDS, command, commands)
    return parser


def _add(declared: Mapping[str, str], wanted: str, parsers: Any) -> None:
    places = [declared[wanted]] if wanted in declared else list(dict.fromkeys(declared.values()))
    for place in places:
        module, _, function = place.partition(":")
        getattr(importlib.import_module(f"pipeline.cli.{module}"), function)(parsers)
