"""`freshness: {column, max_age}`: the table has recent rows."""

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg2 import sql

from pipeline import durations
from pipeline.catalog.as_written import mapping, named
from pipeline.catalog.check_kinds.kind import Mistakes, TableCheck
from pipeline.catalog.check_kinds.outcome import Result, Rows
from pipeline.catalog.declared import Declared
from pipeline.catalog.values import Duration, Name

# By so much may clocks and time zones differ. What is later than that says nothing of when a row came.
CLOCKS_DIFFER = "1 day"


class FreshnessRule(Declared):
    """The newest value of `column` may be at most `max_age` old."""

    column: Name
    """A column that holds a date or a time."""
    max_age: Duration
    """How old its newest value may be, such as 2 days."""


class FreshnessCheck(TableCheck):
    """The table has recent rows."""

    usage = "freshness: {column, max_age}"
    holds_if = (
        "the newest value of the column is not older; what is more than a day in the future does not count"
    )
    names_rows = False

    freshness: FreshnessRule
    """How old the newest value of a column may be: {column, max_age}."""

    @classmethod
    def columns_in(cls, rule: Any) -> list[str]:
        """Return the column of the times."""
        return named(mapping(rule).get("column"))

    @classmethod
    def mistakes(cls, rule: Any, masks: Mapping[str, str], tables: Mapping[str, Any]) -> Mistakes:
        """Yield a column whose times are masked."""
        del tables
        for column in cls.columns_in(rule):
            if column in masks:
                yield (), f"mask: {masks[column]} leaves no time in {column}; remove one of the two"

    def evaluate(self, rows: Rows) -> Iterator[Result]:
        """Compare the newest time with now; the server computes both."""
        rule = self.freshness
        newest, age_seconds, fresh = rows.ask(
            sql.SQL(
                "SELECT max({0})::text, extract(epoch FROM now() - max({0}))::float8,"
                " max({0}) >= now() - {1}::interval FROM {2} WHERE {0} <= now() + {3}::interval"
            ).format(
                sql.Identifier(rule.column),
                sql.Literal(f"{rule.max_age.total_seconds()} seconds"),
                rows.relation,
                sql.Literal(CLOCKS_DIFFER),
            )
        )
        yield Result(
            f"freshness of {rule.column}",
            self.level,
            bool(fresh),
            f"the newest is {newest or 'missing'}",
            f"at most {durations.exact(rule.max_age)} old",
            age_seconds,
        )
