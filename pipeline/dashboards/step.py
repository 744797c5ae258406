"""The step of a night that brings dashboards to Metabase, recorded in the ledger as any other."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline import access, ledger
from pipeline.access import Access
from pipeline.catalog import Catalog
from pipeline.catalog.dashboard_files.board import Dashboard
from pipeline.chains import APPLY_TASK, BUILD_TASK, DASHBOARDS
from pipeline.dashboards.apply import apply
from pipeline.dashboards.changes import Action
from pipeline.errors import CheckError
from pipeline.ledger import lease
from pipeline.settings import Settings
from pipeline.step import Record, StepKey

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applied(Record):
    """What the step leaves: a digest of what it brought there, and how much it had to write."""

    digest: str
    writes: int = 0


# Shows how far the step is: percent, or None, and a sentence.
Show = Callable[[int | None, str], object]


def key_of(run: str) -> StepKey:
    """Return what the ledger calls the step of a run."""
    return StepKey(run, APPLY_TASK, DASHBOARDS.name)


def is_applied(settings: Settings, catalog: Catalog, dashboards: Sequence[Dashboard], run: str) -> bool:
    """Whether this run has applied these very dashboards, to its marts as they are."""
    with access.brief(settings).warehouse(autocommit=True) as warehouse:
        steps = ledger.steps_of(warehouse, run)
    step = next((one for one in steps if one.key == key_of(run)), None)
    applied = Applied.of(step)
    if step is None or applied is None or applied.digest != _digest(catalog, dashboards):
        return False
    # What was built after it may have other columns, which Metabase has to look for.
    built = [one.finished_at for one in steps if one.key.task == BUILD_TASK and one.done and one.finished_at]
    return all(moment <= step.started_at for moment in built)


def apply_in_run(
    settings: Settings, catalog: Catalog, dashboards: Sequence[Dashboard], run: str, show: Show
) -> None:
    """Apply them as a step of a run. Raise what `apply` raises, CheckError if a dashboard was held back."""
    with access.opened(settings) as databases, databases.warehouse(autocommit=True) as beside:
        ledger.require_migrated(beside)
        with lease.attempted(beside, key_of(run)) as attempt:
            outcome = apply(settings, catalog, dashboards, lambda line: show(None, line))
            for change in outcome.shown:
                # Of progress not every line is kept; who edited by hand looks for this one.
                if change.by_hand:
                    logger.warning("%s", change)
            if outcome.problems:
                failure = CheckError("; ".join(outcome.problems))
                # That a mart is not built was told by its own step, or by what it reads.
                failure.alerted = outcome.problems == outcome.unbuilt
                raise failure
            _finish(databases, attempt, Applied(_digest(catalog, dashboards), outcome.writes))
    kept = sum(change.action == Action.KEEP for change in outcome.shown)
    changed = len(outcome.shown) - kept + len(outcome.others)
    summary = f"{changed} changed" if changed else "nothing to change"
    show(100, f"{summary}, {kept} changed by hand and kept" if kept else summary)


def _finish(databases: Access, attempt: lease.Attempt, applied: Applied) -> None:
    with databases.warehouse() as warehouse:
        attempt.finish(warehouse, None, applied)
        warehouse.commit()


def _digest(catalog: Catalog, dashboards: Sequence[Dashboard]) -> str:
    """Return what tells what is declared of dashboards, and of the meaning of marts, from anything else."""
    meanings = [
        (mart.name, mart.description, sorted((name, one.description) for name, one in mart.rules.items()))
        for mart in sorted(catalog.marts.values(), key=lambda one: one.name)
    ]
    return hashlib.sha256(repr((list(dashboards), meanings)).encode()).hexdigest()
