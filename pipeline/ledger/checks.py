"""Checks: how each came out, in each run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline import postgres
from pipeline.catalog.check_kinds import Result
from pipeline.postgres import Connection


def record_checks(
    connection: Connection, run: str, schema: str, table: str, results: Sequence[Result]
) -> None:
    """Write the results down, in the caller's transaction, in place of earlier ones of the run."""
    postgres.rows(
        connection,
        "DELETE FROM ops.check_result WHERE run = %s AND source = %s AND table_name = %s",
        (run, schema, table),
    )
    if not results:
        return
    values = [
        (
            run,
            schema,
            table,
            result.name,
            result.level,
            result.passed,
            result.observed,
            result.expected,
            result.value,
        )
        for result in results
    ]
    query = f"""
        INSERT INTO ops.check_result (run, source, table_name, check_name, level, passed, observed,
                                      expected, value)
        VALUES {", ".join(["%s"] * len(values))}
        """  # noqa: S608 - placeholders
    # A tuple is written as a row.
    postgres.rows(connection, query, values)


@dataclass(frozen=True)
class PastResult:
    """How a check of a table, or mart, came out in a run, and what was seen."""

    name: str
    check: str
    level: str
    passed: bool
    observed: str
    run: str
    at: datetime


def history(connection: Connection) -> list[PastResult]:
    """Return the last results of every check, the oldest first."""
    return postgres.read(connection, postgres.statement("ledger/check_history"), PastResult)
