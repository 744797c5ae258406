"""A dashboard as it is shown: cards in their places, what each asks, and which filters reach it.

Plain values, with everything filled in, for whoever draws them: nothing in them knows by what.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.choice import Choice


class Chart(Choice):
    """How a card shows its rows."""

    TABLE = "table"
    NUMBER = "number"
    LINE = "line"
    BAR = "bar"
    AREA = "area"
    PIE = "pie"
    ROW = "row"
    SCATTER = "scatter"


class FilterKind(Choice):
    """What a filter lets one choose."""

    DATE = "date"
    CATEGORY = "category"
    SEARCH = "search"


# What a card is that has no rows.
TEXT: Literal["text"] = "text"
Drawn = Chart | Literal["text"]


class PastUnit(Choice):
    """In what a range of dates is counted that ends today."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class DateUnit(Choice):
    """How exact a date is written."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    MINUTE = "minute"


# The grid that cards stand on, as wide as Metabase's.
COLUMNS = 24

# What stands in a card's SQL where the conditions of filters belong, and what it is without any.
FILTERS = "{filters}"
NO_CONDITION = "true"


@dataclass(frozen=True)
class Format:
    """How the values of one column are written."""

    # What it is called; by default the column's name with spaces.
    title: str = ""
    # Behind each value, such as "days", and before it, such as "€".
    unit: str = ""
    prefix: str = ""
    # Digits behind the point; None: as many as it needs.
    decimals: int | None = None
    # 0.5 is written as 50%.
    percent: bool = False
    # 1000 is written as 1,000.
    thousands: bool = True
    # For dates, how exact.
    date: DateUnit | None = None


@dataclass(frozen=True)
class Place:
    """Where a card stands, in cells of the grid: from the left, from the top, and its size."""

    left: int
    top: int
    width: int
    height: int

    @property
    def cells(self) -> frozenset[tuple[int, int]]:
        """All that it covers, as pairs of row and column."""
        return frozenset(
            (row, column)
            for row in range(self.top, self.top + self.height)
            for column in range(self.left, self.left + self.width)
        )


@dataclass(frozen=True)
class Past:
    """A range of dates up to now: the last so many days, weeks, months or years, the current one included."""

    count: int
    unit: PastUnit


@dataclass(frozen=True)
class Filter:
    """What a reader can choose, for all cards that it reaches."""

    name: str
    title: str
    kind: FilterKind
    # The column that it looks at, where a card does not name another.
    column: str
    # What is chosen at first: a range of dates; categories; the text. None: everything is shown.
    default: Past | tuple[str, ...] | None = None


@dataclass(frozen=True)
class Reach:
    """A filter that reaches a card: the column that it looks at, and of which relation, such as mart.staff.

    The relation is empty where the SELECT does not tell which one it is.
    """

    filter: str
    # As it is written: with a table's name or alias before it, or without.
    column: str
    relation: str = ""

    @property
    def name(self) -> str:
        """The column's own name.

        >>> Reach("period", "times.week").name
        'week'
        """
        return self.column.rpartition(".")[2]


@dataclass(frozen=True)
class Card:
    """One picture, or one text, of a dashboard."""

    title: str
    chart: Drawn
    place: Place
    description: str = ""
    # Of a text card alone: Markdown.
    text: str = ""
    # One SELECT, in which FILTERS stands where conditions belong, if any can. Empty for a text.
    sql: str = ""
    # The mart that it shows as it is, where no SQL was written.
    mart: str = ""
    # Columns of what the SELECT gives: the first dimension runs along the axis, a second one tells series
    # apart. Both are empty for a table that shows all columns.
    dimensions: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    # By column; a column without one is written as format_of() says.
    formats: Mapping[str, Format] = field(default_factory=dict)
    # Series stand upon each other, and not side by side.
    stacked: bool = False
    reach: tuple[Reach, ...] = ()
    # The relations that the SELECT reads: mart.staff.
    reads: tuple[str, ...] = ()

    def format_of(self, column: str) -> Format:
        """Return how a column is written, its title included."""
        declared = self.formats.get(column, Format())
        if declared.title:
            return declared
        words = column.replace("_", " ").strip()
        return Format(**{**declared.__dict__, "title": words[:1].upper() + words[1:]})

    def statement(self, conditions: str = "") -> str:
        """Return its SELECT with SQL conditions in their place."""
        return self.sql.replace(FILTERS, f"({conditions})" if conditions else NO_CONDITION)


@dataclass(frozen=True)
class Tab:
    """A page of a dashboard. A dashboard without tabs has one, without a title."""

    title: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard; its name is that of its file, dashboards/NAME.yaml."""

    name: str
    title: str
    tabs: tuple[Tab, ...]
    description: str = ""
    filters: tuple[Filter, ...] = ()

    @property
    def file(self) -> str:
        """Where it is declared, in the analysts' repository."""
        return f"dashboards/{self.name}.yaml"

    @property
    def cards(self) -> tuple[Card, ...]:
        """All cards, tab by tab."""
        return tuple(card for tab in self.tabs for card in tab.cards)

    def filter(self, name: str) -> Filter:
        """Return one filter. Raise KeyError if there is none of that name."""
        return {each.name: each for each in self.filters}[name]
