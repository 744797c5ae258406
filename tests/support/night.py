"""Nights of loading for tests: steps called directly or as commands, the warehouse held to its source."""

import contextlib
import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from psycopg2 import sql

from pipeline import access, catalog, ledger, postgres, settings
from pipeline.catalog import Table
from pipeline.ledger import migrations
from pipeline.loading import extract, load, snapshot_holder, validate
from pipeline.loading.extracted import Extracted
from pipeline.loading.load import Loaded
from pipeline.loading.source import continuity
from pipeline.postgres.snapshot import Snapshot
from pipeline.settings import Settings
from pipeline.step import Step, StepKey
from pipeline.warehouse import roles
from tests.support import commands
from tests.support.platforms import Connection, Platform

# More than the 300 s for which a command waits until Metabase is up.
COMMAND_SECONDS = 600
# The scheduler is shared by all tests and knows a task by its parameters: no two tests share a run.
_days = itertools.count()

ADDED_COLUMNS = {"_loaded_at", "_deleted_at"}


def next_run() -> str:
    """Return a logical date that no other test uses."""
    return str(date(2030, 1, 1) + timedelta(days=next(_days)))


def wait_until(holds: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Return what `holds` returns once that is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what}"
        time.sleep(0.02)
    return found


def counts(loaded: Loaded | None) -> tuple[int, int, int, int]:
    """Return the rows that a load inserted, updated and deleted, and how many there are now."""
    assert loaded is not None, "it was done before"
    return loaded.inserted, loaded.updated, loaded.deleted, loaded.total


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Return the errors that the command itself printed, without its name."""
        return [
            line.removeprefix("pipeline: ") for line in self.err.splitlines() if line.startswith("pipeline: ")
        ]


def typed(arguments: Sequence[str], environment: Mapping[str, str]) -> Ended:
    """Run `pipeline ARGUMENTS` to its end."""
    done = commands.run(arguments, environment, seconds=COMMAND_SECONDS)
    return Ended(done.returncode, done.stdout, done.stderr)


@dataclass
class Night:
    """One test's platform with a ledger, and what a night does on it."""

    platform: Platform
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @cached_property
    def settings(self) -> Settings:
        """The settings as they are when first asked for: make the sources before."""
        return settings.read([self.platform.settings_file])

    def table(self, source: str, name: str) -> Table:
        """Return a table as it is declared at this moment."""
        return catalog.read(self.platform.analysts).source(source).table(name)

    def migrate(self) -> None:
        """Make the ledger, and let the roles do what each may."""
        with access.opened(settings.read([self.platform.settings_file])) as databases:
            migrations.migrate(databases.warehouse_uri())
            with databases.warehouse() as warehouse:
                assert roles.keep(warehouse, migrations.LOCK) is None

    # The steps, called directly.

    @contextlib.contextmanager
    def snapshot(self, source: str, run: str, *, circles: int = 0) -> Iterator[Snapshot]:
        """Take a snapshot of a source for a run, and hold it during the block.

        `circles`: as if the source's transaction ids had gone around their 32 bits so many times.
        """
        # Each night is another process, which reads anew where everything is.
        access.end_brief()
        with (
            access.opened(self.settings) as databases,
            databases.source(source) as connection,
            databases.warehouse() as warehouse,
            databases.warehouse(autocommit=True) as beside,
        ):
            taken = continuity.take(beside, connection, source)
            ahead = circles * 2**32
            taken = dataclasses.replace(
                taken, horizon=taken.horizon + ahead, next_transaction=taken.next_transaction + ahead
            )
            ledger.finish_step(warehouse, snapshot_holder.step_key(source, run), None, taken)
            warehouse.commit()
            yield taken

    def extract(self, source: str, run: str, *names: str, circles: int = 0) -> None:
        """Stage tables in one snapshot of their source."""
        with self.snapshot(source, run, circles=circles):
            for name in names:
                extract.extract_table(self.settings, self.table(source, name), run)

    def publish(self, source: str, run: str, name: str) -> Loaded | None:
        """Validate and load what is staged of a table."""
        table = self.table(source, name)
        validate.validate_extract(self.settings, table, run)
        return load.load_table(self.settings, table, run)

    def load(self, source: str, name: str, run: str | None = None, *, circles: int = 0) -> Loaded:
        """Take one table through all its steps in a run of its own."""
        run = run or next_run()
        self.extract(source, run, name, circles=circles)
        loaded = self.publish(source, run, name)
        assert loaded is not None
        return loaded

    def step(self, run: str, task: str, name: str) -> Step | None:
        """Return a step as the ledger has it."""
        with self.warehouse() as warehouse:
            return ledger.find_step(warehouse, StepKey(run, task, name))

    def extraction(self, run: str, name: str) -> tuple[str, int]:
        """Return how a table was read (`first`, `full` or `increment`), and how many rows that gave."""
        step = self.step(run, "ExtractTable", name)
        read = Extracted.of(step)
        assert step is not None
        assert step.rows is not None
        assert read is not None
        return read.mode, step.rows

    # Databases.

    def warehouse(self) -> contextlib.AbstractContextManager[Connection]:
        """Open the warehouse as superuser, with autocommit."""
        return self.platform.connect("warehouse")

    def ask(self, name: str, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run SQL on a source or on `warehouse`, and return its rows."""
        with self.platform.connect(name) as connection:
            return postgres.rows(connection, query, parameters)

    def value(self, name: str, query: str, parameters: Sequence[object] = ()) -> Any:
        """Run SQL on a source or on `warehouse`, and return its one value."""
        return self.ask(name, query, parameters)[0][0]

    def differing(self, source: str, *names: str) -> list[str]:
        """Return the declared tables whose live rows are not those of the source, and how."""
        tables = catalog.read(self.platform.analysts).source(source).tables
        with self.platform.connect(source) as theirs, self.warehouse() as ours:
            return [
                told for name in names or tables if (told := self._difference(theirs, ours, tables[name]))
            ]

    @staticmethod
    def _difference(theirs: Connection, ours: Connection, table: Table) -> str:
        relation = sql.Identifier(table.schema_name, table.relation)
        target = sql.Identifier(table.source, table.name)
        columns = [name for name in _columns(theirs, relation) if not _masked(table, name)]
        missing = set(columns) - set(_columns(ours, target))
        if missing:
            return f"{table.name} lacks {', '.join(sorted(missing))}"
        live = "_deleted_at IS NULL" if table.deletes == "soft" else "true"
        in_source, loaded = _checksum(theirs, relation, columns), _checksum(ours, target, columns, live)
        return "" if in_source == loaded else f"{table.name}: source {in_source}, warehouse {loaded}"

    # Commands.

    def run(self, *arguments: str, **environment: str) -> Ended:
        """Run `pipeline ARGUMENTS` to its end."""
        return typed(arguments, {**self.platform.env, **environment})

    def etl(self, run: str, *arguments: str) -> Ended:
        """Run `pipeline run etl` to its end."""
        return self.run("run", "etl", "--run", run, *arguments)

    def start_etl(self, run: str, *arguments: str) -> "subprocess.Popen[str]":
        """Start `pipeline run etl` in a process group of its own; what is left of it ends with the test."""
        return self.start("run", "etl", "--run", run, *arguments)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `pipeline ARGUMENTS` in a process group of its own; what is left of it ends with the test."""
        started = subprocess.Popen(
            [program("pipeline"), *arguments],
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.platform.env,
            start_new_session=True,
        )
        self.started.append(started)
        return started

    def ours(self) -> list[psutil.Process]:
        """Return the living processes that work with this test's settings, and what else they started."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get("LUIGI_CONFIG_PATH") == str(self.platform.settings_file):
                    found.append(process)
        return found

    def close(self) -> None:
        """End what is still running of the commands that were started, and our own login."""
        access.end_brief()
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def is_luigi(process: psutil.Process) -> bool:
    """Whether a child of `pipeline run` is its Luigi: who holds a snapshot has Luigi's arguments too."""
    with contextlib.suppress(psutil.Error):
        holds = process.name().startswith(f"{snapshot_holder.PROCESS} ")
        # One that has ended, and whose end nobody has asked for yet, has no arguments.
        return "tasks.worker.run" in process.cmdline() and not holds
    return False


def program(name: str) -> Path:
    """Return one of the commands that are installed beside this Python."""
    return Path(sys.executable).with_name(name)


def _columns(connection: Connection, relation: sql.Identifier) -> list[str]:
    schema, name = relation.strings
    query = """
        SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
        """
    found = [column for (column,) in postgres.rows(connection, query, (schema, name))]
    return [column for column in found if column not in ADDED_COLUMNS]


def _masked(table: Table, column: str) -> bool:
    declared = table.columns.get(column)
    return declared is not None and declared.mask is not None


def _checksum(
    connection: Connection, relation: sql.Identifier, columns: Sequence[str], live: str = "true"
) -> tuple[Any, int]:
    """Return a checksum of all rows, by named columns and in any order, and their number."""
    for setting, value in postgres.SESSION.items():
        postgres.rows(connection, "SELECT set_config(%s, %s, false)", (setting, value))
    query = sql.SQL(
        "SELECT sum(hashtextextended(ROW({})::text, 0)::numeric), count(*) FROM {} WHERE {}"
    ).format(postgres.columns(columns), relation, sql.SQL(live))
    (found,) = postgres.rows(connection, query)
    return found[0], found[1]
