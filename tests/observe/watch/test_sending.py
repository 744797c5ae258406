"""What an alert of watch holds: what to type, since when, and the way to the step that failed."""

import re
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import alerts
from pipeline.alerts import Alert, failures
from pipeline.cli.oncall import watch as command
from pipeline.errors import StepError
from pipeline.observe.watch import opened, sending
from pipeline.scheduler import links
from pipeline.step import StepKey
from tests.observe.watch.samples import DAY, LAST_NIGHT, ledger, observations, only, settings, table, tables
from tests.observe.watch.test_loads import FAILING


def test_an_alert_leads_to_the_step_that_failed() -> None:
    shown = settings(visualizer={"secret": "scheduler", "url": "https://luigi.school.invalid"})
    old = table(fresh_as_of=LAST_NIGHT - 3 * DAY, loaded_at=LAST_NIGHT - 3 * DAY, failing=FAILING)
    found = only(observations(ledger=ledger(tables=tables(employee=old))), configured=shown)
    alert = sending.alert_of(shown, found)
    step = {"source": "hr", "table": "employee", "run": "2026-11-24"}
    assert alert.task_url == links.task_url(shown, "etl.ValidateExtract", step)
    assert alert.log_url == links.log_url(shown, "etl.ValidateExtract", step)
    assert (alert.kind, alert.run, alert.command) == ("stale", "2026-11-24", found.command)
    assert alert.since == found.since
    # Of a source's own step, and of what has none.
    own = replace(found, step=StepKey("2026-11-24", "OpenSnapshot", "hr"))
    snapshot = links.task_url(shown, "etl.OpenSnapshot", {"source": "hr", "run": "2026-11-24"})
    assert sending.alert_of(shown, own).task_url == snapshot
    none = sending.alert_of(shown, replace(found, step=None))
    assert (none.run, none.task_url, none.log_url) == (None, None, None)


def test_what_runs_told_of_is_over_once_it_is_no_longer_declared(tmp_path: Path) -> None:
    """A table that was taken out of the catalog while it failed is never loaded again, which would end it."""
    shown = settings(
        alerts={"secret": "alerts", "spool": str(tmp_path / "spool")},
        databases={
            "hr": {"secret": "database/hr", "pgbackrest": "main"},
            "records": {"secret": "database/records"},
        },
        restore={"secret": "b2", "key_secret": "key"},
    )
    kept = [
        "etl/hr",
        "etl/hr.employee",
        "etl/hr.employee/rows",
        "backup/hr",
        "drill/hr",
        "run/etl",
        "watch/table/hr.employee",
        "watch/horizon/hr",
        "watch/drill/hr/pgbackrest",
        "drill/hr/pgbackrest",
        "watch/going/archive-drill",
    ]
    # Of what luigi.cfg alone declares.
    at_once = [
        "backup/shop",
        "drill/shop",
        "watch/rules",
        "watch/horizon/shop",
        "watch/signature/shop",
        # It names no stanza any more.
        "watch/drill/records/pgbackrest",
        "drill/records/pgbackrest",
    ]
    gone = [
        "etl/shop",
        "etl/hr.old",
        "etl/hr.old/rows",
        "watch/table/hr.old",
        *at_once,
    ]
    for key in kept + gone:
        alerts.keep(shown, Alert(key=key, kind="failed", summary=f"{key} failed", task="SomeTask"))
    # A crontab that still names the database: its command fails every night, and this alert alone says so.
    kept.append("backup/renamed")
    alerts.keep(shown, Alert(key="backup/renamed", kind="failed", summary="could not start"))
    # While the analysts' repository cannot be read, nothing is known to be gone from it.
    sending.send_undeclared(shown, observations(declared=None), ())
    unread = {alert.key for alert in alerts.open_alerts(shown)}
    assert unread == {*kept, *gone} - {*at_once}
    sending.send_undeclared(shown, observations(), ())
    assert {alert.key for alert in alerts.open_alerts(shown)} == set(kept)


def test_each_thing_that_watch_tells_of_can_be_no_longer_declared() -> None:
    """Else an alert of a database that is gone stays open for ever, and nobody would judge it again."""
    folder = Path(sending.__file__).parent
    found = {
        kind for file in folder.glob("*.py") for kind in re.findall(r'f"watch/(\w+)/\{', file.read_text())
    }
    assert {"signature", "horizon", "size", "table"} <= found
    # What is only to be known is not told.
    assert found - sending.KEPT.keys() == {"undeclared"}


def test_a_failed_backup_is_said_once_with_its_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The alert is about the backup of hr, its error about the database hr: that is the same."""
    error = StepError("database hr: the connection was lost", hint="start it")
    alert = failures.backup("hr", "2026-11-24").failed("DumpDatabase", error)
    found = list(opened.judge(observations(), [alert], ()))
    monkeypatch.setattr("pipeline.settings.read", settings)
    monkeypatch.setattr("pipeline.observe.watch.watch", lambda *_: found)
    assert command.run_watch(Namespace(json=False)) == 4
    assert capsys.readouterr().out.splitlines()[:2] == [
        "open: backup of hr: DumpDatabase failed: the connection was lost",
        "  next: start it, then pipeline rerun --run 2026-11-24 backup/hr",
    ]
