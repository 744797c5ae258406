"""`pipeline validate` and `pipeline init`: what an analyst types."""

import argparse
from pathlib import Path
from typing import Any

from pipeline import catalog
from pipeline.cli import terminal


def add_commands(commands: Any) -> None:
    """Add the commands to the command line."""
    validate = commands.add_parser(
        "validate",
        help="check an analysts' repository, offline",
        description="Check a whole analysts' repository without any server. Every problem is told at once.",
    )
    validate.add_argument(
        "directory", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: the current folder"
    )
    validate.set_defaults(command=run_validate)


def run_validate(arguments: argparse.Namespace) -> int:
    """Say what was found in a repository, or raise every problem there is in it."""
    found = catalog.read_repository(arguments.directory)
    tables = sum(len(source.tables) for source in found.catalog.sources.values())
    counted = [
        _counted(len(found.catalog.sources), "source"),
        _counted(tables, "table"),
        _counted(len(found.catalog.marts), "mart"),
        _counted(len(found.dashboards), "dashboard"),
        *([_counted(len(found.tasks), "file") + " of tasks"] if found.tasks else []),
    ]
    terminal.say(f"{', '.join(counted)}: no problem found")
    return 0


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
