"""Spec: a card and its rows as a chart in Vega-Lite's words, which are data. It is drawn elsewhere."""

from dataclasses import dataclass
from typing import Any

from pipeline.catalog import Card, Format
from pipeline.catalog.dashboard_files.board import Chart
from pipeline.report import points, written
from pipeline.report.rows import Answer
from pipeline.report.theme import CONFIG, PAPER, SERIES, Spec

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"

# The width of a letter, on average, for what has to be known before it is drawn.
LETTER = 7
# How much higher than its highest bar a chart is that has values above its bars.
HEADROOM = 1.12
# The most bars that have their value written on them, and points that are marked.
FEW = 16
# The share of the width that names beside bars may have, and how high a bar is with its name.
NAMES = 0.5
LOWEST_ROW, HIGHEST_ROW, LINE = 18, 34, 14

_DATE_FORMATS = {
    "day": "%-d %b %Y",
    "week": "%-d %b %Y",
    "month": "%b %Y",
    "quarter": "%Y Q%q",
    "year": "%Y",
    "minute": "%-d %b, %H:%M",
}


@dataclass(frozen=True)
class Size:
    """How large a picture is, in CSS pixels."""

    width: int
    height: int


def spec(card: Card, answer: Answer, size: Size) -> Spec:
    """Return the chart of a card; only of those that have one."""
    values = list(points.of(card, answer))
    made = _Chart(card, values, size, dated=points.dated(card, answer))
    body = {"pie": made.pie, "row": made.row, "scatter": made.scatter}.get(card.chart, made.upright)()
    return {
        "$schema": SCHEMA,
        "width": size.width,
        "autosize": {"type": "fit", "contains": "padding"},
        "background": "transparent",
        "padding": 2,
        "data": {"values": values},
        "config": CONFIG,
        **body,
    }


