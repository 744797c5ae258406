"""`pipeline lineage`: what comes from what, by the files alone."""

import argparse
from pathlib import Path
from typing import Any

from pipeline import catalog
from pipeline.catalog import lineage, origins
from pipeline.catalog.lineage import Lineage
from pipeline.cli import terminal
from pipeline.cli.analysts import here
from pipeline.errors import UsageError

COMMANDS = {"lineage": "show which tables a mart or a dashboard is made of"}


def add_commands(commands: Any) -> None:
    """Add `lineage` to the command line."""
    parser = commands.add_parser(
        "lineage",
        help=COMMANDS["lineage"],
        description="Show the lineage from the sources' tables over marts to dashboards. Needs no server.",
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="only this one, what it reads, and what reads it"
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help=f"the analysts' repository (default: {here.DEFAULT})"
    )
    parser.add_argument(
        "--columns",
        action="store_true",
        help="down to columns, as far as the SQL shows: the columns from which each column of a mart, and "
        "each card, is computed. NAME may be a column: mart.staff.people",
    )
    parser.add_argument(
        "--mermaid", action="store_true", help="all of it as a Mermaid diagram, for a page in git"
    )
    parser.add_argument("--svg", action="store_true", help="all of it, or NAME's part, as an SVG picture")
    parser.set_defaults(command=run_lineage)


def run_lineage(arguments: argparse.Namespace) -> int:
    """Print it as trees, or as a diagram."""
    repository = catalog.read_repository(arguments.dir or here.repository())
    if arguments.columns:
        return _show_columns(origins.of(repository.catalog, repository.dashboards), arguments)
    known = lineage.of(repository.catalog, repository.dashboards)
    if arguments.svg:
        from pipeline.docs import drawn  # noqa: PLC0415 - only a picture needs it

        name = lineage.named(known, arguments.name) if arguments.name else None
        terminal.print_text(drawn.around(known, name) if name else drawn.whole(known))
        return 0
    lines = lineage.mermaid(known) if arguments.mermaid else lineage.tree(known, arguments.name)
    terminal.print_text("\n".join(lines))
    return 0


def _show_columns(known: Lineage, arguments: argparse.Namespace) -> int:
    if arguments.svg:
        raise UsageError("--svg draws tables and marts; write --columns with --mermaid, or alone")
    if arguments.mermaid:
        lines = lineage.mermaid(known)
    elif whole := origins.of_relations(known, arguments.name or ""):
        lines = [line for column in whole for line in lineage.tree(known, column)]
    else:
        lines = lineage.tree(known, arguments.name)
    terminal.print_text("\n".join(lines))
    return 0
