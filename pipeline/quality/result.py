"""Where it is written down how checks came out."""

from collections.abc import Iterable, Sequence

from pipeline import postgres
from pipeline.catalog.check_kinds import Result
from pipeline.postgres import Connection


def mend(results: Iterable[Result]) -> str:
    """Return what is to be done about results that stop something; nothing if they do not say."""
    return "; ".join(dict.fromkeys(result.hint for result in results if result.stops and result.hint))


def record(connection: Connection, run: str, schema: str, table: str, results: Sequence[Result]) -> None:
    """Write the results to the ledger, in the caller's transaction, in place of earlier ones of the run."""
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
                run, schema, table, result.name, result.level, result.passed, result.observed,
                result.expected, result.value,
            ),
        )  # fmt: skip
