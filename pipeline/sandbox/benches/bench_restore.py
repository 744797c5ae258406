"""How fast a restore is beside pg_restore of the plain dump: for `bin/bench`.

Ours begins with what is in the bucket and ends with a database that was compared with its manifest; the
yardstick is `pg_restore -j2` of a dump that lies there, decrypted and unchecked.
"""

import sys
import tempfile
import time
from pathlib import Path

from pipeline.sandbox import provision
from pipeline.sandbox.benches import bench_backup
from pipeline.sandbox.benches.bench_platform import Cost
from pipeline.sandbox.benches.figures import Figures
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters
from pipeline.system import command

RESTORED = "bench_restored"
RUN = "2000-01-01"
JOBS = 2


def restore(home: Home, rows: int, rounds: int) -> Figures:
    """Measure several restores of one backup."""
    figures = Figures("restore")
    program = Path(sys.executable).with_name("pipeline")
    database = bench_backup.DATABASE
    with bench_backup.archive(home, rows) as environment, tempfile.TemporaryDirectory() as folder:
        command.run([program, "run", "backup", database, "--run", RUN], environment=environment)
        plain = Path(folder, "plain.dump")
        _tool(
            home,
            "pg_dump",
            provision.SOURCES,
            database,
            "--format=custom",
            "--compress=zstd:1",
            f"--file={plain}",
        )
        for _ in range(rounds):
            _drop(home)
            begun = time.monotonic()
            command.run(
                [program, "restore", database, "--into-new", RESTORED, f"--jobs={JOBS}"],
                environment=environment,
            )
            ours = time.monotonic() - begun
            _drop(home, anew=True)
            begun = time.monotonic()
            _tool(
                home,
                "pg_restore",
                provision.DRILL,
                RESTORED,
                f"--jobs={JOBS}",
                "--no-owner",
                "--no-acl",
                str(plain),
            )
            figures.add("from the bucket to a checked database", Cost(ours), Cost(time.monotonic() - begun))
        _drop(home)
    return figures


def _tool(home: Home, name: str, cluster: str, database: str, *more: str) -> None:
    connecting = [*clusters.socket_arguments(home, cluster), f"--dbname={database}"]
    command.run([str(clusters.BINARIES / name), *connecting, *more])


def _drop(home: Home, *, anew: bool = False) -> None:
    """Remove what was restored, and make an empty database instead where one is wanted."""
    with clusters.connection(home, provision.DRILL, "postgres") as connection:
        connection.cursor().execute(f"DROP DATABASE IF EXISTS {RESTORED} WITH (FORCE)")
        # What one measurement left to be written must not be paid for by the next.
        connection.cursor().execute("CHECKPOINT")
        if anew:
            connection.cursor().execute(f"CREATE DATABASE {RESTORED}")
