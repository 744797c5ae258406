"""`sql: SELECT ...`: a query of the analysts' own whose rows are wrong; `{table}` stands for the table."""

from collections.abc import Iterator
from typing import Any

from psycopg2.sql import SQL, Composable

from pipeline.catalog.check_kinds.kind import TableCheck
from pipeline.catalog.check_kinds.outcome import CANDIDATE, Result, Rows
from pipeline.catalog.values import Name


class SqlCheck(TableCheck):
    """A query whose rows are wrong; `{table}` stands for the table."""

    usage = "sql: select ... from {table} where ..."
    holds_if = (
        "no row comes back; `{table}` stands for the table, other tables are written with their source: "
        "`hr.department`"
    )

    sql: Name
    """One SELECT; each row that comes back is wrong. {table} stands for the table as it is about to be."""

    @classmethod
    def query_in(cls, rule: Any) -> str | None:
        """Return the query."""
        return rule if isinstance(rule, str) and rule else None

    @property
    def query(self) -> Composable:
        """The query, of the rows that are checked."""
        # The catalog saw to it that this is one SELECT.
        # On lines of its own, so that a comment at its end takes nothing with it.
        return SQL("\n" + self.sql.strip().rstrip(";").replace("{table}", CANDIDATE) + "\n")

    def evaluate(self, rows: Rows) -> Iterator[Result]:
        """Count the rows that come back."""
        counted, wrong = rows.ask_as_analyst(self.query)
        name = f"sql {' '.join(self.sql.split())}"
        yield Result(
            name,
            self.level,
            not counted,
            f"{counted:,} rows",
            "none",
            counted,
            self.quarantine,
            wrong,
            examples=self.query,
        )
