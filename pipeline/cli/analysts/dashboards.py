"""`pipeline dashboards plan`, `apply` and `export`: what the analysts' repository declares, in Metabase."""

import argparse
from pathlib import Path
from typing import Any

from pipeline import alerts, catalog, dashboards, log, settings, sync
from pipeline.alerts import failures
from pipeline.cli import terminal
from pipeline.dashboards import Outcome
from pipeline.errors import CheckError

COMMANDS = {"dashboards": "apply the analysts' dashboards to Metabase"}
FOLDER = Path("metabase-export")
CODES = "4 a dashboard is held back because one of its cards is broken; 5 something is out of reach"


def add_commands(commands: Any) -> None:
    """Add `dashboards` to the command line."""
    parser = commands.add_parser(
        "dashboards",
        help=COMMANDS["dashboards"],
        description="Apply the dashboards of the analysts' repository to Metabase ([metabase] in luigi.cfg).",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    plan = actions.add_parser(
        "plan",
        help="show what apply would change",
        description="Show each change that `apply` would make in Metabase. Each card is tried on the "
        "warehouse. Changes nothing. Without [metabase]: the changes in an empty one.",
        epilog=f"exit codes: 0 all of it could be applied; {CODES}",
    )
    plan.set_defaults(command=run_plan)
    apply = actions.add_parser(
        "apply",
        help="make Metabase match the declared dashboards",
        description="Make Metabase match the declared dashboards, an empty one included. A dashboard "
        "with a broken card stays as it was. Applying twice changes nothing.",
        epilog=f"exit codes: 0 it is as declared; 3 Metabase refused or forgot something; {CODES}; 6 it is "
        "being applied already",
    )
    log.add_argument(apply)
    apply.set_defaults(command=run_apply)
    export = actions.add_parser(
        "export",
        help="write them as Metabase's own files",
        description="Write them as files of Metabase's representation format, which its paid editions import."
        " Each card is tried on the warehouse. Asks no Metabase, and needs no [metabase].",
        epilog=f"exit codes: 0 all of it was written; {CODES}",
    )
    export.add_argument(
        "--out",
        type=Path,
        default=FOLDER,
        metavar="DIR",
        help="a new or empty folder (default: ./%(default)s)",
    )
    export.set_defaults(command=run_export)


def run_plan(_arguments: argparse.Namespace) -> int:
    """Print what would change. Raise CheckError if a dashboard would be held back."""
    configured = settings.read()
    with sync.held(configured.require_analysts().checkout) as folder:
        repository = catalog.read_repository(folder)
    if configured.metabase is None:
        terminal.print_text("luigi.cfg has no [metabase]: these are the changes for an empty Metabase")
    outcome = dashboards.plan(configured, repository.catalog, list(repository.dashboards.values()))
    for change in outcome.shown:
        terminal.print_text(str(change))
    for other in outcome.others:
        terminal.print_text(f"update {other}")
    if not outcome.shown and not outcome.others and not outcome.problems:
        terminal.print_text("nothing to change")
    raise_problems(outcome)
    return 0


def run_apply(_arguments: argparse.Namespace) -> int:
    """Apply it. Raise CheckError if a dashboard was held back."""
    configured = settings.read()
    configured.require_metabase()
    with sync.held(configured.require_analysts().checkout) as folder:
        repository = catalog.read_repository(folder)
        declared = list(repository.dashboards.values())
        outcome = dashboards.apply(configured, repository.catalog, declared, terminal.print_text)
    for other in outcome.others:
        terminal.print_text(f"update {other}")
    if not outcome.shown and not outcome.others and not outcome.problems:
        terminal.print_text("nothing to change")
    raise_problems(outcome)
    subject = failures.dashboards(None)
    alerts.send_recovery(configured, subject.key, f"{subject.name}: applied")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write the files, and say where. Raise CheckError if a dashboard is held back."""
    configured = settings.read()
    with sync.held(configured.require_analysts().checkout) as folder:
        declared = list(catalog.read_repository(folder).dashboards.values())
        outcome = dashboards.export(configured, declared, arguments.out)
    terminal.print_text(f"{arguments.out}: {terminal.counted(len(outcome.changes), 'file')}")
    raise_problems(outcome)
    return 0


def raise_problems(outcome: Outcome) -> None:
    """Raise CheckError with what is wrong with cards and filters, if anything is."""
    if outcome.problems:
        counted = terminal.counted(len(outcome.problems), "problem")
        raise CheckError(
            "\n".join([*outcome.problems, f"{counted}: a dashboard with a problem is held back as a whole"])
        )
