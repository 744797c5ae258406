"""Types as a source defines them, and whether and under which name the warehouse can hold them exactly.

A type that it cannot hold exactly is loaded as the text that its source writes for it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg2 import sql

from pipeline import postgres
from pipeline.names import MAXIMUM_BYTES
from pipeline.postgres import Composable, Connection

BASE, ENUM, COMPOSITE, DOMAIN, RANGE, MULTIRANGE, ARRAY = (
    "base",
    "enum",
    "composite",
    "domain",
    "range",
    "multirange",
    "array",
)
CLASSES: Mapping[str, str] = {
    "b": BASE,
    "e": ENUM,
    "c": COMPOSITE,
    "d": DOMAIN,
    "r": RANGE,
    "m": MULTIRANGE,
}

# Names of objects that are stored as numbers, which mean something else on every server; and what servers
# keep for themselves, which none of them reads in. What they say is in their text.
TEXT_ONLY = frozenset(
    {
        "regclass",
        "regcollation",
        "regconfig",
        "regdatabase",
        "regdictionary",
        "regnamespace",
        "regoper",
        "regoperator",
        "regproc",
        "regprocedure",
        "regrole",
        "regtype",
        "aclitem",
        "gtsvector",
        "pg_brin_bloom_summary",
        "pg_brin_minmax_multi_summary",
        "pg_dependencies",
        "pg_mcv_list",
        "pg_ndistinct",
        "pg_node_tree",
    }
)
# In binary form a server converts it between encodings, in text it drops the declaration of its encoding; a
# cast to text does neither.
XML = "xml"
# Of these an empty value is sent in binary form, and refused when it is read.
TEXT_COPY_ONLY = frozenset({XML, "int2vector", "oidvector", "tsquery"})


@dataclass(frozen=True)
class Attribute:
    """One attribute of a composite type."""

    name: str
    type: "Type"
    # Tells it from one that was dropped and had its name; None in a shape of before it was kept.
    attnum: int | None = None


@dataclass(frozen=True)
class Type:
    """One type, with all that it is made of down to what is built in.

    `written` is the type with its modifiers as the source writes it. `of` is the element of an array, what a
    domain constrains, what a range spans, or the range of a multirange.
    """

    kind: str
    schema: str
    name: str
    written: str
    built_in: bool = False
    # Whether it has a binary form at all.
    binary_form: bool = True
    # The extension that a base type belongs to, its modifiers in brackets, and the schema in which the
    # warehouse has it; None where it has not, or before that was looked up.
    extension: str | None = None
    modifiers: str = ""
    warehouse_schema: str | None = None
    of: "Type | None" = None
    labels: tuple[str, ...] = ()
    # Of an enum: what its server stores in the rows instead of each label. It outlives a rename of the label.
    label_oids: tuple[int, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    # A composite type that is the row of a table, and changes with it.
    row_of_table: bool = False
    # Of a range: the collation of its bounds, "" for none, None for one that depends on the server; whether
    # they are in the usual order; and the name of its multirange.
    collation: str | None = ""
    ordered_by_default: bool = True
    multirange: str | None = None

    def parts(self) -> Iterator["Type"]:
        """Yield every type that this one is made of, those first that others need, and itself last."""
        if self.of is not None:
            yield from self.of.parts()
        for attribute in self.attributes:
            yield from attribute.type.parts()
        yield self

    @property
    def undressed(self) -> "Type":
        """The type without domains around it: a constraint is the source's to keep."""
        return self.of.undressed if self.kind == DOMAIN and self.of is not None else self

    @property
    def exact(self) -> bool:
        """Whether the warehouse can hold every value as what it is, and not as text only."""
        return all(part._itself_exact() for part in self.parts())

    def _itself_exact(self) -> bool:
        if self.kind == BASE and self.extension is not None:
            return self.warehouse_schema is not None
        if self.kind == BASE:
            return self.built_in and self.binary_form and self.name not in TEXT_ONLY
        if self.kind == COMPOSITE:
            # The rows of system catalogs are not the same on every server.
            return self.schema not in ("pg_catalog", "information_schema")
        if self.kind == ARRAY:
            # An array of a domain over an array would become an array of more dimensions.
            return self.of is not None and self.of.undressed.kind != ARRAY
        return self.kind in (ENUM, DOMAIN) or self.built_in or self._range_exact()

    def _range_exact(self) -> bool:
        if self.of is None:
            return False
        if self.kind == MULTIRANGE:
            # It is made together with its range, under a name in the same schema.
            return (self.of.schema, self.of.multirange) == (self.schema, self.name)
        # Bounds that are in order here might not be there.
        return (
            self.collation is not None and self.ordered_by_default and self.of.undressed.kind in (BASE, ENUM)
        )

    @property
    def binary_safe(self) -> bool:
        """Whether the binary form is the same on every server that has the type."""
        bases = [part for part in self.parts() if part.kind == BASE]
        return all(part.extension is None and part.name not in TEXT_COPY_ONLY for part in bases)

    def made_name(self) -> str:
        """Return the name of an enum, composite, range or multirange in the source's schema of the warehouse.

        >>> Type(ENUM, "public", "grade", "public.grade").made_name()
        'grade'
        >>> Type(ENUM, "pay", "grade", "pay.grade").made_name()
        'pay.grade'
        >>> Type(ENUM, "public", "pay.grade", 'public."pay.grade"').made_name()
        'pay.grade 1a25c549'
        """
        plain = self.name if self.schema == "public" else f"{self.schema}.{self.name}"
        name = f"{plain} row" if self.row_of_table else plain
        if "." in self.schema or "." in self.name or (name.endswith(" row") and not self.row_of_table):
            # It could as well be the name of one in another schema, or of the row of a table.
            digest = hashlib.sha256(repr((self.schema, self.name)).encode()).hexdigest()[:8]
            return shortened(f"{name} {digest}")
        return shortened(name)

    def in_warehouse(self, source: str | None) -> Composable:
        """Return the type as the warehouse writes it; as it was read there if `source` is None."""
        if self.of is not None and self.kind == DOMAIN:
            return self.of.in_warehouse(source)
        if self.of is not None and self.kind == ARRAY:
            return sql.Composed([self.of.in_warehouse(source), sql.SQL("[]")])
        if self.built_in:
            return sql.SQL(self.written)
        if self.kind == BASE:
            schema = self.warehouse_schema if source else self.schema
            return sql.Composed([sql.Identifier(schema or "", self.name), sql.SQL(self.modifiers)])
        return sql.Identifier(source, self.made_name()) if source else sql.Identifier(self.schema, self.name)

    def definition(self) -> str:
        """Return what the type is, in words for a person."""
        if self.kind == ENUM:
            return f"{self.written} ({', '.join(self.labels)})"
        if self.kind == COMPOSITE:
            inside = ", ".join(f"{attribute.name} {attribute.type.written}" for attribute in self.attributes)
            return f"{self.written} ({inside})"
        if self.of is not None and self.kind in (DOMAIN, RANGE):
            return f"{self.written} ({self.kind} of {self.of.written})"
        return self.written

    def without_labels(self) -> "Type":
        """Return the type without the labels of its enums, which may grow, and the numbers of attributes.

        Neither says whether the warehouse needs another type.
        """
        return replace(
            self,
            labels=(),
            label_oids=(),
            of=self.of and self.of.without_labels(),
            attributes=tuple(
                Attribute(attribute.name, attribute.type.without_labels()) for attribute in self.attributes
            ),
        )

    def with_extensions(self, schemas: Mapping[tuple[str, str], str]) -> "Type":
        """Return the type with the warehouse's schemas of (extension, type), as far as it has them."""
        schema = schemas.get((self.extension, self.name)) if self.extension else None
        return replace(
            self,
            warehouse_schema=schema,
            of=self.of and self.of.with_extensions(schemas),
            attributes=tuple(
                replace(attribute, type=attribute.type.with_extensions(schemas))
                for attribute in self.attributes
            ),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> "Type | None":
        """Return the type that dataclasses.asdict took apart."""
        if data is None:
            return None
        attributes = []
        for attribute in data["attributes"]:
            type_ = cls.from_json(attribute["type"])
            assert type_ is not None  # noqa: S101 - an attribute has a type
            attributes.append(Attribute(attribute["name"], type_, attribute.get("attnum")))
        return cls(
            **{
                **data,
                "of": cls.from_json(data["of"]),
                "labels": tuple(data["labels"]),
                "label_oids": tuple(data.get("label_oids", ())),
                "attributes": tuple(attributes),
            }
        )


def shortened(name: str) -> str:
    """Return a name that PostgreSQL does not cut off: itself, or its beginning and a hash of all of it."""
    if len(name.encode()) <= MAXIMUM_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: MAXIMUM_BYTES - len(digest) - 1].decode(errors="ignore") + "_" + digest


