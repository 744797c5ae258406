"""The page after each night: where it is asked for, whole or not at all, and no night fails for it."""

import argparse
import contextlib
import re
import sys
from pathlib import Path

import pytest

from pipeline import alerts, sync
from pipeline.alerts import failures
from pipeline.cli.runs import etl, nightly
from pipeline.errors import (
    AlreadyRunningError,
    CheckError,
    Outage,
    PipelineError,
    StepError,
    StoppedError,
    UnreachableError,
    UsageError,
)
from pipeline.observe import preflight
from pipeline.settings.sections import AnalystsSettings, ReportSettings
from pipeline.sync import versions
from tests.cli.test_refusals import spoil_uri
from tests.support.hooks import Hook
from tests.support.marts import DECLARED, HR, STAFF, declare
from tests.support.night import Night, next_run

BOARD = "title: People\ncards:\n  - {title: Heads, chart: number, mart: staff, measures: sum(heads)}\n"


def show(night: Night, board: str) -> None:
    folder = night.platform.analysts / "dashboards"
    folder.mkdir(exist_ok=True)
    (folder / "people.yaml").write_text(board)


def test_a_report_that_cannot_be_written_is_an_alert_of_its_own_until_it_is(
    night: Night, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.platform.source("hr", HR, DECLARED)
    night.platform.write_settings()
    for key in ("LUIGI_CONFIG_PATH", "VAULT_ADDR"):
        if key in night.platform.env:
            monkeypatch.setenv(key, night.platform.env[key])
    settings = night.settings.model_copy(update={"report": ReportSettings(folder=tmp_path / "page")})
    declare(night, staff=STAFF)
    show(night, BOARD.replace("heads", "hedas"))
    nightly.write_report(settings)  # raises nothing
    (told,) = hook.alerts("report")
    assert (told.kind, told.command) == ("warning", "pipeline report")
    assert "dashboards/people.yaml:3: cards[0].measures: hedas: no such column" in str(told.error)
    assert not (tmp_path / "page").exists()
    show(night, "title: Platform\ncards:\n  - {title: N, sql: select count(*) as n from platform.runs}\n")
    nightly.write_report(settings)
    assert [alert.kind for alert in hook.alerts("report")] == ["warning", "recovered"]
    assert "Platform" in (tmp_path / "page" / "index.html").read_text()


def test_check_says_what_would_keep_it_from_being_written_and_that_a_night_goes_on(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = night.settings.model_copy(update={"report": ReportSettings(folder=tmp_path)})

    def found(thing: str) -> preflight.Finding:
        (one,) = (one for one in preflight.everything(settings, "http://127.0.0.1:1") if one.subject == thing)
        return one

    assert found("report") == preflight.Finding("report")
    assert found("dashboards") == preflight.Finding("dashboards")
    group = f"{night.platform.database('warehouse')}_dashboards"
    login = f"{night.platform.database('warehouse')}_reports"
    night.ask("warehouse", f"GRANT CONNECT ON DATABASE {night.platform.database('warehouse')} TO {login}")
    night.ask("warehouse", f"REVOKE {group} FROM {login}")
    assert found("dashboards").warnings == (
        f'the login "{login}" may not read dashboards; GRANT "{group}" TO "{login}" in the warehouse',
    )
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    assert "pip install" in found("report").warnings[0]
    assert (found("report").problems, found("dashboards").problems) == ((), ())


def test_without_a_folder_none_is_written(night: Night) -> None:
    assert night.settings.report is None
    nightly.write_report(night.settings)


def failed(kind: type[PipelineError]) -> PipelineError:
    """Return what a night ends with each of whose failures was told."""
    error = kind("run 2026-11-22: 1 of its steps failed")
    error.alerted = True
    return error


ENDED = [
    None,
    CheckError("a mart does not hold"),
    StepError("over its limit"),
    *(failed(kind) for kind in (UnreachableError, UsageError)),
]


@pytest.mark.parametrize("error", ENDED)
def test_the_page_is_of_the_version_that_the_night_was_of(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: PipelineError | None
) -> None:
    """What is pushed meanwhile is of marts that this night has not built."""
    checkout, (before, after) = tmp_path / "checkout", (tmp_path / "versions" / name for name in "ab")
    for version in (before, after):
        (version / "sources").mkdir(parents=True)
        (version / "sources" / "hr.yaml").write_text(DECLARED)
        (version / versions.LOCK).touch()
    versions.switch(checkout, before)
    settings = night.settings.model_copy(update={"analysts": AnalystsSettings(checkout=checkout)})

    def night_goes_on(*_: object) -> int:
        versions.switch(checkout, after)
        if error:
            raise error
        return 0

    seen: list[Path] = []
    monkeypatch.setattr("pipeline.settings.read", lambda: settings)
    monkeypatch.setattr(etl, "_run_by", night_goes_on)
    monkeypatch.setattr(nightly, "write_report", lambda _: seen.append(sync.folder(checkout)))
    with pytest.raises(type(error)) if error else contextlib.nullcontext():
        etl.run_etl(argparse.Namespace(source=None))
    assert seen == [before]


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("the warehouse: no connection", outage=Outage("the warehouse")),
        UsageError("sources/hr.yaml:2: tables.employee.chnges: unknown key"),
        AlreadyRunningError("a load is already running"),
        StoppedError("stopped"),
    ],
)
def test_a_night_that_did_not_begin_was_stopped_or_lost_its_warehouse_has_no_page(
    night: Night, monkeypatch: pytest.MonkeyPatch, error: PipelineError
) -> None:
    night.platform.source("hr", HR, DECLARED)
    settings = night.settings

    def fail(*_: object) -> int:
        raise error

    seen: list[object] = []
    monkeypatch.setattr("pipeline.settings.read", lambda: settings)
    monkeypatch.setattr(etl, "_run_by", fail)
    monkeypatch.setattr(nightly, "write_report", seen.append)
    with pytest.raises(type(error)):
        etl.run_etl(argparse.Namespace(source=None))
    assert seen == []


