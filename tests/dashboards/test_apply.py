"""What is declared is in Metabase, once, whole, and nothing else of it is touched."""

import dataclasses

import pytest

from pipeline.catalog import Catalog, Mart
from pipeline.catalog.dashboard_files.board import Filter, FilterKind, Reach
from pipeline.cli.analysts import dashboards as cli
from pipeline.errors import CheckError
from tests.dashboards.surfaces import (
    BY_PROGRAMME,
    CATALOG,
    ENROLMENT,
    HEADS,
    STAFF,
    TOTAL,
    Surface,
    with_card,
)
from tests.support.night import next_run


def test_an_empty_instance_is_set_up_and_shows_what_is_declared(surface: Surface) -> None:
    outcome = surface.apply()
    assert outcome.problems == []
    metabase = surface.metabase
    assert set(metabase.named("dashboard")) == {"Enrolment", "Staff"}
    assert set(metabase.named("collection")) == {"School", "Enrolment", "Staff"}
    assert metabase.rows("Students by programme") == [["Law", 90], ["Tax", 7]]
    assert metabase.rows("Students by programme", programme=["Tax"]) == [["Tax", 7]]
    assert metabase.rows("Students by programme", intake="2026-01-01~2026-12-31") == [["Law", 50], ["Tax", 7]]
    assert metabase.rows("Students by programme", words="la") == [["Law", 90]]
    routes = metabase.routes
    assert routes.settings["anon-tracking-enabled"] is False
    assert not routes.sessions, "the login with the password is ended"
    (database,) = routes.databases.values()
    may = routes.graphs["permissions"]["groups"]["1"][str(database["id"])]
    assert may["create-queries"] == "no"
    ours = [one["id"] for one in metabase.named("collection").values()]
    assert {routes.graphs["collection"]["groups"]["1"][str(number)] for number in ours} == {"read"}


def test_a_second_apply_makes_no_request_that_writes(surface: Surface) -> None:
    surface.apply()
    before = len(surface.metabase.writes)
    outcome = surface.apply()
    assert surface.metabase.writes[before:] == []
    assert (outcome.changes, outcome.others, outcome.writes) == ([], [], 0)
    planned = surface.plan()
    assert (planned.changes, planned.others) == ([], [])


def test_one_card_that_is_edited_is_the_one_that_is_written(surface: Surface) -> None:
    surface.apply()
    numbers = {name: one["id"] for name, one in surface.metabase.named("card").items()}
    before = len(surface.metabase.writes)
    edited = dataclasses.replace(BY_PROGRAMME, sql=BY_PROGRAMME.sql.replace("sum(", "max("))
    surface.apply(with_card(ENROLMENT, BY_PROGRAMME, edited), STAFF)
    assert surface.metabase.writes[before:] == [f"PUT /api/card/{numbers['Students by programme']}"]
    assert surface.metabase.rows("Students by programme") == [["Law", 50], ["Tax", 7]]
    assert {name: one["id"] for name, one in surface.metabase.named("card").items()} == numbers


def test_one_card_that_is_removed_goes_into_the_trash_and_leaves_its_dashboard(surface: Surface) -> None:
    surface.apply()
    number = surface.metabase.named("card")["Students"]["id"]
    surface.apply(with_card(ENROLMENT, TOTAL), STAFF)
    assert surface.metabase.routes.content.find("card", number)["archived"]
    board = surface.metabase.named("dashboard")["Enrolment"]
    assert number not in {card["card_id"] for card in board["dashcards"]}
    assert "card enrolment: Students" not in surface.kept()


def test_a_dashboard_that_is_removed_goes_with_its_collection_and_cards(surface: Surface) -> None:
    surface.apply()
    surface.apply(ENROLMENT)
    assert set(surface.metabase.named("dashboard")) == {"Enrolment"}
    assert set(surface.metabase.named("collection")) == {"School", "Enrolment"}
    assert "Heads" not in surface.metabase.named("card")
    before = len(surface.metabase.writes)
    surface.apply()
    assert surface.metabase.writes[before:] == []


def test_a_card_that_is_renamed_stays_the_same_card(surface: Surface) -> None:
    surface.apply()
    number = surface.metabase.named("card")["Heads"]["id"]
    renamed = dataclasses.replace(HEADS, title="People by department")
    surface.apply(ENROLMENT, with_card(STAFF, HEADS, renamed))
    assert surface.metabase.named("card")["People by department"]["id"] == number
    assert "Heads" not in surface.metabase.named("card")
    assert any('it was "Heads"' in line for line in surface.said)


def test_a_file_that_is_renamed_keeps_its_dashboard_and_all_links_to_it(surface: Surface) -> None:
    surface.apply()
    before = {
        kind: {name: one["id"] for name, one in surface.metabase.named(kind).items()}
        for kind in ("collection", "card", "dashboard")
    }
    surface.apply(ENROLMENT, dataclasses.replace(STAFF, name="people"))
    after = {
        kind: {name: one["id"] for name, one in surface.metabase.named(kind).items()}
        for kind in ("collection", "card", "dashboard")
    }
    assert after == before


