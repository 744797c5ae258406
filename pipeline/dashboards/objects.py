"""Collections, cards and dashboards of Metabase: how each is made, written whole, and read back.

What a thing shows is a plain mapping in words of our own. It is made twice, from what is declared and from
what Metabase gives, and the two are compared: what it makes up by itself (ids, times) is in neither.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.metabase import Client, versions

COLLECTION, CARD, DASHBOARD = "collection", "card", "dashboard"
PATHS: Mapping[str, str] = {
    COLLECTION: "/api/collection",
    CARD: "/api/card",
    DASHBOARD: "/api/dashboard",
}
# The collection above all of ours is in none.
Shown = Mapping[str, Any]


def bare(kind: str, name: str, nonce: str, parent: int | None, shown: Shown) -> dict[str, Any]:
    """Return the body with which a thing is made, known by its nonce until it is written whole."""
    where = {"parent_id" if kind == COLLECTION else "collection_id": parent}
    body = {"name": name, "description": nonce, **{key: value for key, value in where.items() if value}}
    if kind == CARD:
        body |= {"dataset_query": _query(shown), "display": shown["display"], "visualization_settings": {}}
    return body


def whole(kind: str, shown: Shown, live: Shown) -> dict[str, Any]:
    """Return the body with which a thing is written whole; `live` is how Metabase has it now."""
    body = {"name": shown["name"], "description": shown["description"], "archived": False}
    if kind == COLLECTION:
        # An empty text is refused of a collection alone.
        body["description"] = shown["description"] or None
        moved = _parent(live) != shown["collection"]
        return {**body, "parent_id": shown["collection"]} if moved else body
    body["collection_id"] = shown["collection"]
    if kind == CARD:
        return body | {
            "type": shown["type"],
            "dataset_query": _query(shown),
            "display": shown["display"],
            "visualization_settings": shown["settings"],
        }
    tabs, cards = _tabs(shown, live), _dashcards(shown, live)
    numbers = {tab["name"]: tab["id"] for tab in tabs}
    for card in cards:
        card["dashboard_tab_id"] = numbers.get(card.pop("tab"))
    return body | {
        "width": shown["width"],
        "auto_apply_filters": shown["auto_apply_filters"],
        "parameters": shown["parameters"],
        "tabs": tabs,
        "dashcards": cards,
    }


def read(client: Client, kind: str, number: int) -> Mapping[str, Any] | None:
    """Return a thing as Metabase gives it, None if it has none of that number."""
    answer: Mapping[str, Any] | None = client.find(f"{PATHS[kind]}/{number}")
    return answer


def marker(live: Mapping[str, Any]) -> str:
    """Return what tells a thing from any other that ever had its number: its server made that up."""
    return str(live.get("entity_id") or live.get("created_at"))


def shown(kind: str, live: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a thing shows, in our words, as Metabase gives it."""
    content = {
        "name": live.get("name"),
        "description": live.get("description") or "",
        "archived": bool(live.get("archived")),
        "collection": _parent(live) if kind == COLLECTION else live.get("collection_id"),
    }
    if kind == CARD:
        query = live.get("dataset_query") or {}
        sql, tags = versions.read_query(query)
        return content | {
            "type": live.get("type") or "question",
            "display": live.get("display"),
            "sql": sql,
            "tags": {name: _tag(one) for name, one in tags.items()},
            "settings": live.get("visualization_settings") or {},
            "database": query.get("database"),
        }
    if kind == DASHBOARD:
        names = {tab["id"]: tab["name"] for tab in live.get("tabs") or ()}
        return content | {
            "width": live.get("width"),
            "auto_apply_filters": live.get("auto_apply_filters", True),
            "parameters": [_parameter(one) for one in live.get("parameters") or ()],
            "tabs": [tab["name"] for tab in live.get("tabs") or ()],
            "cards": sorted((_dashcard(one, names) for one in live.get("dashcards") or ()), key=place),
        }
    return content


def place(card: Shown) -> tuple[str, int, int]:
    """Return by what cards of a dashboard are sorted."""
    return card["tab"] or "", card["row"], card["col"]


def by_filter(mapping: Shown) -> str:
    """Return by what the filters of a card on a dashboard are sorted."""
    return repr((mapping["filter"], mapping["card"], mapping["target"]))


def _parent(live: Mapping[str, Any]) -> int | None:
    if live.get("parent_id"):
        return int(live["parent_id"])
    above = [part for part in str(live.get("location") or "").split("/") if part]
    return int(above[-1]) if above else None


def _query(wanted: Shown) -> dict[str, Any]:
    tags = {}
    for name, tag in wanted["tags"].items():
        tags[name] = {
            "id": tag["id"],
            "name": name,
            "display-name": tag["title"],
            "type": tag["type"],
        }
        if tag["type"] == "dimension":
            tags[name] |= {"dimension": ["field", tag["field"], None], "widget-type": tag["widget"]}
    return versions.native_query(wanted["database"], wanted["sql"], tags)


def _tag(tag: Mapping[str, Any]) -> dict[str, Any]:
    content = {key: tag.get(key) for key in ("id", "name", "type")} | {"title": tag.get("display-name")}
    if tag.get("type") == "dimension":
        content |= {"field": versions.field_of(tag), "widget": tag.get("widget-type")}
    return content


def _parameter(one: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("id", "name", "slug", "type", "sectionId", "default", "isMultiSelect")
    return {key: one[key] for key in keys if one.get(key) is not None}


def _dashcard(one: Mapping[str, Any], tabs: Mapping[int, str]) -> dict[str, Any]:
    mappings = one.get("parameter_mappings") or ()
    return {
        "card": one.get("card_id"),
        "tab": tabs.get(one.get("dashboard_tab_id") or 0),
        "row": one.get("row"),
        "col": one.get("col"),
        "size_x": one.get("size_x"),
        "size_y": one.get("size_y"),
        "filters": sorted(
            (
                {
                    "filter": each.get("parameter_id"),
                    "card": each.get("card_id"),
                    "target": each.get("target"),
                }
                for each in mappings
            ),
            key=by_filter,
        ),
        "settings": one.get("visualization_settings") or {},
        "series": [each.get("id") for each in one.get("series") or ()],
    }


def _tabs(wanted: Shown, live: Shown) -> list[dict[str, Any]]:
    """Return the tabs with their numbers where they are there already, new ones with negative ones."""
    known = {tab["name"]: tab["id"] for tab in live.get("tabs") or ()}
    return [
        {"id": known.get(name, -index), "name": name} for index, name in enumerate(wanted["tabs"], start=1)
    ]


def _dashcards(wanted: Shown, live: Shown) -> list[dict[str, Any]]:
    """Return the whole list of cards: what is left out is removed, what has a negative number is new."""
    known: dict[Any, list[int]] = {}
    for one in live.get("dashcards") or ():
        known.setdefault(one.get("card_id"), []).append(one["id"])
    dashcards = []
    for index, card in enumerate(wanted["cards"], start=1):
        numbers = known.get(card["card"]) or [-index]
        dashcards.append(
            {
                "id": numbers.pop(0),
                "card_id": card["card"],
                "tab": card["tab"],
                "row": card["row"],
                "col": card["col"],
                "size_x": card["size_x"],
                "size_y": card["size_y"],
                "parameter_mappings": [
                    {"parameter_id": each["filter"], "card_id": each["card"], "target": each["target"]}
                    for each in card["filters"]
                ],
                "visualization_settings": card["settings"],
                "series": [{"id": each} for each in card["series"]],
            }
        )
    return dashcards
