"""Dashboards: ApplyDashboards, after the marts that they show. Night gathers it and the load."""

import functools
from collections.abc import Iterator, Sequence

import luigi

from pipeline import catalog, sync
from pipeline.catalog import Dashboard
from pipeline.chains import DASHBOARDS
from pipeline.dashboards import step
from pipeline.marts import build
from tasks import events  # noqa: F401 - people are told of what fails
from tasks.etl import LoadWarehouse
from tasks.marts import BuildMart
from tasks.step import Done, RunParameter, Step, configured, declared, today


@functools.cache
def shown() -> Sequence[Dashboard]:
    """Return the dashboards that are declared, as they were when this process began."""
    folder = sync.folder(configured().require_analysts().checkout)
    return tuple(catalog.read_repository(folder).dashboards.values())


class ApplyDashboards(Step):
    """What is declared of dashboards is in Metabase."""

    task_namespace = DASHBOARDS.name

    def require_declared(self) -> None:
        """Raise UsageError if luigi.cfg has no Metabase."""
        configured().require_metabase()

    def requires(self) -> Iterator[BuildMart]:
        """Yield the building of each mart that a card reads."""
        reads = {name for dashboard in shown() for card in dashboard.cards for name in card.reads}
        for mart in declared().marts:
            if f"{build.SCHEMA}.{mart}" in reads:
                yield BuildMart(mart=mart, run=self.logical_date)

    def output(self) -> Done:
        return Done(
            "the dashboards in Metabase",
            lambda: step.is_applied(configured(), declared(), shown(), self.logical_date),
        )

    def run(self) -> None:
        step.apply_in_run(configured(), declared(), shown(), self.logical_date, self.show)


class Night(Step):
    """The warehouse is loaded, and Metabase shows what is declared: all that a night does."""

    # Not in the namespace: this is the name that people type.
    task_namespace = ""
    logical_date = RunParameter(default=today(), description="the logical date, by default today's (UTC)")

    def require_declared(self) -> None:
        """Raise UsageError if luigi.cfg lacks a source that is declared, or a Metabase."""
        configured().require_metabase()

    def requires(self) -> Iterator[luigi.Task]:
        yield LoadWarehouse(run=self.logical_date)
        yield ApplyDashboards(run=self.logical_date)

    def output(self) -> Done:
        parts = [LoadWarehouse(run=self.logical_date), ApplyDashboards(run=self.logical_date)]
        return Done("the night", lambda: all(part.complete() for part in parts))

    def run(self) -> None:
        self.show(100, "the warehouse is loaded, and its dashboards are applied")
