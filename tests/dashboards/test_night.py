"""Dashboards follow a night by themselves, and what fails of them fails nothing else."""

import dataclasses

import pytest

from pipeline.alerts import failures
from pipeline.catalog import Catalog, Mart
from pipeline.cli.runs import dashboards, scope
from pipeline.dashboards import step
from pipeline.errors import CheckError
from tests.dashboards.surfaces import CATALOG, ENROLMENT, STAFF, TOTAL, Surface, meaning, with_card
from tests.support.hooks import Hook
from tests.support.marts import DECLARED, HR, declare
from tests.support.marts import STAFF as STAFF_MART
from tests.support.night import Night, next_run

BOARD = """\
title: People
cards:
  - {title: Heads, chart: bar, mart: people, dimensions: department, measures: heads}
"""


def applied(surface: Surface, run: str) -> bool:
    return step.is_applied(surface.settings, CATALOG, surface.declared, run)


def test_a_run_has_applied_what_is_declared_and_nothing_else(surface: Surface) -> None:
    run, said = next_run(), []
    settings = surface.settings
    assert not applied(surface, run)
    step.apply_in_run(settings, CATALOG, surface.declared, run, lambda *shown: said.append(shown))
    assert applied(surface, run)
    assert said[-1][0] == 100
    surface.declared = [ENROLMENT]
    assert not applied(surface, run)


def test_a_run_that_applied_other_descriptions_of_columns_has_not_applied_these(surface: Surface) -> None:
    run = next_run()
    step.apply_in_run(surface.settings, CATALOG, surface.declared, run, lambda *_: None)
    words = CATALOG.marts["enrolment"].description
    assert step.is_applied(surface.settings, meaning(words, "The first day of it."), surface.declared, run)
    assert not step.is_applied(surface.settings, meaning(words, "When it began."), surface.declared, run)


def test_what_is_kept_as_somebody_changed_it_is_not_counted_as_changed(surface: Surface) -> None:
    said: list[str] = []
    surface.edits = "keep"
    surface.apply()
    surface.metabase.named("card")["Heads"]["display"] = "table"
    step.apply_in_run(
        surface.settings, CATALOG, surface.declared, next_run(), lambda _, line: said.append(line)
    )
    assert said[-1] == "nothing to change, 1 changed by hand and kept"


def test_what_somebody_changed_by_hand_is_in_the_log_of_the_night_that_writes_it_over(
    surface: Surface, caplog: pytest.LogCaptureFixture
) -> None:
    surface.apply()
    surface.metabase.named("card")["Heads"]["display"] = "table"
    step.apply_in_run(surface.settings, CATALOG, surface.declared, next_run(), lambda *_: None)
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == (
        'update card "Heads", dashboards/staff.yaml; differs: display; changed in Metabase by hand, which is '
        "overwritten: display"
    )
    assert surface.metabase.named("card")["Heads"]["display"] == "pie"


def test_a_description_that_somebody_changed_by_hand_is_in_the_log_of_the_night(
    surface: Surface, caplog: pytest.LogCaptureFixture
) -> None:
    surface.edits = "keep"
    surface.apply()
    (table,) = (one for one in surface.metabase.routes.tables if one["name"] == "enrolment")
    table["description"] = "by hand"
    said: list[str] = []
    step.apply_in_run(
        surface.settings, CATALOG, surface.declared, next_run(), lambda _, line: said.append(line)
    )
    assert said[-1] == "nothing to change, 1 changed by hand and kept"
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told.startswith('keep table "mart.enrolment"; ')


def test_a_broken_card_fails_the_step_and_the_ledger_says_which(surface: Surface) -> None:
    run = next_run()
    surface.night.ask("warehouse", "DROP TABLE mart.staff")
    with pytest.raises(CheckError, match=r'dashboards/staff\.yaml: card "Heads"'):
        step.apply_in_run(surface.settings, CATALOG, [ENROLMENT, STAFF], run, lambda *_: None)
    found = surface.night.step(run, "ApplyDashboards", "dashboards")
    assert found is not None
    assert (found.state, found.exit_code) == ("failed", 4)
    assert set(surface.metabase.named("dashboard")) == {"Enrolment"}


