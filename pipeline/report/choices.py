"""Choices: what else of each filter can be chosen on the page, and what the cards that it reaches show then.

One filter at a time, the others as they are at first: each choice is read and written when the page is, for
the page has no script and no server that it could ask.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Card, Dashboard, Filter, Past
from pipeline.catalog.dashboard_files.board import FilterKind, PastUnit
from pipeline.postgres import Connection
from pipeline.report import rows
from pipeline.report.rows import Answer

logger = logging.getLogger(__name__)

# Slow cards are not asked again and again: what is not read by then is left out.
SECONDS = 60.0
# Of a category so many; more are the least frequent.
MOST = 20
ALL, EMPTY = "all", "(empty)"
TOO_LONG = "Some values are missing here because their cards take too long."
NOT_HERE = "It cannot be chosen on this page."
RANGES = (
    Past(30, PastUnit.DAY),
    Past(3, PastUnit.MONTH),
    Past(12, PastUnit.MONTH),
    Past(3, PastUnit.YEAR),
)


@dataclass(frozen=True)
class Choice:
    """A value of a filter, or nothing of it (everything); and the cards that it reaches with their rows."""

    filter: Filter
    value: Past | tuple[str, ...]
    cards: tuple[tuple[Card, Answer], ...] = ()


@dataclass(frozen=True)
class Offered:
    """What can be chosen of the filters of a dashboard, and why there is more to a filter, by its name."""

    choices: tuple[Choice, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def label(value: Past | tuple[str, ...]) -> str:
    """Return what is to be chosen in a word or two; what stands for everything or nothing is not a value's.

    >>> label(()), label(("",)), label(("all",)), label(("LL.B.", "LL.M.")), label(Past(3, PastUnit.YEAR))
    ('all', '(empty)', '"all"', 'LL.B., LL.M.', 'past 3 years')
    """
    if isinstance(value, Past):
        return f"past {value.count} {value.unit}{'s' if value.count > 1 else ''}"
    words = [f'"{one}"' if one in (ALL, EMPTY) else one or EMPTY for one in value]
    return ", ".join(words) or ALL


def read(connection: Connection, dashboard: Dashboard, today: date, ends_at: float) -> Offered:
    """Return each choice of each filter with what it shows, as far as time.monotonic() is before `ends_at`.

    Raise what the driver raises if the connection is lost.
    """
    made: list[Choice] = []
    left_out: dict[str, str] = {}
    for filter_ in dashboard.filters:
        reached = [card for card in dashboard.cards if any(one.filter == filter_.name for one in card.reach)]
        values, why = _values(connection, dashboard, filter_)
        if why:
            left_out[filter_.name] = why
        for value in values:
            if time.monotonic() >= ends_at:
                left_out[filter_.name] = TOO_LONG
                break
            picked = rows.chosen(dashboard, {filter_.name: value})
            answers = ((card, rows.answer(connection, dashboard, card, today, picked)) for card in reached)
            made.append(Choice(filter_, value, tuple(answers)))
    if late := [name for name, why in left_out.items() if why == TOO_LONG]:
        warning = "%s: choices from filter %s on are left out: its cards take too long"
        logger.warning(warning, dashboard.file, late[0])
    return Offered(tuple(made), left_out)


def _values(
    connection: Connection, dashboard: Dashboard, filter_: Filter
) -> tuple[list[Past | tuple[str, ...]], str]:
    """Return what can be chosen, everything first, and why that is not all."""
    others: list[Past | tuple[str, ...]] = []
    why = ""
    match filter_.kind:
        case FilterKind.DATE:
            others = list(RANGES)
        case FilterKind.CATEGORY:
            names = _categories(connection, dashboard, filter_)
            others = [(value,) for value in sorted(names[:MOST])]
            why = f"Only its {MOST} most frequent values can be chosen here." if len(names) > MOST else ""
        case _:
            # A text that is searched for can be anything.
            pass
    there = [value for value in others if value != filter_.default]
    everything: list[Past | tuple[str, ...]] = [()] if filter_.default else []
    return [*everything, *there], why or ("" if others else NOT_HERE)


def _categories(connection: Connection, dashboard: Dashboard, filter_: Filter) -> list[str]:
    """Return what stands in the columns of a filter, the most frequent first; over MOST if there are."""
    places = {
        (reach.relation, reach.name)
        for card in dashboard.cards
        for reach in card.reach
        if reach.filter == filter_.name and reach.relation
    }
    counted: dict[str, int] = {}
    for relation, name in sorted(places):
        for one in _counted(connection, relation, name):
            counted[one["value"]] = counted.get(one["value"], 0) + one["rows"]
    return sorted(counted, key=lambda value: -counted[value])


def _counted(connection: Connection, relation: str, name: str) -> list[dict[str, Any]]:
    schema, _, table = relation.partition(".")
    column = sql.Identifier(name)
    query = sql.SQL(
        "SELECT {0}::text AS value, count(*) AS rows FROM {1} WHERE {0} IS NOT NULL"
        " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {2}"
    ).format(column, sql.Identifier(schema, table), sql.Literal(MOST + 1))
    try:
        with rows.apart(connection):
            return postgres.records(connection, query)
    except postgres.Error:
        if connection.closed:
            raise
        return []  # what is wrong with it is told of the card
