"""Choices: what else of each filter can be chosen on the page, and what the cards that it reaches show then.

One filter at a time, the others as they are at first: each choice is read and written when the page is, for
the page has no script and no server that it could ask.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Card, Dashboard, Filter, Past
from pipeline.postgres import Connection
from pipeline.report import rows
from pipeline.report.rows import Answer

logger = logging.getLogger(__name__)

# Slow cards are not asked again and again: what is not read by then is left out.
SECONDS = 60.0
# Of a category so many; more are the least frequent.
MOST = 20
RANGES = (Past(30, "day"), Past(3, "month"), Past(12, "month"), Past(3, "year"))


@dataclass(frozen=True)
class Choice:
    """A value of a filter, or nothing of it (everything); and the cards that it reaches with their rows."""

    filter: Filter
    value: Past | tuple[str, ...]
    cards: tuple[tuple[Card, Answer], ...] = ()


def read(connection: Connection, dashboard: Dashboard, today: date, ends_at: float) -> Iterator[Choice]:
    """Yield each choice of each filter with what it shows, until time.monotonic() is `ends_at`.

    Raise what the driver raises if the connection is lost.
    """
    for found in dashboard.filters:
        reached = [card for card in dashboard.cards if any(one.filter == found.name for one in card.reach)]
        for value in _values(connection, dashboard, found):
            if time.monotonic() >= ends_at:
                told = "%s: what else can be chosen is left out from filter %s on: its cards take too long"
                logger.warning(told, dashboard.file, found.name)
                return
            picked = rows.chosen(dashboard, {found.name: value})
            yield Choice(
                found, value,
                tuple((card, rows.answer(connection, dashboard, card, today, picked)) for card in reached),
            )  # fmt: skip


def _values(connection: Connection, dashboard: Dashboard, found: Filter) -> list[Past | tuple[str, ...]]:
    """Return what can be chosen: everything first. A text that is searched for can be anything."""
    everything: list[Past | tuple[str, ...]] = [()]
    match found.kind:
        case "date":
            others: list[Past | tuple[str, ...]] = list(RANGES)
        case "category":
            others = [(value,) for value in _categories(connection, dashboard, found)]
        case _:
            others = []
    there = [value for value in others if value != found.default]
    return [*(everything if found.default else []), *there]


def _categories(connection: Connection, dashboard: Dashboard, found: Filter) -> list[str]:
    """Return the values of the columns that a filter looks at, the most frequent of them, in order."""
    places = {
        (reach.relation, reach.name) for card in dashboard.cards for reach in card.reach
        if reach.filter == found.name and reach.relation
    }  # fmt: skip
    counted: dict[str, int] = {}
    for relation, name in sorted(places):
        for value, count in _counted(connection, relation, name):
            counted[value] = counted.get(value, 0) + count
    return sorted(sorted(counted, key=lambda value: -counted[value])[:MOST])


def _counted(connection: Connection, relation: str, name: str) -> list[tuple[str, int]]:
    schema, _, table = relation.partition(".")
    column = sql.Identifier(name)
    query = sql.SQL(
        "SELECT {0}::text, count(*) FROM {1} WHERE {0} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {2}"
    ).format(column, sql.Identifier(schema, table), sql.Literal(MOST))
    try:
        with rows.apart(connection):
            return [(str(value), int(count)) for value, count in postgres.rows(connection, query)]
    except postgres.Error:
        if connection.closed:
            raise
        return []  # what is wrong with it is told of the card
