"""What a table looks like: its columns in the source, and the type that each gets in the warehouse."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from psycopg2 import sql

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection

# Relations whose rows carry the transaction that wrote them.
WITH_XMIN = frozenset("rpm")


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
    domain_of: str | None
    labels: tuple[str, ...]
    # How the catalog has it masked: hash, null or not at all. An excluded column is not in the shape.
    mask: str | None = None

    @property
    def is_enum(self) -> bool:
        return self.type_class == "e"

    @property
    def binary_safe(self) -> bool:
        """Whether both servers agree on the type's binary form by definition."""
        return self.mask == "hash" or (self.built_in and self.type_class == "b")

    def enum_name(self) -> str:
        """Return the name that the column's enum has in the source's schema of the warehouse."""
        return self.type_name if self.type_schema == "public" else f"{self.type_schema}.{self.type_name}"

    def warehouse_type(self, source: str) -> Composable:
        """Return the column's type in the warehouse; text for what only the source can define."""
        if self.mask == "hash":
            return sql.SQL("text")
        if self.is_enum:
            element = sql.Identifier(source, self.enum_name())
            return sql.Composed([element, sql.SQL("[]")]) if self.array else element
        if self.type_class == "d":
            return sql.SQL(self.domain_of or "text")
        return sql.SQL(self.type if self.built_in else "text")


@dataclass(frozen=True)
class Shape:
    """A table's shape. `kind` is pg_class.relkind; `key` has the primary key's columns, if there is one."""

    oid: int
    kind: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    # The oids of a partitioned table's partitions: rows that come with one were written long before.
    partitions: tuple[int, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column | None:
        """Return the column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def has_xmin(self) -> bool:
        return self.kind in WITH_XMIN

    @property
    def copy_format(self) -> str:
        """Return the fastest form of COPY that carries every value exactly."""
        return "binary" if all(column.binary_safe for column in self.columns) else "text"

    def to_json(self) -> dict[str, Any]:
        """Return the shape as plain data."""
        data = asdict(self)
        return {
            **data,
            "key": list(self.key),
            "partitions": list(self.partitions),
            "columns": [_listed(column) for column in data["columns"]],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Shape":
        """Return the shape that `to_json` gave."""
        columns = tuple(Column(**{**column, "labels": tuple(column["labels"])}) for column in data["columns"])
        return cls(data["oid"], data["kind"], tuple(data["key"]), columns, tuple(data["partitions"]))


def _listed(column: Mapping[str, Any]) -> dict[str, Any]:
    return {**column, "labels": list(column["labels"])}


def read(connection: Connection, schema: str, relation: str) -> Shape:
    """Return the shape of a relation as the transaction of `connection` sees it.

    Raise StepError if there is no such relation, or if the role may not read it.
    """
    found = postgres.row(connection, postgres.statement("relation"), (schema, relation))
    if found is None:
        raise StepError(
            f'there is no table or view "{relation}" in schema "{schema}" of the source; '
            "correct its schema or table in the source's YAML file, or take it out"
        )
    oid, kind, key, readable, partitions = found
    if not readable:
        raise StepError(
            f'the source\'s role may not read "{schema}"."{relation}": GRANT SELECT on it, or take it out'
        )
    return Shape(oid, kind, tuple(key), _columns(connection, oid), tuple(partitions))


def _columns(connection: Connection, oid: int) -> tuple[Column, ...]:
    return tuple(
        Column(
            attnum=attnum, name=name, type=type_, not_null=not_null, default=default,
            generated=generated != "", identity=identity != "", type_class=type_class,
            built_in=built_in, type_schema=type_schema, type_name=type_name, array=array, domain_of=domain_of,
            labels=tuple(labels),
        )
        for (
            attnum, name, type_, not_null, default, generated, identity, type_class, built_in, type_schema,
            type_name, array, domain_of, labels,
        ) in postgres.rows(connection, postgres.statement("shape"), (oid,))
    )  # fmt: skip
