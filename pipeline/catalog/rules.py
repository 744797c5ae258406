"""What must hold between the values of a source's file, beyond the form of each.

Works on what is written, so that it is told together with misspelt keys.
"""

from collections.abc import Iterator
from typing import Any

from pipeline import names
from pipeline.catalog.document import Document, Path, dotted

Problem = tuple[int, str]


def problems(written: Document, stem: str) -> list[Problem]:
    """Return the problems of a file called `stem`.yaml, as pairs of line and text."""
    if not isinstance(written.value, dict):
        return []
    found = [*_source(written, stem)]
    tables = _mapping(written.value.get("tables"))
    defaults = _mapping(written.value.get("defaults"))
    for name, table in tables.items():
        path: Path = ("tables", name)
        table = _mapping(table)  # noqa: PLW2901 - an empty one declares nothing
        for where, what in (
            *_table_name(name),
            *_cursor(table, defaults),
            *_columns(table),
            *_relationships(table, tables),
        ):
            full = (*path, *where)
            found.append((written.line(full), f"{dotted(full)}: {what}"))
    return found


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _source(written: Document, stem: str) -> Iterator[Problem]:
    name = written.value.get("source")
    line = written.line(("source",))
    if not isinstance(name, str):
        return
    if problem := names.problem(name):
        yield line, f"source: {problem}"
    if name != stem:
        yield line, f'source: "{name}" is not the file\'s name; write source: {stem}, or rename the file'


def _table_name(name: str) -> Iterator[tuple[Path, str]]:
    if len(name.encode()) > names.MAXIMUM_BYTES:
        yield (
            (),
            f"the name is longer than {names.MAXIMUM_BYTES} bytes; write a shorter one, and table: its own",
        )


def _cursor(table: dict[str, Any], defaults: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    changes = table.get("changes", defaults.get("changes", "xmin"))
    if changes == "cursor" and not table.get("cursor", defaults.get("cursor")):
        where = ("changes",) if "changes" in table else ()
        yield where, "needs a cursor; write cursor: and the column that grows with each change"
    for key in ("cursor", "lookback"):
        if key in table and changes != "cursor":
            yield (key,), "has no effect without changes: cursor; write that, or remove this"


def _columns(table: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    key = table.get("key")
    keys = [key] if isinstance(key, str) else key if isinstance(key, list) else []
    for name, column in _mapping(table.get("columns")).items():
        mask = _mapping(column).get("mask")
        if name in keys and mask in ("null", "exclude"):
            where = ("columns", name, "mask")
            yield where, "a column of the key must keep its values apart; use hash, or another key"
        if name in names.RESERVED_COLUMNS and mask != "exclude":
            yield ("columns", name), "the warehouse adds a column of this name itself; use mask: exclude"


def _relationships(table: dict[str, Any], tables: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    checks = table.get("checks")
    for index, check in enumerate(checks if isinstance(checks, list) else []):
        target = _mapping(_mapping(check).get("relationship")).get("to")
        if isinstance(target, str) and target not in tables:
            where = ("checks", index, "relationship", "to")
            yield where, f"no such table in this file; {names.advice(target, tables)}"
