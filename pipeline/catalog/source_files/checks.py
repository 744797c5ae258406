"""The checks that a table can declare. Each is written as a mapping with the check's own key and, beside it,
`level` and `quarantine`.
"""

from typing import Annotated, Any

from pydantic import Discriminator, Tag, model_validator

from pipeline.catalog.declared import Declared
from pipeline.catalog.source_files.columns import Ruled
from pipeline.catalog.values import Change, ColumnNames, Count, Duration, Name


class TableCheck(Ruled):
    """What all checks of a table have in common."""

    @property
    def kind(self) -> str:
        """The check's own key: rows, unique, sql, freshness or relationship."""
        return next(iter(type(self).model_fields.keys() - Ruled.model_fields.keys()))

    @property
    def named(self) -> tuple[str, ...]:
        """The columns of the table that it names outside of SQL."""
        return ()


class RowsRule(Declared):
    """How many rows there may be, and by which share of what is usual that may change."""

    min: Count | None = None
    """The least number of rows."""
    max: Count | None = None
    """The greatest number of rows."""
    change: Change | None = None
    """By how much the number of rows may differ from what is usual, such as 50%."""

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
    """A column that holds a date or a time."""
    max_age: Duration
    """How old its newest value may be, such as 2 days."""


class RelationshipRule(Declared):
    """Each combination of `columns` without nulls is there in `to_columns` of `to`, a table of the source."""

    columns: ColumnNames
    """The column, or the columns, that refer to another table."""
    to: Name
    """The other table, as it is called in this file."""
    to_columns: ColumnNames
    """What they refer to there: one for each of columns."""

    @model_validator(mode="after")
    def _pairs(self) -> "RelationshipRule":
        if len(self.columns) != len(self.to_columns):
            raise ValueError("columns and to_columns differ in number; write one for each")
        return self


class RowsCheck(TableCheck):
    """The table's number of rows."""

    rows: RowsRule
    """The least and the greatest number of rows, and by how much it may change: {min, max, change}."""


class UniqueCheck(TableCheck):
    """No two rows are equal in all these columns."""

    unique: ColumnNames
    """The column, or the columns, that no two rows share."""

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(self.unique)


class SqlCheck(TableCheck):
    """A query whose rows are wrong; `{table}` stands for the table."""

    sql: Name
    """One SELECT; each row that comes back is wrong. {table} stands for the table as it is about to be."""


class FreshnessCheck(TableCheck):
    """The table has recent rows."""

    freshness: FreshnessRule
    """How old the newest value of a column may be: {column, max_age}."""

    @property
    def named(self) -> tuple[str, ...]:
        return (self.freshness.column,)


class RelationshipCheck(TableCheck):
    """A foreign key of which the database may know nothing."""

    relationship: RelationshipRule
    """Values that must be there in another table of this source: {columns, to, to_columns}."""

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(self.relationship.columns)


KINDS = ("rows", "unique", "sql", "freshness", "relationship")
# They look at the table as a whole: there is no row to set aside.
WITHOUT_ROWS = ("rows", "freshness")


def _kind(value: Any) -> str | None:
    if isinstance(value, TableCheck):
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
