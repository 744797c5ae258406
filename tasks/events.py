"""Tells people of tasks that fail: one alert for each thing, however often it is tried.

Luigi swallows what is raised here: `pipeline.alerts` keeps by itself what it cannot send. Of what has no
event, as when Luigi itself is killed or a module cannot be imported, the parent tells: `pipeline run`.
"""

import contextlib

import luigi
import luigi.configuration
from luigi import Event

from pipeline import access, alerts, chains, ledger, log, postgres
from pipeline.alerts import failures
from pipeline.alerts.failures import AlertSubject
from pipeline.catalog import Source
from pipeline.chains import EXTRACT_TASK, LOAD_TASK
from pipeline.errors import Outage, PipelineError, StoppedError, UnreachableError
from pipeline.ledger import runs
from tasks.step import configured, declared, source_of

# A task that failed is tried again after [scheduler] retry_delay. What that fixes wakes nobody; a second
# failure is told at once, and what has not been fixed by then as well.
GRACE_SECONDS = 60.0

_helping = False


def only_help() -> None:
    """Tell nothing of what fails here: this process helps a run, perhaps on another machine.

    The run's parent tells of it, by the ledger; what a button of the visualizer started has been told before,
    and who pressed it sees how it ends.
    """
    global _helping  # noqa: PLW0603 - one process is one worker
    _helping = True


@luigi.Task.event_handler(Event.FAILURE)  # type: ignore[untyped-decorator]
def failed(task: luigi.Task, error: BaseException) -> None:
    """Tell that run() raised."""
    # Who told it to stop knows, and the parent tells the others. What it needs is done again, which tells.
    alerted = isinstance(error, PipelineError) and error.alerted
    if not alerted and not isinstance(error, StoppedError) and not str(error).startswith(log.UNFULFILLED):
        final = isinstance(error, PipelineError) and not error.retryable
        _send_alert(task, error, grace_seconds=0.0 if final else _grace(task))


@luigi.Task.event_handler(Event.PROCESS_FAILURE)  # type: ignore[untyped-decorator]
@luigi.Task.event_handler(Event.TIMEOUT)  # type: ignore[untyped-decorator]
def ended(task: luigi.Task, message: str) -> None:
    """Tell that the task's process was killed, or worked for longer than it may.

    Who ended it may know why, and the parent says that at the end of the run: it is not hastened here. One
    that was at its very end has failed at nothing.
    """
    if not _is_done(task) and not any(
        known.key == subject_of(task).key for known in alerts.open_alerts(configured())
    ):
        _send_alert(task, message, grace_seconds=_grace(task))


@luigi.Task.event_handler(Event.BROKEN_TASK)  # type: ignore[untyped-decorator]
def broken(task: luigi.Task, error: BaseException) -> None:
    """Tell that what the task depends on could not be told."""
    _send_alert(task, error)


@luigi.Task.event_handler(Event.DEPENDENCY_MISSING)  # type: ignore[untyped-decorator]
def unanswered(task: luigi.Task) -> None:
    """Tell that it could not be told whether the task is done."""
    _send_alert(task, getattr(task, "doubt", None))


@luigi.Task.event_handler(Event.SUCCESS)  # type: ignore[untyped-decorator]
def done(task: luigi.Task) -> None:
    """Tell that what had failed is over: the thing as a whole, or this step of it."""
    subject, known = subject_of(task), chains.of_family(str(task.task_family))
    step = None if known and known[1].concludes else _name(task)
    alerts.send_recovery(configured(), subject.key, f"{subject.name}: {_name(task)} is done", task=step)


def subject_of(task: luigi.Task) -> AlertSubject:
    """Return what a task is about."""
    if known := chains.of_family(str(task.task_family)):
        chain, declared = known
        return AlertSubject.of(chain.subject(declared.name, task.to_str_params()))
    return AlertSubject(f"task/{task.task_id}", str(task.task_family), f"luigi --module {task.task_module}")


def _send_alert(task: luigi.Task, error: BaseException | str | None, *, grace_seconds: float = 0.0) -> None:
    if _helping:
        return
    parameters = dict(task.to_str_params())
    alert = subject_of(task).failed(_name(task), error)
    if isinstance(error, UnreachableError) and (unreachable := error.outage) and _is_of_a_load(task):
        run = parameters[chains.ETL.run_parameter]
        known = failures.known(unreachable, run, alerts.open_alerts(configured()))
        if known and grace_seconds:
            # Another table has told it: that is not a second try, which would hasten it.
            return
        waiting = _waiting(unreachable, run)
        alert = failures.out_of_reach(
            error.fact, unreachable, run, waiting, _name(task), error.exit_code, error.hint
        )
        if known:
            # Perhaps told as that of another source which is on the same server.
            alert = alert.model_copy(update={"key": known.key})
    alert = failures.linked(configured(), alert, task.task_family, parameters)
    alerts.send(configured(), alert, grace_seconds=grace_seconds)


def _is_done(task: luigi.Task) -> bool:
    try:
        return bool(task.complete())
    except Exception:  # noqa: BLE001 - whoever cannot tell whether it is done tells that it was killed
        return False


def _is_of_a_load(task: luigi.Task) -> bool:
    known = chains.of_family(str(task.task_family))
    return known is not None and known[0] in (chains.ETL, chains.MARTS)


def _waiting(unreachable: Outage, run: str) -> list[str]:
    """Return the tables that a server which is out of reach takes with it, as far as that can be told."""
    sources = [_source(name, run) for name in declared().sources]
    names = [f"{source.name}.{name}" for source in sources for name in source.tables]
    if unreachable.source is None:
        return names
    affected = _sources_at(unreachable)
    names = [name for name in names if name.partition(".")[0] in affected]
    with (
        contextlib.suppress(PipelineError, postgres.Error),
        access.brief(configured()).warehouse(autocommit=True) as warehouse,
    ):
        steps = ledger.steps_of(warehouse, run)
        read = {step.key.name for step in steps if step.done and step.key.task in (EXTRACT_TASK, LOAD_TASK)}
        known = runs.find(warehouse, chains.ETL.name, run)
        scope = known.scope if known else []
        wanted = {name for name in names if not scope or {name, name.partition(".")[0]}.intersection(scope)}
        names = [name for name in names if name in wanted - read]
    return names


def _sources_at(unreachable: Outage) -> set[str]:
    """Return the sources on a server, as far as Vault says so; at least the one by which it was noticed."""
    names = {str(unreachable.source)}
    if unreachable.address is None:
        return names
    with contextlib.suppress(PipelineError):
        databases = access.brief(configured())
        address = databases.source_address(str(unreachable.source))
        for name in declared().sources:
            # One that is not in Vault hides no other.
            with contextlib.suppress(PipelineError):
                if databases.source_address(name) == address:
                    names.add(name)
    return names


def _source(name: str, run: str) -> Source:
    """Return a source with its tables, those that only the warehouse knows included if that answers."""
    try:
        return source_of(name, run)
    except (PipelineError, postgres.Error):
        return declared().source(name)


def _name(task: luigi.Task) -> str:
    return type(task).__name__


def _grace(task: luigi.Task) -> float:
    """Return how long to wait for the scheduler to try a task again, if it will."""
    tries = task.retry_count or luigi.configuration.get_config().getint("scheduler", "retry_count", 1)
    return GRACE_SECONDS if tries > 1 else 0.0
