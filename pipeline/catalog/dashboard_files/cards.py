"""The keys of dashboards/NAME.yaml: what can be written of a dashboard, a card and a filter."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from pipeline.catalog.dashboard_files.board import COLUMNS, TEXT, Chart, DateUnit, FilterKind, Past, PastUnit
from pipeline.catalog.declared import Declared
from pipeline.catalog.values import ColumnNames, Name

_PAST = re.compile(r"(?:past )?(\d+) (day|week|month|quarter|year)s?")
_MEASURE = re.compile(r"(?:(sum|avg|min|max|count)\((\w+)\)|(\w[^()]*))")
_ORDER = re.compile(r"-?[^\s-].*")

# How many dimensions and measures each chart has: least and most.
SHAPES: Mapping[Chart, tuple[tuple[int, int], tuple[int, int]]] = {
    Chart.NUMBER: ((0, 0), (1, 1)),
    Chart.LINE: ((1, 2), (1, 12)),
    Chart.BAR: ((1, 2), (1, 12)),
    Chart.ROW: ((1, 2), (1, 12)),
    Chart.AREA: ((1, 2), (1, 12)),
    Chart.PIE: ((1, 1), (1, 1)),
    Chart.SCATTER: ((1, 2), (1, 1)),
}
SIZES: Mapping[str, tuple[int, int]] = {
    Chart.NUMBER: (6, 3),
    Chart.PIE: (12, 8),
    Chart.TABLE: (12, 9),
    TEXT: (24, 2),
}
SIZE = (12, 6)


def _default(value: Any) -> Any:
    if isinstance(value, date):
        return (value.isoformat(),)
    if isinstance(value, str) and (match := _PAST.fullmatch(value.strip())):
        return Past(int(match[1]), PastUnit(match[2]))
    if isinstance(value, str | int):
        return (str(value),)
    if isinstance(value, list) and value and all(isinstance(each, str | int | date) for each in value):
        return tuple(str(each) for each in value)
    raise ValueError("is not a valid choice; write a text, a list of them, or for dates 'past 12 months'")


def _measures(value: Any) -> Any:
    listed = [value] if isinstance(value, str) else value
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, str) and not _MEASURE.fullmatch(each):
            raise ValueError(
                f"{each} is not a valid measure; write a column, or sum, avg, min, max or count of one"
            )
    return listed


def _order(value: Any) -> Any:
    listed = [value] if isinstance(value, str) else value
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, str) and not _ORDER.fullmatch(each):
            raise ValueError(
                f"{each} is not a column; write its name, with a - before it for the greatest first"
            )
    return listed


_Listed = Annotated[list[Name], Field(min_length=1)]
Cells = Annotated[int, Field(ge=1, strict=True)]
Offset = Annotated[int, Field(ge=0, strict=True)]
Flag = Annotated[bool, Field(strict=True)]


class DeclaredFormat(Declared):
    """How the values of one column are written."""

    title: Name | None = None
    """What the column is called (default: its name, with spaces)."""
    unit: Name | None = None
    """The text after each value, such as days."""
    prefix: Name | None = None
    """The text before each value, such as €."""
    decimals: Annotated[int, Field(ge=0, le=6, strict=True)] | None = None
    """Digits after the decimal point (default: as many as a value has)."""
    percent: Flag = False
    """true: 0.5 is written as 50%."""
    thousands: Flag = True
    """false: 2026 is not written as 2,026; for years and numbers that only name something."""
    date: DateUnit | None = None
    """How exact a date is written (default: day, or minute where it has a time)."""


class DeclaredCard(Declared):
    """One picture of a dashboard, or one text."""

    title: Name | None = None
    """The title of the card. A text needs none."""
    description: Name | None = None
    """What it shows, in a sentence or two."""
    chart: Chart = Chart.TABLE
    """How the rows are shown."""
    sql: Name | None = None
    """One SELECT that gives the rows; {filters} stands where the conditions of filters belong."""
    mart: Name | None = None
    """The mart whose rows are shown, without 'mart.'; or write sql."""
    text: Name | None = None
    """Text instead of rows, in Markdown."""
    dimensions: ColumnNames | None = None
    """The column along the axis, or the names of the slices; a second one separates the series.

    Of a table, the first columns.
    """
    measures: (
        Annotated[
            tuple[Name, ...],
            Field(min_length=1),
            BeforeValidator(_measures, json_schema_input_type=Name | _Listed),
        ]
        | None
    ) = None
    """The columns that are drawn. Of a mart also sum(column), avg, min, max or count, for each dimension."""
    order: (
        Annotated[
            tuple[Name, ...],
            Field(min_length=1),
            BeforeValidator(_order, json_schema_input_type=Name | _Listed),
        ]
        | None
    ) = None
    """Of a mart, by what its rows are sorted; -column: the greatest first (default: the dimensions)."""
    limit: Cells | None = None
    """Of a mart, how many rows are shown at most."""
    format: Mapping[Name, DeclaredFormat] = {}
    """How the values of a column are written, by its name."""
    stacked: Flag = False
    """true: the bars or areas of series are stacked."""
    filters: tuple[Name, ...] | Mapping[Name, Name] | None = None
    """Which filters reach the card, as a list, or each with the column that it applies to (default: all whose
    column is there)."""
    width: Annotated[int, Field(ge=1, le=COLUMNS, strict=True)] | None = None
    """How many of the 24 columns it is wide."""
    height: Cells | None = None
    """How many rows of the grid it is high."""
    left: Annotated[int, Field(ge=0, lt=COLUMNS, strict=True)] | None = None
    """How many columns are left of it; with top. By default cards follow each other."""
    top: Offset | None = None
    """How many rows are above it; with left."""

    @model_validator(mode="after")
    def _sensible(self) -> "DeclaredCard":
        if sum(each is not None for each in (self.sql, self.mart, self.text)) != 1:
            raise ValueError("needs either sql, mart or text; write one of them")
        if self.title is None and self.text is None:
            raise ValueError("needs a title; write title: and a short description")
        if (self.left is None) != (self.top is None):
            raise ValueError("has only one of left and top; write both, or neither")
        if self.left is not None and self.left + self.size[0] > COLUMNS:
            raise ValueError(f"reaches beyond the {COLUMNS} columns; lower left or width")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """How wide and high it is."""
        width, height = SIZES.get(TEXT if self.text else self.chart, SIZE)
        return self.width or width, self.height or height


class DeclaredFilter(Declared):
    """What a reader of the dashboard can choose."""

    title: Name | None = None
    """What it is called (default: its name, with spaces)."""
    kind: FilterKind
    """date: a range of dates; category: one or more of a column's values; search: a part of a text."""
    column: Name | None = None
    """The column that it filters (default: its name)."""
    default: Annotated[
        Past | tuple[str, ...] | None,
        BeforeValidator(_default, json_schema_input_type=str | int | list[str | int]),
    ] = None
    """What is chosen at first: values; for dates 'past 12 months', or the first and the last day."""

    @model_validator(mode="after")
    def _sensible(self) -> "DeclaredFilter":
        if self.default is None:
            return self
        if self.kind == FilterKind.DATE:
            if not isinstance(self.default, Past) and not _is_range(self.default):
                raise ValueError(
                    "its default is not a range; write 'past 12 months', or the first and the last day"
                )
        elif isinstance(self.default, Past):
            raise ValueError("its default is a range of dates; write a value of the column, or kind: date")
        elif self.kind == FilterKind.SEARCH and len(self.default) > 1:
            raise ValueError("its default is a list; a search has one text")
        return self


