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
from pipeline.observe.watch import Verdict
from pipeline.redact import redact

WORDS = {
    "failed": "failed",
    "stale": "too old",
    "warning": "warning",
    "unreachable": "out of reach",
    "open": "open",
    "info": "to know",
}
STYLES = {
    "failed": "red",
    "stale": "red",
    "warning": "yellow",
    "unreachable": "red",
    "open": "red",
    "info": "dim",
}


def add_command(commands: Any) -> None:
    """Add `watch` to the command line."""
    parser = commands.add_parser(
        "watch",
        help="find and tell what is too old, strange or out of reach",
        description="Send the alerts that wait; look at the ledger, the bucket, the keys and what is going "
        "on; tell by webhook what is too old, strange or out of reach, once, and once that it is over. "
        "Changes nothing else. [watch] in luigi.cfg has the limits.",
        epilog="exit codes: 0 nothing to say; 4 something is too old or strange, or a failure that was told "
        "of is still open; 5 something is out of reach; 2 settings",
    )
    parser.add_argument("--json", action="store_true", help="for machines: everything that was judged")
    log.add_argument(parser)
    parser.set_defaults(command=run_watch)


def run_watch(arguments: argparse.Namespace) -> int:
    """Print what is found. Return 0, 4 or 5."""
    now = datetime.now(UTC)
    verdicts = watch.watch(settings.read(), now)
    code = _code(verdicts)
    if arguments.json:
        terminal.say(json.dumps(_data(verdicts, code, now), default=str, indent=2))
        return code
    console = terminal.console()
    for verdict in verdicts:
        if verdict.kind != "well":
            said = f"{verdict.summary}: {verdict.error}" if verdict.error else verdict.summary
            style = STYLES[verdict.kind]
            console.print(redact(f"{WORDS[verdict.kind]}: {said}"), markup=False, style=style)
            terminal.tell_next(redact(verdict.hint), verdict.command)
    terminal.say(_summary(verdicts))
    return code


def _code(verdicts: Sequence[Verdict]) -> int:
    if any(verdict.kind == "unreachable" for verdict in verdicts):
        return UnreachableError.exit_code
    return CheckError.exit_code if any(verdict.is_wrong for verdict in verdicts) else 0


def _summary(verdicts: Sequence[Verdict]) -> str:
    counts = Counter[str](verdict.kind for verdict in verdicts)
    told = [f"{counts[kind]} {words}" for kind, words in WORDS.items() if counts[kind]]
    return f"{len(verdicts)} things were judged: " + ", ".join([f"{counts['well']} well", *told])


def _data(verdicts: Sequence[Verdict], code: int, now: datetime) -> dict[str, Any]:
    states = {0: "ok", CheckError.exit_code: "findings", UnreachableError.exit_code: "unreachable"}
    return {
        "looked_at": now.isoformat(timespec="seconds"),
        "state": states[code],
        "open": sum(verdict.kind == "open" for verdict in verdicts),
        "verdicts": [
            {
                "key": verdict.key,
                "kind": verdict.kind,
                "summary": redact(verdict.summary),
                "error": redact(verdict.error) if verdict.error else None,
                "hint": redact(verdict.hint) or None,
                "since": verdict.since and verdict.since.isoformat(timespec="seconds"),
                "next": verdict.command or None,
            }
            for verdict in sorted(verdicts, key=lambda one: not one.is_wrong)
        ],
    }
