"""What must hold between the values of a source's file, beyond the form of each.

Works on what is written, so that it is told together with misspelt keys.
"""

from collections.abc import Iterator
from typing import Any

from pipeline import names
from pipeline.catalog import queries
from pipeline.catalog.document import Document, Path, dotted
from pipeline.catalog.source_files.checks import WITHOUT_ROWS

Problem = tuple[int, str]
Found = Iterator[tuple[Path, str]]

HISTORY = "_history"
# What `ignore` would do in silence, by the kind of drift.
NEVER_IGNORED = {
    "mask": "ignoring a mask would leave what it is to hide",
    "renamed": "a renamed column cannot be loaded under its old name",
    "widened": "ignoring the wider type would round or refuse values",
    "narrowed": "ignoring the other type would round or refuse values",
    "type": "ignoring the other type would round or refuse values",
}
# Masks that leave nothing to tell rows apart by.
EMPTYING = ("null", "exclude")


def problems(written: Document, stem: str) -> list[Problem]:
    """Return the problems of a file called `stem`.yaml, as pairs of line and text."""
    if not isinstance(written.value, dict):
        return []
    found = [*_source(written, stem)]
    tables = mapping(written.value.get("tables"))
    defaults = mapping(written.value.get("defaults"))
    for name, table in tables.items():
        path: Path = ("tables", name)
        table = mapping(table)  # noqa: PLW2901 - an empty one declares nothing
        history = bool(table.get("history", defaults.get("history")))
        for where, what in (
            *_table_name(name, history=history),
            *_history(name, tables, history=history),
            *_cursor(table, defaults),
            *_columns(table, history=history),
            *_checks(table, tables),
            *_drift(table),
            *_circle(name, tables),
        ):
            full = (*path, *where)
            found.append((written.line(full), f"{dotted(full)}: {what}"))
    for where, what in _drift(defaults):
        full = ("defaults", *where)
        found.append((written.line(full), f"{dotted(full)}: {what}"))
    return found


def _drift(table: dict[str, Any]) -> Found:
    for kind, action in mapping(table.get("drift")).items():
        if action == "ignore" and kind in NEVER_IGNORED:
            yield ("drift", kind), f"{NEVER_IGNORED[kind]}; write refresh or block"


def _compared_with(name: str, tables: dict[str, Any]) -> set[str]:
    checks = listed(mapping(tables.get(name)).get("checks"))
    others = {mapping(check.get("relationship")).get("to") for _, check in checks}
    return {to for to in others if isinstance(to, str) and to != name}


def _circle(name: str, tables: dict[str, Any]) -> Found:
    """A table is loaded after those that its relationships name, which must not wait for it in turn."""
    reached, ahead = set[str](), _compared_with(name, tables)
    while ahead:
        reached |= ahead
        ahead = {further for to in ahead for further in _compared_with(to, tables)} - reached
    if name in reached:
        yield ("checks",), "its relationships lead back to this table, so that each would wait; take one out"


def query_problems(written: Document) -> tuple[list[Problem], list[tuple[int, str, queries.Relation]]]:
    """Return what is wrong with the file's sql checks, and what they read beside their tables.

    The latter as line, the place as people write it, and the relation.
    """
    told: list[Problem] = []
    others: list[tuple[int, str, queries.Relation]] = []
    tables = written.value.get("tables") if isinstance(written.value, dict) else None
    for name, table in mapping(tables).items():
        for index, check in listed(mapping(table).get("checks")):
            path: Path = ("tables", name, "checks", index, "sql")
            text = check.get("sql")
            if not isinstance(text, str) or not text:
                continue
            line = written.line(path)
            try:
                query = queries.parse_check(text)
            except queries.QueryError as error:
                told.append((line, f"{dotted(path)}: {error.problem}"))
                continue
            others += [(line, dotted(path), relation) for relation in query.relations]
            if not query.relations:
                told += [(line, f"{dotted(path)}: {what}") for what in _masked_in(query, mapping(table))]
    return told, others


def _masked_in(query: queries.Query, table: dict[str, Any]) -> Iterator[str]:
    for column, mask in sorted(masks_of(table).items()):
        if mask in EMPTYING and column in query.columns:
            yield f"names {column}, of which mask: {mask} leaves nothing; take it out, or change the mask"


def mapping(value: Any) -> dict[str, Any]:
    """Return what is written as a mapping; an empty one where it is none, which is told elsewhere."""
    return value if isinstance(value, dict) else {}


def named(value: Any) -> list[str]:
    """Return one name, or a list of them, as a list."""
    listed = value if isinstance(value, list) else [value]
    return [name for name in listed if isinstance(name, str)]