def test_a_step_that_waits_for_a_mart_alone_needs_no_alert_of_its_own(surface: Surface) -> None:
    """The mart, or what it reads, was told; with a card that is broken as well it does."""
    surface.night.ask("warehouse", "DROP TABLE mart.staff")
    declared = Catalog(sources={}, marts={**CATALOG.marts, "staff": Mart(name="staff", sql="SELECT 1")})
    broken = with_card(ENROLMENT, TOTAL, dataclasses.replace(TOTAL, sql="SELECT 1 AS n"))
    for other, alerted in ((ENROLMENT, True), (broken, False)):
        with pytest.raises(CheckError, match=r"reads mart\.staff, which is not built") as failed:
            step.apply_in_run(surface.settings, declared, [other, STAFF], next_run(), lambda *_: None)
        assert failed.value.alerted is alerted


def test_a_run_that_built_a_mart_since_has_not_applied_them_to_that(surface: Surface) -> None:
    """It may have other columns, which Metabase is to look for."""
    run = next_run()
    step.apply_in_run(surface.settings, CATALOG, surface.declared, run, lambda *_: None)
    assert applied(surface, run)
    surface.build("staff", "a digest", run)
    assert not applied(surface, run)
    step.apply_in_run(surface.settings, CATALOG, surface.declared, run, lambda *_: None)
    assert applied(surface, run)


def test_a_load_is_of_the_same_tasks_whether_there_is_a_metabase_or_not(surface: Surface) -> None:
    """What is done of dashboards comes once it has ended: workers may help, and nothing is held back."""
    with_one = surface.settings
    without = with_one.model_copy(update={"metabase": None})
    empty = Catalog(sources={})
    for settings in (with_one, without):
        assert scope.of_load(settings, empty, None).root == ("LoadWarehouse",)
    dashboards.apply(without, next_run(), None)
    assert surface.metabase.requests == []


def test_a_column_that_a_load_brought_is_known_to_metabase(surface: Surface) -> None:
    surface.apply()
    syncs = surface.metabase.routes.syncs
    surface.night.ask("warehouse", "ALTER TABLE mart.staff ADD COLUMN grade text")
    surface.apply()
    assert surface.metabase.routes.syncs == syncs + 1
    surface.apply()
    assert surface.metabase.routes.syncs == syncs + 1


@pytest.mark.endurance
def test_a_night_applies_dashboards_by_itself_and_goes_on_without_a_metabase(
    surface: Surface, night: Night, hook: Hook
) -> None:
    surface.settings  # noqa: B018 - writes the section
    night.platform.source("hr", HR, DECLARED)
    declare(night, people=STAFF_MART)
    folder = night.platform.analysts / "dashboards"
    folder.mkdir()
    (folder / "people.yaml").write_text(BOARD)
    ended = night.etl(next_run())
    assert ended.code == 0, ended.err
    assert surface.metabase.rows("Heads") == [["Library", 2], ["Services", 1]]
    before = len(surface.metabase.writes)
    assert night.etl(next_run()).code == 0
    assert surface.metabase.writes[before:] == []
    planned = night.run("dashboards", "plan")
    assert (planned.code, planned.out) == (0, "nothing to change\n")

    (folder / "people.yaml").write_text(BOARD.replace("measures: heads", "measures: count(wages)"))
    run = next_run()
    ended = night.etl(run)
    assert ended.code == 0, ended.err
    key = failures.dashboards(None).key
    (folder / "people.yaml").write_text(BOARD)
    surface.metabase.routes.keys.clear()
    surface.metabase.routes.password = "changed by hand 5"
    ended = night.etl(next_run())
    assert ended.code == 0, ended.err
    assert [alert.kind for alert in hook.alerts(key)][:1] == ["failed"]
    surface.metabase.routes.password = "a long passphrase 7"
    ended = night.run("dashboards", "apply")
    assert ended.code == 0, ended.err
    assert [alert.kind for alert in hook.alerts(key)][-1] == "recovered"


PAID = "SELECT sum(salary) AS paid FROM hr.employee"
PAYROLL = "title: Payroll\ncards:\n  - {title: Paid, chart: number, mart: paid, measures: sum(paid)}\n"
# It gives one column more, and a check of it does not hold.
OTHERWISE = STAFF_MART.replace("AS heads", "AS heads, 1 AS share").replace(
    "SELECT", "-- checks: [rows: {min: 9}]\nSELECT", 1
)


def boards(night: Night, **texts: str) -> None:
    """Write dashboards/NAME.yaml for each."""
    folder = night.platform.analysts / "dashboards"
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)


