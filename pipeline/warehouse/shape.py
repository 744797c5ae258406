"""What a table looks like: its columns in the source, and the type that each gets in the warehouse."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Mask, RelationKind, Table
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection
from pipeline.postgres.snapshot import ANOTHER, ChangedSinceError
from pipeline.warehouse import definitions, unreadable
from pipeline.warehouse.definitions import Type

# Relations whose rows carry the transaction that wrote them.
WITH_XMIN = (RelationKind.TABLE, RelationKind.PARTITIONED, RelationKind.MATERIALIZED)


@dataclass(frozen=True)
class Column:
    """One column. `attnum` outlives a rename; `type_class` is pg_type.typtype of the type or its elements.

    `type_schema` and `type_name` name the type, or the type of the elements of an array.
    """

    attnum: int
    name: str
    type: str
    not_null: bool
    default: str | None
    generated: bool
    identity: bool
    type_class: str
    built_in: bool
    type_schema: str
    type_name: str
    array: bool
    # What a domain constrains in the end.
    domain_of: str | None
    labels: tuple[str, ...]
    # How it is masked, if it is.
    mask: Mask | None = None
    # Whether the source's role may read it.
    readable: bool = True
    # Whether it is masked so for what it was before, and not because its declaration says so.
    kept: bool = False
    # Whether its declaration says that somebody looked, and that it may be loaded as it is declared.
    reviewed: bool = False
    # Whether it is not among the columns that are declared to be loaded.
    unlisted: bool = False
    # What the type is made of; None for what is built in, or an array of it.
    user_type: Type | None = None
    # Whether it is to be text in the warehouse, because the catalog says so or because nothing else can be.
    as_text: bool = False

    @property
    def stays(self) -> bool:
        """Whether it stays in the source."""
        return self.unlisted or self.mask == Mask.EXCLUDE

    @cached_property
    def full_type(self) -> Type:
        """The column's type, with what it is made of."""
        if self.user_type is not None:
            return self.user_type
        kind = definitions.CLASSES[self.type_class]
        written = self.type.removesuffix("[]") if self.array else self.type
        plain = Type(kind, self.type_schema, self.type_name, written, built_in=True)
        if not self.array:
            return plain
        return Type(definitions.ARRAY, self.type_schema, self.type, self.type, built_in=True, of=plain)

    @property
    def text(self) -> bool:
        """Whether the warehouse has the column's values as text."""
        return self.as_text or self.mask == Mask.HASH or not self.full_type.exact

    @property
    def binary_safe(self) -> bool:
        """Whether the binary form of what is read is the same on both servers."""
        return self.text or self.full_type.binary_safe

    def warehouse_type(self, source: str) -> Composable:
        """Return the column's type in the warehouse; text for what the warehouse cannot hold exactly."""
        return sql.SQL("text") if self.text else self.full_type.in_warehouse(source)

    def expression(self) -> Composable:
        """Return what the source is asked for to get every value exactly, masks aside."""
        name = sql.Identifier(self.name)
        if self.text:
            return sql.SQL("{}::text").format(name)
        plain = self.full_type.undressed
        inner = plain.of.undressed if plain.kind == definitions.ARRAY and plain.of is not None else plain
        if inner.name == definitions.XML and inner.built_in:
            return sql.SQL("{}::text{}").format(name, sql.SQL("" if inner is plain else "[]"))
        return name


