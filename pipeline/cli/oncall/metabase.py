"""`pipeline metabase`: Metabase itself, where it is a job of ours."""

import argparse
from pathlib import Path
from typing import Any

from pipeline import settings
from pipeline.cli import terminal
from pipeline.dashboards import serving

COMMANDS = {"metabase": "run Metabase itself, where the platform does"}


def add_commands(commands: Any) -> None:
    """Add `metabase` to the command line."""
    parser = commands.add_parser(
        "metabase",
        help=COMMANDS["metabase"],
        description="Run Metabase itself, where the platform does ([metabase] database_secret in luigi.cfg).",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    prepare = actions.add_parser(
        "prepare",
        help="check its database",
        description="Check that Metabase's own database exists, and that nothing else uses it.",
        epilog="exit codes: 0 it is; 2 settings; 3 it is not; 5 something is out of reach",
    )
    prepare.set_defaults(command=run_prepare)
    serve = actions.add_parser(
        "serve",
        help="run Metabase in this process",
        description="Run Metabase in this process. The password of its database comes from Vault, and "
        "is in no argument and no environment.",
    )
    serve.add_argument(
        "--jar",
        type=Path,
        default=Path("metabase.jar"),
        metavar="FILE",
        help="the release of Metabase (default: %(default)s)",
    )
    serve.set_defaults(command=run_serve)


def run_prepare(_arguments: argparse.Namespace) -> int:
    """Say that the database is what Metabase needs, or raise why not."""
    encoding = serving.prepare(settings.read())
    terminal.print_text(f"{serving.NAME} is there, in {encoding}")
    return 0


def run_serve(arguments: argparse.Namespace) -> int:
    """Become Metabase."""
    serving.become(settings.read(), arguments.jar)
    return 0
