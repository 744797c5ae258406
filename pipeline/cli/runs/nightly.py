"""What follows a night's load and is no part of it: the page of the dashboards. Its failure fails nothing."""

import logging

from pipeline import alerts
from pipeline.alerts import failures
from pipeline.alerts.failures import AlertSubject
from pipeline.errors import PipelineError
from pipeline.settings import Settings
from pipeline.system import command

logger = logging.getLogger(__name__)

KEY = "report"
# Many times what it takes.
TIMEOUT_SECONDS = 600.0


def write_report(configured: Settings) -> None:
    """Write the page where [report] says, if it does; tell of it under a key of its own, and raise nothing.

    In a process of its own: what draws the charts is another's program, and must not take the night along.
    """
    if configured.report is None:
        return
    subject = AlertSubject(KEY, "the report", "pipeline report")
    try:
        line = command.python("pipeline.cli.analysts.report", "--out", configured.report.folder)
        command.run(line, timeout_seconds=TIMEOUT_SECONDS)
    except PipelineError as error:
        logger.warning("the report is incomplete: %s", error)
        if not _is_alerted(configured):
            alerts.send(configured, subject.alert("incomplete", error, kind=alerts.Kind.WARNING))
    else:
        alerts.send_recovery(configured, KEY, "the report is written")


def _is_alerted(configured: Settings) -> bool:
    """Whether it was told as of the night that the warehouse or Vault, which the page needs, is away."""
    night = failures.load(None).key
    return any(one.key == night and one.server for one in alerts.open_alerts(configured))
