"""What somebody changed in Metabase by hand is found and told, and written over or kept as declared."""

from typing import Any

import pytest

from pipeline.catalog import Catalog
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
        "changed in Metabase by hand, which is overwritten: cards",
        'update card "Heads", dashboards/staff.yaml; differs: display; '
        "changed in Metabase by hand, which is overwritten: display",
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
    with pytest.raises(
        StepError, match=r"did not accept the description of mart\.enrolment; see its own log"
    ):
        surface.apply()


def test_a_description_that_came_by_another_way_changes_with_what_is_declared(surface: Surface) -> None:
    """Metabase takes a table's COMMENT over; and who is killed has written what is not remembered."""
    surface.edits = "keep"
    surface.apply()
    with surface.memory() as memory:
        memory.remove(meanings.KEY)
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


def described(surface: Surface) -> dict[str, Any]:
    """Return the mart of enrolment and its columns, as Metabase has them, to be changed."""
    (table,) = (one for one in surface.metabase.routes.tables if one["name"] == "enrolment")
    return {"": table, **{field["name"]: field for field in table["fields"]}}


def test_a_description_that_is_no_longer_declared_goes_from_metabase_too(surface: Surface) -> None:
    surface.apply()
    described(surface)["students"]["description"] = "theirs, of what we never described"
    surface.catalog = meaning("", None)
    counted = "2 descriptions of tables and columns"
    assert surface.plan().others == [counted]
    assert surface.apply().others == [counted]
    assert surface.meant()["enrolment"] is None
    assert surface.meant()["enrolment.intake"] is None
    assert surface.meant()["enrolment.students"] == "theirs, of what we never described"
    described(surface)[""]["description"] = "theirs, from now on"
    assert (surface.apply().shown, surface.apply().others) == ([], [])
    assert surface.meant()["enrolment"] == "theirs, from now on"


def test_the_descriptions_of_a_mart_that_is_no_longer_declared_go_too(surface: Surface) -> None:
    surface.apply()
    surface.catalog = Catalog(sources={})
    assert surface.apply().others == ["2 descriptions of tables and columns"]
    assert {text for text in surface.meant().values() if text} == set()
    surface.night.ask("warehouse", "DROP TABLE mart.enrolment")
    surface.declared = [STAFF]
    surface.apply()
    assert surface.plan().others == []


def test_a_description_that_was_changed_by_hand_is_told_by_name_and_written_over(surface: Surface) -> None:
    surface.apply()
    described(surface)[""]["description"] = "by hand"
    described(surface)["intake"]["description"] = None
    over = "differs: description; changed in Metabase by hand, which is overwritten: description"
    told = [f'update table "mart.enrolment"; {over}', f'update column "mart.enrolment.intake"; {over}']
    planned = surface.plan()
    assert ([str(change) for change in planned.shown], planned.others) == (told, [])
    surface.said.clear()
    assert [str(change) for change in surface.apply().shown] == told
    assert surface.said == told
    assert surface.meant()["enrolment"] == "Students by programme and intake."
    assert surface.meant()["enrolment.intake"] == "The first day of it."


def test_a_description_that_was_changed_by_hand_is_told_by_name_and_kept_where_that_is_declared(
    surface: Surface,
) -> None:
    surface.edits = "keep"
    surface.apply()
    described(surface)[""]["description"] = "by hand"
    described(surface)["intake"]["description"] = None
    before = len(surface.metabase.writes)
    stays = "differs: description; changed in Metabase by hand, which stays: description"
    told = [f'keep table "mart.enrolment"; {stays}', f'keep column "mart.enrolment.intake"; {stays}']
    for outcome in (surface.plan(), surface.apply(), surface.apply()):
        assert ([str(change) for change in outcome.shown], outcome.others) == (told, [])
    assert surface.metabase.writes[before:] == []
    assert surface.meant()["enrolment"] == "by hand"


def test_an_instance_that_was_made_anew_gets_its_descriptions_also_where_edits_are_kept(
    surface: Surface,
) -> None:
    surface.edits = "keep"
    surface.apply()
    surface.metabase.wipe()
    assert surface.apply().others[-1] == "2 descriptions of tables and columns"
    assert surface.meant()["enrolment.intake"] == "The first day of it."


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
