"""What is loaded from where, how, and what must hold, with the defaults filled in."""

import fnmatch
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.catalog.as_written import ALL
from pipeline.catalog.check_kinds import Check
from pipeline.catalog.declared import Declared
from pipeline.catalog.ruled import Ruled
from pipeline.catalog.source_files import conditions
from pipeline.catalog.source_files.columns import Column
from pipeline.catalog.source_files.conditions import Condition
from pipeline.catalog.values import (
    Changes,
    ColumnNames,
    Deletes,
    Description,
    DriftAction,
    DriftKind,
    Duration,
    Mask,
    Name,
    Quarantine,
    Share,
)
from pipeline.errors import UsageError
from pipeline.names import advice


class Table(BaseModel):
    """One table to load, with the source's defaults filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    source: str
    # The key in the YAML file: the table's name in the warehouse.
    name: str
    # What it is, in words for people.
    description: str | None = None
    schema_name: str = "public"
    # Its name in the source.
    relation: str
    # Which of its rows are loaded; None: all.
    where: Condition | None = None
    # The columns that are loaded, beside its key and its cursor; None: all.
    only: tuple[str, ...] | None = None
    changes: Changes = Changes.XMIN
    cursor: str | None = None
    lookback: timedelta = timedelta(hours=1)
    deletes: Deletes = Deletes.HARD
    # More deletes at once than this share of the rows stop the load.
    max_deleted: float = 0.2
    # None: the primary key that the source declares.
    key: tuple[str, ...] | None = None
    columns: Mapping[str, Column] = {}
    # Only what is declared: the defaults of the kinds belong to the drift rules.
    drift: Mapping[DriftKind, DriftAction] = {}
    # What the checks below, and the rules of the columns, do with failing rows unless they say so themselves:
    # it is filled in there already.
    quarantine: Quarantine = Quarantine.HOLD
    checks: tuple[Check, ...] = ()
    history: bool = False
    # Whether it is there by `*` alone: its masks and its key are guessed.
    by_wildcard: bool = False
    # What the whole file declares of masks: schema, relation and column in the source, and the mask, or
    # "reviewed" where somebody said that it needs none.
    source_masks: tuple[tuple[str, str, str, str], ...] = ()

    @property
    def file(self) -> str:
        """The file that declares it, in the analysts' repository."""
        return f"sources/{self.source}.yaml"

    @property
    def compared_with(self) -> tuple[str, ...]:
        """The other tables that its checks look into: they have to be loaded before."""
        named = {name for check in self.checks for name in check.others}
        return tuple(sorted(named - {self.name}))

    @property
    def hashes(self) -> bool:
        """Whether a value of it is hashed, for which a key is needed."""
        return any(column.mask == Mask.HASH for column in self.columns.values())


class Source(BaseModel):
    """The tables of one source."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str
    tables: Mapping[str, Table]
    # The schema that is meant where a table names none; what is to stay in the source, by name or pattern.
    schema_name: str = "public"
    leave: tuple[str, ...] = ()
    # What each table is like that is loaded by `*`; None where there is no such line. Which tables those are
    # only the source knows: until it was asked, `tables` has those that are declared by their names.
    everything: Table | None = None

    @property
    def hashes(self) -> bool:
        """Whether a value of one of its tables is hashed, or may be: by `*` that can be any night."""
        return self.everything is not None or any(table.hashes for table in self.tables.values())

    def leaves(self, schema: str, name: str) -> bool:
        """Whether a table of the source is to stay there, by its name or a pattern."""
        return any(
            fnmatch.fnmatchcase(known, wanted)
            for wanted in self.leave
            for known in (name, f"{schema}.{name}")
        )

    def table(self, name: str) -> Table:
        """Return one table. Raise UsageError if it is not declared."""
        if name not in self.tables:
            raise UsageError(
                f"{self.name}.{name}: no such table ({advice(name, self.tables)})",
                hint=f"to load it, add it to sources/{self.name}.yaml",
            )
        return self.tables[name]


class Defaults(Declared):
    """What a source's file says for all its tables, unless a table says otherwise."""

    schema_name: Name | None = Field(default=None, alias="schema")
    """The schema in the source (default: public)."""
    changes: Changes | None = None
    """How changed rows are found.

    xmin: every change, by PostgreSQL's transaction numbers (default; not for views and foreign tables);
    cursor: rows whose `cursor` column is newer than the newest so far; full: all rows are read every time.
    """
    cursor: Name | None = None
    """With changes: cursor, the column that grows with each change, such as updated_at."""
    lookback: Duration | None = None
    """With changes: cursor, how far behind the newest value rows are read again (default: 1 hour)."""
    deletes: Deletes | None = None
    """What is done with rows that are gone from the source.

    hard: they are deleted (default); soft: they are marked in _deleted_at; ignore: they stay.
    """
    max_deleted: Share | None = None
    """A table that would lose more than this share of its rows at once is not loaded (default: 20%)."""
    drift: Mapping[DriftKind, DriftAction] = {}
    """What is done when a table is no longer as it was, by kind of change.

    evolve: the change is made in the warehouse; refresh: the same, and all rows are read again;
    ignore: the warehouse stays as it is; block: nothing is loaded until a person has decided.
    """
    quarantine: Quarantine | None = None
    """What rules and checks do with failing rows unless they declare it themselves (default: hold)."""
    # As in the JSON Schema: `no` is a word, which must not pass for false.
    history: Annotated[bool, Field(strict=True)] | None = None
    """true: keep every version of every row in NAME_history, with _valid_from and _valid_to."""


