"""Whatever ends a `pipeline run` before a step of it began is told: by real commands, to a real webhook."""

import re
import shutil
import signal
from pathlib import Path

import pytest

from pipeline import alerts, postgres
from pipeline.alerts import Alert, Kind, failures
from pipeline.cli.runs import alarm
from tests.cli.test_refusals import corrected, misspell_settings, misspell_yaml
from tests.support.hooks import KEY, Hook
from tests.support.night import Night, next_run, wait_until
from tests.support.vaults import Server, server
from tests.tasks.conftest import shop

__all__ = ["server", "shop"]


MISTAKES: list[tuple[list[str], str, str]] = [
    (["etl", "--wrokers", "2"], "run/etl", "unrecognized arguments: --wrokers 2"),
    (["etl", "--run", "yesterday"], "run/etl", '"yesterday" is not a valid run'),
    (["etl", "--source", "shpo"], "run/etl/shpo", "did you mean shop?"),
    (["elt"], "run/elt", "'elt' is not known; did you mean etl?"),
    (["backup", "shop", "--rnu", "x"], "backup/shop", "unrecognized arguments: --rnu x"),
]


def failed_at_once(hook: Hook, shop: Night, arguments: list[str], key: str, told: str) -> None:
    """See that this is told, and forget it again."""
    assert shop.run("run", *arguments).code == 2
    alert = hook.alerts()[-1]
    assert (alert.kind, alert.key) == ("failed", key)
    assert told in (alert.error or "")
    assert "an error in the command, the settings or the catalog" in alert.summary
    assert (alert.command or "").startswith(f"pipeline run {arguments[0]}")
    shutil.rmtree(shop.platform.folder / "alerts")


def test_a_mistake_in_what_the_clock_starts_is_told(hook: Hook, shop: Night) -> None:
    """No person is there to read it: a typo in a crontab, in the settings, in the analysts' files."""
    for mistake in MISTAKES:
        failed_at_once(hook, shop, *mistake)
    good = shop.platform.settings_file.read_text()
    misspell_settings(shop)
    failed_at_once(hook, shop, ["etl"], "run/etl", "[analysts] chekout: unknown key")
    shop.platform.settings_file.write_text(good)
    misspell_yaml(shop)
    failed_at_once(hook, shop, ["etl"], "run/etl", "tables.item.chnges")
    assert len(hook.alerts()) == len(MISTAKES) + 2


@pytest.mark.endurance
def test_a_mistake_that_is_mended_is_told_to_be_over_by_the_run_that_does_it(hook: Hook, shop: Night) -> None:
    """A whole run has done what a part of it was to do."""
    run = next_run()
    for arguments in (["--wrokers", "2"], ["--wrokers", "3"], ["--source", "shpo"]):
        assert shop.etl(run, *arguments).code == 2
    assert shop.etl(run).code == 0
    assert shop.etl(run).code == 0
    assert hook.received() == [
        ("failed", "run/etl"),
        ("failed", "run/etl/shpo"),
        ("recovered", "run/etl"),
        ("recovered", "run/etl/shpo"),
    ]


@pytest.mark.endurance
@pytest.mark.parametrize("with_alerts", [True, False])
def test_bin_cron_is_left_to_tell_of_what_could_not_be_told(
    hook: Hook, shop: Night, tmp_path: Path, *, with_alerts: bool
) -> None:
    """Else a step that fails would be told of by nobody where luigi.cfg has no [alerts]."""
    if not with_alerts:
        corrected(shop, r"^\[alerts\]\n(?:.+\n)+", "")
    shop.ask("shop", f"REVOKE SELECT ON purchase FROM {shop.platform.reader('shop')}")
    told = tmp_path / "told"
    ended = shop.run("run", "etl", "--source", "shop", "--run", next_run(), CRON_ALERTED=str(told))
    assert ended.code == 3
    assert told.exists() is with_alerts
    assert len(hook.requests()) == with_alerts


def test_what_is_below_the_key_of_a_part_is_not_over_with_its_command(hook: Hook, night: Night) -> None:
    """A check that only warns, for one: a command takes back what it has told, and a step what it has."""
    run = next_run()
    subjects = [
        failures.mart("staff", run),
        failures.backup("hr", run),
        failures.archive_drills(run, "hr"),
        failures.load(run),
        failures.load(run, "hr"),
    ]
    kept = ["mart/staff/heads range", "backup/hr/rest", "drill/hr/pgbackrest/rest", "etl/hr.employee/rows"]
    over = ["mart/staff", "backup/hr", "drill/hr/pgbackrest", "run/etl", "run/etl/hr", "run/etl/hr/a,b"]
    for key in [*kept, *over]:
        warning = Alert(key=key, kind=Kind.WARNING, summary=f"{key} does not hold", run=run)
        alerts.keep(night.settings, warning, grace_seconds=60)
    for subject in subjects:
        alarm._send_recovery(night.settings, subject)
    assert {alert.key for alert in alerts.open_alerts(night.settings)} == set(kept)
    assert hook.requests() == []


