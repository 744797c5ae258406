"""Whatever we send is compared: each key of it, changed in Metabase by hand, is found, and written over."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.dashboards import connection, objects
from pipeline.dashboards.changes import differing
from pipeline.dashboards.instance import KEY_HEADER
from pipeline.dashboards.objects import CARD, COLLECTION, DASHBOARD
from pipeline.metabase import Client
from tests.dashboards.surfaces import Surface

# What says which place of a list is meant, or in which form a query is given: it is nothing that is shown.
# And what Metabase puts there itself, beside the column's number.
OTHERWISE = {
    (DASHBOARD, "dashcards.id"),
    (DASHBOARD, "tabs.id"),
    (CARD, "dataset_query.type"),
    (CARD, "dataset_query.native.template-tags.dimension.0"),
    (CARD, "dataset_query.native.template-tags.dimension.2"),
}
WORDS = ("fixed", "category", "number", "table", "model", "otherwise")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value that holds no other: of a map or list with nothing in it, too."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inside:
        yield path
    for key, one in inside:
        yield from leaves(one, (*path, key))


def called(path: tuple[Any, ...]) -> str:
    """Return a path without the places of its lists, and without names that analysts gave."""
    parts: list[str] = []
    for index, key in enumerate(path):
        is_tag = path[index - 1 : index] == ("template-tags",)
        if not is_tag and (not isinstance(key, int) or path[index - 1] == "dimension"):
            parts.append(str(key))
    return ".".join(parts)


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def others(old: Any, numbers: list[int]) -> list[Any]:
    """Return what may stand instead of a value."""
    if isinstance(old, bool):
        return [not old]
    if isinstance(old, int):
        return [one for one in (*numbers, old + 1) if one != old]
    if isinstance(old, dict):
        return [{"by hand": {}}]
    if isinstance(old, list):
        return [[{"id": one}] for one in numbers] + [["by hand"]]
    return (
        [*numbers, *(one for one in WORDS if one != old)]
        if old is None
        else [one for one in WORDS if one != old]
    )


def by_hand(surface: Surface, client: Client, kind: str, number: int) -> tuple[set[str], set[str], set[str]]:
    """Change each value that we send of a thing. Return what was tried, what was taken, and what unfound."""
    content = surface.metabase.routes.content
    known = next(one for one in surface.kept().values() if (one.kind, one.number) == (kind, number))
    assert known.shown is not None
    before = copy.deepcopy(content.things)
    live = client.get(f"{objects.PATHS[kind]}/{number}")
    body = objects.whole(kind, known.shown, live)
    tabs = [tab["id"] for tab in live.get("tabs") or ()]
    numbers = [*tabs, *content.things[CARD], *content.things[COLLECTION], *surface.metabase.routes.databases]
    tried, taken, unfound = set[str](), set[str](), set[str]()
    for path in leaves(body):
        name = called(path)
        tried.add(name)
        for other in others(at(body, path), numbers):
            changed = copy.deepcopy(body)
            at(changed, path[:-1])[path[-1]] = other
            headers = {KEY_HEADER: str(client._session.headers[KEY_HEADER])}
            status, _ = surface.metabase.answer(
                "PUT", f"{objects.PATHS[kind]}/{number}", {}, changed, headers
            )
            is_heard = status == 200 and content.things != before
            found = objects.shown(kind, client.get(f"{objects.PATHS[kind]}/{number}")) if is_heard else {}
            content.things = copy.deepcopy(before)
            if is_heard:
                taken.add(name)
                unfound |= set() if differing(known.shown, found) else {name}
                break
    return tried, taken, unfound


@pytest.fixture
def client(surface: Surface) -> Iterator[Client]:
    """A client that may everything, of an instance with what is declared."""
    surface.apply()
    made = Client(surface.metabase.url)
    entry = surface.night.platform.sandbox.vault.read(f"{surface.entry}/api_key")
    assert entry is not None
    made.log_in(KEY_HEADER, entry["api_key"])
    yield made
    made.close()


@pytest.mark.parametrize("kind", [COLLECTION, CARD, DASHBOARD])
def test_whatever_we_send_of_a_thing_is_found_where_somebody_changes_it(
    surface: Surface, client: Client, kind: str
) -> None:
    tried, taken, unfound = set[str](), set[str](), set[str]()
    databases = surface.metabase.routes.databases
    databases[surface.metabase.routes.content.number()] = dict(*databases.values())
    for number in list(surface.metabase.routes.content.things[kind]):
        found = by_hand(surface, client, kind, number)
        tried, taken, unfound = tried | found[0], taken | found[1], unfound | found[2]
    allowed = {name for its_kind, name in OTHERWISE if its_kind == kind}
    assert (tried - taken) | unfound == allowed
    assert surface.plan().shown == []


def test_whatever_we_send_of_the_connection_is_found_where_somebody_changes_it(
    surface: Surface, client: Client
) -> None:
    database = surface.night.platform.database("warehouse")
    entry = surface.night.platform.sandbox.vault.read(f"{database}/dashboards")
    known = surface.kept()[connection.KEY]
    assert entry is not None
    assert known.number is not None
    version = connection.Remembered.of_kept(known).version or ""
    sent = next(body for route, body in surface.metabase.sent if route == "PUT /api/database/:id")
    live = surface.metabase.routes.databases[known.number]
    before = copy.deepcopy(live)

    def found() -> list[str]:
        return connection.differences(client, known, entry["uri"], version)

    assert found() == []
    for path in leaves(sent):
        if path != ("details", "password"):  # it comes back masked: its version in Vault is remembered
            at(live, path[:-1])[path[-1]] = others(at(sent, path), [1])[0]
            assert found() == [path[-1]]
            live.update(copy.deepcopy(before))


def test_what_somebody_moved_or_made_a_model_of_or_added_to_is_as_declared_again(surface: Surface) -> None:
    surface.apply()
    content = surface.metabase.routes.content
    heads = surface.metabase.named("card")["Heads"]
    students = surface.metabase.named("card")["Students"]["id"]
    collections, boards = surface.metabase.named("collection"), surface.metabase.named("dashboard")
    content.change("collection", collections["Staff"]["id"], {"parent_id": collections["Enrolment"]["id"]})
    heads["type"] = "model"
    boards["Enrolment"]["auto_apply_filters"] = False
    placed = next(one for one in boards["Enrolment"]["dashcards"] if one["card_id"] == students)
    placed["parameter_mappings"][0]["card_id"] = heads["id"]
    boards["Staff"]["dashcards"][0]["series"] = [{"id": students}]
    told = [(change.kind, change.name, change.by_hand) for change in surface.plan().shown]
    assert told == [
        ("dashboard", "Enrolment", ("auto_apply_filters", "cards")),
        ("collection", "Staff", ("collection",)),
        ("card", "Heads", ("type",)),
        ("dashboard", "Staff", ("cards",)),
    ]
    surface.apply()
    assert (surface.plan().shown, heads["type"]) == ([], "question")
    assert collections["Staff"]["parent_id"] == collections["School"]["id"]
