"""Loading: OpenSnapshot -> ExtractTable -> ValidateExtract -> LoadTable for each table of each source.

LoadSource and LoadWarehouse gather them.
"""

import multiprocessing
import os
from collections.abc import Iterator

import luigi

from pipeline.catalog import Table
from pipeline.chains import ETL
from pipeline.loading import extract, load, snapshot_holder, validate
from pipeline.marts import build
from tasks import events  # noqa: F401 - people are told of what fails
from tasks.step import Done, RunParameter, Step, configured, declared, source_of, today


class OpenSnapshot(Step):
    """One moment of a source, held while this run reads from it."""

    task_namespace = ETL.name
    source = luigi.Parameter(description="the source, as in luigi.cfg and the analysts' repository")

    def require_declared(self) -> None:
        """Raise UsageError if luigi.cfg has no such source."""
        configured().source(self.source)

    def output(self) -> Done:
        return Done(
            f"snapshot of {self.source}",
            lambda: snapshot_holder.held(configured(), self.source, self.logical_date),
        )

    def run(self) -> None:
        source = source_of(self.source, self.logical_date)
        taken = snapshot_holder.open_snapshot(configured(), source, self.logical_date, _worker_pid())
        self.show(100, f"as of {taken.taken_at:%Y-%m-%d %H:%M:%S} UTC")


class TableStep(Step):
    """A step of one table."""

    # Most tables are small, and have not changed.
    shares_its_process = True
    task_namespace = ETL.name
    source = luigi.Parameter(description="the source, as in luigi.cfg and the analysts' repository")
    table = luigi.Parameter(description="the table, as in the source's YAML file")

    @property
    def declared_table(self) -> Table:
        return source_of(self.source, self.logical_date).table(self.table)

    def require_declared(self) -> None:
        """Raise UsageError if luigi.cfg has no such source, or the analysts' repository no such table."""
        configured().source(self.source)
        self.declared_table  # noqa: B018 - raises


class ExtractTable(TableStep):
    """What changed in the table is staged in the warehouse."""

    # The snapshot ends with the worker that opened it: looked for before each table is begun.
    requires_what_passes = True

    @property
    def resources(self) -> dict[str, int]:  # type: ignore[override]
        """Return what keeps the number of connections to one source bounded, over all workers."""
        return {f"source {self.source}": 1}

    def requires(self) -> OpenSnapshot:
        return OpenSnapshot(source=self.source, run=self.logical_date)

    def output(self) -> Done:
        return Done(
            f"staged rows of {self.source}.{self.table}",
            lambda: extract.is_extracted(configured(), self.declared_table, self.logical_date),
        )

    def run(self) -> None:
        extract.extract_table(configured(), self.declared_table, self.logical_date, self.show)


class ValidateExtract(TableStep):
    """The staged rows hold what was declared of them."""

    def requires(self) -> Iterator[luigi.Task]:
        """Yield the extraction, and the load of each table that a check compares this one with."""
        yield ExtractTable(source=self.source, table=self.table, run=self.logical_date)
        for other in self.declared_table.compared_with:
            yield LoadTable(source=self.source, table=other, run=self.logical_date)

    def output(self) -> Done:
        return Done(
            f"validation of {self.source}.{self.table}",
            lambda: validate.is_validated(configured(), self.declared_table, self.logical_date),
        )

    def run(self) -> None:
        validate.validate_extract(configured(), self.declared_table, self.logical_date, self.show)


class LoadTable(TableStep):
    """The staged rows are published, and the table equals its source."""

    def requires(self) -> ValidateExtract:
        return ValidateExtract(source=self.source, table=self.table, run=self.logical_date)

    def output(self) -> Done:
        return Done(
            f"{self.source}.{self.table}",
            lambda: load.is_loaded(configured(), self.declared_table, self.logical_date),
        )

    def run(self) -> None:
        load.load_table(configured(), self.declared_table, self.logical_date, self.show)


class LoadSource(Step):
    """Every table of a source is loaded, or each of some of them."""

    task_namespace = ETL.name
    source = luigi.Parameter(description="the source, as in luigi.cfg and the analysts' repository")
    only = luigi.ListParameter(default=(), description="only these tables, by default all of the source")

    @property
    def tables(self) -> list[Table]:
        source = source_of(self.source, self.logical_date)
        return [source.table(str(name)) for name in self.only or source.tables]

    def require_declared(self) -> None:
        """Raise UsageError if luigi.cfg, or the analysts' repository, has no such source."""
        configured().source(self.source)
        self.tables  # noqa: B018 - raises

    def requires(self) -> Iterator[luigi.Task]:
        """Yield the load of each table; of a source that says of none that it has it, what tells why."""
        for table in self.tables:
            yield LoadTable(source=self.source, table=table.name, run=self.logical_date)
        if not self.tables:
            yield OpenSnapshot(source=self.source, run=self.logical_date)

    def output(self) -> Done:
        tables, what = tuple(self.tables), ", ".join(self.only) or "all"
        return Done(
            f"{what} of {self.source}",
            lambda: bool(tables) and load.are_loaded(configured(), tables, self.logical_date),
        )

    def run(self) -> None:
        self.show(100, "every table is loaded")


class LoadWarehouse(Step):
    """Every table of every source is loaded, and every mart built: the root of a night."""

    # Not in the namespace: this is the name that people type.
    task_namespace = ""
    logical_date = RunParameter(default=today(), description="the logical date, by default today's (UTC)")

    def requires(self) -> Iterator[luigi.Task]:
        from tasks.marts import BuildMart  # noqa: PLC0415 - which needs what is above

        for source in declared().sources:
            yield LoadSource(source=source, run=self.logical_date)
        for mart in declared().marts:
            yield BuildMart(mart=mart, run=self.logical_date)

    def output(self) -> Done:
        sources = [source_of(name, self.logical_date) for name in declared().sources]
        tables = tuple(table for source in sources for table in source.tables.values())
        marts = tuple(declared().marts.values())
        return Done(
            "the warehouse",
            lambda: (
                all(source.tables for source in sources)
                and load.are_loaded(configured(), tables, self.logical_date)
                and build.are_built(configured(), marts, self.logical_date)
            ),
        )

    def run(self) -> None:
        self.show(100, "every source is loaded, and every mart built")


def _worker_pid() -> int:
    """Return the process that lives as long as this worker: its tasks run in children of it."""
    parent = multiprocessing.parent_process()
    return os.getpid() if parent is None or parent.pid is None else parent.pid