def _is_range(days: tuple[str, ...]) -> bool:
    try:
        first, last = map(date.fromisoformat, days)
    except ValueError:
        return False
    return first <= last


class DeclaredTab(Declared):
    """A page of a dashboard."""

    title: Name
    """The label of the tab."""
    cards: Annotated[tuple[DeclaredCard, ...], Field(min_length=1)]
    """What is on it, in order."""


class DeclaredDashboard(Declared):
    """A file dashboards/NAME.yaml as it is written: one dashboard."""

    title: Name
    """What the dashboard is called."""
    description: Name | None = None
    """What it is for."""
    filters: Mapping[Name, DeclaredFilter] = {}
    """What a reader can choose, by a name for each."""
    granted: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """Tables of sources, such as hr.department, that somebody granted to the role of the dashboards."""
    cards: Annotated[tuple[DeclaredCard, ...], Field(min_length=1)] | None = None
    """What is on it, in order; or write tabs."""
    tabs: Annotated[tuple[DeclaredTab, ...], Field(min_length=1)] | None = None
    """Its pages, each with cards."""

    @model_validator(mode="after")
    def _sensible(self) -> "DeclaredDashboard":
        if (self.cards is None) == (self.tabs is None):
            raise ValueError("needs either cards or tabs; write one of them")
        return self


def measure(written: str) -> tuple[str | None, str]:
    """Return the aggregate and the column of a measure.

    >>> measure("sum(students)"), measure("students")
    (('sum', 'students'), (None, 'students'))
    """
    match = _MEASURE.fullmatch(written)
    if match is None:
        raise ValueError(written)
    return (match[1], match[2]) if match[1] else (None, match[3])
