"""How a card is drawn, in Metabase's words. It checks none of them: what it does not know it passes over."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.catalog.dashboard_files.board import Card, Chart, DateUnit, Format

# Ours that are called otherwise there.
DISPLAYS: Mapping[str, str] = {"number": "scalar"}
_DATES: Mapping[DateUnit, Mapping[str, Any]] = {
    DateUnit.MINUTE: {"date_style": "D MMMM, YYYY", "time_enabled": "minutes"},
    DateUnit.DAY: {"date_style": "D MMMM, YYYY", "time_enabled": None},
}


def display(card: Card) -> str:
    """Return what a chart is called."""
    return DISPLAYS.get(card.chart, card.chart)


def settings(card: Card) -> dict[str, Any]:
    """Return the visualization settings of a card."""
    options: dict[str, Any] = {}
    dimensions, measures = list(card.dimensions), list(card.measures)
    if card.chart == Chart.NUMBER:
        options["scalar.field"] = measures[0]
    elif card.chart == Chart.PIE:
        options |= {"pie.dimension": dimensions[0], "pie.metric": measures[0]}
    elif card.chart == Chart.TABLE:
        if dimensions or measures:
            options["table.columns"] = [
                {"name": name, "enabled": True} for name in dict.fromkeys([*dimensions, *measures])
            ]
    else:
        options |= {"graph.dimensions": dimensions, "graph.metrics": measures}
        if card.stacked:
            options["stackable.stack_type"] = "stacked"
    named = dict.fromkeys([*dimensions, *measures, *card.formats])
    columns = {
        json.dumps(["name", name], separators=(",", ":")): _format(card.format_of(name)) for name in named
    }
    return options | ({"column_settings": columns} if columns else {})


def text(card: Card) -> dict[str, Any]:
    """Return what a card of a dashboard is that has no rows."""
    written = f"### {card.title}\n\n{card.text}" if card.title else card.text
    virtual: dict[str, Any] = {
        "name": None,
        "display": "text",
        "visualization_settings": {},
        "dataset_query": {},
        "archived": False,
    }
    return {"virtual_card": virtual, "text": written, "dashcard.background": False}


def _format(written: Format) -> dict[str, Any]:
    options: dict[str, Any] = {"column_title": written.title}
    if written.unit:
        options["suffix"] = f" {written.unit}"
    if written.prefix:
        options["prefix"] = written.prefix
    if written.decimals is not None:
        options["decimals"] = written.decimals
    if written.percent:
        options["number_style"] = "percent"
    if not written.thousands:
        options["number_separators"] = "."
    return options | dict(_DATES.get(written.date, {}) if written.date else {})
