"""`pipeline migrate` and `pipeline scheduler`: what the platform itself needs."""

import argparse
import os
import sys
from typing import Any

from pipeline import access, postgres, settings
from pipeline.cli import terminal
from pipeline.settings import Settings
from pipeline.system import command
from pipeline.warehouse import roles

COMMANDS = {
    "migrate": "create or upgrade the ledger and the roles",
    "scheduler": "serve Luigi's scheduler and visualizer",
}


def add_commands(commands: Any) -> None:
    """Add the commands to the command line."""
    migrate = commands.add_parser(
        "migrate",
        help=COMMANDS["migrate"],
        description="Create or upgrade the warehouse's own tables, and its roles with their rights.",
    )
    migrate.set_defaults(command=run_migrate)
    scheduler = commands.add_parser(
        "scheduler",
        help=COMMANDS["scheduler"],
        add_help=False,
        # Its options are its own: none of them is looked at here.
        prefix_chars="\0",
    )
    scheduler.add_argument("arguments", nargs="*")
    scheduler.set_defaults(command=run_scheduler)


def run_migrate(_arguments: argparse.Namespace) -> int:
    """Bring the warehouse's own tables to the newest revision, and its roles to what each may."""
    for line in migrate(settings.read()):
        terminal.print_text(line)
    return 0


def migrate(configured: Settings) -> list[str]:
    """Do so by these settings, and return what there is to say."""
    from pipeline.ledger import migrations  # noqa: PLC0415 - slow to import, and no other command needs it

    with access.opened(configured) as databases:
        revision = migrations.migrate(databases.warehouse_uri())
        with databases.warehouse() as warehouse, postgres.explained("the warehouse's roles"):
            missing = roles.keep(warehouse, migrations.LOCK)
    lines = [f"the warehouse's own tables are at revision {revision}"]
    if missing:
        lines.append(
            "its roles for analysts and dashboards are incomplete, so no mart can be built; have an "
            f"administrator run in the warehouse: {missing}; then type 'pipeline migrate' again"
        )
    return lines


def run_scheduler(arguments: argparse.Namespace) -> int:
    """Become the scheduler: it is Luigi's, which this library knows nothing of."""
    os.execv(sys.executable, command.python("tasks.scheduler", *arguments.arguments))  # noqa: S606
