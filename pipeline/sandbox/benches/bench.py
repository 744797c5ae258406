"""How fast a first load and the local half of a backup are beside the least that each could cost, and their
peak memory: for `bin/bench`.

The least of a load is what a person would type: psql's COPY piped into psql's COPY, then the primary key and
ANALYZE. That of a backup is in `measure`.
"""

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import psutil

from pipeline import chains, ledger
from pipeline.errors import PipelineError, StepError
from pipeline.redact import redact
from pipeline.sandbox import configuration, lifecycle, provision, sources
from pipeline.sandbox.benches import bench_audit, bench_nights, bench_platform, measure
from pipeline.sandbox.home import Home, default_path
from pipeline.sandbox.servers import clusters, servers
from pipeline.sandbox.servers.server import addresses
from pipeline.system import command, options

# What `bin/bench --help` says.
DESCRIPTION = """
In the sandbox: a first load beside psql's own COPY, key and ANALYZE; dump and encryption of a backup beside
pg_dump alone and a pass of checksums; whole nights, many small tables and short commands beside what each
could cost at the least. Both sides are measured in turn, in one run.
"""
SOURCE, WAREHOUSE, ROLE = "bench_load", "bench_warehouse", "bench_pipeline"
LOOK_SECONDS = 0.1


@dataclass
class Round:
    """Seconds of one first load: the least, our steps alone, and the whole command around them."""

    least: float
    steps: float
    command: float


