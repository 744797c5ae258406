"""`unique: [column, ...]`: no two rows are equal in all these columns."""

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg2 import sql

from pipeline.catalog.as_written import EMPTYING, named
from pipeline.catalog.check_kinds.kind import Mistakes, TableCheck
from pipeline.catalog.check_kinds.outcome import Result, Rows
from pipeline.catalog.values import ColumnNames


class UniqueCheck(TableCheck):
    """No two rows are equal in all these columns."""

    usage = "unique: [a, b]"
    holds_if = "no two rows are equal in all these columns"

    unique: ColumnNames
    """The column, or the columns, that no two rows share."""

    @classmethod
    def columns_in(cls, rule: Any) -> list[str]:
        """Return the columns that no two rows share."""
        return named(rule)

    @classmethod
    def mistakes(cls, rule: Any, masks: Mapping[str, str], tables: Mapping[str, Any]) -> Mistakes:
        """Yield the columns of which nothing is left."""
        del tables
        for column in named(rule):
            if masks.get(column) in EMPTYING:
                yield (
                    (),
                    f"mask: {masks[column]} leaves nothing of {column} to check; remove one of the two",
                )

    def evaluate(self, rows: Rows) -> Iterator[Result]:
        """Count the values that stand in several rows."""
        columns = sql.SQL(", ").join(map(sql.Identifier, self.unique))
        repeated = sql.SQL("SELECT {0} FROM {1} GROUP BY {0} HAVING count(*) > 1").format(
            columns, rows.relation
        )
        (duplicated,) = rows.ask(sql.SQL("SELECT count(*) FROM ({}) AS duplicated").format(repeated))
        wrong = sql.SQL("({}) IN ({})").format(
            sql.SQL(", ").join(sql.Identifier("c", name) for name in self.unique), repeated
        )
        yield Result(
            f"unique ({', '.join(self.unique)})",
            self.level,
            not duplicated,
            f"{duplicated:,} duplicated values",
            "none",
            duplicated,
            self.quarantine,
            wrong,
        )
