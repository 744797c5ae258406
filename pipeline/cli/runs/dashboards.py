"""The dashboards in Metabase, once a load has ended: by a Luigi of their own, so that it fails no load.

In that of the load they would require each mart that they show, and one that fails would keep all back.
"""

import functools
import logging
from pathlib import Path

from pipeline import access, alerts, catalog, ledger, retry, sync
from pipeline.access import Access
from pipeline.alerts import failures
from pipeline.chains import APPLY_TASK, DASHBOARDS, ETL
from pipeline.cli import loads, terminal
from pipeline.cli.runs import killed, supervise
from pipeline.errors import CheckError, PipelineError, StoppedError, common_kind
from pipeline.ledger import liveness, runs
from pipeline.settings import Settings
from pipeline.step import Step, StepKey

logger = logging.getLogger(__name__)


def apply(configured: Settings, run: str, log_file: Path | None, *, of_night_only: bool = False) -> None:
    """Bring the dashboards to Metabase, if there is one and the run has not done so.

    Tell of what fails under a key of its own; raise StoppedError alone. With `of_night_only` only of a run of
    everything.
    """
    if configured.metabase is None:
        return
    try:
        _apply(configured, run, log_file, of_night_only=of_night_only)
    except StoppedError:
        raise
    except PipelineError as error:
        logger.warning("the dashboards are not applied: %s", error)
        alerts.send(configured, failures.dashboards(run).failed(APPLY_TASK, error))


def _apply(configured: Settings, run: str, log_file: Path | None, *, of_night_only: bool) -> None:
    from pipeline.dashboards import step  # noqa: PLC0415 - without a Metabase no load has need of it

    def is_applied() -> bool:
        return retry.call(lambda: step.is_applied(configured, declared.catalog, dashboards, run))

    with supervise.log_file(log_file, configured, run) as log, access.opened(configured) as databases:
        if of_night_only and not _is_night(databases, run):
            return
        declared = catalog.read_repository(sync.folder(configured.require_analysts().checkout))
        dashboards = tuple(declared.dashboards.values())
        if is_applied():
            return
        before = _step(databases, step.key_of(run))
        supervision = supervise.Supervision(
            f"{DASHBOARDS.name} {run}",
            len(DASHBOARDS.steps),
            lambda: (None, APPLY_TASK),
            log,
            configured.run,
            functools.partial(killed.fail_step, databases, run),
        )
        try:
            # The scheduler may have seen it done, before it was declared otherwise.
            line = supervise.luigi(DASHBOARDS.module, [DASHBOARDS.root], run, "--workers", "1", "--clear")
            returncode, tail = supervision.run(line)
        except PipelineError as error:
            killed.fail_unseen(databases, run, error)
            raise
        if is_applied():
            terminal.print_text(f"run {run}: the dashboards are applied")
            return
        after = _step(databases, step.key_of(run))
        if after is None or after == before:
            last = f"Luigi ended with {returncode} before it began; its last log lines are above"
            raise common_kind([returncode])("\n".join([*tail, last]))
        _send(databases, run, after)


def _is_night(databases: Access, run: str) -> bool:
    with databases.warehouse(autocommit=True) as warehouse:
        known = runs.find(warehouse, ETL.name, run)
    return known is not None and not known.scope


def _step(databases: Access, key: StepKey) -> Step | None:
    """Return the step, which has failed if its process is gone."""
    with databases.warehouse(autocommit=True) as warehouse:
        liveness.fail_killed_steps(warehouse, key.run, [key.name])
        return ledger.find_step(warehouse, key)


def _send(databases: Access, run: str, failed: Step) -> None:
    """Show how the step failed, and tell it, also where that is known here alone."""
    loads.show_failures([failed])
    if failed.exit_code == CheckError.exit_code:
        # Told by the step itself; or by a mart that could not be built, for which a dashboard waits.
        return
    alert = failures.dashboards(run).failed(APPLY_TASK, failed.error, failed.exit_code, failed.hint)
    family = DASHBOARDS.family(APPLY_TASK)
    alerts.send(databases.settings, failures.linked(databases.settings, alert, family, {"run": run}))