@dataclass
class Peaks:
    """The greatest memory, in bytes, of each of our processes by what it does; seen by looking often."""

    settings_file: Path
    scheduler: int
    by_task: dict[str, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the processes for as long as the block lasts."""
        ended = threading.Event()
        looking = threading.Thread(target=self._look, args=(ended,))
        looking.start()
        try:
            yield
        finally:
            ended.set()
            looking.join()

    def _look(self, ended: threading.Event) -> None:
        while not ended.wait(LOOK_SECONDS):
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error, OSError):
                    ours = process.environ().get("LUIGI_CONFIG_PATH") == str(self.settings_file)
                    if ours or process.pid == self.scheduler:
                        self._note(process)

    def _note(self, process: psutil.Process) -> None:
        arguments = " ".join(process.cmdline())
        names = {
            "pipeline.loading.snapshot_holder": "snapshot holder",
            "tasks.scheduler": "scheduler",
            "tasks.worker.run": "Luigi",
        }
        task = next((name for module, name in names.items() if module in arguments), chains.ETL.command())
        if (
            task == "Luigi"
            and (parent := process.parent())
            and "tasks.worker.run" in " ".join(parent.cmdline())
        ):
            task = "one step"
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        if found:
            self.by_task[task] = max(self.by_task.get(task, 0), int(found[1]) * 1024)


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = options.Parser(prog="bin/bench", description=DESCRIPTION)
    parser.add_argument(
        "what", choices=("load", "backup", "audit", *bench_nights.MEASURES), nargs="?",
        help="default: one after the other",
    )  # fmt: skip
    parser.add_argument("--tables", type=int, help=f"of tables (default: {bench_nights.TABLES})")
    parser.add_argument("--against", metavar="REV", help="measure nights and tables by an earlier build too")
    parser.add_argument(
        "--json", action="store_true", help=f"of {', '.join(bench_nights.MEASURES)}: for programs"
    )
    parser.add_argument(
        "--rows",
        type=int,
        help=f"default: {bench_nights.ROWS}, {measure.ROWS} for backup, {bench_audit.ROWS} for audit",
    )
    parser.add_argument(
        "--rounds", type=int, help=f"medians are told (default: 3; {bench_audit.NIGHTS} nights for audit)"
    )
    arguments = parser.parse_args()
    home = Home(default_path())
    try:
        lifecycle.require_up(home)
        if arguments.what in (None, "load"):
            _bench(home, arguments.rows or bench_nights.ROWS, arguments.rounds or 3)
        if arguments.what in (None, "backup"):
            measure.bench(home, arguments.rows or measure.ROWS, arguments.rounds or 3, _say)
        if arguments.what in (None, "audit"):
            nights = arguments.rounds or bench_audit.NIGHTS
            bench_audit.bench(home, arguments.rows or bench_audit.ROWS, nights, _say)
        with bench_platform.built(arguments.against) as builds:
            for name in [name for name in bench_nights.MEASURES if arguments.what in (None, name)]:
                _nights(home, name, arguments, builds)
    except PipelineError as error:
        sys.stderr.write(f"bench: {redact(str(error))}\n")
        return error.exit_code
    return 0


def _nights(home: Home, name: str, arguments: argparse.Namespace, builds: bench_nights.Builds) -> None:
    measure_it, usual = bench_nights.MEASURES[name]
    size = (arguments.tables if name == "tables" else arguments.rows) or usual
    found = measure_it(home, size, arguments.rounds or 3, builds)
    if arguments.json:
        sys.stdout.write(f"{found.to_json()}\n")
        return
    for line in found.lines(size if name == "tables" else 1):
        _say(line)


def _bench(home: Home, rows: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as scratch, _source(home, rows) as size_bytes:
        _say(f"{rows:,} rows, {size_bytes / 1e6:,.0f} MB")
        settings_file = _settings(home, Path(scratch))
        (luigid,) = [server.process(home) for server in servers.ALL if server.name == "luigid"]
        assert luigid is not None  # noqa: S101 - require_up saw it
        peaks = Peaks(settings_file, luigid.pid)
        done = []
        for number in range(rounds):
            least = _least(home)
            with peaks.watched():
                done.append(_ours(home, settings_file, least, number))
            _say(
                f"round {number + 1}: psql {done[-1].least:.1f} s, our steps {done[-1].steps:.1f} s, "
                f"the whole command {done[-1].command:.1f} s"
            )
    least = statistics.median(one.least for one in done)
    _say(f"our steps: {statistics.median(one.steps for one in done) / least:.2f} times psql (medians)")
    _say(f"the whole command: {statistics.median(one.command for one in done) / least:.2f} times psql")
    for task, peak in sorted(peaks.by_task.items()):
        _say(f"peak memory of {task}: {peak / 2**20:.0f} MiB")


@contextlib.contextmanager
def _source(home: Home, rows: int) -> Iterator[int]:
    """Make the source that is loaded, remove it afterwards; give its size in bytes."""
    sources.make(home, SOURCE, None, threading.Event(), as_owner=True)
    try:
        provision.source(home, SOURCE)
        with clusters.connection(home, provision.SOURCES, SOURCE) as connection:
            cursor = connection.cursor()
            cursor.execute(bench_nights.LARGE.format(rows=rows))
            # Hint bits are set once, so that the first reader does not pay for all.
            cursor.execute("VACUUM ANALYZE entry")
            cursor.execute("SELECT pg_table_size('entry')")
            ((size_bytes,),) = cursor.fetchall()
        yield size_bytes
    finally:
        provision.forget_source(home, SOURCE)


def _settings(home: Home, scratch: Path) -> Path:
    """Write settings that know only the source and the warehouse of the measurement."""
    (scratch / "sources").mkdir()
    (scratch / "sources" / f"{SOURCE}.yaml").write_text(f"source: {SOURCE}\ntables: {{entry: {{}}}}\n")
    shared = configuration.sections(home)
    own = {name: values for name, values in shared.items() if not name.startswith(configuration.NAMED)}
    own["warehouse"] = {"secret": WAREHOUSE}
    own["analysts"] = {"checkout": str(scratch)}
    own[f"source.{SOURCE}"] = {"secret": f"source/{SOURCE}"}
    settings_file = scratch / "luigi.cfg"
    settings_file.write_text(configuration.render(configuration.template(), own))
    return settings_file


@contextlib.contextmanager
def _warehouse(home: Home) -> Iterator[None]:
    with clusters.connection(home, provision.WAREHOUSE, "postgres") as connection:
        provision.forget_warehouse(home, connection, WAREHOUSE, ROLE)
        provision.warehouse(home, connection, WAREHOUSE, WAREHOUSE, role=ROLE)
        # What one measurement left to be written must not be paid for by the next.
        connection.cursor().execute("CHECKPOINT")
        try:
            yield
        finally:
            provision.forget_warehouse(home, connection, WAREHOUSE, ROLE)


def _least(home: Home) -> float:
    """Return the seconds that psql's COPY into psql's COPY takes, with the primary key and ANALYZE."""
    with _warehouse(home):
        _psql(home, provision.WAREHOUSE, WAREHOUSE, f"CREATE TABLE entry ({bench_nights.SHAPE})")
        begun = time.monotonic()
        reading = _psql_arguments(home, provision.SOURCES, SOURCE, "COPY entry TO STDOUT (FORMAT binary)")
        writing = _psql_arguments(
            home, provision.WAREHOUSE, WAREHOUSE, "COPY entry FROM STDIN (FORMAT binary)"
        )
        with subprocess.Popen(reading, stdout=subprocess.PIPE) as reader:
            written = subprocess.run(writing, stdin=reader.stdout, check=False)
        if reader.returncode or written.returncode:
            raise StepError("psql failed, see above")
        _psql(home, provision.WAREHOUSE, WAREHOUSE, "ALTER TABLE entry ADD PRIMARY KEY (id)")
        _psql(home, provision.WAREHOUSE, WAREHOUSE, "ANALYZE entry")
        return time.monotonic() - begun


def _psql_arguments(home: Home, cluster: str, database: str, statement: str) -> list[str]:
    connecting = [*clusters.socket_arguments(home, cluster), f"--dbname={database}"]
    return [
        str(clusters.BINARIES / "psql"), *connecting, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1",
        f"--command={statement}",
    ]  # fmt: skip


def _psql(home: Home, cluster: str, database: str, statement: str) -> None:
    command.run(_psql_arguments(home, cluster, database, statement))


def _ours(home: Home, settings_file: Path, least: float, number: int) -> Round:
    """Load the table through the whole pipeline, and see how long its steps took by the ledger."""
    environment = {**os.environ, **addresses(home), "LUIGI_CONFIG_PATH": str(settings_file)}
    program = Path(sys.executable).with_name("pipeline")
    # Each round is another run to the scheduler, and none is one that a person would type.
    run = str(date(2000, 1, 1) + timedelta(days=int(time.time()) % 7000 + number))
    with _warehouse(home):
        command.run([program, "migrate"], environment=environment)
        begun = time.monotonic()
        command.run([program, "run", "etl", "--run", run], environment=environment)
        ended = time.monotonic()
        with clusters.connection(home, provision.WAREHOUSE, WAREHOUSE) as connection:
            steps = ledger.seconds_of_tables(connection)
    return Round(least, steps, ended - begun)


def _say(line: str) -> None:
    sys.stdout.write(f"bench: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
