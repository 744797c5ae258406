"""What somebody changed in Metabase by hand is found and told, and written over or kept as declared."""

import pytest

from pipeline.dashboards import meanings
from pipeline.errors import StepError
from tests.dashboards.surfaces import ENROLMENT, STAFF, Surface, meaning


def edit(surface: Surface) -> None:
    surface.metabase.named("card")["Heads"]["display"] = "table"
    board = surface.metabase.named("dashboard")["Enrolment"]
    board["dashcards"] = board["dashcards"][:-1]


def test_what_was_changed_by_hand_is_told_and_written_over(surface: Surface) -> None:
    surface.apply()
    edit(surface)
    planned = [str(change) for change in surface.plan().shown]
    assert planned == [
        'update dashboard "Enrolment", dashboards/enrolment.yaml; differs: cards; '
        "changed in Metabase by hand, which is written over: cards",
        'update card "Heads", dashboards/staff.yaml; differs: display; '
        "changed in Metabase by hand, which is written over: display",
    ]
    surface.said.clear()
    surface.apply()
    assert surface.said == planned
    assert surface.metabase.named("card")["Heads"]["display"] == "pie"
    assert len(surface.metabase.named("dashboard")["Enrolment"]["dashcards"]) == 3


def test_what_was_changed_by_hand_is_told_and_kept_where_that_is_declared(surface: Surface) -> None:
    surface.edits = "keep"
    surface.apply()
    edit(surface)
    before = len(surface.metabase.writes)
    outcome = surface.apply()
    assert [change.action for change in outcome.shown] == ["keep", "keep"]
    assert surface.metabase.writes[before:] == []
    assert surface.metabase.named("card")["Heads"]["display"] == "table"


def test_a_description_that_metabase_does_not_take_is_found_also_where_edits_are_kept(
    surface: Surface,
) -> None:
    surface.edits = "keep"
    surface.apply()
    surface.metabase.forgets.add(("PUT /api/table/:id", "description"))
    surface.catalog = meaning("Who begins what.", "The first day of it.")
    with pytest.raises(StepError, match=r"did not take the description of mart\.enrolment$"):
        surface.apply()


def test_a_description_that_came_by_another_way_changes_with_what_is_declared(surface: Surface) -> None:
    """Metabase takes a table's COMMENT over; and who is killed has written what is not remembered."""
    surface.edits = "keep"
    surface.apply()
    with surface.memory() as memory:
        memory.forget(meanings.KEY)
    before = len(surface.metabase.writes)
    assert surface.apply().others == []
    assert surface.metabase.writes[before:] == []
    surface.catalog = meaning("Who begins what.", "When they began.")
    surface.apply()
    assert surface.meant()["enrolment"] == "Who begins what."
    (table,) = (one for one in surface.metabase.routes.tables if one["name"] == "enrolment")
    table["description"] = "by hand"
    surface.catalog = meaning("Otherwise.", "Their first day.")
    assert surface.apply().others == ["1 descriptions of tables and columns"]
    assert surface.meant()["enrolment"] == "by hand"
    assert surface.meant()["enrolment.intake"] == "Their first day."


def test_what_was_put_into_the_trash_by_hand_comes_back(surface: Surface) -> None:
    surface.apply()
    content = surface.metabase.routes.content
    number = surface.metabase.named("card")["Heads"]["id"]
    content.change("card", number, {"archived": True})
    (change,) = surface.apply().shown
    assert (change.action, change.by_hand) == ("restore", ("archived",))
    assert surface.metabase.named("card")["Heads"]["id"] == number


def test_what_was_deleted_for_good_by_hand_is_made_again(surface: Surface) -> None:
    surface.apply()
    content = surface.metabase.routes.content
    number = surface.metabase.named("dashboard")["Staff"]["id"]
    del content.things["dashboard"][number]
    (change,) = surface.apply().shown
    assert (change.action, change.by_hand) == ("create", ("removed",))
    assert set(surface.metabase.named("dashboard")) == {"Enrolment", "Staff"}


def test_what_others_made_is_left_alone_whatever_it_is_called(surface: Surface) -> None:
    surface.apply()
    content = surface.metabase.routes.content
    theirs = content.add("dashboard", {"name": "Staff", "collection_id": None})
    surface.apply(ENROLMENT)
    assert not theirs["archived"]
    surface.apply(ENROLMENT, STAFF)
    assert theirs["dashcards"] == []
    mine = [one for one in content.things["dashboard"].values() if one["name"] == "Staff"]
    assert len(mine) == 3, "theirs, the one in the trash, and a new one"
