"""`pipeline report`: the dashboards as one page of HTML, for people without Metabase."""

import argparse
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

from pipeline import catalog, cli, settings, sync
from pipeline.cli import terminal
from pipeline.errors import StepError

COMMANDS = {"report": "write the dashboards as one page of HTML"}
FOLDER = Path("report")


def add_commands(commands: Any) -> None:
    """Add `report` to the command line."""
    parser = commands.add_parser(
        "report",
        help=COMMANDS["report"],
        description="Write the dashboards of the analysts' repository as one self-contained page of HTML: "
        "it can be opened, mailed, printed, or served from its folder.",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder (default: [report] folder, else ./report)"
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    parser.set_defaults(command=run_report)


def run_report(arguments: argparse.Namespace) -> int:
    """Write the page, say where it is, and raise what of it could not be shown."""
    from pipeline.report import write  # noqa: PLC0415 - the other commands need nothing of it

    began = time.monotonic()
    configured = settings.read()
    with sync.held(configured.require_analysts().checkout) as folder:
        dashboards = catalog.read_repository(folder).dashboards
    out = arguments.out or (configured.report.folder if configured.report else FOLDER)
    path, wrong = write.write(configured, dashboards, out)
    took = time.monotonic() - began
    megabytes = path.stat().st_size / 1e6
    terminal.print_text(
        f"{path}: {terminal.counted(len(dashboards), 'dashboard')}, {megabytes:.1f} MB, {took:.1f} s"
    )
    if arguments.open:
        webbrowser.open(path.resolve().as_uri())
    if wrong:
        raise StepError("\n".join(wrong))
    return 0


if __name__ == "__main__":
    sys.exit(cli.main(["report", *sys.argv[1:]]))
