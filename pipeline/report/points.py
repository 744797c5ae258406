"""Points: what a chart draws of an answer, a value for each mark, as JSON has it."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from pipeline.catalog import Card
from pipeline.report import written
from pipeline.report.rows import Answer
from pipeline.report.theme import Spec


def of(card: Card, answer: Answer) -> Iterator[Spec]:
    """Yield a value for each mark: x, its name, y, its text, and the series s."""
    along, *others = card.dimensions
    across = answer.column(others[0]) if others else []
    names = answer.column(along)
    for measure in card.measures:
        how = card.format_of(measure)
        for number, value in enumerate(answer.column(measure)):
            if value is None or names[number] is None:
                continue
            series = written.text(across[number], card.format_of(others[0])) if others else how.title
            yield {
                "x": _plain(names[number]),
                "name": written.text(names[number], card.format_of(along)),
                "y": float(value),
                "text": written.text(value, how),
                "s": series,
            }


def dated(card: Card, answer: Answer) -> bool:
    """Whether the marks of a card stand at dates."""
    along = answer.column(card.dimensions[0])
    return isinstance(next((value for value in along if value is not None), None), date)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: dates as milliseconds, in UTC."""
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(value, date):
        return int(datetime.combine(value, time(), UTC).timestamp() * 1000)
    if isinstance(value, Decimal):
        return float(value)
    return value if isinstance(value, int | float) else str(value)
