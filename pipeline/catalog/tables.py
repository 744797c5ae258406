"""What is loaded from where, how, and what must hold, with the defaults filled in."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.catalog.checks import Check, Level
from pipeline.catalog.declared import Declared
from pipeline.catalog.values import ColumnNames, Duration, Name, Share
from pipeline.errors import UsageError
from pipeline.names import advice

Changes = Literal["xmin", "cursor", "full"]
Deletes = Literal["hard", "soft", "ignore"]
Mask = Literal["hash", "null", "exclude"]
DriftKind = Literal["added", "dropped", "renamed", "widened", "narrowed", "nullable", "key", "recreated"]
DriftAction = Literal["evolve", "refresh", "ignore", "block"]


def _single(value: Any) -> Any:
    if isinstance(value, bool | int | float | date | str):
        return value
    raise ValueError("is no single value; write a number, a date or text")


# What a cell can be compared with.
Scalar = Annotated[bool | int | float | datetime | date | str, BeforeValidator(_single)]


class NullRate(Declared):
    """The greatest share of nulls in a column. `null_rate: 2%` is short for `null_rate: {max: 2%}`."""

    max: Share
    level: Level = "error"


class Range(Declared):
    """The least and the greatest value of a column, both allowed."""

    min: Scalar | None = None
    max: Scalar | None = None

    @model_validator(mode="after")
    def _sensible(self) -> "Range":
        if self.min is None and self.max is None:
            raise ValueError("says nothing; write min or max")
        return self


def _short_null_rate(value: Any) -> Any:
    return {"max": value} if isinstance(value, int | float | str) else value


class Column(Declared):
    """What is declared of a column; a column without a declaration is simply loaded."""

    mask: Mask | None = None
    null_rate: Annotated[NullRate, BeforeValidator(_short_null_rate)] | None = None
    # Its name in the source before it was renamed: the rename is then accepted.
    renamed_from: Name | None = None
    accepted: Annotated[tuple[Scalar, ...], Field(min_length=1)] | None = None
    range: Range | None = None


class Table(BaseModel):
    """One table to load, with the source's defaults filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    # The key in the YAML file: the table's name in the warehouse.
    name: str
    schema_name: str = "public"
    # Its name in the source.
    relation: str
    changes: Changes = "xmin"
    cursor: str | None = None
    lookback: timedelta = timedelta(hours=1)
    deletes: Deletes = "hard"
    # More deletes at once than this share of the rows stop the load.
    max_deleted: float = 0.2
    # None: the primary key that the source declares.
    key: tuple[str, ...] | None = None
    columns: Mapping[str, Column] = {}
    # Only what is declared: the defaults of the kinds belong to the drift rules.
    drift: Mapping[DriftKind, DriftAction] = {}
    checks: tuple[Check, ...] = ()
    history: bool = False


class Source(BaseModel):
    """The tables of one source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    tables: Mapping[str, Table]

    def table(self, name: str) -> Table:
        """Return one table. Raise UsageError if it is not declared."""
        if name not in self.tables:
            raise UsageError(
                f"{self.name}.{name}: no such table ({advice(name, self.tables)}); "
                f"to load it, add it to sources/{self.name}.yaml"
            )
        return self.tables[name]


class Catalog(BaseModel):
    """All that the analysts' repository declares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: Mapping[str, Source]

    def source(self, name: str) -> Source:
        """Return one source. Raise UsageError if it is not declared."""
        if name not in self.sources:
            raise UsageError(
                f"{name}: no such source ({advice(name, self.sources)}); to add it, write sources/{name}.yaml"
            )
        return self.sources[name]


class Defaults(Declared):
    """What a source's file says for all its tables, unless a table says otherwise."""

    schema_name: Name | None = Field(default=None, alias="schema")
    changes: Changes | None = None
    cursor: Name | None = None
    lookback: Duration | None = None
    deletes: Deletes | None = None
    max_deleted: Share | None = None
    drift: Mapping[DriftKind, DriftAction] = {}
    history: bool | None = None


def _null_is_a_mask(columns: Any) -> Any:
    # YAML reads `mask: null` as nothing at all, and the column would be loaded unmasked.
    for column in columns.values() if isinstance(columns, dict) else ():
        if isinstance(column, dict) and "mask" in column and column["mask"] is None:
            column["mask"] = "null"
    return columns


class DeclaredTable(Defaults):
    """A table as it is written."""

    relation: Name | None = Field(default=None, alias="table")
    key: ColumnNames | None = None
    columns: Annotated[Mapping[Name, Column | None], BeforeValidator(_null_is_a_mask)] = {}
    checks: tuple[Check, ...] = ()


class DeclaredSource(Declared):
    """A file sources/NAME.yaml as it is written."""

    source: Name
    defaults: Defaults = Defaults()
    tables: Annotated[Mapping[Name, DeclaredTable | None], Field(min_length=1)]

    def resolved(self) -> Source:
        """Return the source with the defaults filled in."""
        tables = {
            name: _resolved(self.source, name, self.defaults, table or DeclaredTable())
            for name, table in self.tables.items()
        }
        return Source(name=self.source, tables=tables)


def _resolved(source: str, name: str, defaults: Defaults, table: DeclaredTable) -> Table:
    said: dict[str, Any] = {}
    for layer in (defaults, table):
        said |= {
            key: getattr(layer, key) for key in layer.model_fields_set if getattr(layer, key) is not None
        }
    said["drift"] = {**defaults.drift, **table.drift}
    said["columns"] = {column: declared or Column() for column, declared in table.columns.items()}
    said.setdefault("relation", name)
    if said.get("changes") != "cursor":
        said.pop("cursor", None)  # the defaults' own, for tables that are read by cursor
    return Table(source=source, name=name, **said)
