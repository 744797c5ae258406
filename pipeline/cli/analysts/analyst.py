"""`pipeline validate` and `pipeline init`: what an analyst types."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import access, catalog, settings
from pipeline.catalog.source_files.draft import SCHEMA_FILE, draft, loadable
from pipeline.catalog.source_files.guesses import Relation
from pipeline.cli import terminal
from pipeline.cli.analysts import annotations, here
from pipeline.errors import ProblemsError, StepError, UsageError
from pipeline.loading import listing
from pipeline.programs import check, confined
from pipeline.settings import Settings
from pipeline.system import atomic

COMMANDS = {
    "validate": "check an analysts' repository, offline",
    "init": "write sources/SOURCE.yaml from the live source",
}


def add_commands(commands: Any) -> None:
    """Add the commands to the command line."""
    validate = commands.add_parser(
        "validate",
        help=COMMANDS["validate"],
        description="Check a whole analysts' repository without any server. All problems are reported at "
        "once.",
    )
    validate.add_argument(
        "directory",
        nargs="?",
        type=Path,
        metavar="DIR",
        help=f"default: {here.DEFAULT}",
    )
    annotations.add_argument(validate)
    validate.set_defaults(command=run_validate)
    init = commands.add_parser(
        "init",
        help=COMMANDS["init"],
        description="Write sources/SOURCE.yaml into the analysts' checkout, with every table and view that "
        "the source's role may read. Comments mark the guesses.",
    )
    init.add_argument("source", metavar="SOURCE", help="a source of the settings: [source.SOURCE]")
    init.add_argument("--force", action="store_true", help="overwrite an existing file")
    init.add_argument(
        "--stdout",
        action="store_true",
        help="print it instead of writing it, to compare it with an existing file",
    )
    init.set_defaults(command=run_init)


def run_validate(arguments: argparse.Namespace) -> int:
    """Say what was found in a repository, or raise (or print, in another form) every problem in it."""
    if arguments.format == annotations.TEXT:
        summary, unseen = _validate(arguments)
        for line in (summary, *unseen):
            terminal.print_text(line)
        return 0
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()
    try:
        _, warnings = _validate(arguments)
    except ProblemsError as error:
        problems = error.problems
    annotations.print_problems(problems, arguments.format, warnings)
    return ProblemsError.exit_code if problems else 0


def _validate(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Return what there is, and what could not be observed. Raise ProblemsError with every problem."""
    directory = arguments.directory or here.repository()
    repository = catalog.read_repository(directory)
    unseen = _check_tasks(directory)
    tables = sum(len(source.tables) for source in repository.catalog.sources.values())
    counted = [
        terminal.counted(len(repository.catalog.sources), "source"),
        terminal.counted(tables, "table"),
        terminal.counted(len(repository.catalog.marts), "mart"),
        terminal.counted(len(repository.dashboards), "dashboard"),
        *([terminal.counted(len(repository.tasks), "file") + " of tasks"] if repository.tasks else []),
    ]
    where = "" if arguments.directory or directory == Path() else f"{directory}: "
    lines = [f"its tasks were compiled but not imported: {unseen}"] if unseen else []
    lines += [
        f'{name}: "*" stands for tables that only the source knows: those that marts and checks '
        f"read are checked by 'pipeline plan {name}' and the load"
        for name, source in repository.catalog.sources.items()
        if source.everything
    ]
    return f"{where}{', '.join(counted)}: no problem found", lines


def _check_tasks(directory: Path) -> str:
    """Raise every problem of the tasks. Return why they cannot be imported here, where that is so."""
    if not confined.named(directory):
        return ""
    try:
        problems = check.problems(directory)
    except UsageError as error:
        return error.fact
    if problems:
        raise ProblemsError(problems)
    return ""


def run_init(arguments: argparse.Namespace) -> int:
    """Write what a source holds as its YAML file, or to standard output."""
    configured = settings.read()
    configured.source(arguments.source)
    if arguments.stdout:
        sys.stdout.write(_drafted(configured, arguments.source)[0])
        return 0
    checkout = configured.require_analysts().checkout
    path = checkout / "sources" / f"{arguments.source}.yaml"
    if not checkout.is_dir():
        raise UsageError(
            f"{checkout}: no such folder",
            hint="clone the analysts' repository there first",
        )
    if path.exists() and not arguments.force:
        raise UsageError(
            f"{path}: exists already",
            hint="to overwrite it, add --force; to compare, add --stdout",
        )
    text, tables = _drafted(configured, arguments.source)
    _write(path, text)
    _write(checkout / SCHEMA_FILE, _schema())
    terminal.print_text(
        f"{path}: {terminal.counted(tables, 'table')}; "
        f"read it through, then type: pipeline validate {checkout}"
    )
    return 0


def _drafted(configured: Settings, source: str) -> tuple[str, int]:
    """Return the file's text and how many tables it loads."""
    relations = survey(configured, source)
    tables = sum(map(loadable, relations))
    if not tables:
        what = "may read none of its tables" if relations else "can read no table of it"
        raise StepError(
            f"source {source}: the role {what}",
            hint="GRANT SELECT on its tables to it, then run this again",
        )
    return draft(source, relations), tables


def survey(configured: Settings, source: str) -> list[Relation]:
    """Return the tables and views of a live source, as its role sees them."""
    with access.opened(configured) as databases, databases.source(source) as connection:
        return listing.survey(connection, source)


def _schema() -> str:
    from pipeline.catalog import schema  # noqa: PLC0415 - no other command needs it

    return schema.text()


def _write(path: Path, text: str) -> None:
    """Write a file of the analysts' repository, wholly or not at all."""
    try:
        path.parent.mkdir(exist_ok=True)
        atomic.write(path, text, mode=None)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written: {error.strerror}",
            hint="check the folder's owner and permissions",
        ) from None
