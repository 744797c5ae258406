"""The stand-in itself: its first user, logins, keys, settings and permissions."""

import re
import secrets
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tests.support.metabase.bodies import AnsweredError, text, wrong
from tests.support.metabase.content import NOT_FOUND

EVERYBODY, ADMINISTRATORS = 1, 2
GROUPS = [
    {"id": EVERYBODY, "name": "All Users", "magic_group_type": "all-internal-users", "member_count": 1},
    {"id": ADMINISTRATORS, "name": "Administrators", "magic_group_type": "admin", "member_count": 1},
]
CREATE_QUERIES = ("query-builder-and-native", "query-builder", "no")
PASSWORD = 6

DEFAULTS = {"anon-tracking-enabled": True, "site-name": "Metabase", "site-locale": "en"}


class Instance:
    """Who may do what."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.setup_token: str | None = str(uuid.uuid4())
        self.user_found: dict[str, Any] | None = None
        self.password = ""
        self.sessions: set[str] = set()
        self.keys: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = dict(DEFAULTS)
        # Those that its environment sets: a write of them is taken, and changes nothing.
        self.fixed: dict[str, Any] = {}
        self.graphs: dict[str, dict[str, Any]] = {
            "permissions": {"revision": 1, "groups": {}},
            "collection": {"revision": 1, "groups": {str(EVERYBODY): {"root": "write"}}},
        }

    def user(self, headers: Mapping[str, str]) -> dict[str, Any] | None:
        """Return who asks, None if nobody that is known."""
        if headers.get("x-metabase-session") in self.sessions:
            return self.user_found
        key = headers.get("x-api-key")
        if key and any(one["unmasked_key"] == key for one in self.keys):
            return {"id": 2, "email": "api-key-user@api-key.invalid", "is_superuser": True}
        return None

    def get_health(self, *_: Any) -> Any:
        return {"status": "ok"}

    def get_session_properties(
        self, _inside: Any, _body: Any, _query: Any, headers: Mapping[str, str]
    ) -> Any:
        found = {"version": {"tag": self.version}, "has-user-setup": self.user_found is not None}
        shown = self.settings | self.fixed
        if self.user(headers) is None:
            # Not for everybody's eyes.
            del shown["site-name"]
        return {**found, **shown, "setup-token": self.setup_token}

    def post_setup(self, _inside: Any, body: Any, *_: Any) -> Any:
        if self.user_found is not None:
            raise AnsweredError(
                HTTPStatus.FORBIDDEN, "The /api/setup route can only be used to create the first user"
            )
        if body["token"] != self.setup_token:
            raise wrong("token", "Token does not match the setup token.")
        user, prefs = body["user"], body["prefs"]
        if not text(user.get("email")) or "@" not in user["email"]:
            raise wrong("user", "value must be a valid email address.")
        password = str(user.get("password") or "")
        if len(password) < PASSWORD or not re.search(r"\d", password):
            raise wrong("password", "password is too common.")
        if not text(prefs.get("site_name")):
            raise wrong("prefs", "site_name: value must be a non-blank string.")
        self.user_found = {"id": 1, "email": user["email"], "is_superuser": True}
        self.password, self.setup_token = password, None
        # Whatever allow_tracking says.
        self.settings |= {"site-name": prefs["site_name"], "site-locale": prefs.get("site_locale", "en")}
        self.settings["anon-tracking-enabled"] = True
        return {"id": self._session()}

    def _session(self) -> str:
        made = str(uuid.uuid4())
        self.sessions.add(made)
        return made

    def post_session(self, _inside: Any, body: Any, *_: Any) -> Any:
        known = self.user_found
        if known is None or body["username"] != known["email"] or body["password"] != self.password:
            raise AnsweredError(
                HTTPStatus.UNAUTHORIZED, {"errors": {"password": "did not match stored password"}}
            )
        return {"id": self._session()}

    def delete_session(self, _inside: Any, _body: Any, _query: Any, headers: Mapping[str, str]) -> None:
        self.sessions.discard(headers.get("x-metabase-session", ""))

    def get_user_current(self, _inside: Any, _body: Any, _query: Any, headers: Mapping[str, str]) -> Any:
        return self.user(headers)

    def get_setting(self, inside: list[str], *_: Any) -> Any:
        # Nothing while it is at its default, or set by the environment.
        value = self.settings.get(inside[0])
        return None if inside[0] in self.fixed or value == DEFAULTS.get(inside[0]) else value

    def put_setting(self, inside: list[str], body: Any, *_: Any) -> None:
        self.settings[inside[0]] = body["value"]

    def get_keys(self, *_: Any) -> Any:
        return [{key: one[key] for key in ("id", "name", "masked_key")} for one in self.keys]

    def post_key(self, _inside: Any, body: Any, *_: Any) -> Any:
        if any(one["name"] == body["name"] for one in self.keys):
            raise wrong("name", "An API key with this name already exists.")
        if body["group_id"] not in (EVERYBODY, ADMINISTRATORS):
            raise AnsweredError(HTTPStatus.NOT_FOUND, NOT_FOUND)
        self.keys.append({"id": len(self.keys) + 1, "name": body["name"], **self._key()})
        return self.keys[-1]

    def put_key(self, inside: list[str], *_: Any) -> Any:
        self.keys[int(inside[0]) - 1].update(self._key())
        return self.keys[int(inside[0]) - 1]

    def _key(self) -> dict[str, str]:
        key = f"mb_{secrets.token_urlsafe(32)}"
        return {"unmasked_key": key, "masked_key": f"{key[:7]}{'*' * 20}"}

    # Permissions.

    def get_permissions_group(self, *_: Any) -> Any:
        return GROUPS

    def get_permissions_graph(self, *_: Any) -> Any:
        return self.graphs["permissions"]

    def put_permissions_graph(self, _inside: Any, body: Any, *_: Any) -> Any:
        for databases in body["groups"].values():
            for may in databases.values():
                if may.get("create-queries", "no") not in CREATE_QUERIES:
                    raise wrong("groups", "create-queries: one of its values")
        return self._put_graph("permissions", body)

    def get_collection_graph(self, *_: Any) -> Any:
        return self.graphs["collection"]

    def put_collection_graph(self, _inside: Any, body: Any, *_: Any) -> Any:
        found = self._put_graph("collection", body)
        for group in found["groups"].values():
            for number in [one for one, may in group.items() if may == "none"]:
                del group[number]
        return found

    def _put_graph(self, name: str, body: Mapping[str, Any]) -> Any:
        graph = self.graphs[name]
        if body["revision"] != graph["revision"]:
            raise AnsweredError(
                HTTPStatus.CONFLICT,
                "Looks like someone else edited the permissions and your data is out of date.",
            )
        for group, things in body["groups"].items():
            graph["groups"].setdefault(group, {}).update(things)
        graph["revision"] += 1
        return graph