def test_what_keeps_the_night_as_well_is_told_of_the_night_alone(
    night: Night, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("LUIGI_CONFIG_PATH", "VAULT_ADDR"):
        if key in night.platform.env:
            monkeypatch.setenv(key, night.platform.env[key])
    settings = night.settings.model_copy(update={"report": ReportSettings(folder=tmp_path / "page")})
    show(night, BOARD)  # there is no such mart
    gone = failures.out_of_reach("Vault is sealed", Outage("Vault"), next_run(), ["hr.employee"], "LoadTable")
    alerts.send(settings, gone)
    nightly.write_report(settings)
    assert hook.received() == [("failed", "run/etl")]
    alerts.send_recovery(settings, gone.key, "done")
    nightly.write_report(settings)
    assert hook.received()[1:] == [("recovered", "run/etl"), ("warning", "report")]


@pytest.mark.endurance
def test_a_night_in_which_a_source_is_away_has_its_page(night: Night, hook: Hook, tmp_path: Path) -> None:
    """What has been loaded is shown all the same; without the warehouse there is one alert, of that."""
    night.platform.give_up_soon()
    night.platform.source("hr", HR, DECLARED)
    item = "CREATE TABLE item (id int PRIMARY KEY)"
    night.platform.source("away", item, "source: away\ntables: {item: }\n")
    declare(night, staff=STAFF)
    show(night, BOARD)
    page, file = tmp_path / "page" / "index.html", night.platform.settings_file
    file.write_text(file.read_text() + f"\n[report]\nfolder = {page.parent}\n")
    spoil_uri(night, "away", r":\d+/", ":1/")
    ended = night.etl(next_run())
    assert ended.code == 5, ended.err
    assert '<p class="value">3</p>' in page.read_text()
    assert hook.received() == [("failed", "etl/away")]
    page.unlink()
    vault, name = night.platform.sandbox.vault, night.platform.database("warehouse")
    uri = (vault.read(name) or {})["uri"]
    vault.write(name, {"uri": re.sub(r":\d+/", ":1/", uri)})
    ended = night.etl(next_run())
    vault.write(name, {"uri": uri})
    assert ended.code == 5, ended.err
    assert not page.exists()
    assert hook.received()[1:] == [("failed", "run/etl")]


@pytest.mark.endurance
def test_a_whole_night_writes_the_page_and_one_that_it_cannot_write_is_done_all_the_same(
    night: Night, hook: Hook, tmp_path: Path
) -> None:
    night.platform.source("hr", HR, DECLARED)
    declare(night, staff=STAFF)
    show(night, BOARD)
    night.platform.write_settings()
    page = tmp_path / "page"
    file = night.platform.settings_file
    file.write_text(file.read_text() + f"\n[report]\nfolder = {page}\n")
    ended = night.etl(next_run())
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert '<p class="value">3</p>' in (page / "index.html").read_text()
    (page / "index.html").unlink()
    (page / "index.html").mkdir()
    assert night.etl(next_run()).code == 0
    assert [alert.kind for alert in hook.alerts("report")] == ["warning"]
