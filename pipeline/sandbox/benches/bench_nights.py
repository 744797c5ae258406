"""What whole nights cost beside a yardstick, measured in turn in one run: for `bin/bench`.

`load`, `nights`: one large table, beside psql's COPY into psql's COPY, key and ANALYZE. `tables`: many small
tables, beside one psql for each that copies it to nowhere. `start`: short commands, beside Python alone.
"""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline import ledger
from pipeline.errors import StepError
from pipeline.sandbox import provision
from pipeline.sandbox.benches import bench_platform
from pipeline.sandbox.benches.bench_platform import NAME, Cost, Platform
from pipeline.sandbox.benches.figures import Figures
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters
from pipeline.system import command

# How each build's figures are told, and where it lies; None is this one.
Builds = list[tuple[str, Path | None]]
ROWS, TABLES = 4_000_000, 300
# So many times, if nobody asks for more: more often what is near its target, where few times would say now
# this side of it and now the other.
OFTEN, ROUNDS = 9, 3
SHAPE = """
    id bigint, account integer NOT NULL, booked_at timestamptz NOT NULL, amount numeric(12, 2) NOT NULL,
    reference text NOT NULL, note text
"""
LARGE = f"""
    CREATE TABLE entry ({SHAPE});
    INSERT INTO entry
    SELECT n, n % 9973, timestamptz '2020-01-01' + n * interval '37 seconds', (n * 7919 % 1000003) / 100.0,
           md5(n::text), CASE WHEN n % 3 = 0 THEN md5((n * 31)::text) || ' ' || md5((n * 17)::text) END
    FROM generate_series(1::bigint, {{rows}}) AS n;
    ALTER TABLE entry ADD PRIMARY KEY (id);
"""  # noqa: S608 - a number
SMALL = """
    CREATE TABLE {name} (id bigint PRIMARY KEY, name text NOT NULL, amount numeric(12, 2), at timestamptz);
    INSERT INTO {name} SELECT n, md5(n::text), n / 3.0, now() FROM generate_series(1, 200) AS n;
"""
# By the night, so that no two change the same rows.
CHANGE = "UPDATE entry SET amount = amount + 1 WHERE id % 100 = {night}"
DELETE = "DELETE FROM entry WHERE id % 1000 = {night} + 500"


def load(home: Home, rows: int, rounds: int, builds: Builds) -> Figures:
    """Measure a first load: its steps alone, as the ledger has them, and the whole command around them."""
    figures = Figures("load")
    with bench_platform.platform(home, ["entry"], LARGE.format(rows=rows)) as platform:
        for night in range(rounds):
            for label, build in builds:
                if night or build:
                    platform.empty(build)
                whole, least = platform.run(night, build), _copied(platform)
                figures.add(f"steps alone{label}", Cost(_steps(platform)), least)
                figures.add(f"whole command{label}", whole, least)
    return figures


def _steps(platform: Platform) -> float:
    """Return the seconds of the tables' steps: the snapshot is a source's."""
    with clusters.connection(platform.home, provision.WAREHOUSE, NAME) as connection:
        return ledger.seconds_of_tables(connection)


def nights(home: Home, rows: int, rounds: int, builds: Builds) -> Figures:
    """Measure a first load, and then nights on which much, little and nothing has happened."""
    figures = Figures("nights")
    with bench_platform.platform(home, ["entry"], LARGE.format(rows=rows)) as platform:
        night = 0
        for label, build in builds * rounds:
            if night:
                platform.empty(build)
            figures.add(f"first load{label}", platform.run(night, build), _copied(platform))
            for name, changes in (
                ("1 % changed, 0.1 % deleted", (CHANGE, DELETE)),
                ("1 % changed", (CHANGE,)),
                ("nothing changed", ()),
            ):
                night += 1
                for change in changes:
                    platform.source(change.format(night=night))
                platform.source("VACUUM entry")
                figures.add(f"{name}{label}", platform.run(night, build), _copied(platform))
            night += 1
    return figures


def tables(home: Home, count: int, rounds: int, builds: Builds) -> Figures:
    """Measure a first load of many small tables, and nights on which nothing has happened."""
    figures = Figures("tables")
    names = [f"small_{number:04}" for number in range(count)]
    make = "".join(SMALL.format(name=name) for name in names)
    with bench_platform.platform(home, names, make) as platform:
        night = 0
        # No build can go on from what another has written down: each begins in a warehouse of its own.
        for label, build in builds * rounds:
            if night:
                platform.empty(build)
            for name in ("first load", "unchanged"):
                figures.add(f"{name}{label}", platform.run(night, build), _each(platform, names))
                night += 1
    return figures


def start(home: Home, rounds: int) -> Figures:
    """Measure commands that are over in no time."""
    figures = Figures("start")
    with bench_platform.platform(home, ["entry"], LARGE.format(rows=100)) as platform:
        platform.run(0)
        for _ in range(rounds):
            for word in ("--help", "status"):
                figures.add(f"pipeline {word}", platform.pipeline(word), _python(platform))
    return figures


def _copied(platform: Platform) -> Cost:
    """Return what psql's COPY into psql's COPY takes, with the key and ANALYZE, into a schema of its own."""
    with platform.measured() as costs:
        _psql(platform, provision.WAREHOUSE, f"CREATE SCHEMA least; CREATE TABLE least.entry ({SHAPE})")
        reading = _arguments(platform, provision.SOURCES, "COPY entry TO STDOUT (FORMAT binary)")
        writing = _arguments(platform, provision.WAREHOUSE, "COPY least.entry FROM STDIN (FORMAT binary)")
        with subprocess.Popen(reading, stdout=subprocess.PIPE) as reader:
            written = subprocess.run(writing, stdin=reader.stdout, check=False)
        if reader.returncode or written.returncode:
            raise StepError("psql failed, see above")
        _psql(platform, provision.WAREHOUSE, "ALTER TABLE least.entry ADD PRIMARY KEY (id)")
        _psql(platform, provision.WAREHOUSE, "ANALYZE least.entry")
    _psql(platform, provision.WAREHOUSE, "SET client_min_messages = warning; DROP SCHEMA least CASCADE")
    return costs[0]


def _each(platform: Platform, names: Sequence[str]) -> Cost:
    with platform.measured() as costs:
        for name in names:
            _psql(platform, provision.SOURCES, f"COPY {name} TO STDOUT (FORMAT binary)")
    return costs[0]


def _arguments(platform: Platform, cluster: str, statement: str) -> list[str]:
    return [
        str(clusters.BINARIES / "psql"),
        *clusters.socket_arguments(platform.home, cluster),
        f"--dbname={NAME}",
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        f"--command={statement}",
    ]


def _psql(platform: Platform, cluster: str, statement: str) -> None:
    subprocess.run(_arguments(platform, cluster, statement), stdout=subprocess.DEVNULL, check=True)


def _python(platform: Platform) -> Cost:
    with platform.measured() as costs:
        # A module that imports nothing.
        command.run(command.python("this"))
    return costs[0]


# Each with its usual size and its usual rounds.
MEASURES: dict[str, tuple[Callable[[Home, int, int, Builds], Figures], int, int]] = {
    "load": (load, ROWS, OFTEN),
    "nights": (nights, ROWS, ROUNDS),
    "tables": (tables, TABLES, ROUNDS),
    "start": (lambda home, _size, rounds, _builds: start(home, rounds), 1, OFTEN),
}