def read(connection: Connection, written: Sequence[tuple[int, str]]) -> list[Type]:
    """Return the types of these (oid, as it is written with its modifiers)."""
    oids = list({oid for oid, _ in written})
    nodes = {
        node["oid"]: node
        for node in postgres.records(connection, postgres.statement("warehouse/types"), (oids,))
    }
    return [_assembled(nodes, oid, text) for oid, text in written]


def _assembled(nodes: Mapping[int, Mapping[str, Any]], oid: int, written: str) -> Type:
    node = nodes[oid]
    if node["element"] is not None:
        element = _assembled(nodes, node["element"], written.removesuffix("[]"))
        return Type(ARRAY, node["schema"], node["name"], written, built_in=node["built_in"], of=element)
    inner = node["base"] or node["subtype"] or node["range"]
    of = _assembled(nodes, inner, node["base_written"] or nodes[inner]["plain"]) if inner else None
    return Type(
        kind=CLASSES.get(node["class"], node["class"]),
        schema=node["schema"],
        name=node["name"],
        written=written,
        built_in=node["built_in"],
        binary_form=node["binary_form"],
        extension=node["extension"] if node["class"] == "b" else None,
        modifiers=written.removeprefix(node["plain"]) if node["extension"] else "",
        of=of,
        labels=tuple(node["labels"]),
        label_oids=tuple(node["label_oids"]),
        attributes=tuple(
            Attribute(name, _assembled(nodes, type_oid, text), attnum)
            for name, type_oid, text, attnum in node["attributes"]
        ),
        row_of_table=node["row_of_table"],
        collation=node["collation"] if node["subtype"] else "",
        ordered_by_default=node["ordered_by_default"] or not node["subtype"],
        multirange=node["multirange"],
    )
