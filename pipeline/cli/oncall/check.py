"""`pipeline check`: whether all that a night needs is there; `--fix` sets the bucket's rules and lock."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline import settings
from pipeline.cli import terminal
from pipeline.errors import CheckError, UsageError
from pipeline.observe import preflight
from pipeline.observe.preflight import Finding
from pipeline.scheduler import visualizer

COMMANDS = {"check": "check whether everything that a night needs is ready"}


def add_commands(commands: Any) -> None:
    """Add `check` to the command line."""
    parser = commands.add_parser(
        "check",
        help=COMMANDS["check"],
        description="Check Vault, the databases and the rights of the logins, folders, tools, keys, the "
        "bucket's rules and lock, and the scheduler. A problem would stop a night; a warning would not. "
        "Changes nothing, unless --fix is given.",
        epilog="exit codes: 0 no problem, warnings at most; 4 a problem; 2 settings",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--fix", action="store_true", help="set the bucket's lifecycle rules and lock first")
    parser.add_argument(
        "--admin-secret", metavar="PATH", help="with --fix: the entry in Vault of the admin key"
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="with --fix: a file with a token of Vault that may read it (default: ~/.vault-token)",
    )
    parser.set_defaults(command=run_check)


def run_check(arguments: argparse.Namespace) -> int:
    """Print what is found. Raise CheckError if something is not as it should be."""
    configured = settings.read()
    if arguments.fix:
        if not arguments.admin_secret:
            raise UsageError(
                "--fix needs --admin-secret as well: the entry in Vault of the bucket's admin key"
            )
        token_file = arguments.token_file or Path("~/.vault-token").expanduser()
        terminal.print_text(preflight.fix(configured, arguments.admin_secret, token_file))
    findings = []
    for finding in preflight.everything(configured, visualizer.address()):
        findings.append(finding)
        if not arguments.json:
            _show(finding)
    if arguments.json:
        terminal.print_text(json.dumps([asdict(finding) for finding in findings], indent=2))
    summary = _summary(findings)
    wrong = [finding.subject for finding in findings if finding.problems]
    if wrong:
        raise CheckError(f"{summary}: {', '.join(wrong)}")
    if not arguments.json:
        terminal.print_text(summary)
    return 0


def _show(finding: Finding) -> None:
    """Print what was found of one thing, in lines no longer than the terminal is wide."""
    for problem in finding.problems:
        terminal.print_line(f"{finding.subject}: {problem}", "red")
    for warning in finding.warnings:
        terminal.print_line(f"{finding.subject}: warning: {warning}", "yellow")
    if not finding.problems and not finding.warnings:
        terminal.print_line(f"{finding.subject}: ok")


def _summary(findings: Sequence[Finding]) -> str:
    """Return how many things are as they should be, and how many warnings and problems there are.

    >>> _summary([Finding("Vault"), Finding("alerts", warnings=("nobody is told",))])
    'check: 1 ok, 1 warning'
    >>> _summary([Finding("Vault", ("is sealed", "and far away"))])
    'check: 0 ok, 0 warnings, 2 problems'
    """
    ok = sum(not finding.problems and not finding.warnings for finding in findings)
    warnings = sum(len(finding.warnings) for finding in findings)
    problems = sum(len(finding.problems) for finding in findings)
    counted = [f"{ok} ok", terminal.counted(warnings, "warning")]
    return f"check: {', '.join(counted + [terminal.counted(problems, 'problem')] * bool(problems))}"
