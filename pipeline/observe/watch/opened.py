"""What is open: what runs told of and is not over, and what the ledger has as failed since it was loaded."""

from collections.abc import Iterator, Sequence

from pipeline.alerts import Alert, hints
from pipeline.alerts.message import one_line
from pipeline.chains import ETL, MART, MARTS
from pipeline.observe.observed.observations import Observations
from pipeline.observe.watch.finding import Finding, Severity
from pipeline.step import StepKey

KEY = "open/"
STATUS = "pipeline status"
# Judged anew at the end of each watch.
LAST = ("watch/spool", "watch/heartbeat")


def judge(
    observations: Observations, known: Sequence[Alert], findings: Sequence[Finding]
) -> Iterator[Finding]:
    """Yield each alert that is open, and each failure in the ledger without one, but for what was just found.

    They were told, so watch does not tell them again; but all is not well.
    """
    alerted = {finding.key for finding in findings if finding.is_alert}
    for alert in known:
        if alert.key not in alerted and alert.key not in LAST:
            yield Finding(
                f"{KEY}{alert.key}",
                Severity.OPEN,
                alert.summary,
                alert.command or STATUS,
                alert.error,
                alert.since,
                hint=alert.hint or "",
            )
            alerted.add(alert.key)
    for name, table in sorted(observations.ledger.tables.items()) if observations.ledger else ():
        last = table.failing
        if last is None or alerted & _keys(name) or not _is_declared(observations, name):
            continue
        fix = hints.find(last.run, last.task, name, last.exit_code, last.hint, last.again)
        key = StepKey(last.run, last.task, name)
        summary = f"{name}: {last.task} failed in run {last.run}"
        yield Finding(
            f"{KEY}{ETL.name}/{name}",
            Severity.OPEN,
            summary,
            fix.command,
            one_line(last.error),
            last.since,
            key,
            fix.before,
        )


def _keys(name: str) -> set[str]:
    """Return the keys under which this may have been told."""
    source, _, own = name.partition(".")
    if source == MART.schema:
        return {f"{MARTS.name}/{own}", f"watch/{MARTS.name}/{own}"}
    return {f"{ETL.name}/{name}", f"{ETL.name}/{source}", f"watch/table/{name}", f"watch/source/{source}"}


def _is_declared(observations: Observations, name: str) -> bool:
    if observations.declared is None:
        return True
    source, _, table = name.partition(".")
    if source == MART.schema:
        return table in (observations.marts or {})
    return source in observations.declared and (not table or table in observations.declared[source])
