"""Tries each card's SQL on the warehouse, with the login that Metabase has: Metabase itself saves anything.

Once without any filter, and once with a condition as it would write one for each filter that reaches it.
"""

from collections.abc import Iterator

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog.board import Card, Dashboard
from pipeline.dashboards.wanted import Board, is_variable, statement
from pipeline.errors import CheckError, PipelineError
from pipeline.postgres import Connection


def problems(connection: Connection, board: Board) -> Iterator[str]:
    """Yield what is wrong with each card of a dashboard, with file and title."""
    for card in board.cards.values():
        try:
            _try(connection, board.dashboard, card)
        except PipelineError as error:
            yield f'{board.dashboard.file}: card "{card.title}": {error}'


def _try(connection: Connection, dashboard: Dashboard, card: Card) -> None:
    statement(card, dashboard)  # raises what can be told without a server
    conditions: list[sql.Composable] = [sql.SQL("true")]
    for reach in card.reach:
        schema, _, relation = reach.relation.partition(".")
        if is_variable(dashboard.filter(reach.filter), reach):
            conditions.append(sql.SQL("{}::text ILIKE '%'").format(sql.Identifier(reach.column)))
        else:
            column = sql.Identifier(schema, relation, reach.column)
            conditions.append(sql.SQL("{} IS NOT NULL").format(column))
    columns = _columns(connection, card.statement())
    _columns(connection, card.statement(sql.SQL(" AND ").join(conditions).as_string(connection)))
    missing = [name for name in (*card.dimensions, *card.measures) if name not in columns]
    if missing:
        raise CheckError(f"its SELECT gives no {' and no '.join(missing)}; it gives {', '.join(columns)}")


def _columns(connection: Connection, query: str) -> list[str]:
    """Return what a SELECT gives, without its rows."""
    wrapped = f"SELECT * FROM (\n{query}\n) AS card LIMIT 0"  # noqa: S608 - checked to be one SELECT
    try:
        with connection.cursor() as cursor:
            cursor.execute(wrapped)
            return [column.name for column in cursor.description or ()]
    except postgres.Error as error:
        if postgres.is_lost(error):
            raise
        raise CheckError(f"the warehouse refuses its SELECT: {postgres.said(error)}") from None
    finally:
        if not connection.closed:
            connection.rollback()
