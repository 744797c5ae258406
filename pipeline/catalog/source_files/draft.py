"""Writes sources/NAME.yaml for a source that is not declared yet, with comments on what it guessed."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline import names
from pipeline.catalog.as_written import ALL
from pipeline.catalog.source_files import guesses
from pipeline.catalog.source_files.guesses import Relation
from pipeline.catalog.values import RelationKind

SCHEMA_FILE = ".schema/source.schema.json"
LARGE_ROWS = 5_000_000
LARGE_BYTES = 2**30
# Columns that applications set with every change.
_CURSORS = re.compile(
    "(last_?)?(updated|modified|changed)(_?(at|on))?|last_(change|update)|update_time|modification_date|"
    "(ge(ae|ä)ndert|aktualisiert)(_?am)?|(ae|ä)nderungsdatum"
)
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
KINDS = {
    RelationKind.VIEW: "a view",
    RelationKind.MATERIALIZED: "a materialized view",
    RelationKind.FOREIGN: "a foreign table",
    RelationKind.PARTITIONED: "partitioned",
}
# Of these no row says when it was written.
WITHOUT_MARKS = (RelationKind.VIEW, RelationKind.FOREIGN)


def draft(source: str, relations: Sequence[Relation]) -> str:
    """Return the text of sources/SOURCE.yaml. At least one of the relations must be loadable."""
    loaded = [each for each in relations if loadable(each)]
    schema = _usual_schema(loaded)
    lines = [
        f"# yaml-language-server: $schema=../{SCHEMA_FILE}",
        f"# Written by 'pipeline init {source}' from the live source. Review it: it could only guess",
        "# what a table without a key needs, and which columns are personal.",
        f"source: {source}",
        f"defaults: {{schema: {_quoted(schema)}, changes: xmin, deletes: hard}}",
        "tables:",
    ]
    # A table can be called so as well.
    taken = {ALL}
    for relation in loaded:
        name = _distinct(relation, taken)
        taken.add(name)
        lines += [*_table(relation, name, schema), ""]
    lines += _left_out(relations)
    return "\n".join(lines).rstrip("\n") + "\n"


def loadable(relation: Relation) -> bool:
    """Whether a relation is written as a table to load, and not as a comment."""
    return relation.readable and relation.extension is None and relation.populated


def _usual_schema(relations: Sequence[Relation]) -> str:
    counted = Counter(relation.schema for relation in relations)
    return "public" if "public" in counted else counted.most_common(1)[0][0]


def _distinct(relation: Relation, taken: set[str]) -> str:
    """Return what a table is called in the warehouse: as in the source, unless that is taken."""
    wanted, number = relation.name, 1
    while wanted in taken:
        suffix = f"_{number}" if number > 1 else ""
        room = names.MAXIMUM_BYTES - len(suffix)
        wanted = f"{relation.schema}_{relation.name}".encode()[:room].decode(errors="ignore") + suffix
        number += 1
    return wanted


def _table(relation: Relation, name: str, schema: str) -> Iterator[str]:
    about = _about(relation)
    yield f"  {_quoted(name)}:" + (f"  # {about}" if about else "")
    if relation.schema != schema:
        yield f"    schema: {_quoted(relation.schema)}"
    if name != relation.name:
        yield f"    table: {_quoted(relation.name)}  # its own name is taken"
    if relation.row_security:
        yield "    # Row security may hide rows from the role, which stops the load: give the role BYPASSRLS."
    yield from _changes(relation)
    yield from _columns(relation)


def _about(relation: Relation) -> str:
    remarks = [KINDS[relation.kind]] if relation.kind in KINDS else []
    if relation.rows:
        remarks.append(f"about {_rounded(relation.rows):,} rows")
    if relation.size_bytes >= LARGE_BYTES:
        remarks.append(f"{relation.size_bytes / 2**30:.1f} GiB")
    if relation.kind == RelationKind.PARTITIONED:
        remarks.append("its partitions are read through it")
    return ", ".join(remarks)


def _rounded(rows: int) -> int:
    """Return an estimate without more digits than it deserves: two."""
    step = int("1" + "0" * max(0, len(str(rows)) - 2))
    return round(rows / step) * step


def _changes(relation: Relation) -> Iterator[str]:
    if relation.kind in WITHOUT_MARKS:
        yield f"    changes: full  # guessed: {KINDS[relation.kind]} does not show which rows changed"
    elif not relation.key:
        yield "    changes: full  # guessed: without a key, rows can only be replaced as a whole"
    elif not relation.key_is_primary:
        key = ", ".join(map(_quoted, relation.key))
        yield f"    key: [{key}]  # guessed: no primary key, but these are unique and never null"
    large = relation.rows >= LARGE_ROWS or relation.size_bytes >= LARGE_BYTES
    cursor = next((name for name, type_ in relation.columns if _grows(relation, name, type_)), None)
    if cursor and (large or relation.kind in WITHOUT_MARKS):
        why = "Large. " if large else ""
        yield f"    # {why}If every change sets {_quoted(cursor)}, this reads only what is new:"
        yield "    # changes: cursor"
        yield f"    # cursor: {_quoted(cursor)}"
    elif large:
        yield "    # Large: the first load takes a while, and finding changes reads all of it."


def _grows(relation: Relation, column: str, type_name: str) -> bool:
    indexed = column in relation.indexed or relation.kind in WITHOUT_MARKS
    return _CURSORS.fullmatch(column.lower()) is not None and type_name.startswith("timestamp") and indexed


def _columns(relation: Relation) -> Iterator[str]:
    reserved, guessed = guesses.reserved(relation), guesses.personal(relation)
    if guessed:
        yield "    # Guessed to be personal. Take the # away where values must not leave the source:"
    if reserved:
        yield "    columns:"
    elif guessed:
        yield "    # columns:"
    for name in reserved:
        yield f"      {_quoted(name)}: {{mask: exclude}}  # the warehouse adds a column of this name itself"
    for name, mask in guessed.items():
        yield f"    #   {_quoted(name)}: {{mask: {mask}}}"


def _left_out(relations: Sequence[Relation]) -> Iterator[str]:
    unreadable = [each for each in relations if not each.readable and each.extension is None]
    if unreadable:
        yield "# Not loaded, because the role may not read them: GRANT SELECT (and USAGE on the schema)."
        yield from (f"#   {_quoted(each.schema)}.{_quoted(each.name)}" for each in unreadable)
    empty = [each for each in relations if each.readable and not each.populated]
    if empty:
        yield "# Not loaded, because they were never filled: REFRESH MATERIALIZED VIEW."
        yield from (f"#   {_quoted(each.schema)}.{_quoted(each.name)}" for each in empty)
    extensions = [each for each in relations if each.extension is not None]
    if extensions:
        yield "# Not loaded, because they belong to extensions."
        yield from (
            f"#   {_quoted(each.schema)}.{_quoted(each.name)} ({each.extension})" for each in extensions
        )


def _quoted(name: str) -> str:
    """Return a name as YAML reads it back, whatever is in it.

    >>> _quoted("employee"), _quoted("no"), _quoted('a "b": #c')
    ('employee', '"no"', '"a \\\\"b\\\\": #c"')
    """
    plain = name.isascii() and name.isidentifier() and name.lower() not in _WORDS
    if plain:
        return name
    escaped = "".join(
        f"\\{each}" if each in '"\\' else each if each.isprintable() else f"\\U{ord(each):08x}"
        for each in name
    )
    return f'"{escaped}"'
