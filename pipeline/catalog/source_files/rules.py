"""What must hold between the values of a source's file, beyond the form of each.

Works on what is written, so that it is told together with misspelt keys.
"""

from collections.abc import Iterator
from typing import Any

from pipeline import names
from pipeline.catalog import check_kinds, queries
from pipeline.catalog.as_written import EMPTYING, listed, mapping, masks_of, named
from pipeline.catalog.document import Document, Path, dotted
from pipeline.catalog.values import Changes, DriftAction, DriftKind, Mask, Quarantine

Problem = tuple[int, str]
Mistakes = Iterator[tuple[Path, str]]

HISTORY = "_history"
# What `ignore` would do in silence, by the kind of drift.
NEVER_IGNORED: dict[str, str] = {
    DriftKind.MASK: "ignoring a mask would leave the values that it hides",
    DriftKind.RENAMED: "a renamed column cannot be loaded under its old name",
    DriftKind.WIDENED: "ignoring the wider type would round or refuse values",
    DriftKind.NARROWED: "ignoring the other type would round or refuse values",
    DriftKind.TYPE: "ignoring the other type would round or refuse values",
}


def problems(written: Document, stem: str) -> list[Problem]:
    """Return the problems of a file called `stem`.yaml, as pairs of line and text."""
    if not isinstance(written.value, dict):
        return []
    lines = [*_source(written, stem)]
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
            lines.append((written.line(full), f"{dotted(full)}: {what}"))
    for where, what in _drift(defaults):
        full = ("defaults", *where)
        lines.append((written.line(full), f"{dotted(full)}: {what}"))
    return lines


def _drift(table: dict[str, Any]) -> Mistakes:
    for kind, action in mapping(table.get("drift")).items():
        if action == DriftAction.IGNORE and kind in NEVER_IGNORED:
            yield ("drift", kind), f"{NEVER_IGNORED[kind]}; write refresh or block"


def _compared_with(name: str, tables: dict[str, Any]) -> set[str]:
    return {
        to
        for _, check in listed(mapping(tables.get(name)).get("checks"))
        for kind, rule in check_kinds.written(check)
        for _, to in kind.tables_in(rule)
        if to != name
    }


def _circle(name: str, tables: dict[str, Any]) -> Mistakes:
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
    problems: list[Problem] = []
    others: list[tuple[int, str, queries.Relation]] = []
    tables = written.value.get("tables") if isinstance(written.value, dict) else None
    for name, table in mapping(tables).items():
        for index, check in listed(mapping(table).get("checks")):
            for kind, rule in check_kinds.written(check):
                path: Path = ("tables", name, "checks", index, kind.kind)
                if (text := kind.query_in(rule)) is None:
                    continue
                line = written.line(path)
                try:
                    query = queries.parse_check(text)
                except queries.QueryError as error:
                    problems.append((line, f"{dotted(path)}: {error.problem}"))
                    continue
                others += [(line, dotted(path), relation) for relation in query.relations]
                if not query.relations:
                    problems += [
                        (line, f"{dotted(path)}: {what}") for what in _masked_in(query, mapping(table))
                    ]
    return problems, others


def _masked_in(query: queries.Query, table: dict[str, Any]) -> Iterator[str]:
    for column, mask in sorted(masks_of(table).items()):
        if mask in EMPTYING and column in query.columns:
            yield f"names {column}, of which mask: {mask} leaves nothing; remove it, or change the mask"


def _source(written: Document, stem: str) -> Iterator[Problem]:
    name = written.value.get("source")
    line = written.line(("source",))
    if not isinstance(name, str):
        return
    if problem := names.problem(name):
        yield line, f"source: {problem}"
    if name != stem:
        yield line, f'source: "{name}" is not the file\'s name; write source: {stem}, or rename the file'


def _table_name(name: str, *, history: bool) -> Mistakes:
    longest = names.MAXIMUM_BYTES - (len(HISTORY) if history else 0)
    if len(name.encode()) > longest:
        yield (), f"the name is longer than {longest} bytes; write a shorter one, and table: its own"


def _history(name: str, tables: dict[str, Any], *, history: bool) -> Mistakes:
    if history and f"{name}{HISTORY}" in tables:
        yield (
            (),
            f"its history is kept in {name}{HISTORY}, which is the name of another table here; "
            "give that one another name, and table: its own",
        )


def _cursor(table: dict[str, Any], defaults: dict[str, Any]) -> Mistakes:
    changes = table.get("changes", defaults.get("changes", Changes.XMIN))
    cursor = table.get("cursor", defaults.get("cursor"))
    if changes == Changes.CURSOR and not cursor:
        where = ("changes",) if "changes" in table else ()
        yield where, "needs a cursor; write cursor: and the column that grows with each change"
    for key in ("cursor", "lookback"):
        if key in table and changes != Changes.CURSOR:
            yield (key,), "has no effect without changes: cursor; write that, or remove this"
    if changes == Changes.CURSOR and (mask := masks_of(table).get(str(cursor))):
        yield (
            ("columns", str(cursor), "mask"),
            f"{cursor} is the cursor, whose greatest value is remembered; take mask: {mask} away, "
            "or write changes: xmin",
        )


def _columns(table: dict[str, Any], *, history: bool) -> Mistakes:
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
        if name in reserved and mask != Mask.EXCLUDE:
            yield path, "the warehouse adds a column of this name itself; use mask: exclude"
        for rule in ("range", "accepted", "null_rate"):
            if rule in mapping(column) and (mask in EMPTYING or (mask == Mask.HASH and rule != "null_rate")):
                left = "hashes, which no longer compare" if mask == Mask.HASH else "nothing"
                yield (*path, rule), f"mask: {mask} leaves {left}; remove one of the two"


def _checks(table: dict[str, Any], tables: dict[str, Any]) -> Mistakes:
    masks = masks_of(table)
    for index, check in listed(table.get("checks")):
        path: Path = ("checks", index)
        for kind, rule in check_kinds.written(check):
            if not kind.names_rows and check.get("quarantine") == Quarantine.ROWS:
                what = f"{kind.kind} does not check single rows, which could be quarantined; remove this"
                yield (*path, "quarantine"), what
            for where, what in kind.mistakes(rule, masks, tables):
                yield (*path, *where), what
