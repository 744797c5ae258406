"""What dlt and Sling take for the same tables, as they are installed from the index: for `bin/bench --peers`.

They are installed into an environment of their own in a temporary folder. Each loads the source of the
measurement into a schema of its own of the same warehouse, in turn with us; our time is the yardstick.
Afterwards the rows are compared by the keys, for neither of them sees what was deleted.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg2 import sql

from pipeline.errors import StepError
from pipeline.sandbox import provision
from pipeline.sandbox.benches import bench_nights, bench_platform
from pipeline.sandbox.benches.bench_platform import NAME, Cost, Platform
from pipeline.sandbox.benches.figures import Figures
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters, vault_server
from pipeline.system import command

# The newest Sling whose wheel carries its binary: later ones download it when they are first run.
WHEELS = ("dlt[postgres]==1.31.*", "pyarrow", "sqlalchemy", "psycopg2-binary", "sling-linux-amd64==1.4.11")
DLT = """
import os, sys, dlt
from dlt.sources.sql_database import sql_database
mode, column, *tables = sys.argv[1:]
to = dlt.pipeline("bench", destination=dlt.destinations.postgres(os.environ["TARGET"]), dataset_name="dlt",
                  pipelines_dir=os.environ["FOLDER"])
source = sql_database(os.environ["SOURCE"], schema="public", table_names=tables, backend="pyarrow",
                      chunk_size=100_000)
for name in tables:
    more = {} if mode == "replace" else {"incremental": dlt.sources.incremental(column)}
    source.resources[name].apply_hints(primary_key="id", **more)
to.run(source, write_disposition=mode)
"""
# They find what changed by a column that says so; `booked_at` is the only one of the large table.
CHANGE = "UPDATE entry SET amount = amount + 1, booked_at = now() WHERE id % 100 = 1"
DELETE = "DELETE FROM entry WHERE id % 1000 = 501"


@dataclass(frozen=True)
class Peer:
    """One of them: what loads tables, as a whole or what changed by a column."""

    name: str
    load: Callable[[bool, str, Sequence[str]], None]


def peers(home: Home, rows: int, tables: int) -> Figures:
    """Measure each of them once, beside us."""
    figures = Figures("peers")
    with tempfile.TemporaryDirectory() as folder:
        python = _install(Path(folder))
        with bench_platform.platform(home, ["entry"], bench_nights.LARGE.format(rows=rows)) as platform:
            _compare(figures, platform, _peers(platform, python), ["entry"], "booked_at", _large(platform))
        names = [f"small_{number:04}" for number in range(tables)]
        make = "".join(bench_nights.SMALL.format(name=name) for name in names)
        with bench_platform.platform(home, names, make) as platform:
            what: list[tuple[str, Callable[[], None]]] = [
                (f"{tables} tables, first load", _nothing),
                (f"{tables} tables, unchanged", _nothing),
            ]
            _compare(figures, platform, _peers(platform, python), names, "at", what)
    return figures


def _install(folder: Path) -> Path:
    """Make the environment of the peers; return its Python."""
    command.run(command.python("venv", folder))
    python = folder / "bin" / "python"
    command.run([python, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *WHEELS])
    return python


def _nothing() -> None:
    """Change nothing."""


def _large(platform: Platform) -> list[tuple[str, Callable[[], None]]]:
    def change() -> None:
        for statement in (CHANGE, DELETE, "VACUUM entry"):
            platform.source(statement)

    return [("first load", _nothing), ("1 % changed, 0.1 % deleted", change), ("nothing changed", _nothing)]


def _compare(
    figures: Figures,
    platform: Platform,
    others: Sequence[Peer],
    names: Sequence[str],
    column: str,
    nights: Sequence[tuple[str, Callable[[], None]]],
) -> None:
    for number, (what, change) in enumerate(nights):
        change()
        ours = platform.run(number)
        for peer in others:
            try:
                with platform.measured() as costs:
                    peer.load(number == 0, column, names)
            except StepError as error:
                figures.notes.append(f"{peer.name}, {what}: failed: {str(error).splitlines()[-1]}")
                continue
            figures.add(f"{peer.name}, {what}", costs[0], Cost(ours.seconds))
            if wrong := _difference(platform, peer.name, names):
                figures.notes.append(f"{peer.name}, {what}: {wrong}")


def _difference(platform: Platform, schema: str, names: Sequence[str]) -> str:
    """Return how many rows a peer has too many or too few; nothing where it has as many as the source."""
    theirs, there = (
        sum(_count(platform, cluster, within, name) for name in names)
        for cluster, within in ((provision.WAREHOUSE, schema), (provision.SOURCES, "public"))
    )
    return "" if theirs == there else f"has {theirs:,} rows where the source has {there:,}"


def _count(platform: Platform, cluster: str, schema: str, table: str) -> int:
    with clusters.connection(platform.home, cluster, NAME) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table)))
        ((count,),) = cursor.fetchall()
    return int(count)


def _peers(platform: Platform, python: Path) -> list[Peer]:
    vault = vault_server.administrator(platform.home)
    uris = {
        variable: f"{(vault.read(entry) or {})['uri']}?sslmode=disable"
        for variable, entry in (("SOURCE", f"source/{NAME}"), ("TARGET", NAME))
    }
    folder = Path(platform.environment["LUIGI_CONFIG_PATH"]).parent / "peers"
    folder.mkdir()
    environment = {"FOLDER": str(folder), "HOME": str(folder), "PATH": os.environ["PATH"], **uris}
    more = {"RUNTIME__DLTHUB_TELEMETRY": "false", "SLING_DISABLE_TELEMETRY": "TRUE"}
    (sling,) = python.parent.parent.glob("lib/*/site-packages/sling_linux_amd64/bin/sling-linux-amd64")

    def by_dlt(first: bool, column: str, names: Sequence[str]) -> None:
        mode = "replace" if first else "merge"
        # Without a driver's name SQLAlchemy 2.1 takes the next one, which dlt does not bring.
        named = {"SOURCE": uris["SOURCE"].replace("postgresql://", "postgresql+psycopg2://", 1)}
        _run([python, "-P", "-c", DLT, mode, column, *names], {**environment, **more, **named})

    def by_sling(first: bool, column: str, names: Sequence[str]) -> None:
        streams = {
            f"public.{name}": {
                "object": f"sling.{name}",
                "mode": "full-refresh" if first else "incremental",
                "primary_key": "id",
                "update_key": column,
            }
            for name in names
        }
        file = folder / "replication.json"
        file.write_text(json.dumps({"source": "SOURCE", "target": "TARGET", "streams": streams}))
        _run([sling, "run", "--replication", file], {**environment, **more})

    return [Peer("sling", by_sling), Peer("dlt", by_dlt)]


def _run(line: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    # What they say may show a URI.
    done = subprocess.run(line, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing"]
        raise StepError(f"{Path(line[0]).name} exited with {done.returncode}: {last[0]}")
