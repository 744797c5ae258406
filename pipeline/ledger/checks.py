"""Checks: how each came out, in each run."""

from collections.abc import Sequence
from typing import Any

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
    for result in results:
        postgres.rows(
            connection,
            """
            INSERT INTO ops.check_result (run, source, table_name, check_name, level, passed, observed,
                                          expected, value)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
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
            ),
        )


def history(connection: Connection) -> list[tuple[Any, ...]]:
    """Return the last results of every check, as check_history.sql has them, the oldest first."""
    return postgres.rows(connection, postgres.statement("ledger/check_history"))
