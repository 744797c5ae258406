"""`bin/bench`: measures what is asked for, and says how far it is from what it is to be."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence

from pipeline.errors import PipelineError, UsageError
from pipeline.redact import redact
from pipeline.sandbox import lifecycle
from pipeline.sandbox.benches import (
    bench_audit,
    bench_backup,
    bench_memory,
    bench_nights,
    bench_peers,
    bench_platform,
    bench_restore,
    bench_scheduler,
    targets,
)
from pipeline.sandbox.benches.figures import Figures
from pipeline.sandbox.home import Home, default_path
from pipeline.system import options

# What `bin/bench --help` says.
DESCRIPTION = """
Measures, in the sandbox: loads, nights, backups, restores, audits, short commands and memory, each compared
with the least that it could cost. Both sides are measured in turn, in one run, and medians are reported.
`all` is everything but the scheduler, and shows which measures are within their targets.
"""
ALL = "all"
ROUNDS = bench_nights.ROUNDS
# What is measured by earlier builds too.
COMPARED = ("load", "nights", "tables")


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = options.Parser(prog="bin/bench", description=DESCRIPTION)
    parser.add_argument("what", choices=(*MEASURES, ALL), nargs="?", default=ALL, help="default: %(default)s")
    parser.add_argument("--rows", type=int, help="the rows of the large table (default: that of the measure)")
    parser.add_argument(
        "--tables", type=int, help="the number of small tables (default: that of the measure)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"default: {ROUNDS}; {bench_nights.OFTEN} for load and start, "
        f"{bench_audit.NIGHTS} nights for audit",
    )
    parser.add_argument(
        "--against", metavar="REV", help=f"measure {', '.join(COMPARED)} with an earlier build too"
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="measure dlt and Sling too, installed from the package index for this run only",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    home = Home(default_path())
    try:
        lifecycle.require_up(home)
        if arguments.against and arguments.what not in (ALL, *COMPARED):
            raise UsageError(f"--against is for {', '.join(COMPARED)}")
        chosen = [name for name in MEASURES if name != "scheduler"]
        with bench_platform.built(arguments.against) as builds:
            measured = []
            for name in chosen if arguments.what == ALL else [arguments.what]:
                measured.append(MEASURES[name](home, arguments, builds))
                if not arguments.json:
                    _show(measured[-1], arguments)
        if arguments.peers:
            rows, tables = arguments.rows or bench_nights.ROWS, arguments.tables or bench_nights.TABLES
            measured.append(bench_peers.peers(home, rows, tables))
            if not arguments.json:
                _show(measured[-1], arguments)
    except PipelineError as error:
        sys.stderr.write(f"bench: {redact(str(error))}\n")
        return error.exit_code
    if arguments.json:
        results = [one.data() for one in measured]
        _print_line(json.dumps(results if len(results) > 1 else results[0]))
    elif arguments.what == ALL:
        _conclude(home, measured, arguments.tables or bench_nights.TABLES)
    return 0


def _show(figures: Figures, arguments: argparse.Namespace) -> None:
    parts = (arguments.tables or bench_nights.TABLES) if figures.what == "tables" else 1
    for line in figures.lines(parts):
        _print_line(f"bench: {line}")


def _conclude(home: Home, measured: Sequence[Figures], tables: int) -> None:
    """Say how far each is from its target, and draw it."""
    rows = [*targets.rows(measured, tables), *targets.unmeasured(measured)]
    load = os.getloadavg()[-1]
    _print_line(
        f"\n{targets.table(rows)}\n{os.cpu_count()} processors, {platform.release()}, load {load:.1f}"
    )
    (home.path / "bench.json").write_text(json.dumps([one.data() for one in measured]))
    if picture := targets.picture(rows):
        path = home.path / "bench.svg"
        path.write_text(picture)
        _print_line(f"drawn: {path}")


def _nights(name: str) -> Callable[[Home, argparse.Namespace, bench_nights.Builds], Figures]:
    measure_it, usual, rounds = bench_nights.MEASURES[name]

    def measured(home: Home, arguments: argparse.Namespace, builds: bench_nights.Builds) -> Figures:
        size = (arguments.tables if name == "tables" else arguments.rows) or usual
        return measure_it(home, size, arguments.rounds or rounds, builds)

    return measured


def _audit(home: Home, arguments: argparse.Namespace, _builds: bench_nights.Builds) -> Figures:
    nights = arguments.rounds or bench_audit.NIGHTS
    # Its figures are told at the end, as all are; each night's own lines are not for programs.
    to = sys.stderr if arguments.json else sys.stdout
    return bench_audit.bench(
        home,
        arguments.rows or bench_audit.ROWS,
        nights,
        lambda line: print(f"bench: {line}", file=to, flush=True),
    )


def _backup(home: Home, arguments: argparse.Namespace, _builds: bench_nights.Builds) -> Figures:
    return bench_backup.backup(home, arguments.rows or bench_backup.ROWS, arguments.rounds or ROUNDS)


def _restore(home: Home, arguments: argparse.Namespace, _builds: bench_nights.Builds) -> Figures:
    return bench_restore.restore(home, arguments.rows or bench_backup.ROWS, arguments.rounds or ROUNDS)


def _memory(home: Home, arguments: argparse.Namespace, _builds: bench_nights.Builds) -> Figures:
    rows, tables = arguments.rows or bench_nights.ROWS, arguments.tables or bench_nights.TABLES
    return bench_memory.memory(home, rows, tables)


def _scheduler(home: Home, arguments: argparse.Namespace, _builds: bench_nights.Builds) -> Figures:
    return bench_scheduler.scheduler(home, arguments.tables or bench_scheduler.TABLES)


MEASURES: dict[str, Callable[[Home, argparse.Namespace, bench_nights.Builds], Figures]] = {
    **{name: _nights(name) for name in bench_nights.MEASURES},
    "backup": _backup,
    "restore": _restore,
    "audit": _audit,
    "memory": _memory,
    "scheduler": _scheduler,
}


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
