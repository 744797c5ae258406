"""`pipeline sync`: brings the analysts' newest commit to where the next run reads it."""

import argparse
from typing import Any

from pipeline import settings, sync
from pipeline.cli import terminal

COMMANDS = {"sync": "fetch the analysts' newest commit, if it is valid"}


def add_commands(commands: Any) -> None:
    """Add `sync` to the command line."""
    parser = commands.add_parser(
        "sync",
        help=COMMANDS["sync"],
        description="Fetch the analysts' repository, check the newest commit as a whole, and let the next "
        "run use it. A commit that is not valid leads to an alert, and the last good version stays.",
    )
    parser.set_defaults(command=run_sync)


def run_sync(_arguments: argparse.Namespace) -> int:
    """Say which commit counts now, or raise why the newest does not."""
    terminal.print_text(str(sync.sync(settings.read())))
    return 0
