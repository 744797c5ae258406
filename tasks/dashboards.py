"""Dashboards: ApplyDashboards, once a night's load has ended, well or not."""

import functools
from collections.abc import Sequence

from pipeline import catalog, sync
from pipeline.catalog import Dashboard
from pipeline.dashboards import step
from tasks import events  # noqa: F401 - people are told of what fails
from tasks.step import Done, RunParameter, Step, configured, declared, today


@functools.cache
def shown() -> Sequence[Dashboard]:
    """Return the dashboards that are declared, as they were when this process began."""
    folder = sync.folder(configured().require_analysts().checkout)
    return tuple(catalog.read_repository(folder).dashboards.values())


class ApplyDashboards(Step):
    """What is declared of dashboards is in Metabase, but for those of which a mart could not be built.

    It requires no mart: one that fails would keep all dashboards back. `pipeline run` begins it after them.
    """

    # The only task of its chain: this is the name that people type.
    task_namespace = ""
    logical_date = RunParameter(default=today(), description="the logical date, by default today's (UTC)")

    def require_declared(self) -> None:
        """Raise UsageError if luigi.cfg has no Metabase."""
        configured().require_metabase()

    def output(self) -> Done:
        return Done(
            "the dashboards in Metabase",
            lambda: step.is_applied(configured(), declared(), shown(), self.logical_date),
        )

    def run(self) -> None:
        step.apply_in_run(configured(), declared(), shown(), self.logical_date, self.show)
