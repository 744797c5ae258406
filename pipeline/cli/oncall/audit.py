"""`pipeline audit`: whether the warehouse is equal to its sources, row by row. For crontab, after loads."""

import argparse
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline import access, alerts, catalog, log, settings
from pipeline.alerts import Alert
from pipeline.audit import audit
from pipeline.audit.audit import Audited, Auditor, Night
from pipeline.audit.finding import Outcome
from pipeline.audit.rotation import NIGHTS, SHARE
from pipeline.catalog import Catalog, Table
from pipeline.cli import terminal
from pipeline.errors import CheckError, UnreachableError, UsageError
from pipeline.loading import listing
from pipeline.settings import Settings

COMMANDS = {"audit": "compare the warehouse with its sources"}
# Where in /proc/PID/stat, after the program's name, stands when the process was started.
STARTED = 19
STYLES = {Outcome.DIFFERS: "red", Outcome.INCOMPARABLE: "yellow"}
WHERE = "select difference, key from quarantine.audit where (source, table_name) = ('{}', '{}')"


def add_commands(commands: Any) -> None:
    """Add `audit` to the command line."""
    parser = commands.add_parser(
        "audit",
        help=COMMANDS["audit"],
        description="Compare every row of the warehouse's tables with their sources, independently of the "
        "loads. With SOURCE: all of its tables, now. Without: the tables whose turn it is, in a share of the "
        "last night's time, so that each has its turn within a week. Changes no loaded row: the result is in "
        "status and in alerts, and quarantine.audit has the keys of what differs.",
        epilog="exit codes: 0 all compared tables are equal, or cannot be compared, with the reason; 4 "
        "something differs; 5 a source or the warehouse is out of reach; 6 an audit is already running; 2 "
        "settings",
    )
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="all tables of this source")
    parser.add_argument("--table", help="only this table (with SOURCE)")
    parser.add_argument(
        "--share",
        type=_share,
        default=SHARE,
        metavar="PERCENT",
        help="without SOURCE: the share of the last night's time that it may take at most (default: 10%%)",
    )
    log.add_argument(parser)
    parser.set_defaults(command=run_audit)


def _share(text: str) -> float:
    """Return a share of a night.

    >>> _share("25%"), _share("5")
    (0.25, 0.05)
    """
    share = float(text.strip().removesuffix("%")) / 100
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError("write a percentage such as 10%")
    return share


def run_audit(arguments: argparse.Namespace) -> int:
    """Print and tell what is found. Raise CheckError if something differs."""
    configured = settings.read()
    # What marts and checks say is not asked: to read SQL takes longer than all else before the first look.
    declared = listing.known(configured, catalog.read_sources(configured.require_analysts().checkout))
    tables = _selected(configured, declared, arguments.source, arguments.table)
    seen: list[Audited] = []
    night: Night | None = None
    with access.opened(configured) as databases, audit.auditor(databases, tables) as auditor:
        night, findings = _begun(auditor, arguments)
        for one in findings:
            seen.append(one)
            _show(one)
            _send(configured, one)
    terminal.print_text(_summary(seen, night))
    if differing := [one.name for one in seen if one.differs]:
        raise CheckError(f"not equal to the source: {', '.join(differing)}")
    if unreachable := [one for one in seen if one.error]:
        names = ", ".join(sorted({one.table.source for one in unreachable}))
        raise UnreachableError(f"not compared, out of reach: {names}")
    return 0


def _begun(auditor: Auditor, arguments: argparse.Namespace) -> tuple[Night | None, Iterator[Audited]]:
    return (None, auditor.everything()) if arguments.source else auditor.night(arguments.share, _age_seconds)


def _age_seconds() -> float:
    """Return how long ago this process was started, its imports and all; as often as it is asked."""
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(after_name[STARTED]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def _selected(configured: Settings, declared: Catalog, source: str | None, table: str | None) -> list[Table]:
    if table and not source:
        raise UsageError("--table needs a source before it; type 'pipeline audit SOURCE --table TABLE'")
    for name in [source] if source else []:
        configured.source(name)
    if source and table:
        return [declared.source(source).table(table)]
    sources = [declared.source(source)] if source else list(declared.sources.values())
    known = [one for one in sources if one.name in configured.sources]
    return [declared_table for one in known for declared_table in one.tables.values()]


def _show(one: Audited) -> None:
    terminal.print_line(
        str(one), "red" if one.error else STYLES.get(one.finding.result) if one.finding else None
    )
    if one.differs:
        if one.finding and (one.finding.missing or one.finding.altered or one.finding.surplus > 0):
            terminal.print_text(f"  which: {WHERE.format(one.table.source, one.table.name)}")
        terminal.print_text(f"  next: {repair(one.name)}")


def repair(name: str) -> str:
    """Return what makes a table equal again."""
    return f"pipeline rerun --from extract --full {name}"


def _send(configured: Settings, one: Audited) -> None:
    key = f"audit/{one.name}"
    if one.differs and one.finding:
        alerts.send(
            configured,
            Alert(
                key=key,
                kind=alerts.Kind.FAILED,
                summary=f"{one.name}: differs from its source",
                error=one.finding.reason,
                command=repair(one.name),
            ),
        )
    elif one.proved:
        alerts.send_recovery(configured, key, f"{one.name} is equal to its source")


def _summary(seen: Sequence[Audited], night: Night | None) -> str:
    counts = {
        "equal": sum(one.finding is not None and one.finding.result == Outcome.EQUAL for one in seen),
        "not equal": sum(one.differs for one in seen),
        "not comparable": sum(
            one.finding is not None and one.finding.result == Outcome.INCOMPARABLE for one in seen
        ),
        "put off": sum(one.finding is not None and one.finding.result == Outcome.STOPPED for one in seen),
        "out of reach": sum(one.error is not None for one in seen),
    }
    counted = (
        ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing is loaded yet"
    )
    if night is None:
        return f"audit: {counted}"
    of = "" if night.night_seconds is None else f" of the last night's {night.night_seconds:,.1f} s"
    often = "every night" if night.nights == 1 else f"within {night.nights} nights"
    line = f"audit: {counted}; at {night.budget:,.1f} s{of} every table has its turn {often}"
    return f"{line}; {_way_out(night)}" if night.nights > NIGHTS else line


def _way_out(night: Night) -> str:
    """Return what lets every table have its turn within a week, where it has not."""
    wanted = "for a turn within a week, use a larger share"
    share = night.share_for_a_week
    if share is None or share <= night.share:
        share = night.share * night.nights / NIGHTS
    if share <= 1:
        return f"{wanted}: --share {math.ceil(share * 100)}%"
    return "the night is too short for that: audit each source by name once a week (pipeline audit SOURCE)"