@dataclass(frozen=True)
class Shape:
    """A table's shape. `key` has the primary key's columns, if there is one.

    `columns` are those that are loaded, `excluded` those that stay in the source.
    """

    oid: int
    kind: RelationKind
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    # The oids of the partitions, or of those that inherit: rows that come with one were written long before.
    partitions: tuple[int, ...] = ()
    # The major version of the source's server.
    server: int = 0
    # Whether the warehouse is known to read what that server writes in binary form.
    binary: bool = False
    # What tells the key of its hashes from another.
    mask_key: str = ""
    # Whether some of its rows are on another server.
    foreign_part: bool = False
    excluded: tuple[Column, ...] = ()
    # Whether the source's role may read who wrote each row, and where it is.
    xmin_readable: bool = True
    ctid_readable: bool = True
    # Which database of which server, as in a snapshot; "" where that is not known.
    system_identifier: str = ""
    # Which of its rows are loaded, and which columns that looks at.
    where: str = ""
    where_on: tuple[str, ...] = ()

    @cached_property
    def every_column(self) -> tuple[Column, ...]:
        """The columns of the source, in its order, whether they are loaded or not."""
        return tuple(sorted((*self.columns, *self.excluded), key=lambda column: column.attnum))

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def _by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.columns}

    def column(self, name: str) -> Column | None:
        """Return the column of that name, or None."""
        return self._by_name.get(name)

    @property
    def has_xmin(self) -> bool:
        return self.kind in WITH_XMIN and not self.foreign_part

    @property
    def copy_format(self) -> str:
        """Return the fastest form of COPY that carries every value exactly."""
        safe = self.binary and all(column.binary_safe for column in self.columns)
        return "binary" if safe else "text"

    def to_json(self) -> dict[str, Any]:
        """Return the shape as plain data."""
        data = asdict(self)
        return {
            **data,
            "key": list(self.key),
            "partitions": list(self.partitions),
            "columns": [_listed(column) for column in data["columns"]],
            "excluded": [_listed(column) for column in data["excluded"]],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Shape":
        """Return the shape that `to_json` gave."""
        lists = {
            "kind": RelationKind(data["kind"]),
            "key": tuple(data["key"]),
            "partitions": tuple(data["partitions"]),
            "where_on": tuple(data.get("where_on", ())),
            "columns": tuple(map(_column, data["columns"])),
            "excluded": tuple(map(_column, data.get("excluded", ()))),
        }
        return cls(**{**data, **lists})


def _listed(column: Mapping[str, Any]) -> dict[str, Any]:
    return {**column, "labels": list(column["labels"])}


def _column(data: Mapping[str, Any]) -> Column:
    user_type = Type.from_json(data.get("user_type"))
    mask = Mask(data["mask"]) if data.get("mask") else None
    return Column(**{**data, "labels": tuple(data["labels"]), "user_type": user_type, "mask": mask})


@dataclass(frozen=True)
class _Relation:
    """A relation of a source; `readable` is None where the server does not know it any more."""

    oid: int
    kind: str
    key: Sequence[str]
    readable: bool | None
    xmin_readable: bool
    ctid_readable: bool
    partitions: Sequence[int]
    foreign_part: bool
    hides_rows: bool


def read(connection: Connection, schema: str, relation: str, table: Table | None = None) -> Shape:
    """Return the shape of a relation as the transaction of `connection` sees it; `table` declares it.

    Raise StepError if there is no such relation (any more), or if the role may not read it, or not all of it.
    """
    query = postgres.statement("warehouse/relation")
    row = next(iter(postgres.read(connection, query, _Relation, (schema, relation))), None)
    if row is None:
        raise unreadable.missing(connection, schema, relation, table)
    if row.readable is None:
        # The snapshot still shows it, and the server does not know it any more.
        raise ChangedSinceError(
            f'"{schema}"."{relation}" was dropped or created again in the source since the snapshot '
            "of this run was taken",
            hint=ANOTHER,
        )
    if not row.readable:
        raise StepError(
            f'the source\'s role may not read "{schema}"."{relation}"',
            hint=f'GRANT SELECT ON "{schema}"."{relation}"'
            + (f", or {unreadable.leave_out(table)}" if table else ""),
            retryable=False,
        )
    if row.hides_rows:
        raise StepError(
            f'the row-level security policy for table "{relation}" in schema "{schema}" may hide rows from '
            "the source's role",
            hint=postgres.hint_of_hidden_rows(connection),
            retryable=False,
        )
    server = connection.server_version // 10000
    return Shape(
        row.oid,
        RelationKind(row.kind),
        tuple(row.key),
        _columns(connection, row.oid),
        tuple(row.partitions),
        server,
        foreign_part=row.foreign_part,
        xmin_readable=row.xmin_readable,
        ctid_readable=row.ctid_readable,
    )


def _columns(connection: Connection, oid: int) -> tuple[Column, ...]:
    records = postgres.records(connection, postgres.statement("warehouse/shape"), (oid,))
    # Most tables have only what every server has.
    of_users = [column for column in records if not column["built_in"]]
    types: Iterator[Type] = iter(())
    if of_users:
        types = iter(
            definitions.read(connection, [(column["type_oid"], column["type"]) for column in of_users])
        )
    columns = []
    for column in records:
        user_type = None if column["built_in"] else next(types)
        domain = user_type is not None and user_type.kind == definitions.DOMAIN
        columns.append(
            Column(
                **{name: value for name, value in column.items() if name not in ("type_oid", "labels")},
                labels=tuple(column["labels"]),
                domain_of=user_type.undressed.written if user_type is not None and domain else None,
                user_type=user_type,
            )
        )
    return tuple(columns)


def is_inherited_from(connection: Connection, shape: Shape) -> bool:
    """Whether other tables inherit from this one, so that a query of it gives their rows too."""
    query = "SELECT relhassubclass FROM pg_class WHERE oid = %s"
    return shape.kind == RelationKind.TABLE and bool(postgres.value(connection, query, (shape.oid,)))
