"""Rows: what each card shows, read from the warehouse as dashboards read, all of one moment."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import psycopg2
from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Card, Dashboard, Filter, Past
from pipeline.catalog.dashboard_files.asked import quoted
from pipeline.catalog.dashboard_files.board import TEXT, Chart, FilterKind, PastUnit
from pipeline.postgres import Connection
from pipeline.redact import redact

# A picture of more is none.
MOST_ROWS = 2000
# They show values as they come, in words; every other chart draws numbers.
IN_WORDS = ("number", "table")
# Of a value that is none so much is told.
CHARACTERS = 40


@dataclass(frozen=True)
class Answer:
    """What a card's SELECT gave: the first MOST_ROWS of its rows."""

    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[Any, ...]] = ()
    # Whether there are more.
    cut: bool = False
    # Why there are none.
    error: str = ""

    def column(self, name: str) -> list[Any]:
        """Return the values of one column."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    @property
    def missing(self) -> bool:
        """Whether there is nothing to show."""
        return not self.rows


# What is chosen, by the name of a filter, where it is not the default.
Chosen = Mapping[str, Past | tuple[str, ...]]


def chosen(dashboard: Dashboard, others: Chosen) -> dict[str, Past | tuple[str, ...]]:
    """Return what is chosen of each filter that is; `others` is, where that is empty, everything."""
    defaults = {each.name: each.default for each in dashboard.filters if each.default}
    return {name: value for name, value in (defaults | dict(others)).items() if value}


def read(connection: Connection, dashboard: Dashboard, today: date, others: Chosen) -> Iterator[Answer]:
    """Yield the rows of each card in order; a card that the server refuses is none to the others."""
    picked = chosen(dashboard, others)
    for card in dashboard.cards:
        yield Answer() if card.chart == TEXT else answer(connection, dashboard, card, today, picked)


@contextlib.contextmanager
def apart(connection: Connection) -> Iterator[None]:
    """Let what fails in the body be as if it had not been asked, to what is asked afterwards."""
    postgres.rows(connection, "SAVEPOINT card")
    try:
        yield
    except BaseException:
        if not connection.closed:
            postgres.rows(connection, "ROLLBACK TO SAVEPOINT card")
        raise


def answer(connection: Connection, dashboard: Dashboard, card: Card, today: date, picked: Chosen) -> Answer:
    """Return the rows of a card, or why there are none, where that is `picked`."""
    conditions = " AND ".join(
        condition(dashboard.filter(each.filter), each.column, picked[each.filter], today).as_string(
            connection
        )
        for each in card.reach
        if each.filter in picked
    )
    # On a line of its own: the SELECT may end with a comment.
    statement = f"SELECT * FROM (\n{card.statement(conditions)}\n) AS card LIMIT {MOST_ROWS + 1}"  # noqa: S608 - it is theirs, and may only read
    try:
        with apart(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            rows = cursor.fetchall()
            columns = tuple(column.name for column in cursor.description or ())
    except psycopg2.Error as error:
        if connection.closed:
            raise
        return Answer(error=_message_of(error))
    except (ValueError, OverflowError) as error:
        # What PostgreSQL has and Python has not, such as a date before Christ.
        return Answer(error=f"a value cannot be read: {redact(str(error))}")
    answered = Answer(columns, rows[:MOST_ROWS], cut=len(rows) > MOST_ROWS)
    wrong = undrawable(card, answered)
    return Answer(error=wrong) if wrong else answered


def undrawable(card: Card, answer: Answer) -> str:
    """Return why the rows are not what the card is to show; nothing if they are.

    >>> from pipeline.catalog import Place
    >>> bars = Card("", "bar", Place(0, 0, 1, 1), dimensions=("week",), measures=("took",))
    >>> undrawable(bars, Answer(("week", "n"), ()))
    'its SELECT returns no column took'
    >>> undrawable(bars, Answer(("week", "took"), ((1, None), (2, timedelta(1)))))
    'took is not a number: 1 day, 0:00:00'
    """
    if card.chart == Chart.TABLE:
        return ""
    for name in (*card.dimensions, *card.measures):
        if name not in answer.columns:
            return f"its SELECT returns no column {name}"
    for name in () if card.chart in IN_WORDS else card.measures:
        for value in answer.column(name):
            if value is not None and not _is_number(value):
                return f"{name} is not a number: {str(value)[:CHARACTERS]}"
    return ""


def _is_number(value: Any) -> bool:
    # NaN and Infinity are by their type alone: neither has a place on an axis.
    return isinstance(value, int | float | Decimal) and math.isfinite(value)


def _message_of(error: psycopg2.Error) -> str:
    message = error.diag.message_primary or "the warehouse rejects it"
    hint = "; grant it to the role of the dashboards" if error.pgcode == "42501" else ""
    return redact(message) + hint


def condition(filter_: Filter, column: str, value: Past | tuple[str, ...], today: date) -> sql.Composable:
    """Return the SQL condition of what is chosen, on a column as it is written in a card."""
    name = sql.SQL(quoted(column))
    if filter_.kind == FilterKind.DATE:
        first, last = between(value, today)
        return sql.SQL("{0} >= {1} AND {0} < {2}").format(
            name, sql.Literal(first), sql.Literal(last + timedelta(days=1))
        )
    values = () if isinstance(value, Past) else value
    if filter_.kind == FilterKind.SEARCH:
        pattern = "".join(f"\\{letter}" if letter in "%_\\" else letter for letter in values[0])
        return sql.SQL("{}::text ILIKE {}").format(name, sql.Literal(f"%{pattern}%"))
    return sql.SQL("{}::text = ANY ({}::text[])").format(name, sql.Literal(list(values)))


def between(value: Past | tuple[str, ...], today: date) -> tuple[date, date]:
    """Return the first and the last day of a range.

    >>> [str(day) for day in between(Past(3, PastUnit.MONTH), date(2026, 1, 20))]
    ['2025-11-01', '2026-01-20']
    """
    if not isinstance(value, Past):
        first, last = map(date.fromisoformat, value)
        return first, last
    back = value.count - 1
    match value.unit:
        case PastUnit.DAY:
            return today - timedelta(days=back), today
        case PastUnit.WEEK:
            return today - timedelta(days=today.weekday(), weeks=back), today
        case _:
            length = {PastUnit.MONTH: 1, PastUnit.QUARTER: 3, PastUnit.YEAR: 12}[value.unit]
            months = (today.year * 12 + today.month - 1) // length * length - back * length
            return date(months // 12, months % 12 + 1, 1), today
