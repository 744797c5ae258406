"""Quarantine: failing rows, kept with the run and the reason where a person can look at them."""

from collections.abc import Sequence

from psycopg2 import sql

from pipeline import postgres, staging
from pipeline.postgres import Composable, Connection
from pipeline.quality import Result
from pipeline.staging import Staged

# Where a whole table is held back, so many of its failing rows are enough to see what is wrong.
HELD_ROWS = 1000


def fill(warehouse: Connection, staged: Staged, results: Sequence[Result]) -> int:
    """Copy the staged rows that failed into the table's quarantine; return how many are set aside.

    Where a check sets rows aside, all of them are kept, and their places noted for the load. Of a table that
    is held back, the first of each reason are.
    """
    failed = [
        (result, result.wrong)
        for result in results
        if not result.passed and result.level == "error" and result.wrong is not None
    ]
    _clear(warehouse, staged, bool(failed))
    if not failed:
        return 0
    place = sql.SQL("CREATE UNLOGGED TABLE {} (place tid NOT NULL)").format(staged.bad)
    postgres.rows(warehouse, place)
    for result, wrong in failed:
        _copy(warehouse, staged, result, wrong)
        if result.sets_aside:
            postgres.rows(
                warehouse,
                sql.SQL("INSERT INTO {} SELECT c.ctid FROM {} AS c WHERE {}").format(
                    staged.bad, staged.rows, wrong
                ),
            )
    return count(warehouse, staged)


def count(warehouse: Connection, staged: Staged) -> int:
    """Return how many staged rows are set aside."""
    if staging.oid(warehouse, staged.bad) is None:
        return 0
    query = sql.SQL("SELECT count(DISTINCT place) FROM {}").format(staged.bad)
    counted: int = postgres.value(warehouse, query)
    return counted


def _clear(warehouse: Connection, staged: Staged, needed: bool) -> None:
    """Forget what an earlier try of the same run left; make the table if it is needed."""
    postgres.rows(warehouse, sql.SQL("DROP TABLE IF EXISTS {}").format(staged.bad))
    if staging.oid(warehouse, staged.quarantine) is not None:
        postgres.rows(
            warehouse,
            sql.SQL("DELETE FROM {} WHERE run = {}").format(staged.quarantine, sql.Literal(staged.run)),
        )
    elif needed:
        postgres.rows(
            warehouse,
            sql.SQL(
                "CREATE TABLE {} (run text NOT NULL, reason text NOT NULL, "
                "quarantined_at timestamptz NOT NULL DEFAULT now(), content jsonb NOT NULL)"
            ).format(staged.quarantine),
        )


def _copy(warehouse: Connection, staged: Staged, result: Result, wrong: Composable) -> None:
    limit = sql.SQL("" if result.sets_aside else f" LIMIT {HELD_ROWS}")
    postgres.rows(
        warehouse,
        sql.SQL(
            "INSERT INTO {} (run, reason, content) SELECT {}, {}, to_jsonb(c.*) FROM {} AS c WHERE {}{}"
        ).format(
            staged.quarantine,
            sql.Literal(staged.run),
            sql.Literal(str(result)),
            staged.rows,
            wrong,
            limit,
        ),
    )


def purge(warehouse: Connection, staged: Staged) -> None:
    """Delete what earlier runs put into the table's quarantine: what is masked from now on may be in it."""
    if staging.oid(warehouse, staged.quarantine) is not None:
        delete = sql.SQL("DELETE FROM {} WHERE run <> {}")
        postgres.rows(warehouse, delete.format(staged.quarantine, sql.Literal(staged.run)))
