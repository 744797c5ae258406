"""What each request of the stand-in does."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tests.support.metabase.bodies import AnsweredError
from tests.support.metabase.connected import Connected
from tests.support.metabase.content import NOT_FOUND
from tests.support.metabase.instance import EVERYBODY

HANDLERS: Mapping[str, str] = {
    "GET /api/health": "get_health",
    "GET /api/session/properties": "get_session_properties",
    "POST /api/setup": "post_setup",
    "POST /api/session": "post_session",
    "DELETE /api/session": "delete_session",
    "GET /api/user/current": "get_user_current",
    "GET /api/setting/:key": "get_setting",
    "PUT /api/setting/:key": "put_setting",
    "GET /api/api-key": "get_keys",
    "POST /api/api-key": "post_key",
    "PUT /api/api-key/:id/regenerate": "put_key",
    "GET /api/permissions/group": "get_permissions_group",
    "GET /api/permissions/graph": "get_permissions_graph",
    "PUT /api/permissions/graph": "put_permissions_graph",
    "GET /api/collection/graph": "get_collection_graph",
    "PUT /api/collection/graph": "put_collection_graph",
    "GET /api/database": "get_database",
    "GET /api/database/:id": "get_database",
    "POST /api/database": "post_database",
    "PUT /api/database/:id": "put_database",
    "POST /api/database/:id/sync_schema": "post_database_sync_schema",
    "GET /api/database/:id/metadata": "get_database_metadata",
    "PUT /api/table/:id": "put_table",
    "PUT /api/field/:id": "put_field",
    "GET /api/collection/:id/items": "get_collection_items",
    "POST /api/card/:id/query": "post_card_query",
    "POST /api/dashboard/:id/dashcard/:id/card/:id/query": "post_dashcard_query",
}
THINGS = {
    f"{method} /api/{kind}{suffix}": kind
    for kind in ("collection", "card", "dashboard")
    for method, suffix in (("GET", "/:id"), ("POST", ""), ("PUT", "/:id"))
}


def _pattern(route: str) -> re.Pattern[str]:
    path = route.partition(" ")[2].replace(":id", r"(\d+|root)").replace(":key", r"([\w-]+)")
    return re.compile(path)


ROUTES = [(route, route.partition(" ")[0], _pattern(route)) for route in (*HANDLERS, *THINGS)]


class Routes(Connected):
    """An instance, and its requests."""

    def find(self, method: str, path: str) -> tuple[str, list[str]]:
        """Return the route of a request and what is in its path."""
        for route, its_method, pattern in ROUTES:
            if its_method == method and (match := pattern.fullmatch(path)):
                return route, list(match.groups())
        raise AnsweredError(HTTPStatus.NOT_FOUND, "API endpoint does not exist.")

    def do(
        self,
        route: str,
        inside: list[str],
        body: Any,
        query: Mapping[str, list[str]],
        headers: Mapping[str, str],
    ) -> Any:
        """Do what is asked, and return the answer."""
        if kind := THINGS.get(route):
            return self._thing(route.partition(" ")[0], kind, inside, body)
        return getattr(self, HANDLERS[route])(inside, body, query, headers)

    def _thing(self, method: str, kind: str, inside: list[str], body: Any) -> Any:
        if method == "GET":
            return self.content.shown(kind, self.content.find(kind, int(inside[0])))
        if kind == "card" and body.get("dataset_query") is not None:
            stored = self.content.stored(body.pop("dataset_query"))
            if stored["database"] not in self.databases:
                raise AnsweredError(HTTPStatus.NOT_FOUND, NOT_FOUND)
            body["query"] = stored
        if kind == "collection" and body.get("authority_level"):
            raise AnsweredError(
                HTTPStatus.PAYMENT_REQUIRED, {"message": "Official Collections is a paid feature"}
            )
        if method == "POST":
            made = self.content.add(kind, body)
            if kind == "collection":
                self._inherit(made)
            return self.content.shown(kind, made)
        return self.content.shown(kind, self.content.change(kind, int(inside[0]), body))

    def _inherit(self, made: Mapping[str, Any]) -> None:
        groups = self.graphs["collection"]["groups"][str(EVERYBODY)]
        groups[str(made["id"])] = groups.get(str(made["parent_id"] or "root"), "none")

    def get_collection_items(
        self, inside: list[str], _body: Any, query: Mapping[str, list[str]], *_: Any
    ) -> Any:
        return self.content.items(None if inside[0] == "root" else int(inside[0]), query)

    def post_card_query(self, inside: list[str], body: Any, *_: Any) -> Any:
        return self.run(int(inside[0]), _chosen(body, {}))

    def post_dashcard_query(self, inside: list[str], body: Any, *_: Any) -> Any:
        dashboard = self.content.find("dashboard", int(inside[0]))
        dashcard = next(one for one in dashboard["dashcards"] if one["id"] == int(inside[1]))
        targets = {one["parameter_id"]: one["target"][1][1] for one in dashcard["parameter_mappings"]}
        return self.run(int(inside[2]), _chosen(body, targets))


def _chosen(body: Mapping[str, Any], targets: Mapping[str, str]) -> dict[str, Any]:
    return {
        targets.get(one.get("id", ""), (one.get("target") or [None, [None, ""]])[1][1]): one["value"]
        for one in body.get("parameters") or ()
    }