class _Chart:
    """One chart of points."""

    def __init__(self, card: Card, points: list[Spec], size: Size, *, dated: bool) -> None:
        self._card, self._points, self._size, self._dated = card, points, size, dated
        self._along = card.format_of(card.dimensions[0])
        self._measure = card.format_of(card.measures[0])
        self._series = list(dict.fromkeys(point["s"] for point in points))
        self._names = list(dict.fromkeys(point["name"] for point in points))

    def upright(self) -> Spec:
        """Bars, lines and areas: the dimension along the bottom."""
        kind, several = self._card.chart, len(self._series) > 1
        stack: Any = "zero" if self._card.stacked else None
        encoding: Spec = {"x": self._x(), "y": {**self._y(), "stack": stack}, "color": self._colour()}
        mark: Spec = {"type": kind}
        if kind == Chart.BAR:
            mark |= {"cornerRadiusEnd": 2}
            if several and not self._card.stacked:
                encoding["xOffset"] = {"field": "s", "type": "nominal", "sort": None}
        elif kind == Chart.LINE:
            mark |= {"point": {"size": 28}} if len(self._names) <= FEW else {}
        else:
            mark |= {"line": not self._card.stacked, "fillOpacity": 0.85 if self._card.stacked else 0.25}
        layers = [{"mark": mark, "encoding": encoding}]
        if kind == Chart.BAR and not several and self._fits():
            text = {
                "mark": {"type": "text", "dy": -7},
                "encoding": {"x": encoding["x"], "y": encoding["y"], "text": {"field": "text"}},
            }
            layers.append(text)
            # Else the highest value would stand in the axis' title.
            highest = max((point["y"] for point in self._points), default=0)
            encoding["y"]["scale"] = {"domainMax": highest * HEADROOM} if highest > 0 else {}
        return {"height": self._size.height, "layer": layers}

    def _fits(self) -> bool:
        """Whether the values have room above their bars."""
        longest = max((len(point["text"]) for point in self._points), default=0)
        return longest * LETTER * len(self._names) < self._size.width - 70

    def row(self) -> Spec:
        """Return bars that lie, with their values; names are in front, or above where they are long."""
        several = len(self._series) > 1
        thick = len(self._series) if several and not self._card.stacked else 1
        above = max((len(name) for name in self._names), default=0) * LETTER > self._size.width * NAMES
        # As high as the card where the names allow it.
        room = (self._size.height - 14) / max(len(self._names), 1)
        room = min(max(room, LOWEST_ROW * thick), HIGHEST_ROW * thick)
        bar, room = (room * 0.8, room) if not above else (LOWEST_ROW * thick, LOWEST_ROW * thick + LINE + 9)
        y: Spec = {
            "field": "name",
            "type": "nominal",
            "sort": None,
            "scale": {"paddingInner": 1 - bar / room, "paddingOuter": 0.5 if above else 0.05},
            "axis": None if above else {"title": None, "ticks": False, "domain": False, "labelPadding": 6},
        }
        x: Spec = {
            "field": "y",
            "type": "quantitative",
            "stack": "zero" if self._card.stacked else None,
            "axis": None,
        }
        encoding: Spec = {"y": y, "x": x, "color": self._colour()}
        if thick > 1:
            encoding["yOffset"] = {"field": "s", "type": "nominal", "sort": None}
        layers: list[Spec] = [{"mark": {"type": "bar", "cornerRadiusEnd": 2}, "encoding": encoding}]
        if above:
            name: Spec = {"type": "text", "align": "left", "baseline": "bottom", "dy": -bar / 2 - 2}
            words: Spec = {"y": y, "x": {"value": 0}, "text": {"field": "name"}}
            layers.append({"mark": name, "encoding": words})
        if several and self._card.stacked:
            x["axis"] = self._axis(self._measure)
        else:
            longest = max((len(point["text"]) for point in self._points), default=0)
            greatest = max((point["y"] for point in self._points), default=0)
            # The longest value has to have room behind the longest bar.
            share = min(0.45, (longest * LETTER + 8) / (self._size.width * (0.95 if above else 0.6)))
            x["scale"] = {"domainMax": greatest / (1 - share) if greatest > 0 else 1}
            text = {key: value for key, value in encoding.items() if key != "color"}
            mark: Spec = {"type": "text", "align": "left", "dx": 5}
            layers.append({"mark": mark, "encoding": {**text, "text": {"field": "text"}}})
        return {"height": round(room * len(self._names)) + 14, "layer": layers}

    def pie(self) -> Spec:
        """Return a ring, whose names have their values and shares."""
        whole = sum(point["y"] for point in self._points) or 1
        for point in self._points:
            share = written.number(point["y"] / whole, Format(percent=True, decimals=0))
            point["s"] = f"{point['name']}: {point['text']} ({share})"
        self._series = [point["s"] for point in self._points]
        colour = self._colour()
        colour["legend"] = {"orient": "bottom", "columns": self._columns()}
        return {
            "height": self._size.height,
            "mark": {"type": "arc", "innerRadius": {"expr": "min(width, height) / 4"}, "stroke": PAPER},
            "encoding": {
                "theta": {"field": "y", "type": "quantitative", "stack": True},
                "color": colour,
                "order": {"field": "y", "sort": "descending"},
            },
        }

    def scatter(self) -> Spec:
        """Return points, each by two numbers."""
        x = {
            "field": "x",
            "type": "quantitative",
            "scale": {"zero": False},
            "axis": {
                **self._axis(self._along),
                "title": written.heading(self._along),
                "grid": False,
                "tickCount": max(3, self._size.width // 90),
                "labelOverlap": "greedy",
            },
        }
        y = {**self._y(), "scale": {"zero": False}}
        mark = {"type": "point", "filled": True, "size": 45, "opacity": 0.75}
        return {
            "height": self._size.height,
            "mark": mark,
            "encoding": {"x": x, "y": y, "color": self._colour()},
        }

    def _x(self) -> Spec:
        if self._dated and self._card.chart != Chart.BAR:
            how = self._along.date or "day"
            days = sorted({point["x"] for point in self._points})
            # At days of which there is something, as many as there is room for.
            ticks = days[:: -(-len(days) // max(2, self._size.width // 105))] if days else []
            return {
                "field": "x",
                "type": "temporal",
                "scale": {"type": "utc"},
                "axis": {
                    "title": None,
                    "format": _DATE_FORMATS[how],
                    "values": ticks,
                    "grid": False,
                    "labelOverlap": "greedy",
                    "labelSeparation": 8,
                },
            }
        axis: Spec = {
            "title": None,
            "ticks": False,
            "labelAngle": 0,
            "labelOverlap": "greedy",
            "labelSeparation": 6,
            "labelPadding": 6,
        }
        longest = max((len(name) for name in self._names), default=0)
        if not self._dated and longest * LETTER * len(self._names) > self._size.width - 60:
            # Names that are left out would be missed; dates between others are not.
            axis |= {"labelAngle": -35, "labelOverlap": False, "labelAlign": "right"}
        return {"field": "name", "type": "nominal", "sort": None, "axis": axis}

    def _y(self) -> Spec:
        several = len(self._card.measures) > 1
        axis = self._axis(self._measure)
        title = self._measure.unit if several else written.heading(self._measure)
        axis |= {
            "title": title or None,
            "titleAngle": 0,
            "titleAlign": "left",
            "titleAnchor": "end",
            "titleX": 0,
            "titleY": -10,
            "titleBaseline": "bottom",
            "domain": False,
            "ticks": False,
            "tickCount": max(3, self._size.height // 42),
        }
        return {"field": "y", "type": "quantitative", "axis": axis}

    def _axis(self, how: Format) -> Spec:
        """Return an axis of numbers as they are written elsewhere."""
        if how.percent:
            return {"format": ".0%" if how.decimals in (None, 0) else f".{how.decimals}%"}
        separated = "," if how.thousands else ""
        number = f"format(datum.value, '{separated}.2~f')"
        prefix = how.prefix.replace("\\", "\\\\").replace("'", "\\'")
        return {"labelExpr": f"'{prefix}' + {number}" if prefix else number}

    def _colour(self) -> Spec:
        colours = [SERIES[number % len(SERIES)] for number in range(len(self._series))]
        legend: Spec | None = {"columns": self._columns()} if len(self._series) > 1 else None
        if legend and self._card.chart == Chart.LINE:
            legend |= {"symbolType": "stroke", "symbolStrokeWidth": 3}
        return {
            "field": "s",
            "type": "nominal",
            "sort": None,
            "legend": legend,
            "scale": {"domain": self._series, "range": colours},
        }

    def _columns(self) -> int:
        """Return how many names of series stand beside each other."""
        longest = max((len(name) for name in self._series), default=1)
        return max(1, min(len(self._series), int(self._size.width // (longest * LETTER + 34))))