def test_asking_for_help_is_no_failure(hook: Hook, shop: Night) -> None:
    assert shop.run("run", "etl", "--help").code == 0
    assert hook.requests() == []


def test_an_import_error_is_told_with_its_last_line(hook: Hook, shop: Night, tmp_path: Path) -> None:
    """Luigi is not even imported, and so tells nothing itself."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "luigi.py").write_text("import a_module_that_is_not_there\n")
    run = next_run()
    ended = shop.run("run", "etl", "--run", run, PYTHONPATH=str(tmp_path / "broken"))
    assert ended.code == 3
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key, alert.run) == ("failed", "run/etl", run)
    assert alert.error == (
        "ModuleNotFoundError: No module named 'a_module_that_is_not_there'; Luigi ended with 1 before any "
        "step failed; its last log lines are above"
    )
    assert alert.command == f"pipeline run etl --run {run}"


def test_a_luigi_that_is_content_with_nothing_is_told(hook: Hook, shop: Night, tmp_path: Path) -> None:
    """It exits with 0, but the tables are not there: they are what counts."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "luigi.py").write_text("raise SystemExit(0)\n")
    ended = shop.run("run", "etl", "--run", next_run(), PYTHONPATH=str(tmp_path / "broken"))
    assert ended.code == 3
    assert hook.received() == [("failed", "run/etl")]
    assert "Luigi ended with 0 before any step failed" in (hook.alerts()[0].error or "")


@pytest.mark.endurance
def test_a_warehouse_that_is_out_of_reach_is_told(hook: Hook, shop: Night) -> None:
    vault, name = shop.platform.sandbox.vault, shop.platform.database("warehouse")
    uri = (vault.read(name) or {})["uri"]
    vault.write(name, {"uri": re.sub(r":\d+/", ":1/", uri)})
    assert shop.etl(next_run()).code == 5
    vault.write(name, {"uri": uri})
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key) == ("failed", "run/etl")
    assert "out of reach" in alert.summary
    assert "the warehouse: no connection" in (alert.error or "")
    assert uri not in hook.requests()[0]["raw"]


def test_a_bug_in_the_parent_is_told(hook: Hook, shop: Night) -> None:
    """Whatever nobody thought of ends with a traceback, and is told all the same."""
    shop.ask("warehouse", "ALTER TABLE ops.run RENAME COLUMN host TO hots")
    ended = shop.etl(next_run())
    assert ended.code == 1
    assert "Traceback" in ended.err
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key) == ("failed", "run/etl")
    assert "because of a bug" in alert.summary
    assert "UndefinedColumn" in (alert.error or "")


@pytest.mark.endurance
def test_a_sealed_vault_is_told_by_the_next_run(hook: Hook, shop: Night, server: Server) -> None:
    """The webhook's address is in Vault: the alert waits in the spool, and is over as soon as it is sent."""
    login = server.approle()
    text = shop.platform.settings_file.read_text()
    corrected(shop, r"^url = .*$", f"url = {login.url}")
    corrected(shop, r"^role = .*$", f"role = {login.role}")
    corrected(shop, r"^credential_file = .*$", f"credential_file = {login.credential_file}")
    server.write(hook.secret, url=hook.url, hmac_key=KEY)
    server.admin.sys.seal()
    try:
        ended = shop.etl(next_run())
    finally:
        server.admin.sys.submit_unseal_key(server.unseal_key)
        wait_until(lambda: not server.admin.sys.is_sealed(), "the unsealed Vault")
    assert ended.code == 5
    assert hook.requests() == []
    shop.platform.settings_file.write_text(text)
    assert shop.etl(next_run()).code == 0
    assert hook.received() == [("failed", "run/etl"), ("recovered", "run/etl")]
    alert = hook.alerts()[0]
    assert "is sealed" in (alert.error or "")
    assert "unseal it" in (alert.hint or "")


@pytest.mark.endurance
def test_a_second_run_and_one_that_is_told_to_stop_are_told(hook: Hook, shop: Night) -> None:
    """The second is a warning, for what goes on may yet come to its end."""
    run = next_run()
    with shop.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE purchase IN ACCESS EXCLUSIVE MODE")
        process = shop.start_etl(run)
        query = "SELECT pid FROM ops.step WHERE run = %s AND name = 'shop.purchase' AND state = 'running'"
        wait_until(lambda: shop.ask("warehouse", query, (run,)), "the extraction has begun")
        assert shop.etl(next_run()).code == 6
        assert hook.received() == [("warning", "run/etl")]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert hook.received() == [("warning", "run/etl"), ("failed", "run/etl")]
    assert "was stopped by a signal" in hook.alerts()[1].summary
    assert shop.etl(run).code == 0
    assert hook.received()[2:] == [("recovered", "run/etl")]
