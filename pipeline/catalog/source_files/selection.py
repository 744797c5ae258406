"""Selection: what is loaded, by `where`, `only` and `*`, and what is wrong with those."""

from collections.abc import Iterator
from typing import Any

from pipeline.catalog import check_kinds, queries
from pipeline.catalog.as_written import ALL, listed, mapping, masks_of, named
from pipeline.catalog.document import Document, Path, dotted
from pipeline.catalog.source_files import conditions, rules
from pipeline.catalog.values import Mask

# What may be said of a column that is not loaded.
OF_WHAT_STAYS = {"mask", "unmasked", "description"}
# What is of one table, and cannot be said of all.
OF_ONE_TABLE = ("description", "table", "only", "where", "key", "checks")
# What can be said of a column of all tables.
OF_ALL_TABLES = {"mask", "unmasked"}


def problems(written: Document) -> list[rules.Problem]:
    """Return the problems of a file's `where`, `only` and `*`, as pairs of line and text."""
    return [*condition_problems(written), *_only_problems(written), *_all_problems(written)]


def condition_problems(written: Document) -> list[rules.Problem]:
    """Return what is wrong with the conditions of `where`."""
    problems: list[rules.Problem] = []
    for name, table in mapping(mapping(written.value).get("tables")).items():
        path: Path = ("tables", name, "where")
        text = mapping(table).get("where")
        if not isinstance(text, str) or not text:
            continue
        try:
            condition = conditions.parse(text)
        except queries.QueryError as error:
            problems.append((written.line_within(path, error.line), f"{dotted(path)}: {error.problem}"))
            continue
        columns = mapping(mapping(table).get("columns"))
        for column, mask in sorted(masks_of(mapping(table)).items()):
            if column in condition.columns and "unmasked" not in mapping(columns[column]):
                what = (
                    f"names {column}, which is masked ({mask}), and the rows that are there would reveal it; "
                    "remove it, or write 'unmasked: reviewed' beside its mask"
                )
                problems.append((written.line(path), f"{dotted(path)}: {what}"))
    return problems


def _only_problems(written: Document) -> Iterator[rules.Problem]:
    tables = mapping(mapping(written.value).get("tables"))
    for name, table in tables.items():
        table = mapping(table)  # noqa: PLW2901 - an empty one declares nothing
        if "only" in table:
            for where, what in _not_listed(table):
                path = ("tables", name, *where)
                yield written.line(path), f"{dotted(path)}: {what}"


def _all_problems(written: Document) -> Iterator[rules.Problem]:
    star = mapping(mapping(mapping(written.value).get("tables")).get(ALL))
    for key in OF_ONE_TABLE:
        if key in star:
            path: Path = ("tables", ALL, key)
            yield written.line(path), f"{dotted(path)}: applies to one table; give it a line of its own"
    for column, declared in mapping(star.get("columns")).items():
        for key in sorted(mapping(declared).keys() - OF_ALL_TABLES):
            path = ("tables", ALL, "columns", column, key)
            what = "for all tables only mask and unmasked can be set; give the table a line of its own"
            yield written.line(path), f"{dotted(path)}: {what}"


def _not_listed(table: dict[str, Any]) -> rules.Mistakes:
    """Tell what is said of columns that are not loaded, and which are listed and masked away."""
    # The key and the cursor come along by themselves.
    loaded = {*named(table["only"]), *named(table.get("key")), *named(table.get("cursor"))}
    for column, declared in mapping(table.get("columns")).items():
        keys = sorted(mapping(declared).keys() - OF_WHAT_STAYS)
        if column not in loaded and keys:
            yield ("columns", column, keys[0]), f"{column} is not loaded; add it to only, or remove this"
    for column, mask in masks_of(table).items():
        if mask == Mask.EXCLUDE and column in named(table["only"]):
            yield ("columns", column, "mask"), f"{column} is listed in only as well; remove one of the two"
    for index, check in listed(table.get("checks")):
        kinds = check_kinds.written(check)
        for column in (column for kind, rule in kinds for column in kind.columns_in(rule)):
            # What is not declared as the key may still be the source's own.
            if column not in loaded and (table.get("key") or "unique" not in check):
                yield ("checks", index), f"{column} is not loaded; add it to only, or remove this"
