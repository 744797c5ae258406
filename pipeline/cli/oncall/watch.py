"""`pipeline watch`: finds what nobody tells of, tells and prints it. For crontab, each quarter of an hour."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline import log, settings
from pipeline.cli import terminal
from pipeline.errors import CheckError, UnreachableError
from pipeline.observe import watch
from pipeline.observe.watch import Finding, Severity
from pipeline.redact import redact

COMMANDS = {"watch": "find what is too old, unusual or out of reach, and send alerts"}
WORDS = {
    Severity.FAILED: "failed",
    Severity.STALE: "too old",
    Severity.WARNING: "warning",
    Severity.UNREACHABLE: "out of reach",
    Severity.OPEN: "open",
    Severity.INFO: "to know",
}
STYLES = {
    Severity.FAILED: "red",
    Severity.STALE: "red",
    Severity.WARNING: "yellow",
    Severity.UNREACHABLE: "red",
    Severity.OPEN: "red",
    Severity.INFO: "dim",
}


def add_commands(commands: Any) -> None:
    """Add `watch` to the command line."""
    parser = commands.add_parser(
        "watch",
        help=COMMANDS["watch"],
        description="Send the alerts that wait; observe the ledger, the bucket, the keys and running work; "
        "send one alert for each problem (too old, unusual or out of reach), and one when it is over. "
        "Changes nothing else. [watch] in luigi.cfg has the limits.",
        epilog="exit codes: 0 no findings; 4 something is too old or unusual, or an alert is still open; 5 "
        "something is out of reach; 2 settings",
    )
    parser.add_argument("--json", action="store_true", help="print everything that was checked, as JSON")
    log.add_argument(parser)
    parser.set_defaults(command=run_watch)


def run_watch(arguments: argparse.Namespace) -> int:
    """Print what is found. Return 0, 4 or 5."""
    now = datetime.now(UTC)
    findings = watch.watch(settings.read(), now)
    code = _code(findings)
    if arguments.json:
        terminal.print_text(json.dumps(_data(findings, code, now), default=str, indent=2))
        return code
    console = terminal.console()
    for finding in findings:
        if finding.severity != Severity.OK:
            line = terminal.failure(finding.summary, finding.error)
            style = STYLES[finding.severity]
            console.print(redact(f"{WORDS[finding.severity]}: {line}"), markup=False, style=style)
            terminal.print_next(redact(finding.hint), finding.command)
    terminal.print_text(_summary(findings))
    return code


def _code(findings: Sequence[Finding]) -> int:
    if any(finding.severity == Severity.UNREACHABLE for finding in findings):
        return UnreachableError.exit_code
    return CheckError.exit_code if any(finding.is_wrong for finding in findings) else 0


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter[Severity](finding.severity for finding in findings)
    counted = [f"{counts[severity]} {words}" for severity, words in WORDS.items() if counts[severity]]
    return "watch: " + ", ".join([f"{counts[Severity.OK]} ok", *counted])


def _data(findings: Sequence[Finding], code: int, now: datetime) -> dict[str, Any]:
    states = {0: "ok", CheckError.exit_code: "findings", UnreachableError.exit_code: "unreachable"}
    return {
        "looked_at": now.isoformat(timespec="seconds"),
        "state": states[code],
        "open": sum(finding.severity == Severity.OPEN for finding in findings),
        "findings": [
            {
                "key": finding.key,
                "severity": finding.severity,
                "summary": redact(finding.summary),
                "error": redact(finding.error) if finding.error else None,
                "hint": redact(finding.hint) or None,
                "since": finding.since and finding.since.isoformat(timespec="seconds"),
                "next": finding.command or None,
            }
            for finding in sorted(findings, key=lambda one: not one.is_wrong)
        ],
    }
