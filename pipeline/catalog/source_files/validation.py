"""Turns what a YAML file says into its class, and what is wrong with it into lines and sentences."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline import names
from pipeline.catalog import document
from pipeline.catalog.check_kinds import KINDS

_Model = TypeVar("_Model", bound=BaseModel)


def validated(written: document.Document, model: type[_Model]) -> tuple[_Model | None, list[tuple[int, str]]]:
    """Return the document as a `model`, or None and the problems as pairs of line and text."""
    known: dict[int, list[str]] = {}
    try:
        return model.model_validate(written.value, context=known), []
    except ValidationError as error:
        problems = []
        for details in error.errors(include_url=False):
            path = written.locate(details["loc"])
            # A list of nothing but wrong values is also called too short.
            emptied = details["type"] == "too_short" and written.at(path)
            if written.untold(path) and not emptied:
                what = _what(dict(details), written.at(path), known.get(id(written.at(path[:-1])), []))
                problems.append((written.line(path), f"{document.dotted(path)}: {what}" if path else what))
        return None, problems


def _no_check(value: Any) -> str:
    for key in value if isinstance(value, dict) else ():
        if meant := names.nearest(key, KINDS):
            return f"{key} is not a kind of check; did you mean {meant}?"
    return f"is not a kind of check; write one of {', '.join(KINDS)}"


def _no_choice(error: Mapping[str, Any]) -> str:
    """Say what may be written where one of a few words is expected, and which was probably meant."""
    expected, given = str(error["ctx"]["expected"]).replace("'", ""), error["input"]
    meant = names.nearest(given, re.split(", | or ", expected)) if isinstance(given, str) else None
    return f"must be {expected}; " + (f"did you mean {meant}?" if meant else "correct it")


_MESSAGES = {
    "missing": "missing; write it here",
    "string_type": "must be text; write it in quotes",
    "string_too_short": "is empty; write a value",
    "too_short": "is empty; write at least one",
    "int_type": "must be a whole number; correct it",
    "int_parsing": "must be a whole number; correct it",
    "int_from_float": "must be a whole number; correct it",
    "greater_than_equal": "must be at least {ge}; correct it",
    "bool_type": "must be true or false; correct it",
    "bool_parsing": "must be true or false; correct it",
    "model_type": "must be a mapping (key: value); correct it",
    "model_attributes_type": "must be a mapping (key: value); correct it",
    "mapping_type": "must be a mapping (key: value); correct it",
    "dict_type": "must be a mapping (key: value); correct it",
    "tuple_type": "must be a list; correct it",
}


def _unknown_key(error: Mapping[str, Any], known: list[str]) -> str:
    key = str(error["loc"][-1])
    if key == "except":
        return "unknown key; write tables that stay in the source under leave, beside tables"
    if key in ("level", "quarantine") and "checks" in error["loc"]:
        return "unknown key here; write it beside the check's own key, not inside it"
    return f"unknown key; {names.advice(key, known)}"


def _what(error: Mapping[str, Any], value: Any, known: list[str]) -> str:
    if error["type"] == "union_tag_not_found":
        return _no_check(value)
    if error["type"] == "extra_forbidden":
        return _unknown_key(error, known)
    if error["type"] == "literal_error":
        return _no_choice(error)
    if message := _MESSAGES.get(error["type"]):
        values = {key: str(value).replace("'", "") for key, value in error.get("ctx", {}).items()}
        return message.format(**values)
    return str(error["msg"]).removeprefix("Value error, ")
