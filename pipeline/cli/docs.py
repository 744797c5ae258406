"""`pipeline docs`: what is in the warehouse, as one page of HTML."""

import argparse
import os
import webbrowser
from pathlib import Path
from typing import Any

from pipeline import access, catalog, ledger, settings, sync
from pipeline.catalog import Repository
from pipeline.cli import terminal
from pipeline.errors import UsageError

FOLDER = Path("docs-site")
FILE = "index.html"


def add_command(commands: Any) -> None:
    """Add `docs` to the command line."""
    parser = commands.add_parser(
        "docs",
        help="write what is in the warehouse as one page of HTML",
        description="Write all that is known of tables, columns, marts and dashboards as one page of HTML, "
        "whole by itself: descriptions, masks, checks with how they came out, freshness, and what is made of "
        "what.",
    )
    parser.add_argument(
        "--out", type=Path, default=FOLDER, metavar="DIR", help="the folder (default: ./%(default)s)"
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="of this repository alone, without any server"
    )
    parser.set_defaults(command=run_docs)


def run_docs(arguments: argparse.Namespace) -> int:
    """Write the page, and say where it is."""
    from pipeline import docs  # noqa: PLC0415 - the other commands need nothing of it

    if arguments.dir:
        facts = docs.gather(catalog.read_repository(arguments.dir), None)
    else:
        configured = settings.read()
        with sync.held(configured.require_analysts().checkout) as folder:
            found: Repository = catalog.read_repository(folder)
        with access.opened(configured) as databases:
            with databases.warehouse(autocommit=True) as warehouse:
                ledger.require_migrated(warehouse)
            facts = docs.gather(found, databases)
    path = arguments.out / FILE
    _write(path, docs.page(facts))
    terminal.say(f"{path}: {terminal.counted(len(facts.things), 'table or mart')}")
    if arguments.open:
        webbrowser.open(path.resolve().as_uri())
    return 0


def _write(path: Path, text: str) -> None:
    """Write it, wholly or not at all, for its owner alone to read: who else may is for its owner to say."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}; name another folder: --out") from None
