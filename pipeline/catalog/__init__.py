"""What the analysts declare: reads their repository and tells all problems at once, with file and line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline import names
from pipeline.catalog import document, rules
from pipeline.catalog.checks import (
    KINDS,
    Check,
    FreshnessCheck,
    FreshnessRule,
    Level,
    RelationshipCheck,
    RelationshipRule,
    RowsCheck,
    RowsRule,
    SqlCheck,
    UniqueCheck,
)
from pipeline.catalog.tables import (
    Catalog,
    Column,
    DeclaredSource,
    DriftAction,
    DriftKind,
    NullRate,
    Range,
    Source,
    Table,
)
from pipeline.errors import ProblemsError

__all__ = [
    "Catalog",
    "Check",
    "Column",
    "DriftAction",
    "DriftKind",
    "FreshnessCheck",
    "FreshnessRule",
    "Level",
    "NullRate",
    "Range",
    "RelationshipCheck",
    "RelationshipRule",
    "RowsCheck",
    "RowsRule",
    "Source",
    "SqlCheck",
    "Table",
    "UniqueCheck",
    "read",
]


def read(directory: Path) -> Catalog:
    """Return what `directory`, an analysts' repository, declares.

    Raise ProblemsError with the problems of all its files, each as `sources/hr.yaml:12: what: to do`.
    """
    folder = directory / "sources"
    files = sorted(folder.glob("*.yaml"))
    problems = [
        f"sources/{path.name}:1: must end in .yaml; rename it" for path in sorted(folder.glob("*.yml"))
    ]
    if not files and not problems:
        raise ProblemsError(
            [f"{folder}: holds no .yaml file; write one for each source, or name another folder"]
        )
    sources: dict[str, Source] = {}
    for path in files:
        found, source = _read_source(path)
        problems += found
        if source is not None:
            sources[source.name] = source
    if problems:
        raise ProblemsError(problems)
    return Catalog(sources=sources)


def _read_source(path: Path) -> tuple[list[str], Source | None]:
    shown = f"sources/{path.name}"
    try:
        written = document.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return [f"{shown}:1: cannot be read as UTF-8 text; correct the file or its permissions"], None
    problems = list(written.problems)
    declared = None
    if not (problems and written.value is None):
        declared, more = _validated(written)
        problems += more
        problems += rules.problems(written, path.stem)
    told = [f"{shown}:{line}: {what}" for line, what in sorted(set(problems))]
    return told, declared.resolved() if declared and not told else None


def _validated(written: document.Document) -> tuple[DeclaredSource | None, list[tuple[int, str]]]:
    known: dict[int, list[str]] = {}
    try:
        return DeclaredSource.model_validate(written.value, context=known), []
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
            return f"{key} is no check; did you mean {meant}?"
    return f"is no check; write one of {', '.join(KINDS)}"


_MESSAGES = {
    "missing": "missing; write it here",
    "string_type": "must be text; write it in quotes",
    "string_too_short": "is empty; write a value",
    "too_short": "is empty; write at least one",
    "literal_error": "must be {expected}; correct it",
    "int_type": "must be a whole number; correct it",
    "int_parsing": "must be a whole number; correct it",
    "int_from_float": "must be a whole number; correct it",
    "bool_type": "must be true or false; correct it",
    "bool_parsing": "must be true or false; correct it",
    "model_type": "must be a mapping (key: value); correct it",
    "model_attributes_type": "must be a mapping (key: value); correct it",
    "mapping_type": "must be a mapping (key: value); correct it",
    "dict_type": "must be a mapping (key: value); correct it",
    "tuple_type": "must be a list; correct it",
}


def _what(error: Mapping[str, Any], value: Any, known: list[str]) -> str:
    if error["type"] == "union_tag_not_found":
        return _no_check(value)
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        if key in ("level", "quarantine") and "checks" in error["loc"]:
            return "unknown key here; write it beside the check's own key, not inside it"
        return f"unknown key; {names.advice(key, known)}"
    if message := _MESSAGES.get(error["type"]):
        values = {key: str(value).replace("'", "") for key, value in error.get("ctx", {}).items()}
        return message.format(**values)
    return str(error["msg"]).removeprefix("Value error, ")
