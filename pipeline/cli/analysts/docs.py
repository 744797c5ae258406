"""`pipeline docs`: what is in the warehouse, as one page of HTML."""

import argparse
import dataclasses
import webbrowser
from pathlib import Path
from typing import Any

from pipeline import access, catalog, ledger, settings, sync
from pipeline.catalog import Repository
from pipeline.cli import terminal
from pipeline.errors import UsageError
from pipeline.loading import listing
from pipeline.system import atomic

COMMANDS = {"docs": "write the contents of the warehouse as one page of HTML"}
FOLDER = Path("docs-site")
# Beside the page of the dashboards, which is the index of a folder.
FILE = "tables.html"


def add_commands(commands: Any) -> None:
    """Add `docs` to the command line."""
    parser = commands.add_parser(
        "docs",
        help=COMMANDS["docs"],
        description="Write a self-contained page of HTML about tables, columns, marts and dashboards: "
        "descriptions, masks, checks with their results, freshness, and lineage.",
    )
    parser.add_argument(
        "--out", type=Path, default=FOLDER, metavar="DIR", help="the folder (default: ./%(default)s)"
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="use this repository alone, without any server"
    )
    parser.set_defaults(command=run_docs)


def run_docs(arguments: argparse.Namespace) -> int:
    """Write the page, and say where it is."""
    from pipeline import docs  # noqa: PLC0415 - the other commands need nothing of it

    if arguments.dir:
        contents = docs.gather(catalog.read_repository(arguments.dir), None)
    else:
        configured = settings.read()
        with sync.held(configured.require_analysts().checkout) as folder:
            repository: Repository = catalog.read_repository(folder)
        with access.opened(configured) as databases:
            with databases.warehouse(autocommit=True) as warehouse:
                ledger.require_migrated(warehouse)
                known = listing.known_to(warehouse, repository.catalog)
            contents = docs.gather(dataclasses.replace(repository, catalog=known), databases)
    path = arguments.out / FILE
    _write(path, docs.page(contents))
    terminal.print_text(f"{path}: {terminal.counted(len(contents.relations), 'table')}")
    if arguments.open:
        webbrowser.open(path.resolve().as_uri())
    return 0


def _write(path: Path, text: str) -> None:
    try:
        atomic.page(path, text)
    except OSError as error:
        fact = f"{path}: cannot be written: {error.strerror}"
        raise UsageError(fact, hint="name another folder with --out") from None
