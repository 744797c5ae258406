"""What an audit costs beside the night that it follows: for `bin/bench`.

A source of one large table and many small ones is loaded; then come nights. A hundredth of its rows is
changed, a thousandth deleted, what changed is loaded, and what has its turn is audited.
"""

import contextlib
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

from pipeline.ledger import audits
from pipeline.sandbox import configuration, provision, sources
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters
from pipeline.sandbox.servers.server import addresses
from pipeline.system import command

SOURCE, WAREHOUSE, ROLE = "bench_audit", "bench_audit", "bench_audit_pipeline"
ROWS, SMALL = 2_000_000, 8
# A week, if nobody asks for more or fewer.
NIGHTS = 7
TABLE = """
    CREATE TABLE {name} (
        id bigint PRIMARY KEY, account integer NOT NULL, amount numeric(12, 2) NOT NULL, note text NOT NULL
    );
    INSERT INTO {name}
    SELECT n, n % 9973, n % 100003 / 100.0, md5(n::text) FROM generate_series(1, {rows}) AS n;
"""
# By the night, so that no two nights change the same rows.
DAY = """
    UPDATE {name} SET amount = amount + 1 WHERE id % 100 = {night};
    DELETE FROM {name} WHERE id % 1000 = {night} + 500;
"""


def bench(home: Home, rows: int, nights: int, say: Callable[[str], None]) -> None:
    """Measure nights one after the other, and say what each took, its audit and the ratio of both."""
    tables = {"large": rows // 2, **{f"small{number:02}": rows // 2 // SMALL for number in range(SMALL)}}
    with tempfile.TemporaryDirectory() as scratch, _platform(home, tables, Path(scratch)) as environment:
        first = date(2000, 1, 1) + timedelta(days=int(time.time()) % 7000)
        _pipeline(environment, "run", "etl", "--run", str(first))
        ratios = []
        for night in range(1, nights + 1):
            with clusters.connection(home, provision.SOURCES, SOURCE) as connection:
                for name in tables:
                    connection.cursor().execute(DAY.format(name=name, night=night))
            loading, _ = _pipeline(environment, "run", "etl", "--run", str(first + timedelta(days=night)))
            auditing, told = _pipeline(environment, "audit")
            ratios.append(auditing / loading)
            say(
                f"night {night}: load {loading:.1f} s, audit {auditing:.1f} s, {auditing / loading:.1%}; "
                f"{told.splitlines()[-1]}"
            )
        say(f"an audit takes {statistics.median(ratios):.1%} of its night (median, the whole command)")
        with clusters.connection(home, provision.WAREHOUSE, WAREHOUSE) as connection:
            proved = audits.proved_as_a_whole(connection)
        say(f"{proved} of {len(tables)} tables had their turn within {nights} nights")


@contextlib.contextmanager
def _platform(home: Home, tables: dict[str, int], scratch: Path) -> Iterator[dict[str, str]]:
    """Make source, warehouse and settings; give the environment of commands. Remove all at the end."""
    # What a measurement that was killed has left.
    provision.forget_source(home, SOURCE)
    sources.make(home, SOURCE, None, threading.Event(), as_owner=True)
    with clusters.connection(home, provision.WAREHOUSE, "postgres") as server:
        try:
            provision.source(home, SOURCE)
            with clusters.connection(home, provision.SOURCES, SOURCE) as connection:
                for name, rows in tables.items():
                    connection.cursor().execute(TABLE.format(name=name, rows=rows))
                connection.cursor().execute("VACUUM ANALYZE")
            provision.forget_warehouse(home, server, WAREHOUSE, ROLE)
            provision.warehouse(home, server, WAREHOUSE, WAREHOUSE, role=ROLE)
            settings_file = str(_settings(home, tables, scratch))
            environment = {**os.environ, **addresses(home), "LUIGI_CONFIG_PATH": settings_file}
            _pipeline(environment, "migrate")
            yield environment
        finally:
            provision.forget_warehouse(home, server, WAREHOUSE, ROLE)
            provision.forget_source(home, SOURCE)


def _settings(home: Home, tables: dict[str, int], scratch: Path) -> Path:
    (scratch / "sources").mkdir()
    declared = ", ".join(f"{name}: {{}}" for name in tables)
    (scratch / "sources" / f"{SOURCE}.yaml").write_text(f"source: {SOURCE}\ntables: {{{declared}}}\n")
    shared = configuration.sections(home)
    own = {name: values for name, values in shared.items() if not name.startswith(configuration.NAMED)}
    own["warehouse"] = {"secret": WAREHOUSE}
    own["analysts"] = {"checkout": str(scratch)}
    own[f"source.{SOURCE}"] = {"secret": f"source/{SOURCE}"}
    path = scratch / "luigi.cfg"
    path.write_text(configuration.render(configuration.template(), own))
    return path


def _pipeline(environment: dict[str, str], *arguments: str) -> tuple[float, str]:
    """Run a command; return the seconds that it took and what it said."""
    program = Path(sys.executable).with_name("pipeline")
    begun = time.monotonic()
    said = command.run([program, *arguments], environment=environment)
    return time.monotonic() - begun, said