def listed(checks: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each check with its place in the list."""
    for index, check in enumerate(checks if isinstance(checks, list) else ()):
        yield index, mapping(check)


def masks_of(table: dict[str, Any]) -> dict[str, str]:
    """Return the mask of each masked column."""
    masks = {}
    for name, column in mapping(table.get("columns")).items():
        if "mask" in mapping(column):
            masks[name] = str(column["mask"] or "null")
    return masks


def _source(written: Document, stem: str) -> Iterator[Problem]:
    name = written.value.get("source")
    line = written.line(("source",))
    if not isinstance(name, str):
        return
    if problem := names.problem(name):
        yield line, f"source: {problem}"
    if name != stem:
        yield line, f'source: "{name}" is not the file\'s name; write source: {stem}, or rename the file'


def _table_name(name: str, *, history: bool) -> Found:
    longest = names.MAXIMUM_BYTES - (len(HISTORY) if history else 0)
    if len(name.encode()) > longest:
        yield (), f"the name is longer than {longest} bytes; write a shorter one, and table: its own"


def _history(name: str, tables: dict[str, Any], *, history: bool) -> Found:
    if history and f"{name}{HISTORY}" in tables:
        yield (
            (),
            f"its history is kept in {name}{HISTORY}, which is the name of another table here; "
            "give that one another name, and table: its own",
        )


def _cursor(table: dict[str, Any], defaults: dict[str, Any]) -> Found:
    changes = table.get("changes", defaults.get("changes", "xmin"))
    cursor = table.get("cursor", defaults.get("cursor"))
    if changes == "cursor" and not cursor:
        where = ("changes",) if "changes" in table else ()
        yield where, "needs a cursor; write cursor: and the column that grows with each change"
    for key in ("cursor", "lookback"):
        if key in table and changes != "cursor":
            yield (key,), "has no effect without changes: cursor; write that, or remove this"
    if changes == "cursor" and (mask := masks_of(table).get(str(cursor))):
        yield (
            ("columns", str(cursor), "mask"),
            f"{cursor} is the cursor, whose greatest value is remembered; take mask: {mask} away, "
            "or write changes: xmin",
        )


def _columns(table: dict[str, Any], *, history: bool) -> Found:
    keys = named(table.get("key"))
    reserved = names.RESERVED_COLUMNS | (names.HISTORY_COLUMNS if history else frozenset())
    for name, column in mapping(table.get("columns")).items():
        mask = masks_of(table).get(name)
        path = ("columns", name)
        if name in keys and mask in EMPTYING:
            yield (
                (*path, "mask"),
                "a column of the key must keep its values apart; use hash, or another key",
            )
        if name in reserved and mask != "exclude":
            yield path, "the warehouse adds a column of this name itself; use mask: exclude"
        for rule in ("range", "accepted", "null_rate"):
            if rule in mapping(column) and (mask in EMPTYING or (mask == "hash" and rule != "null_rate")):
                left = "hashes, which no longer compare" if mask == "hash" else "nothing"
                yield (*path, rule), f"mask: {mask} leaves {left}; take one of the two away"


def _checks(table: dict[str, Any], tables: dict[str, Any]) -> Found:
    masks = masks_of(table)
    for index, check in listed(table.get("checks")):
        path = ("checks", index)
        for kind in WITHOUT_ROWS:
            if kind in check and check.get("quarantine") == "rows":
                yield (*path, "quarantine"), f"{kind} tells of no single row to set aside; remove this"
        relationship = mapping(check.get("relationship"))
        freshness = mapping(check.get("freshness")).get("column")
        for column in (*named(check.get("unique")), *named(relationship.get("columns"))):
            if masks.get(column) in EMPTYING:
                yield (
                    path,
                    f"mask: {masks[column]} leaves nothing of {column} to check; take one of the two away",
                )
        if isinstance(freshness, str) and freshness in masks:
            yield path, f"mask: {masks[freshness]} leaves no time in {freshness}; take one of the two away"
        for where, what in _relationship(relationship, masks, tables):
            yield (*path, "relationship", *where), what


def _relationship(rule: dict[str, Any], masks: dict[str, str], tables: dict[str, Any]) -> Found:
    target = rule.get("to")
    if not isinstance(target, str):
        return
    if target not in tables:
        yield ("to",), f"no such table in this file; {names.advice(target, tables)}"
        return
    others = masks_of(mapping(tables[target]))
    for column, other in zip(named(rule.get("columns")), named(rule.get("to_columns")), strict=False):
        ours, theirs = masks.get(column), others.get(other)
        if theirs in EMPTYING:
            yield (
                ("to_columns",),
                f"mask: {theirs} leaves nothing of {target}.{other}; take one of the two away",
            )
        elif ours not in EMPTYING and ours != theirs:
            yield (
                (),
                f"only one of {column} and {target}.{other} is hashed, so that they never agree; "
                "write mask: hash for both or neither",
            )
