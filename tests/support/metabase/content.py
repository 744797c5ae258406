"""Collections, cards and dashboards of the stand-in."""

import secrets
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tests.support.metabase import bodies
from tests.support.metabase.bodies import AnsweredError, wrong

NANO = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
MBQL_5 = 57
TAGS_LISTED = 63
NOT_FOUND = "Not found."


def entity_id() -> str:
    return "".join(secrets.choice(NANO) for _ in range(21))


class Content:
    """What people see. `version` is the second number of Metabase's."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.things: dict[str, dict[int, dict[str, Any]]] = {"collection": {}, "card": {}, "dashboard": {}}
        self._numbers = iter(range(1, 1_000_000))

    def number(self) -> int:
        return next(self._numbers)

    def find(self, kind: str, number: int) -> dict[str, Any]:
        if number not in self.things[kind]:
            raise AnsweredError(HTTPStatus.NOT_FOUND, NOT_FOUND)
        return self.things[kind][number]

    def add(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        number = self.number()
        made = {"id": number, "entity_id": entity_id(), "archived": False, "description": None, **body}
        if kind == "collection":
            parent = made.pop("parent_id", None)
            above = self.find("collection", parent)["location"] + f"{parent}/" if parent else "/"
            made |= {"location": above, "parent_id": parent}
        elif made.get("collection_id"):
            self.find("collection", made["collection_id"])
        else:
            made["collection_id"] = None
        if kind == "card":
            made["type"] = made.get("type") or "question"
        if kind == "dashboard":
            made |= {
                "auto_apply_filters": True,
                "dashcards": [],
                "tabs": [],
                "width": "fixed",
                "parameters": made.get("parameters") or [],
            }
        self.things[kind][number] = made
        return made

    def change(self, kind: str, number: int, body: Mapping[str, Any]) -> dict[str, Any]:
        thing = self.find(kind, number)
        body = dict(body)
        if kind == "dashboard":
            self._place(thing, body)
        if kind == "collection" and body.get("archived") is not None:
            self._archive_inside(number, body["archived"])
        if kind == "collection" and "parent_id" in body:
            parent = body["parent_id"]
            body["location"] = self.find("collection", parent)["location"] + f"{parent}/" if parent else "/"
        # What is null in a request for a card is left as it was, but for what may be nothing.
        thing.update(body)
        return thing

    def _archive_inside(self, number: int, archived: bool) -> None:
        for kind in ("card", "dashboard"):
            for one in self.things[kind].values():
                if one["collection_id"] == number:
                    one["archived"] = archived
        for other in self.things["collection"].values():
            if f"/{number}/" in other["location"]:
                other["archived"] = archived
                self._archive_inside(other["id"], archived)

    def items(self, number: int | None, query: Mapping[str, list[str]]) -> dict[str, Any]:
        """Return what is in a collection; all of it, or of its pages that which is asked for."""
        models, found = query.get("models") or [], []
        for kind in models or list(self.things):
            for one in self.things[kind].values():
                parent = one["parent_id"] if kind == "collection" else one["collection_id"]
                if parent == number and not one["archived"]:
                    keys = ("id", "name", "description", "entity_id", "archived")
                    found.append({**{key: one[key] for key in keys}, "model": kind})
        limit, offset = (int(query[key][0]) if key in query else None for key in ("limit", "offset"))
        page = found[offset or 0 :][: limit if limit is not None else len(found)]
        return {"total": len(found), "data": page, "models": models, "limit": limit, "offset": offset}

    # Dashboards.

    def _place(self, thing: dict[str, Any], body: dict[str, Any]) -> None:
        """Take the whole list of cards, and of tabs; what is left out of a list is gone."""
        if body.get("dashcards") is None and body.get("tabs") is None:
            body.pop("dashcards", None)
            body.pop("tabs", None)
            return
        tabs, numbers = [], {}
        for position, tab in enumerate(body.get("tabs") or []):
            known = tab["id"] in {one["id"] for one in thing["tabs"]}
            numbers[tab["id"]] = tab["id"] if known else self.number()
            tabs.append(
                {
                    "id": numbers[tab["id"]],
                    "name": tab["name"],
                    "position": position,
                    "dashboard_id": thing["id"],
                }
            )
        given = body.get("dashcards")
        cards: list[dict[str, Any]] = thing["dashcards"] if given is None else given
        ids = [card["id"] for card in cards]
        if len(ids) != len(set(ids)):
            raise wrong("dashcards", "value must be seq of maps in which ids are unique")
        thing["dashcards"] = [self._dashcard(thing, card, tabs, numbers) for card in cards]
        thing["tabs"] = tabs
        body.pop("dashcards", None)
        body.pop("tabs", None)

    def _dashcard(
        self, thing: dict[str, Any], card: dict[str, Any], tabs: list[dict[str, Any]], numbers: dict[int, int]
    ) -> dict[str, Any]:
        known = {one["id"]: one for one in thing["dashcards"]}
        tab = numbers.get(card.get("dashboard_tab_id") or 0)
        if tab is None and len(tabs) == 1:
            tab = tabs[0]["id"]
        if tab is None and len(tabs) > 1:
            raise AnsweredError(
                HTTPStatus.BAD_REQUEST, "This dashboard has tab, makes sure every card has a tab"
            )
        if card.get("card_id") is not None:
            shown = self.find("card", card["card_id"])
            if shown["archived"]:
                raise AnsweredError(HTTPStatus.BAD_REQUEST, {"message": "The card is archived."})
        if card["id"] > 0 and card["id"] not in known:
            raise AnsweredError(HTTPStatus.NOT_FOUND, NOT_FOUND)
        number = card["id"] if card["id"] in known else self.number()
        taken = (
            "card_id",
            "row",
            "col",
            "size_x",
            "size_y",
            "parameter_mappings",
            "visualization_settings",
            "series",
        )
        # The keys of one that it knows already and that are not given stay as they were.
        return {
            "parameter_mappings": [],
            "visualization_settings": {},
            "series": [],
            "card_id": None,
            **known.get(number, {}),
            **{key: card[key] for key in taken if key in card},
            "id": number,
            "dashboard_tab_id": tab,
            "dashboard_id": thing["id"],
            "entity_id": known.get(number, {}).get("entity_id") or entity_id(),
            "inline_parameters": [],
        }

    # Queries: taken in either form, given back in that of the version.

    def stored(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Return database, SQL and tags of a query in either form."""
        if "stages" in query:
            stage = query["stages"][0]
            tags = stage.get("template-tags") or {}
            named = {one["name"]: one for one in tags} if isinstance(tags, list) else tags
            return {"database": query["database"], "sql": stage["native"], "tags": named}
        if query.get("type") != "native" or not bodies.text((query.get("native") or {}).get("query")):
            raise wrong("dataset_query", "a query with a database and stages, or of type native")
        native = query["native"]
        return {
            "database": query["database"],
            "sql": native["query"],
            "tags": native.get("template-tags") or {},
        }

    def given(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Return a stored query in the form of this version."""
        if self.version < MBQL_5:
            native = {"query": query["sql"], "template-tags": query["tags"]}
            return {"database": query["database"], "type": "native", "native": native}
        tags = {name: self._newer(tag) for name, tag in query["tags"].items()}
        return {
            "lib/type": "mbql/query",
            "lib/metadata": None,
            "database": query["database"],
            "stages": [
                {
                    "lib/type": "mbql.stage/native",
                    "native": query["sql"],
                    "template-tags": list(tags.values()) if self.version >= TAGS_LISTED else tags,
                }
            ],
        }

    @staticmethod
    def _newer(tag: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(tag)
        if isinstance(found.get("dimension"), list):
            number = next(one for one in found["dimension"][1:] if isinstance(one, int))
            found["dimension"] = ["field", {"lib/uuid": str(uuid.uuid4())}, number]
        return found

    def shown(self, kind: str, thing: Mapping[str, Any]) -> dict[str, Any]:
        """Return a thing as it is answered."""
        found = {key: value for key, value in thing.items() if key != "query"}
        if kind == "card":
            found |= {
                "dataset_query": self.given(thing["query"]),
                "result_metadata": [],
                "query_type": "native",
                "database_id": thing["query"]["database"],
                "table_id": None,
                "creator_id": 1,
                "dashboard_id": None,
            }
        if kind == "dashboard":
            found |= {
                "creator_id": 1,
                "enable_embedding": False,
                "public_uuid": None,
                "cache_ttl": None,
            }
        return found