def _null_is_a_mask(columns: Any) -> Any:
    # YAML reads `mask: null` as nothing at all, and the column would be loaded unmasked.
    for column in columns.values() if isinstance(columns, dict) else ():
        if isinstance(column, dict) and "mask" in column and column["mask"] is None:
            column["mask"] = "null"
    return columns


class DeclaredTable(Defaults):
    """A table as it is written. Its key in the file is its name in the warehouse."""

    description: Description | None = None
    """What a row of it is, in a sentence or two: it becomes the table's COMMENT in the warehouse."""
    relation: Name | None = Field(default=None, alias="table")
    """Its name in the source, where it differs."""
    only: ColumnNames | None = None
    """The columns that are loaded, in addition to the key; all others stay in the source, new ones too."""
    where: Name | None = None
    """Only rows that meet this condition are loaded. It reads columns of the row itself.

    A row that no longer meets it is treated as one that is gone: see `deletes`.
    """
    key: ColumnNames | None = None
    """The column, or the columns, that tell rows apart (default: the primary key)."""
    columns: Annotated[Mapping[Name, Column | None], BeforeValidator(_null_is_a_mask)] = {}
    """Only columns with something to declare; all others are loaded as they are."""
    checks: tuple[Check, ...] = ()
    """What must hold before anybody sees the rows."""


Tables = Annotated[Mapping[Name, DeclaredTable | None], Field(min_length=1)]


def _all(tables: Any) -> Any:
    return {ALL: None} if tables == ALL else tables


class DeclaredSource(Declared):
    """A file sources/NAME.yaml as it is written: the tables of one source database."""

    source: Name
    """Its name: that of this file, of [source.NAME] in the settings, and of the schema in the warehouse."""
    defaults: Defaults = Defaults()
    """What holds for all tables below, unless a table says otherwise."""
    tables: Annotated[Tables, BeforeValidator(_all, json_schema_input_type=Literal["*"] | Tables)]
    """The tables to load; each is called in the warehouse what it is called here.

    "*" stands for every table of the schema that has no line of its own, also those that are new there. What
    looks personal by its name is masked in these.
    """
    leave: tuple[Name, ...] = ()
    """Tables that stay in the source, by name or pattern (tmp_*): "*" leaves them out, without a message."""

    def resolved(self) -> Source:
        """Return the source with the defaults filled in."""
        tables = {
            name: _resolved(self.source, name, self.defaults, table or DeclaredTable())
            for name, table in self.tables.items()
        }
        everything = tables.pop(ALL, None)
        tables = with_masks(tables)
        schema = self.defaults.schema_name or "public"
        return Source(
            name=self.source, tables=tables, schema_name=schema, leave=self.leave, everything=everything
        )


def with_masks(tables: Mapping[str, Table]) -> dict[str, Table]:
    """Return the tables of a source, each with what is declared of masks in all of them."""
    masks = tuple(
        (table.schema_name, table.relation, name, column.mask or "reviewed")
        for table in tables.values()
        for name, column in table.columns.items()
        if column.mask or column.unmasked
    )
    return {
        name: table.model_copy(update={"source_masks": masks}) if masks else table
        for name, table in tables.items()
    }


def _resolved(source: str, name: str, defaults: Defaults, table: DeclaredTable) -> Table:
    values: dict[str, Any] = {}
    for layer in (defaults, table):
        values |= {
            key: getattr(layer, key) for key in layer.model_fields_set if getattr(layer, key) is not None
        }
    quarantine: Quarantine = values.get("quarantine", Quarantine.HOLD)
    values["drift"] = {**defaults.drift, **table.drift}
    values["columns"] = {
        column: _column(declared or Column(), quarantine) for column, declared in table.columns.items()
    }
    values["checks"] = tuple(
        _ruled(check, quarantine) if check.names_rows else check for check in table.checks
    )
    values.setdefault("relation", name)
    if table.where is not None:
        values["where"] = conditions.parse(table.where)
    if values.get("changes") != Changes.CURSOR:
        values.pop("cursor", None)  # the defaults' own, for tables that are read by cursor
    return Table(source=source, name=name, **values)


_Rule = TypeVar("_Rule", bound=Ruled)


def _ruled(rule: _Rule, quarantine: Quarantine) -> _Rule:
    """Return the rule with the table's way of treating failing rows, unless it says so itself."""
    written = "quarantine" in rule.model_fields_set
    return rule if written else rule.model_copy(update={"quarantine": quarantine})


def _column(column: Column, quarantine: Quarantine) -> Column:
    rules = (("null_rate", column.null_rate), ("accepted", column.accepted), ("range", column.range))
    return column.model_copy(update={name: _ruled(rule, quarantine) for name, rule in rules if rule})
