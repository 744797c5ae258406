"""Tries each card's SQL on the warehouse, with the login that Metabase has: Metabase itself saves anything.

Once without any filter, and once with a condition as it would write one for each filter that reaches it. What
filters choose at first is compared with what their columns have. Before that it is asked whether the
marts that they read are built as they are declared.
"""

import functools
from collections.abc import Container, Iterator
from dataclasses import dataclass

from psycopg2 import sql

from pipeline import chains, ledger, postgres
from pipeline.catalog import Catalog
from pipeline.catalog.dashboard_files.asked import quoted
from pipeline.catalog.dashboard_files.board import Card, Dashboard, Filter, FilterKind, Reach
from pipeline.dashboards.wanted import Board, is_variable, numbers, statement
from pipeline.errors import CheckError, PipelineError
from pipeline.postgres import Connection
from pipeline.step import Record
from pipeline.warehouse.relation import oid

# PostgreSQL's numbers of its types that hold numbers: integers, floating-point ones, numeric.
NUMBERS = frozenset({20, 21, 23, 700, 701, 1700})


@dataclass(frozen=True)
class Built(Record):
    """What the building of a mart left: which declaration of it that was."""

    digest: str


def unbuilt(warehouse: Connection, catalog: Catalog, dashboard: Dashboard) -> Iterator[str]:
    """Yield which cards of a dashboard read a mart that is not built as declared, with file and name."""

    @functools.cache
    def is_built(own: str) -> bool:
        name = f"{chains.MART.schema}.{own}"
        built = ledger.last_record(warehouse, chains.BUILD_TASK, name, Built)
        if built is None:
            # Of one that no run has built the warehouse is asked, if there is such a relation.
            return oid(warehouse, _identifier(name)) is not None
        return built.digest == catalog.marts[own].digest

    for card in dashboard.cards:
        for name in card.reads:
            schema, _, own = name.partition(".")
            is_mart = schema == chains.MART.schema and own in catalog.marts
            if is_mart and not is_built(own):
                file = catalog.marts[own].file
                yield (
                    f'{dashboard.file}: card "{card.title}": reads {name}, which is not built as {file} '
                    f"declares it; type '{chains.MARTS.part(chains.MART, own, None).command}'"
                )


def problems(connection: Connection, board: Board) -> Iterator[str]:
    """Yield what is wrong with each filter and each card of a dashboard, with file and name."""
    dashboard, wrong = board.dashboard, set()
    for chosen in dashboard.filters:
        try:
            _try_default(connection, dashboard, chosen)
        except CheckError as error:
            wrong.add(chosen.name)
            yield f"{dashboard.file}: filter {chosen.name}: {error}"
    for card in board.cards.values():
        try:
            _try(connection, dashboard, card, wrong)
        except PipelineError as error:
            yield f'{dashboard.file}: card "{card.title}": {error}'


def _try_default(connection: Connection, dashboard: Dashboard, chosen: Filter) -> None:
    if chosen.kind != FilterKind.CATEGORY or not chosen.default:
        return
    places = {
        (reach.relation, reach.name)
        for card in dashboard.cards
        for reach in card.reach
        if reach.filter == chosen.name and reach.relation
    }
    for relation, name in sorted(places):
        if holds_numbers(connection, relation, name):
            list(numbers(chosen))


def holds_numbers(connection: Connection, relation: str, name: str) -> bool:
    """Whether a column has numbers; False also where it cannot be read."""
    query = sql.SQL("SELECT {} FROM {} LIMIT 0").format(sql.Identifier(name), _identifier(relation))
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return (cursor.description or ())[0].type_code in NUMBERS
    except postgres.Error as error:
        if postgres.is_lost(error):
            raise
        return False  # what is wrong with it is told of the card
    finally:
        if not connection.closed:
            connection.rollback()


def _identifier(relation: str, *more: str) -> sql.Identifier:
    schema, _, name = relation.partition(".")
    return sql.Identifier(schema, name, *more)


def _condition(chosen: Filter, reach: Reach, wrong: Container[str]) -> sql.Composable:
    """Return a condition such as Metabase makes of a filter, with what is chosen at first."""
    if is_variable(chosen, reach):
        how = "{}::text ILIKE '%'" if chosen.kind == FilterKind.SEARCH else "{}::text = ''"
        return sql.SQL(how).format(sql.SQL(quoted(reach.column)))
    column = _identifier(reach.relation, reach.name)
    if chosen.kind == FilterKind.DATE:
        return sql.SQL("{} >= current_date").format(column)
    if not isinstance(chosen.default, tuple) or chosen.name in wrong:
        return sql.SQL("{0} = {0}").format(column)
    # Each is read as what the column has.
    values = sql.SQL(", ").join(sql.Literal(value) for value in chosen.default)
    return sql.SQL("{} IN ({})").format(column, values)


def _try(connection: Connection, dashboard: Dashboard, card: Card, wrong: Container[str]) -> None:
    statement(card, dashboard)  # raises what can be told without a server
    conditions: list[sql.Composable] = [sql.SQL("true")]
    conditions += [_condition(dashboard.filter(reach.filter), reach, wrong) for reach in card.reach]
    columns = _columns(connection, card.statement())
    _columns(connection, card.statement(sql.SQL(" AND ").join(conditions).as_string(connection)))
    missing = [name for name in (*card.dimensions, *card.measures) if name not in columns]
    if missing:
        raise CheckError(f"its SELECT returns no {' and no '.join(missing)}; it returns {', '.join(columns)}")


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
        raise CheckError(f"the warehouse rejects its SELECT: {postgres.message_of(error)}") from None
    finally:
        if not connection.closed:
            connection.rollback()
