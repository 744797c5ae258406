"""A chart is data: what is drawn, by which numbers, with which units, is looked at before it is drawn."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from pipeline.catalog import Card, Format, Place
from pipeline.report import spec
from pipeline.report.drawn import Pencil
from pipeline.report.rows import Answer
from pipeline.report.spec import Size
from pipeline.report.theme import Spec

WIDE, PHONE = Size(540, 200), Size(330, 200)
ANSWER = Answer(
    ("week", "kind", "fees", "late", "year"),
    (
        (date(2026, 11, 16), "a" * 60, Decimal("1234567.5"), 0.25, 2025),
        (date(2026, 11, 23), "b", Decimal(80), None, 2026),
    ),
)
FORMATS = {"fees": Format(prefix="€"), "late": Format(percent=True), "year": Format(thousands=False)}


def card(chart: Any, dimensions: tuple[str, ...], *measures: str, **more: Any) -> Card:
    return Card(
        "A title",
        chart,
        Place(0, 0, 12, 6),
        dimensions=dimensions,
        measures=measures,
        formats=FORMATS,
        **more,
    )


def values(made: Spec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = made["data"]["values"]
    return found


def test_values_carry_the_text_with_units_and_separators_that_is_written_beside_them() -> None:
    made = spec.spec(card("row", ("kind",), "fees"), ANSWER, WIDE)
    assert [(value["y"], value["text"]) for value in values(made)] == [
        (1234567.5, "€1,234,567.5"),
        (80.0, "€80"),
    ]
    json.dumps(made)  # plain data


def test_what_is_not_there_is_not_drawn_as_nothing() -> None:
    made = spec.spec(card("line", ("week",), "late", "fees"), ANSWER, WIDE)
    assert [(value["s"], value["y"]) for value in values(made)] == [
        ("Late", 0.25),
        ("Fees", 1234567.5),
        ("Fees", 80.0),
    ]


def test_an_axis_is_written_as_its_column_is() -> None:
    late = spec.spec(card("bar", ("week",), "late"), ANSWER, WIDE)
    assert late["layer"][0]["encoding"]["y"]["axis"]["format"] == ".0%"
    year = spec.spec(card("bar", ("kind",), "year"), ANSWER, WIDE)
    assert year["layer"][0]["encoding"]["y"]["axis"]["labelExpr"] == "format(datum.value, '.2~f')"
    fees = spec.spec(card("line", ("week",), "fees"), ANSWER, WIDE)
    assert fees["layer"][0]["encoding"]["y"]["axis"]["labelExpr"] == "'€' + format(datum.value, ',.2~f')"
    assert fees["layer"][0]["encoding"]["x"]["scale"] == {"type": "utc"}


def test_long_names_stand_above_their_bars_and_are_never_cut() -> None:
    made = spec.spec(card("row", ("kind",), "fees"), ANSWER, PHONE)
    assert made["layer"][0]["encoding"]["y"]["axis"] is None
    assert "name" in [layer["encoding"].get("text", {}).get("field") for layer in made["layer"]]
    assert made["config"]["axis"]["labelLimit"] == made["config"]["legend"]["labelLimit"] == 0


def test_a_second_dimension_tells_series_apart_and_stacks_where_it_is_said() -> None:
    stacked = spec.spec(card("bar", ("week", "kind"), "fees", stacked=True), ANSWER, WIDE)
    beside = spec.spec(card("bar", ("week", "kind"), "fees"), ANSWER, WIDE)
    assert stacked["layer"][0]["encoding"]["y"]["stack"] == "zero"
    assert "xOffset" in beside["layer"][0]["encoding"]
    assert "xOffset" not in stacked["layer"][0]["encoding"]


@pytest.mark.parametrize("chart", ["line", "bar", "row", "area", "pie", "scatter"])
def test_each_kind_is_drawn_without_script_address_or_a_colour_of_its_own(chart: str) -> None:
    dimensions = ("year",) if chart == "scatter" else ("week",)
    drawn = Pencil().svg(spec.spec(card(chart, dimensions, "fees"), ANSWER, WIDE), "A &amp; B")
    assert drawn.startswith('<svg role="img" aria-label="A &amp; B"')
    for foreign in ("http", "<script", "<image", "url(", "#010"):
        assert foreign not in drawn, foreign
    assert "var(--series-1)" in drawn
