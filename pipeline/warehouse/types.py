"""Types of the sources in the warehouse: which it can hold, and the making of those that users defined."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from psycopg2 import sql

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection, locks
from pipeline.warehouse import definitions, roles
from pipeline.warehouse.definitions import COMPOSITE, ENUM, MULTIRANGE, RANGE, XML, Type
from pipeline.warehouse.shape import Column, Shape

# Since then arrays and composites in binary form may name their parts' types by another server's numbers.
BINARY_SINCE = 14
# The last version that gave a type values which it had not before (infinite intervals), and the last one that
# was looked at for that.
NEW_VALUES_IN, LOOKED_AT = 17, 18
# What is made in the warehouse; domains are what they constrain, arrays come by themselves.
MADE = frozenset({ENUM, COMPOSITE, RANGE, MULTIRANGE})
FIND = """
    SELECT t.oid::bigint FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname = %s AND t.typname = %s
"""


@dataclass(frozen=True)
class _Known:
    """A type that the warehouse has, and the extension it came with, if it did."""

    extension: str | None
    name: str
    schema: str


def fit(warehouse: Connection, shape: Shape) -> Shape:
    """Return the shape as this warehouse can hold it: what it has no type for becomes text.

    Looks at its version, its extensions and what it was built with; changes nothing.
    """
    names = list({part.name for column in shape.columns for part in column.full_type.parts()})
    known = postgres.read(warehouse, postgres.statement("warehouse/type_parts"), _Known, (names,))
    schemas = {(one.extension, one.name): one.schema for one in known if one.extension is not None}
    there = {one.name for one in known if one.extension is None}
    if XML in names and not _reads_xml(warehouse):
        there.discard(XML)
    columns = tuple(_fitted(column, schemas, there) for column in shape.columns)
    # What only the newer server knows is refused in text; in binary form it may pass for something else.
    needed = shape.server if shape.server > LOOKED_AT else min(shape.server, NEW_VALUES_IN)
    binary = warehouse.server_version // 10000 >= max(BINARY_SINCE, needed)
    return replace(shape, columns=columns, binary=binary)


def _fitted(column: Column, schemas: dict[tuple[str, str], str], there: set[str]) -> Column:
    user_type = column.user_type and column.user_type.with_extensions(schemas)
    column = replace(column, user_type=user_type)
    missing = any(
        part.built_in and part.kind != definitions.ARRAY and part.name not in there
        for part in column.full_type.parts()
    )
    return replace(column, as_text=True) if missing else column


def _reads_xml(warehouse: Connection) -> bool:
    """Whether the server was built with what reads xml; it has the type in any case."""
    if not warehouse.autocommit:
        postgres.rows(warehouse, "SAVEPOINT xml")
    try:
        postgres.rows(warehouse, "SELECT '<a/>'::xml")
    except postgres.Error:
        if not warehouse.autocommit:
            postgres.rows(warehouse, "ROLLBACK TO SAVEPOINT xml")
        return False
    return True


def are_needed(connection: Connection, source: str, shape: Shape) -> bool:
    """Whether there is anything for `ensure_types` to look at, which takes a connection of its own."""
    return bool(_wanted(shape)) or not _has_schema(connection, source)


def _wanted(shape: Shape) -> dict[str, Type]:
    parts = (part for column in shape.columns if not column.text for part in column.full_type.parts())
    return {part.made_name(): part for part in parts if part.kind in MADE and not part.built_in}


def _has_schema(connection: Connection, source: str) -> bool:
    query = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
    return postgres.value(connection, query, (source,)) is not None


def ensure_types(connection: Connection, source: str, shape: Shape) -> None:
    """Make sure that the types of the source's columns exist in the warehouse, in the source's schema.

    Commits: a label of an enum cannot be used in the transaction that adds it. Raise StepError if a type is
    there and is another one.
    """
    connection.rollback()
    # Every table of the source waits for this one lock, and not for that of the table whose step has it.
    locks.give_back_when_stopped(connection)
    locks.take(connection, f"types {source}")
    if not _has_schema(connection, source):
        postgres.rows(connection, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(source)))
        roles.open_source(connection, source)
    for name, type_ in _wanted(shape).items():
        oid = postgres.value(connection, FIND, (source, name))
        if oid is None:
            postgres.rows(connection, _creation(type_, source))
            continue
        (existing,) = definitions.read(connection, [(oid, f"{source}.{name}")])
        if not _same(connection, type_, existing, source):
            raise StepError(_conflict(connection, type_, existing, source, oid), retryable=False)
        if type_.kind == ENUM:
            _grow(connection, sql.Identifier(source, name), existing.labels, type_.labels)
    connection.commit()


def _creation(type_: Type, source: str) -> Composable:
    name = sql.Identifier(source, type_.made_name())
    if type_.kind == ENUM:
        labels = sql.SQL(", ").join(map(sql.Literal, type_.labels))
        return sql.SQL("CREATE TYPE {} AS ENUM ({})").format(name, labels)
    if type_.kind == COMPOSITE:
        attributes = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(attribute.name), attribute.type.in_warehouse(source))
            for attribute in type_.attributes
        )
        return sql.SQL("CREATE TYPE {} AS ({})").format(name, attributes)
    if type_.kind == RANGE and type_.of is not None:
        return sql.SQL("CREATE TYPE {} AS RANGE ({})").format(
            name, sql.SQL(", ").join(_range_options(type_, type_.of, source))
        )
    # A multirange comes with its range, unless that was made when the source had no multiranges yet.
    assert type_.of is not None  # noqa: S101 - a multirange has a range
    raise StepError(
        f'its type {type_.written} is new, but {source}."{type_.of.made_name()}" was made in '
        "the warehouse without it",
        hint="rename that type there (ALTER TYPE ... RENAME TO ...), so that it is created again",
        retryable=False,
    )


def _range_options(type_: Type, spanned: Type, source: str) -> Iterator[Composable]:
    yield sql.SQL("SUBTYPE = {}").format(spanned.in_warehouse(source))
    if type_.collation:
        yield sql.SQL('COLLATION = pg_catalog."C"')
    if type_.multirange:
        named = replace(type_, name=type_.multirange).made_name()
        yield sql.SQL("MULTIRANGE_TYPE_NAME = {}").format(sql.Identifier(source, named))


def _same(connection: Connection, type_: Type, existing: Type, source: str) -> bool:
    """Whether what the warehouse has is what it would make of the source's type, enums' labels aside."""
    if type_.kind == ENUM and existing.kind == ENUM:
        known, wanted = set(existing.labels), set(type_.labels)
        return [label for label in existing.labels if label in wanted] == [
            label for label in type_.labels if label in known
        ]
    return (
        not existing.row_of_table
        and (type_.kind, type_.collation) == (existing.kind, existing.collation)
        and _made_of(connection, type_, source) == _made_of(connection, existing, None)
    )


def _made_of(connection: Connection, type_: Type, source: str | None) -> list[tuple[str, str]]:
    parts = [(attribute.name, attribute.type) for attribute in type_.attributes]
    parts += [("", type_.of)] if type_.of is not None else []
    return [(name, part.in_warehouse(source).as_string(connection)) for name, part in parts]


def _conflict(connection: Connection, type_: Type, existing: Type, source: str, oid: int) -> str:
    name = type_.made_name()
    instead = f"write 'type: text' under the column in sources/{source}.yaml"
    if existing.row_of_table:
        return (
            f'its type {type_.written} would be called {source}."{name}" in the warehouse, where a table has '
            f"that name; give that table another name, or {instead}"
        )
    rename = sql.SQL("ALTER TYPE {} RENAME TO {}").format(
        sql.Identifier(source, name), sql.Identifier(definitions.shortened(f"{name} {oid}"))
    )
    return (
        f"its type {type_.definition()} was made in the warehouse as {existing.definition()}; run "
        f"'{rename.as_string(connection)}' there, which keeps the loaded rows, then run it again; "
        f"or {instead}"
    )


def _grow(
    connection: Connection, name: sql.Identifier, known: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    """Give an enum the labels that it lacks, each where the source has it."""
    for position, label in enumerate(wanted):
        if label in known:
            continue
        place: Composable = sql.SQL("")
        if position:
            place = sql.SQL("AFTER {}").format(sql.Literal(wanted[position - 1]))
        elif known:
            place = sql.SQL("BEFORE {}").format(sql.Literal(known[0]))
        postgres.rows(
            connection, sql.SQL("ALTER TYPE {} ADD VALUE {} {}").format(name, sql.Literal(label), place)
        )
