"""The checks that a table can declare. Each is written as a mapping with the check's own key and, beside it,
`level` and `quarantine`.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, model_validator

from pipeline.catalog.declared import Declared
from pipeline.catalog.values import Change, ColumnNames, Count, Duration, Name

Level = Literal["error", "warn"]


class _Check(Declared):
    # error: the table is not loaded; warn: it is recorded and alerted.
    level: Level = "error"
    # hold: nothing is loaded; rows: the failing rows are set aside and the others loaded.
    quarantine: Literal["hold", "rows"] = "hold"

    @property
    def kind(self) -> str:
        """The check's own key: rows, unique, sql, freshness or relationship."""
        return next(iter(type(self).model_fields.keys() - _Check.model_fields.keys()))


class RowsRule(Declared):
    """How many rows there may be, and by which share of the last accepted count that may change."""

    min: Count | None = None
    max: Count | None = None
    change: Change | None = None

    @model_validator(mode="after")
    def _sensible(self) -> "RowsRule":
        if self.min is None and self.max is None and self.change is None:
            raise ValueError("says nothing; write min, max or change")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is more than max; swap them")
        return self


class FreshnessRule(Declared):
    """The newest value of `column` may be at most `max_age` old."""

    column: Name
    max_age: Duration


class RelationshipRule(Declared):
    """Each combination of `columns` without nulls is there in `to_columns` of `to`, a table of the source."""

    columns: ColumnNames
    to: Name
    to_columns: ColumnNames

    @model_validator(mode="after")
    def _pairs(self) -> "RelationshipRule":
        if len(self.columns) != len(self.to_columns):
            raise ValueError("columns and to_columns differ in number; write one for each")
        return self


class RowsCheck(_Check):
    """The table's number of rows."""

    rows: RowsRule


class UniqueCheck(_Check):
    """No two rows are equal in all these columns."""

    unique: ColumnNames


class SqlCheck(_Check):
    """A query whose rows are wrong; `{table}` stands for the table."""

    sql: Name


class FreshnessCheck(_Check):
    """The table has recent rows."""

    freshness: FreshnessRule


class RelationshipCheck(_Check):
    """A foreign key of which the database may know nothing."""

    relationship: RelationshipRule


KINDS = ("rows", "unique", "sql", "freshness", "relationship")


def _kind(value: Any) -> str | None:
    if isinstance(value, _Check):
        return value.kind
    if not isinstance(value, dict):
        return None
    named = [kind for kind in KINDS if kind in value]
    return named[0] if named else None


Check = Annotated[
    Annotated[RowsCheck, Tag("rows")]
    | Annotated[UniqueCheck, Tag("unique")]
    | Annotated[SqlCheck, Tag("sql")]
    | Annotated[FreshnessCheck, Tag("freshness")]
    | Annotated[RelationshipCheck, Tag("relationship")],
    Discriminator(_kind),
]
