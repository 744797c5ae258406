"""Tells what was judged: alerts of what is new, that it is over, and a sign that watch itself lives."""

import logging
from collections.abc import Callable, Mapping, Sequence

from pipeline import access, alerts
from pipeline.alerts import Alert, Kind, webhook
from pipeline.chains import ANALYSTS, ARCHIVE_DRILL, BACKUP, DRILL, ETL, MARTS, RECOVERED
from pipeline.errors import PipelineError, StoppedError
from pipeline.observe.observed.observations import Observations
from pipeline.observe.watch.finding import Finding, Severity
from pipeline.scheduler import links
from pipeline.settings import Settings

logger = logging.getLogger(__name__)

KINDS: dict[Severity, Kind] = {
    Severity.WARNING: Kind.WARNING,
    Severity.STALE: Kind.STALE,
    Severity.FAILED: Kind.FAILED,
    Severity.UNREACHABLE: Kind.FAILED,
}
FAILED = "/fail"
HEARTBEAT = "watch/heartbeat"


def send(settings: Settings, findings: Sequence[Finding]) -> None:
    """Tell each finding once, and once that it is over. What was not judged is neither."""
    for finding in findings:
        if finding.is_alert:
            if alerts.send(settings, alert_of(settings, finding)):
                # Also of a mere warning: watch has failed nobody, and need not be told of by bin/cron.
                alerts.let_cron_know()
        elif finding.severity == Severity.OK:
            alerts.send_recovery(settings, finding.key, finding.summary)


def alert_of(settings: Settings, finding: Finding) -> Alert:
    """Return what is told of a finding, with links to the step that failed last, if one did."""
    step = finding.step
    source, _, table = step.name.partition(".") if step else ("", "", "")
    parameters = {"source": source, **({"table": table} if table else {}), "run": step.run if step else ""}
    family = f"etl.{step.task}" if step else ""
    return Alert(
        key=finding.key,
        kind=KINDS[finding.severity],
        summary=finding.summary,
        error=finding.error,
        hint=finding.hint or None,
        run=step and step.run,
        command=finding.command,
        task_url=step and links.task_url(settings, family, parameters),
        log_url=step and links.log_url(settings, family, parameters),
        **({"since": finding.since} if finding.since else {}),
    )


def send_undeclared(settings: Settings, observations: Observations, findings: Sequence[Finding]) -> None:
    """Tell of what was told earlier and is no longer declared that it is over: nobody will judge it again."""
    judged = {finding.key for finding in findings}
    for alert in alerts.open_alerts(settings):
        if alert.key not in judged and _is_gone(settings, observations, alert):
            alerts.send_recovery(
                settings, alert.key, f"{alert.key}: is no longer declared, so it is not watched"
            )


def _is_gone(settings: Settings, observations: Observations, alert: Alert) -> bool:
    kind, _, name = alert.key.removeprefix("watch/").partition("/")
    if alert.key.startswith("watch/"):
        names = KEPT.get(kind)
    elif kind in WHOLE and alert.task is None:
        # Of a command that a clock goes on to start: that its database is not declared may be what is wrong.
        return False
    else:
        # Of a run, such as etl/hr.employee/checks: what the parts after the name say of it goes with it.
        name, _, aspect = name.partition("/")
        names = _with_repository if aspect == RECOVERED.aspect else DONE.get(kind)
    kept = names(settings, observations) if names else None
    return kept is not None and name not in kept


def _sources(settings: Settings, observations: Observations) -> set[str] | None:
    return None if observations.declared is None else {*observations.declared, *settings.sources}


def _tables(_: Settings, observations: Observations) -> set[str] | None:
    if observations.declared is None:
        return None
    return {f"{source}.{table}" for source, tables in observations.declared.items() for table in tables}


def _marts(_: Settings, observations: Observations) -> set[str] | None:
    return None if observations.marts is None else set(observations.marts)


def _programs(settings: Settings, observations: Observations) -> set[str] | None:
    # All of them at once too; and where they are run by another machine now, none.
    if settings.analysts is None:
        return set()
    if observations.programs is None:
        return None
    return {name for one in observations.programs if one.records for name in ("", one.name)}


