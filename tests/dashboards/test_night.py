"""Dashboards follow a night by themselves, and what fails of them fails nothing else."""

import pytest

from pipeline.alerts import failures
from pipeline.catalog import Catalog
from pipeline.cli.runs import scope
from pipeline.dashboards import step
from pipeline.errors import CheckError
from tests.dashboards.surfaces import CATALOG, ENROLMENT, STAFF, Surface, meaning
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


def test_a_load_is_followed_by_dashboards_only_where_there_is_a_metabase(surface: Surface) -> None:
    with_one = surface.settings
    empty = Catalog(sources={})
    assert scope.of_load(with_one, empty, None).root == ("Night",)
    without = with_one.model_copy(update={"metabase": None})
    assert scope.of_load(without, empty, None).root == ("LoadWarehouse",)


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
