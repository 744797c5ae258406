"""The last to tell: whatever ends a `pipeline run` badly is told here, unless what failed has been told."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence

from pipeline import alerts, log, settings
from pipeline.alerts import Alert, failures
from pipeline.alerts.failures import AlertSubject
from pipeline.errors import (
    AlreadyRunningError,
    CheckError,
    PipelineError,
    StoppedError,
    UnreachableError,
    UsageError,
)
from pipeline.settings import Settings

_SUMMARIES: tuple[tuple[type[PipelineError], str], ...] = (
    (UsageError, "could not start: an error in the command, the settings or the catalog"),
    (AlreadyRunningError, "did not start: another one is running"),
    (StoppedError, "was stopped by a signal before it was done"),
    (UnreachableError, "failed: something is out of reach"),
    (CheckError, "did not hold"),
    (PipelineError, "failed"),
)


def watched(arguments: Sequence[str], parse: Callable[[], argparse.Namespace]) -> int:
    """Do what `pipeline ARGUMENTS` says, and return its exit code. Tell if it ends otherwise than with 0.

    `parse` returns the arguments as their parser has them: `command`, and `subject`, what they are about.
    """
    configured = settings.read_for_alerts()
    subject = failures.typed(arguments)
    with contextlib.ExitStack() as stack:
        try:
            parsed = parse()
            subject = parsed.subject(parsed)
            log.about(subject.run or "")
            if configured is not None:
                stack.enter_context(alerts.sending(configured))
            code: int = parsed.command(parsed)
        except BaseException as error:
            alert = _alert(subject, error)
            # What could not be told here is left to bin/cron.
            if configured is not None and alert is not None and alerts.send(configured, alert):
                alerts.let_cron_know()
            raise
        if configured is not None:
            _send_recovery(configured, subject)
        return code


def _alert(subject: AlertSubject, error: BaseException) -> Alert | None:
    """Return what is to be told of how it ended; None if somebody who saw it needs no telling."""
    if isinstance(error, KeyboardInterrupt) or getattr(error, "alerted", False):
        return None
    if isinstance(error, SystemExit):
        mistake = "; ".join(getattr(error, "__notes__", ()))
        return None if not error.code or _is_typed() else subject.alert(_SUMMARIES[0][1], mistake)
    # A run that has failed is told also of one that was typed: others wait for it as well.
    if isinstance(error, (UsageError, AlreadyRunningError, StoppedError)) and _is_typed():
        return None
    summary = next((summarized for kind, summarized in _SUMMARIES if isinstance(error, kind)), None)
    if summary is None:
        return subject.alert("failed because of a bug; its log has the traceback", error)
    # What is going has not failed, and may yet.
    kind: alerts.Kind = alerts.Kind.WARNING if isinstance(error, AlreadyRunningError) else alerts.Kind.FAILED
    return subject.alert(summary, error, kind=kind)


def _is_typed() -> bool:
    """Whether a person has typed the command, and so reads what is said of it."""
    return sys.stdin is not None and sys.stdin.isatty()


def _send_recovery(configured: Settings, subject: AlertSubject) -> None:
    summary = f"{subject.name} is done"
    # That an earlier run is done fixes nothing of a later one.
    alerts.send_recovery(configured, subject.key, summary, run=subject.run)
    # A whole run has done what those of its parts were to do. What is told below the key of a part, such as a
    # check that only warns, is for its steps to take back.
    if subject.steps_of is None:
        alerts.reconcile(configured, f"{subject.key}/", (), run=subject.run)
