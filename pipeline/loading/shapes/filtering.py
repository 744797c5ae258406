"""Filtering: which rows of a table are loaded, by what its declaration says after `where:`.

A row that is not loaded is, for all that follows, not there: it is not counted, its key is not read, and
where it was loaded before it is gone. The condition is asked of the source's server, beside whatever else.
"""

from collections.abc import Iterator
from dataclasses import replace

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Condition, Table
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection
from pipeline.warehouse.shape import Column, Shape

VOLATILE = """
    SELECT DISTINCT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = 'pg_catalog' AND p.provolatile = 'v' AND p.proname = ANY (%s)
    ORDER BY 1
"""


def condition(table: Table) -> Composable:
    """Return the condition under which a row is loaded, in brackets."""
    # On a line of its own, as any text of others.
    return sql.SQL("true") if table.where is None else sql.SQL("(\n" + table.where.text + "\n)")


def restricted(table: Table, *conditions: Composable) -> Composable:
    """Return the WHERE of a query of the table's rows that meet these conditions too, or nothing."""
    wanted = [*([condition(table)] if table.where else []), *(sql.SQL("({})").format(c) for c in conditions)]
    return sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(wanted)) if wanted else sql.SQL("")


def is_steady(table: Table) -> bool:
    """Whether a row that nobody writes cannot begin or cease to be loaded."""
    return table.where is None or table.where.steady


def filtered(table: Table, shape: Shape) -> Shape:
    """Return the shape with what its rows are filtered by.

    Columns stand there by their numbers: another one under the same name filters otherwise.
    """
    if table.where is None:
        return shape
    looked_at = [column for column in shape.every_column if column.name in table.where.columns]
    numbered = (f"{column.attnum} {column.default if column.generated else ''}" for column in looked_at)
    return replace(shape, where=table.where.text, where_on=tuple(numbered))


def masked(table: Table, wanted: Shape) -> Iterator[Column]:
    """Yield the columns that the table is filtered by and that are masked, unless somebody looked at that."""
    for column in wanted.every_column:
        if table.where and column.name in table.where.columns and column.mask and not column.reviewed:
            yield column


def require_sound(source: Connection, table: Table, relation: sql.Identifier) -> None:
    """Raise StepError if the source's server does not take the condition, or says that it does more."""
    if table.where is None:
        return
    volatile = postgres.value(source, VOLATILE, (list(table.where.functions),))
    if volatile:
        raise _refused(table, table.where, f"calls {volatile}, which does more than compute")
    query = sql.SQL("EXPLAIN SELECT FROM {}").format(relation) + restricted(table)
    postgres.rows(source, "SAVEPOINT filter")
    try:
        postgres.rows(source, query)
    except postgres.Error as error:
        if not (error.pgcode or "").startswith(postgres.REFUSALS):
            raise
        postgres.rows(source, "ROLLBACK TO SAVEPOINT filter")
        raise _refused(
            table, table.where, f"is rejected by the source: {postgres.message_of(error)}"
        ) from None
    postgres.rows(source, "RELEASE SAVEPOINT filter")


def _refused(table: Table, where: Condition, what: str) -> StepError:
    return StepError(
        f"its where {what}",
        hint=f"correct {table.file}:{where.line} (tables.{table.name}.where)",
        retryable=False,
    )
