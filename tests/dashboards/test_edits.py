"""What somebody changed in Metabase by hand is found and told, and written over or kept as declared."""

from tests.dashboards.surfaces import ENROLMENT, STAFF, Surface


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