def test_a_broken_card_is_refused_by_name_and_its_dashboard_stays_as_it_was(surface: Surface) -> None:
    surface.apply()
    broken = dataclasses.replace(TOTAL, sql="SELECT students FROM mart.gone")
    edited = dataclasses.replace(BY_PROGRAMME, title="Otherwise")
    board = with_card(with_card(ENROLMENT, TOTAL, broken), BY_PROGRAMME, edited)
    other = dataclasses.replace(STAFF, title="People")
    outcome = surface.apply(board, other)
    (problem,) = outcome.problems
    assert problem.startswith(
        'dashboards/enrolment.yaml: card "Students": the warehouse rejects its SELECT: '
    )
    assert set(surface.metabase.named("card")) == {
        "Students by programme",
        "Students",
        "Heads",
        "All departments",
    }
    assert set(surface.metabase.named("dashboard")) == {"Enrolment", "People"}


def test_a_dashboard_waits_for_a_mart_that_is_not_built_as_it_is_declared(surface: Surface) -> None:
    """As long as it is built as it was declared before, or not at all; the others are applied."""
    mart = Mart(name="staff", sql="SELECT 1")
    surface.catalog = Catalog(sources={}, marts={**CATALOG.marts, "staff": mart})
    # Somebody else has made it, or an earlier version.
    assert surface.apply().problems == []
    surface.build("staff", "as it was before", next_run())
    outcome = surface.apply(
        dataclasses.replace(ENROLMENT, title="Students"), dataclasses.replace(STAFF, title="People")
    )
    assert outcome.problems == [
        f'dashboards/staff.yaml: card "{title}": reads mart.staff, which is not built as marts/staff.sql '
        "declares it; type 'pipeline rerun mart.staff'"
        for title in ("Heads", "All departments")
    ]
    assert outcome.unbuilt == outcome.problems == surface.plan().problems
    assert set(surface.metabase.named("dashboard")) == {"Students", "Staff"}
    surface.build("staff", mart.digest, next_run())
    assert surface.apply().problems == []
    assert set(surface.metabase.named("dashboard")) == {"Students", "People"}


def test_a_card_that_draws_what_its_select_does_not_give_is_refused(surface: Surface) -> None:
    wrong = dataclasses.replace(HEADS, measures=("people",))
    (problem,) = surface.apply(with_card(STAFF, HEADS, wrong)).problems
    assert problem.endswith('card "Heads": its SELECT returns no people; it returns department, heads')


def test_a_filter_that_an_alias_would_break_in_metabase_is_refused(surface: Surface) -> None:
    """Metabase names schema and table in the condition that it makes; with an alias there is no such."""
    sql = TOTAL.sql.replace("FROM mart.enrolment", "FROM mart.enrolment AS e")
    board = with_card(ENROLMENT, TOTAL, dataclasses.replace(TOTAL, sql=sql))
    (problem,) = surface.apply(board).problems
    assert "Students" in problem
    assert "enrolment" in problem


def test_a_copy_of_a_dashboard_that_is_held_back_does_not_take_its_things(surface: Surface) -> None:
    surface.apply()
    before = {kind: surface.metabase.named(kind) for kind in ("collection", "card", "dashboard")}
    heads = before["card"]["Heads"]["id"]
    broken = with_card(STAFF, HEADS, dataclasses.replace(HEADS, sql="SELECT heads FROM mart.gone"))
    outcome = surface.apply(ENROLMENT, broken, dataclasses.replace(STAFF, name="copy"))
    assert len(outcome.problems) == 1
    assert {change.action for change in outcome.shown} == {"create"}
    kept = surface.kept()
    assert kept["card staff: Heads"].number == heads
    assert kept["card copy: Heads"].number not in (None, heads)
    assert kept["dashboard staff"].number == before["dashboard"]["Staff"]["id"]


def test_a_dashboard_that_is_renamed_and_broken_at_once_stays_as_it_was(surface: Surface) -> None:
    surface.apply()
    broken = with_card(STAFF, HEADS, dataclasses.replace(HEADS, sql="SELECT heads FROM mart.gone"))
    outcome = surface.apply(ENROLMENT, dataclasses.replace(broken, name="people"))
    assert (len(outcome.problems), outcome.changes) == (1, [])
    assert set(surface.metabase.named("dashboard")) == {"Enrolment", "Staff"}


