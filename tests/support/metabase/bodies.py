"""What each request may hold: keys that are not listed are dropped without a word, others looked at."""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

Check = Callable[[Any], bool]
# What is expected, in Metabase's words, and whether a value is that; required where the name ends with !
Keys = Mapping[str, tuple[str, Check]]

BLANK, ID, BOOLEAN = (
    "value must be a non-blank string.",
    "value must be an integer greater than zero.",
    "boolean",
)
PARAMETER_TYPES = re.compile(
    r"(string|number|date|temporal-unit|boolean|location)(/[a-z=!>-]+)?|category|id|date/all-options"
)
DISPLAY = BLANK


class AnsweredError(Exception):
    """An answer that ends a request."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def wrong(key: str, what: str) -> AnsweredError:
    """Return the answer to a value that is not what is expected."""
    body = {"errors": {key: what}, "specific-errors": {key: [what]}}
    return AnsweredError(HTTPStatus.BAD_REQUEST, body)


def text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is(kind: type) -> Check:
    return lambda value: isinstance(value, kind)


def _offset(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list_of(keys: Keys) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, list) and all(
            isinstance(one, dict) and not _faults(keys, one) for one in value
        )

    return check


def _parameter_type(value: Any) -> bool:
    return isinstance(value, str) and PARAMETER_TYPES.fullmatch(value) is not None


def _query(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


PARAMETERS: Keys = {
    "id!": (BLANK, text),
    "name": (BLANK, text),
    "slug": (BLANK, text),
    "type!": ("a parameter type", _parameter_type),
}
DASHCARD: Keys = {
    "id!": ("integer", _integer),
    "size_x!": (ID, number),
    "size_y!": (ID, number),
    "row!": ("value must be an integer greater or equal to than zero.", _offset),
    "col!": ("value must be an integer greater or equal to than zero.", _offset),
    "parameter_mappings": (
        "a list",
        _list_of({"parameter_id!": (BLANK, text), "target": ("any", lambda _: True)}),
    ),
    "series": ("a list", _list_of({"id!": (ID, number)})),
}
TAB: Keys = {"id!": ("integer", _integer), "name!": (BLANK, text)}

BODIES: Mapping[str, Keys] = {
    "POST /api/setup": {
        "token!": (BLANK, text),
        "user!": ("a map", _is(dict)),
        "prefs!": ("a map", _is(dict)),
        "database": ("a map", _maybe(_is(dict))),
    },
    "POST /api/session": {"username!": (BLANK, text), "password!": (BLANK, text)},
    "POST /api/api-key": {"name!": (BLANK, text), "group_id!": (ID, number)},
    "PUT /api/api-key/:id/regenerate": {},
    "PUT /api/setting/:key": {"value!": ("any", lambda _: True)},
    "PUT /api/permissions/graph": {"revision!": ("integer", _integer), "groups!": ("a map", _is(dict))},
    "PUT /api/collection/graph": {"revision!": ("integer", _integer), "groups!": ("a map", _is(dict))},
    "POST /api/database": {
        "name!": (BLANK, text),
        "engine!": ("a valid database engine", lambda value: value == "postgres"),
        "details!": ("a map", _is(dict)),
        "is_full_sync": (BOOLEAN, _is(bool)),
        "is_on_demand": (BOOLEAN, _is(bool)),
        "schedules": ("a map", _maybe(_is(dict))),
        "auto_run_queries": (BOOLEAN, _maybe(_is(bool))),
    },
    "PUT /api/database/:id": {
        "name": (BLANK, _maybe(text)),
        "engine": ("a valid database engine", _maybe(text)),
        "details": ("a map", _maybe(_is(dict))),
        "auto_run_queries": (BOOLEAN, _maybe(_is(bool))),
        "description": ("string", _maybe(_is(str))),
    },
    "POST /api/database/:id/sync_schema": {},
    "PUT /api/table/:id": {"description": (BLANK, _maybe(text)), "display_name": (BLANK, _maybe(text))},
    "PUT /api/field/:id": {"description": (BLANK, _maybe(text)), "display_name": (BLANK, _maybe(text))},
    "POST /api/collection": {
        "name!": (BLANK, text),
        "description": (BLANK, _maybe(text)),
        "parent_id": (ID, _maybe(number)),
        "namespace": (BLANK, _maybe(text)),
        "authority_level": ("official", _maybe(text)),
    },
    "PUT /api/collection/:id": {
        "name": (BLANK, _maybe(text)),
        "description": (BLANK, _maybe(text)),
        "archived": (BOOLEAN, _maybe(_is(bool))),
        "parent_id": (ID, _maybe(number)),
    },
    "POST /api/card": {
        "name!": (BLANK, text),
        "dataset_query!": ("a query", _query),
        "display!": (DISPLAY, text),
        "visualization_settings!": ("a map", _is(dict)),
        "description": (BLANK, _maybe(text)),
        "collection_id": (ID, _maybe(number)),
        "entity_id": (BLANK, _maybe(text)),
        "parameters": ("a list", _maybe(_list_of(PARAMETERS))),
        "type": ("a card type", _maybe(text)),
    },
    "PUT /api/card/:id": {
        "type": ("a card type", _maybe(lambda value: value in ("question", "model", "metric"))),
        "name": (BLANK, _maybe(text)),
        "dataset_query": ("a query", _maybe(_query)),
        "display": (DISPLAY, _maybe(text)),
        "visualization_settings": ("a map", _maybe(_is(dict))),
        "description": ("string", _maybe(_is(str))),
        "collection_id": (ID, _maybe(number)),
        "archived": (BOOLEAN, _maybe(_is(bool))),
        "parameters": ("a list", _maybe(_list_of(PARAMETERS))),
    },
    "POST /api/dashboard": {
        "name!": (BLANK, text),
        "description": ("string", _maybe(_is(str))),
        "collection_id": (ID, _maybe(number)),
        "parameters": ("a list", _maybe(_list_of(PARAMETERS))),
    },
    "PUT /api/dashboard/:id": {
        "auto_apply_filters": (BOOLEAN, _maybe(_is(bool))),
        "name": (BLANK, _maybe(text)),
        "description": ("string", _maybe(_is(str))),
        "archived": (BOOLEAN, _maybe(_is(bool))),
        "collection_id": (ID, _maybe(number)),
        "width": ("fixed or full", _maybe(lambda value: value in ("fixed", "full"))),
        "parameters": ("a list", _maybe(_list_of(PARAMETERS))),
        "dashcards": ("a list", _maybe(_list_of(DASHCARD))),
        "tabs": ("a list", _maybe(_list_of(TAB))),
    },
    "POST /api/card/:id/query": {"parameters": ("a list", _maybe(_is(list)))},
    "POST /api/dashboard/:id/dashcard/:id/card/:id/query": {"parameters": ("a list", _maybe(_is(list)))},
}


def checked(route: str, body: Any) -> dict[str, Any]:
    """Return of a request's body what its route knows, or answer what is wrong with it."""
    keys = BODIES[route]
    if not isinstance(body, dict):
        raise wrong("body", "a map")
    if faults := _faults(keys, body):
        raise AnsweredError(
            HTTPStatus.BAD_REQUEST,
            {"errors": faults, "specific-errors": {key: [what] for key, what in faults.items()}},
        )
    known = {key.removesuffix("!") for key in keys}
    return {key: value for key, value in body.items() if key in known}


def _faults(keys: Keys, body: Mapping[str, Any]) -> dict[str, str]:
    faults = {}
    for key, (expected, check) in keys.items():
        name = key.removesuffix("!")
        if name not in body:
            if key.endswith("!"):
                faults[name] = "missing required key"
        elif not check(body[name]):
            faults[name] = expected
    return faults
