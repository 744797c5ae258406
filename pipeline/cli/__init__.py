"""What a person types: `pipeline COMMAND`. The only place that turns an error into a message."""

import argparse
import gc
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from pipeline import COMMIT, __version__, log, redact
from pipeline.cli import commands, output
from pipeline.cli.commands import Declared
from pipeline.errors import PipelineError, SettingsError, StoppedError
from pipeline.system import hardening, options, stopping

logger = logging.getLogger(__name__)

EXIT_CODES = """\
exit codes: 0 done; 1 a bug; 2 usage or settings; 3 a task failed; 4 a check did not hold;
5 something is out of reach (Vault, scheduler, database); 6 already running; 143 stopped by a signal
"""

SANDBOX = 'for the sandbox of the demo, type first: eval "$(bin/sandbox env)"'

Command = Callable[[argparse.Namespace], int]


# Only what is called is imported, for most of a short command's time is that.
COMMANDS = commands.declared()
RUN = "run"


def chain_commands() -> Mapping[str, Declared]:
    """Return what `pipeline run` can run, by its name."""
    from pipeline import chains  # noqa: PLC0415 - a list of the commands has none of them

    own = {
        chains.ETL.name: "runs.etl:add_chain",
        chains.MARTS.name: "runs.etl:add_mart_chain",
        chains.BACKUP.name: "runs.backup:add_chain",
        chains.DRILL.name: "runs.drill:add_chain",
        chains.ANALYSTS.name: "runs.programs:add_chain",
    }
    return {
        chain.name: Declared(
            own[chain.name] if chain.has_own_command else "runs.plain:add_chains", chain.help
        )
        for chain in chains.CHAINS
        if chain.help
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    hardening.harden()
    redact.install()
    log.keep_signals()
    output.outlive_the_reader()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with stopping.heard():
            return _run(arguments)
    except PipelineError as error:
        _print_error(error)
        # Never by itself: a person who means production must not be shown a sandbox.
        if isinstance(error, SettingsError) and not os.environ.get("LUIGI_CONFIG_PATH"):
            sys.stderr.write(f"pipeline: {SANDBOX}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("pipeline: stopped\n")
        return StoppedError.exit_code


def _run(arguments: Sequence[str]) -> int:
    if arguments[:1] == [RUN]:
        from pipeline.cli.runs import alarm  # noqa: PLC0415 - only a run tells how it ended

        return alarm.watched(arguments, lambda: _parsed(arguments))
    parsed = _parsed(arguments)
    command: Command = parsed.command
    return command(parsed)


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parsed = _parser(arguments).parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    if "log_format" in parsed:
        log.configure(parsed.log_format)
    return parsed


def _print_error(error: PipelineError) -> None:
    for line in redact.redact(str(error)).splitlines():
        if log.is_for_machines():
            logger.error("%s", line)
        else:
            sys.stderr.write(f"pipeline: {line}\n")


def _stop(_signal: int, _frame: FrameType | None) -> None:
    # Whoever says it twice, or presses Ctrl-C again and again, must not keep us from ending what we started.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stopping.stop()


def _parser(arguments: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command that the arguments begin with; the whole one where there are none.

    Where they begin with no command, it has what a list of them needs.
    """
    parser = options.Parser(
        prog="pipeline",
        description="The nightly data platform: loads every source into one warehouse.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pipeline {__version__} {COMMIT}".strip())
    parsers = parser.add_subparsers(metavar="COMMAND", required=True)
    whole = arguments is None
    command, chain = [*(arguments or [])[:2], "", ""][:2]
    if command not in COMMANDS:
        run = parsers.add_parser(
            RUN, help="run one chain to its end", description="Run one chain to its end."
        )
        if whole or command == RUN:
            chosen = run.add_subparsers(metavar="CHAIN", required=True)
            _add(chain_commands(), chain, chosen, whole=whole)
    if command != RUN:
        _add(COMMANDS, command, parsers, whole=whole)
    return parser


def _add(declared: Mapping[str, Declared], wanted: str, parsers: Any, *, whole: bool) -> None:
    if not whole and wanted not in declared:
        for name, one in declared.items():
            parsers.add_parser(name, help=one.help)
        return
    chosen = declared.values() if whole else [declared[wanted]]
    # What is imported stays: to look again and again for what of it is not needed takes a tenth of a command.
    gc.disable()
    for place in dict.fromkeys(one.place for one in chosen):
        module, _, function = place.partition(":")
        getattr(importlib.import_module(f"pipeline.cli.{module}"), function)(parsers)
    gc.freeze()
    gc.enable()