def test_a_plan_tells_what_follows_a_sync_where_a_column_is_new(surface: Surface) -> None:
    surface.apply()
    surface.night.ask("warehouse", "ALTER TABLE mart.enrolment ADD COLUMN level text DEFAULT 'LLB'")
    reaching = dataclasses.replace(TOTAL, reach=(*TOTAL.reach, Reach("level", "level", "mart.enrolment")))
    board = with_card(ENROLMENT, TOTAL, reaching)
    level = Filter("level", "Level", FilterKind.CATEGORY, "level")
    surface.declared = [dataclasses.replace(board, filters=(*board.filters, level)), STAFF]
    planned = surface.plan()
    assert planned.problems == []
    follows = "follows a sync, because Metabase does not know mart.enrolment.level yet"
    assert [str(change) for change in planned.shown] == [
        f'update card "Students", dashboards/enrolment.yaml; {follows}',
        f'update dashboard "Enrolment", dashboards/enrolment.yaml; {follows}',
    ]
    applied = [(change.action, change.name) for change in surface.apply().shown]
    assert applied == [(change.action, change.name) for change in planned.shown]
    assert surface.metabase.rows("Students", level=["LLB"]) == [[97]]


def test_a_filter_may_name_the_table_of_its_column(surface: Surface) -> None:
    reach = (
        Reach("programme", "enrolment.programme", "mart.enrolment"),
        Reach("intake", "enrolment.intake", "mart.enrolment"),
        Reach("words", "e.programme"),
        Reach("kind", "e.programme"),
    )
    sql = TOTAL.sql.replace(
        "FROM mart.enrolment", "FROM mart.enrolment JOIN mart.enrolment e USING (programme, intake)"
    )
    board = with_card(
        ENROLMENT, TOTAL, dataclasses.replace(TOTAL, sql=sql.replace("sum(", "sum(e."), reach=reach)
    )
    board = dataclasses.replace(
        board, filters=(*board.filters, Filter("kind", "Kind", FilterKind.CATEGORY, "programme"))
    )
    assert surface.apply(board).problems == []
    metabase = surface.metabase
    assert metabase.rows("Students", programme=["Tax"]) == [[7]]
    assert metabase.rows("Students", intake="2026-01-01~2026-12-31", words="la") == [[50]]
    assert metabase.rows("Students", kind="Law") == [[90]]


def test_what_a_filter_chooses_at_first_is_of_its_columns_kind_or_its_dashboard_is_held(
    surface: Surface,
) -> None:
    many = Filter("students", "Students", FilterKind.CATEGORY, "students", ("many",))
    reach = (*TOTAL.reach, Reach("students", "students", "mart.enrolment"))
    board = with_card(ENROLMENT, TOTAL, dataclasses.replace(TOTAL, reach=reach))
    outcome = surface.apply(dataclasses.replace(board, filters=(*board.filters, many)), STAFF)
    assert outcome.problems == [
        "dashboards/enrolment.yaml: filter students: its default many is not a number, but its column is "
        "numeric; correct its default"
    ]
    assert set(surface.metabase.named("dashboard")) == {"Staff"}
    with pytest.raises(CheckError, match=r"\n1 problem: a dashboard with a problem is held back as a whole$"):
        cli.raise_problems(outcome)
    seven = dataclasses.replace(many, default=("7", "50.0"))
    outcome = surface.apply(dataclasses.replace(board, filters=(*board.filters, seven)), STAFF)
    assert [problem.partition("SELECT: ")[2] for problem in outcome.problems] == [
        'invalid input syntax for type integer: "..."'
    ]
    seven = dataclasses.replace(many, default=("7", "50"))
    assert surface.apply(dataclasses.replace(board, filters=(*board.filters, seven)), STAFF).problems == []


def test_a_range_of_dates_over_a_column_without_dates_is_refused(surface: Surface) -> None:
    wrong = dataclasses.replace(TOTAL, reach=(Reach("intake", "programme", "mart.enrolment"),))
    (problem,) = surface.apply(with_card(ENROLMENT, TOTAL, wrong)).problems
    assert problem.startswith(
        'dashboards/enrolment.yaml: card "Students": the warehouse rejects its SELECT: '
    )
    assert "operator does not exist: text >= date" in problem


def test_tabs_are_kept_with_their_cards(surface: Surface) -> None:
    surface.apply()
    board = surface.metabase.named("dashboard")["Staff"]
    assert [tab["name"] for tab in board["tabs"]] == ["Overview", "List"]
    number = board["tabs"][0]["id"]
    surface.apply(ENROLMENT, dataclasses.replace(STAFF, description="All of us."))
    board = surface.metabase.named("dashboard")["Staff"]
    assert board["tabs"][0]["id"] == number
    assert {card["dashboard_tab_id"] for card in board["dashcards"]} == {tab["id"] for tab in board["tabs"]}


def test_what_a_mart_means_is_told_in_metabase(surface: Surface) -> None:
    surface.apply()
    assert surface.meant() == {
        "enrolment": "Students by programme and intake.",
        "enrolment.programme": None,
        "enrolment.intake": "The first day of it.",
        "enrolment.students": None,
        "staff": None,
        "staff.department": None,
        "staff.heads": None,
    }