def _loads(settings: Settings, observations: Observations) -> set[str] | None:
    sources, tables = _sources(settings, observations), _tables(settings, observations)
    return None if sources is None or tables is None else sources | tables


def _subjects(_: Settings, observations: Observations) -> set[str] | None:
    # With Vault out of reach nothing behind it was looked at.
    return (
        {*observations.seen, *(one.subject for one in observations.unseen)}
        if "Vault" in observations.seen
        else None
    )


def _proved(settings: Settings, observations: Observations) -> set[str] | None:
    # And all of them at once.
    tables = _tables(settings, observations)
    return None if tables is None else {"", *tables}


def _databases(settings: Settings, _: Observations) -> set[str]:
    return set(settings.databases)


def _signed(settings: Settings, _: Observations) -> set[str]:
    return set(settings.databases) if settings.backup and settings.backup.signers else set()


def _with_repository(settings: Settings, _: Observations) -> set[str]:
    return set(settings.with_archive)


def _drilled(settings: Settings, _: Observations) -> set[str]:
    return {*settings.databases, *(f"{name}/{RECOVERED.aspect}" for name in settings.drilled_archives)}


def _named(settings: Settings, _: Observations) -> set[str]:
    return set(settings.sources)


def _keys(settings: Settings, _: Observations) -> set[str]:
    return {path.name for path in settings.backup.recipients} if settings.backup else set()


def _audited(settings: Settings, _: Observations) -> set[str]:
    return {""} if settings.backup and settings.backup.audit_secret else set()


def _work(settings: Settings, observations: Observations) -> set[str]:
    archives = {ARCHIVE_DRILL} if settings.drilled_archives else set()
    theirs = {ANALYSTS.name} if _programs(settings, observations) != set() else set()
    backups = {f"{BACKUP.name}/{name}" for name in settings.databases}
    return {ETL.name, DRILL.name} | archives | theirs | backups


# By the second part of an alert's key: what the third may still be, or None if that is not known now.
KEPT: Mapping[str, Callable[[Settings, Observations], set[str] | None]] = {
    "archiving": _databases,
    "backup": _databases,
    "changed": _databases,
    "kept": _databases,
    "neighbours": _databases,
    "pgbackrest": _with_repository,
    "signature": _signed,
    "size": _databases,
    "drill": _drilled,
    "source": _sources,
    "horizon": _named,
    "table": _tables,
    "audit": _proved,
    "mart": _marts,
    "analysts": _programs,
    "key": _keys,
    "rules": _audited,
    "reach": _subjects,
    "going": _work,
}
# Under these keys a command tells as well as its steps.
WHOLE = (BACKUP.name, DRILL.name)
# Likewise by the first part of the keys under which runs tell.
DONE: Mapping[str, Callable[[Settings, Observations], set[str] | None]] = {
    ETL.name: _loads,
    "audit": _tables,
    MARTS.name: _marts,
    BACKUP.name: _databases,
    DRILL.name: _databases,
    ANALYSTS.name: _programs,
}


def heartbeat(settings: Settings, *, ok: bool) -> Finding | None:
    """Ask for the address whose silence somebody else watches, with /fail behind it where not all is well.

    It is `heartbeat_url` in the entry of [alerts] in Vault. Return None where there is none to be had.
    """
    if settings.alerts is None:
        return None
    try:
        with access.opened(settings) as databases:
            url = databases.vault.read(settings.alerts.secret).get("heartbeat_url", "").rstrip("/")
    except StoppedError:
        raise
    except PipelineError as error:
        # Told of Vault already; and whoever waits for a sign of us gets none.
        logger.info("no heartbeat: %s", error)
        return None
    if not url:
        alerts.send_recovery(settings, HEARTBEAT, "heartbeat: its address is no longer set")
        return None
    try:
        webhook.ping(url if ok else url + FAILED)
    except StoppedError:
        raise
    except PipelineError as error:
        summary = "heartbeat: the address that monitors watch could not be reached"
        return Finding(HEARTBEAT, Severity.UNREACHABLE, summary, "pipeline watch", str(error))
    return Finding(HEARTBEAT, Severity.OK, "heartbeat: sent")
