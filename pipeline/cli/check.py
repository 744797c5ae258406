"""`pipeline check`: whether all that a night needs is there; `--fix` sets the bucket's rules and lock."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline import check, settings, visualizer
from pipeline.cli import terminal
from pipeline.errors import CheckError, UsageError


def add_command(commands: Any) -> None:
    """Add `check` to the command line."""
    parser = commands.add_parser(
        "check",
        help="whether everything that a night needs is there",
        description="Look at Vault, the databases and what we may do there, tools, keys, the bucket's rules "
        "and lock, and the scheduler. Changes nothing, unless --fix is given.",
        epilog="exit codes: 0 all is well; 4 something is not; 2 settings",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--fix", action="store_true", help="set the bucket's lifecycle rules and lock first")
    parser.add_argument(
        "--admin-secret", metavar="PATH", help="with --fix: the entry in Vault of the admin key"
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE",
        help="with --fix: a file with a token of Vault that may read it (default: ~/.vault-token)",
    )  # fmt: skip
    parser.set_defaults(command=run_check)


def run_check(arguments: argparse.Namespace) -> int:
    """Print what is found. Raise CheckError if something is not as it should be."""
    configured = settings.read()
    if arguments.fix:
        if not arguments.admin_secret:
            raise UsageError(
                "--fix needs --admin-secret beside it: the entry in Vault of the bucket's admin key"
            )
        token_file = arguments.token_file or Path("~/.vault-token").expanduser()
        terminal.say(check.fix(configured, arguments.admin_secret, token_file))
    findings = []
    for finding in check.everything(configured, visualizer.address()):
        findings.append(finding)
        if not arguments.json:
            for problem in finding.problems:
                terminal.say(f"{finding.thing}: {problem}")
            if not finding.problems:
                terminal.say(f"{finding.thing}: fine")
    if arguments.json:
        terminal.say(json.dumps([asdict(finding) for finding in findings], indent=2))
    wrong = [finding.thing for finding in findings if finding.problems]
    if wrong:
        raise CheckError(f"{len(wrong)} of {len(findings)} are not as they should be: {', '.join(wrong)}")
    return 0
