"""How fast the local half of a backup is (dump to ciphertext, with its manifest), and its peak memory: for
`bin/bench`.

It is held against a plain `pg_dump -Z zstd:1 > /dev/null` and, after it, one pass of the checksums alone.
"""

import contextlib
import json
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import access, postgres, settings
from pipeline.backup import dump, encrypt, tools
from pipeline.backup.database import contents
from pipeline.backup.work import records
from pipeline.backup.work.work_folder import Work
from pipeline.postgres import snapshot
from pipeline.sandbox import configuration, provision, sources
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters
from pipeline.sandbox.servers.server import addresses
from pipeline.system import command

DATABASE = "bench_backup"
# About 600 MB.
ROWS = 5_200_000
FILL = """
CREATE TABLE entry (
    id bigint PRIMARY KEY, account integer NOT NULL, booked_at timestamptz NOT NULL,
    amount numeric(12, 2) NOT NULL, reference text NOT NULL, note text
);
INSERT INTO entry
SELECT n, (n % 9973)::integer, timestamptz '2020-01-01' + n * interval '37 seconds',
       (n * 7919 % 1000003) / 100.0,
       md5(n::text), CASE WHEN n % 3 = 0 THEN md5((n * 31)::text) || ' ' || md5((n * 17)::text) END
FROM generate_series(1::bigint, {rows}) AS n;
ANALYZE entry;
"""


@dataclass(frozen=True)
class Figures:
    """Seconds and bytes of one measurement. `ratio` is ours to the sum of the two least."""

    table_bytes: int
    dump_bytes: int
    pg_dump_seconds: float
    checksum_seconds: float
    dump_seconds: float
    encrypt_seconds: float
    memory_bytes: int
    children_memory_bytes: int

    @property
    def ratio(self) -> float:
        """Return our time as a multiple of a plain pg_dump to nowhere and then one pass of checksums."""
        return (self.dump_seconds + self.encrypt_seconds) / (self.pg_dump_seconds + self.checksum_seconds)


@contextlib.contextmanager
def database(home: Home, rows: int = ROWS) -> Iterator[None]:
    """Make the database that is measured, and remove it afterwards."""
    sources.make(home, DATABASE, None, threading.Event(), as_owner=True)
    with home.changing() as state:
        state.databases.append(DATABASE)
    try:
        provision.source(home, DATABASE)
        with (
            clusters.connection(home, provision.SOURCES, DATABASE) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(FILL.format(rows=rows))
            cursor.execute("VACUUM entry")
        configuration.write(home)
        yield
    finally:
        with home.changing() as state:
            state.databases.remove(DATABASE)
        provision.forget_source(home, DATABASE)
        configuration.write(home)


def bench(home: Home, rows: int, rounds: int, say: Callable[[str], None]) -> None:
    """Measure several times, and say what came of each and their medians."""
    done = []
    with database(home, rows):
        for number in range(rounds):
            one = measure(home, f"2000-01-{number + 1:02}")
            done.append(one)
            say(
                f"backup, round {number + 1}: {one.table_bytes / 1e6:,.0f} MB of table: pg_dump alone "
                f"{one.pg_dump_seconds:.1f} s, checksums alone {one.checksum_seconds:.1f} s, our dump "
                f"{one.dump_seconds:.1f} s, our encryption {one.encrypt_seconds:.1f} s of "
                f"{one.dump_bytes / 1e6:,.0f} MB: {one.ratio:.2f} times the least"
            )
    say(f"backup, local stages: {statistics.median(one.ratio for one in done):.2f} times the least (median)")
    say(f"peak memory of a backup's step: {max(one.memory_bytes for one in done) / 2**20:.0f} MiB")
    children = max(one.children_memory_bytes for one in done)
    say(f"peak memory of the largest of its programs: {children / 2**20:.0f} MiB")


def measure(home: Home, run: str) -> Figures:
    """Measure once, in a process of its own so that its memory is only the steps'."""
    # Whatever is installed here: both sides are measured with the client of the sandbox's own servers.
    path = f"{clusters.BINARIES}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **addresses(home), "PATH": path}
    said = command.run(command.python(__name__, run), environment=environment)
    return Figures(**json.loads(said.splitlines()[-1]))


def _figures(run: str) -> Figures:
    configured = settings.read()
    folder = Work(configured.require_backup(), DATABASE, run)
    pg_dump_seconds = _timed_pg_dump()
    table_bytes, checksum_seconds = _timed_checksums()
    try:
        begun = time.monotonic()
        dump.dump_database(configured, DATABASE, run)
        dumped = time.monotonic()
        encrypt.encrypt_dump(configured, DATABASE, run)
        ended = time.monotonic()
        record = records.encrypted(folder)
        assert record is not None  # noqa: S101 - it was just made
    finally:
        folder.remove()
    return Figures(
        table_bytes=table_bytes,
        dump_bytes=record.dump.plain.size_bytes,
        pg_dump_seconds=pg_dump_seconds,
        checksum_seconds=checksum_seconds,
        dump_seconds=dumped - begun,
        encrypt_seconds=ended - dumped,
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        children_memory_bytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    )


def _timed_pg_dump() -> float:
    configured = settings.read()
    pg_dump = tools.newest("pg_dump", configured.require_backup().postgres_bin)
    with access.opened(configured) as databases, Path(os.devnull).open("wb") as nowhere:
        variables = postgres.program_environment(databases.database_uri(DATABASE), DATABASE)
        chosen = tools.compression(pg_dump)
        begun = time.monotonic()
        with command.Child(
            [pg_dump.path, "--format=custom", tools.compression_argument(pg_dump, chosen)],
            environment=command.clean_environment(variables),
            output=nowhere.fileno(),
        ) as child:
            child.finish()
        return time.monotonic() - begun


def _timed_checksums() -> tuple[int, float]:
    with access.opened(settings.read()) as databases, databases.database(DATABASE) as connection:
        snapshot.take(connection)
        shapes = contents.tables(connection)
        begun = time.monotonic()
        for shape in shapes:
            contents.count(connection, shape)
        return sum(shape.size_bytes for shape in shapes), time.monotonic() - begun


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_figures(sys.argv[1]).__dict__) + "\n")
