"""Marts: BuildMart, after the tables and marts that its SQL names."""

from collections.abc import Iterator

import luigi

from pipeline.catalog import Mart
from pipeline.loading import listing
from pipeline.marts import build
from tasks import events  # noqa: F401 - people are told of what fails
from tasks.etl import LoadSource, LoadTable
from tasks.step import Done, RunParameter, Step, configured, declared, source_of, today


class BuildMart(Step):
    """A mart is built, from what this run has loaded."""

    # The only task of its chain: this is the name that people type.
    task_namespace = ""
    mart = luigi.Parameter(description="the mart: NAME of marts/NAME.sql")
    logical_date = RunParameter(default=today(), description="the logical date, by default today's (UTC)")

    @property
    def declared_mart(self) -> Mart:
        return declared().mart(self.mart)

    def require_declared(self) -> None:
        """Raise UsageError if there is no such mart, or luigi.cfg has not all sources that it reads."""
        for name in self.declared_mart.reads:
            schema, _, _ = name.partition(".")
            if schema != build.SCHEMA:
                configured().source(schema)

    def requires(self) -> Iterator[luigi.Task]:
        """Yield the load of each table, and the building of each mart, that the SELECT or a check reads."""
        for name in self.declared_mart.reads:
            schema, _, table = name.partition(".")
            if schema == build.SCHEMA:
                yield BuildMart(mart=table, run=self.logical_date)
            elif not (tables := source_of(schema, self.logical_date).tables):
                # What tells why nothing is known of them.
                yield LoadSource(source=schema, run=self.logical_date)
            elif table in tables:
                # Of another one the build says that the source has it not.
                yield LoadTable(source=schema, table=table, run=self.logical_date)

    def output(self) -> Done:
        return Done(
            f"{build.SCHEMA}.{self.mart}",
            lambda: build.is_built(configured(), self.declared_mart, self.logical_date),
        )

    def run(self) -> None:
        schemas = {name.partition(".")[0] for name in self.declared_mart.reads} - {build.SCHEMA}
        sources = {schema: source_of(schema, self.logical_date) for schema in schemas}
        catalog = listing.with_sources(declared(), sources)
        build.build_mart(configured(), catalog, self.mart, self.logical_date, self.show)