@pytest.mark.endurance
@pytest.mark.parametrize("mended_by", [["mart.people"], []])
def test_a_mart_that_fails_holds_back_its_own_dashboard_alone_until_it_is_built(
    surface: Surface, night: Night, hook: Hook, mended_by: list[str]
) -> None:
    """One failure, and one alert: of the mart. What else is declared of dashboards is applied that night."""
    surface.settings  # noqa: B018 - writes the section
    night.platform.source("hr", HR, DECLARED)
    declare(night, people=STAFF_MART, paid=PAID)
    boards(night, people=BOARD, payroll=PAYROLL)
    assert night.etl(next_run()).code == 0
    named = surface.metabase.named
    assert set(named("card")) == {"Heads", "Paid"}

    declare(night, people=OTHERWISE)
    boards(night, people=BOARD.replace("heads}", "share}"), payroll=PAYROLL.replace("Paid", "Paid in all"))
    run = next_run()
    ended = night.etl(run)
    assert ended.code == 4, ended.err
    assert set(named("card")) == {"Heads", "Paid in all"}
    assert surface.metabase.rows("Heads") == [["Library", 2], ["Services", 1]]
    assert hook.received() == [("failed", "mart/people")]
    held = (
        'dashboards: ApplyDashboards failed: dashboards/people.yaml: card "Heads": reads mart.people, which '
        "is not built as marts/people.sql declares it; type 'pipeline rerun mart.people'"
    )
    assert held in ended.out.splitlines()

    declare(night, people=OTHERWISE.replace("min: 9", "min: 1"))
    ended = night.run("rerun", "--run", run, *mended_by)
    assert (ended.code, ended.errors) == (0, []), ended.out
    assert f"run {run}: the dashboards are applied" in ended.out.splitlines()
    assert surface.metabase.rows("Heads") == [["Library", 1], ["Services", 1]]
    assert hook.received() == [("failed", "mart/people"), ("recovered", "mart/people")]
    # Once is enough.
    before = len(surface.metabase.requests)
    assert night.run("rerun", "--run", run).code == 0
    assert len(surface.metabase.requests) == before


@pytest.mark.endurance
def test_a_mart_that_is_built_by_itself_brings_no_dashboard_there(surface: Surface, night: Night) -> None:
    """Of a run of less than everything nobody asked for them."""
    surface.settings  # noqa: B018 - writes the section
    night.platform.source("hr", HR, DECLARED)
    declare(night, people=STAFF_MART)
    boards(night, people=BOARD)
    assert night.run("run", "mart", "people", "--run", next_run()).code == 0
    assert surface.metabase.requests == []


@pytest.mark.endurance
def test_dashboards_that_wait_for_a_metabase_are_applied_by_the_same_run(
    surface: Surface, night: Night, hook: Hook
) -> None:
    """A run whose tables and marts are all done has still to do that."""
    surface.settings  # noqa: B018 - writes the section
    night.platform.source("hr", HR, DECLARED)
    declare(night, people=STAFF_MART)
    boards(night, people=BOARD)
    vault, entry = night.platform.sandbox.vault, surface.entry
    kept = vault.read(entry) or {}
    vault.write(entry, {**kept, "password": ""})
    run = next_run()
    ended = night.etl(run)
    assert ended.code == 0, ended.err
    assert "dashboards: ApplyDashboards failed: Vault: the entry" in ended.out
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key, alert.command) == ("failed", "dashboards", "pipeline dashboards apply")
    vault.write(entry, kept)
    ended = night.run("rerun", "--run", run)
    assert (ended.code, ended.errors) == (0, []), ended.out
    assert surface.metabase.rows("Heads") == [["Library", 2], ["Services", 1]]
    assert hook.received()[1:] == [("recovered", "dashboards")]


@pytest.mark.endurance
def test_a_dashboard_whose_file_is_wrong_is_told_and_fails_no_night(
    surface: Surface, night: Night, hook: Hook
) -> None:
    surface.settings  # noqa: B018 - writes the section
    night.platform.source("hr", HR, DECLARED)
    declare(night, people=STAFF_MART)
    boards(night, people=BOARD.replace("heads", "hedas"))
    ended = night.etl(next_run())
    assert ended.code == 0, ended.err
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key) == ("failed", "dashboards")
    assert "dashboards/people.yaml:3: cards[0].measures: hedas: no such column" in (alert.error or "")
