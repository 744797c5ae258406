"""Theme: the colours and the type of a chart, in Vega-Lite's words.

Colours are names of the page's own, so that one picture serves in the light and in the dark.
"""

from collections.abc import Mapping
from typing import Any

Spec = dict[str, Any]

# Each stands for a colour of the page, by its CSS variable; drawn as they are they would be black.
INK, MUTED, GRID, PAPER = "#010a01", "#010a02", "#010a03", "#010a04"
SERIES = tuple(f"#010b0{number}" for number in range(1, 9))
COLOURS: Mapping[str, str] = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, start=1)},
}

FONT = "Helvetica, Arial, sans-serif"
# A little more than on the page: nobody knows the letters of the machine that it is read on.
FONT_SIZE = 13

CONFIG: Spec = {
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": FONT_SIZE,
        "titleFontSize": FONT_SIZE,
        "titleFontWeight": "normal",
        "labelColor": INK,
        "titleColor": MUTED,
        "domainColor": GRID,
        "tickColor": GRID,
        "gridColor": GRID,
        "labelLimit": 0,
        "titleLimit": 0,
    },
    "legend": {
        "labelFontSize": FONT_SIZE,
        "labelColor": INK,
        "titleColor": MUTED,
        "labelLimit": 0,
        "orient": "bottom",
        "title": None,
        "symbolType": "square",
        "symbolSize": 110,
        "offset": 10,
        "rowPadding": 4,
    },
    "text": {"fontSize": FONT_SIZE, "color": INK, "font": FONT},
    "line": {"strokeWidth": 2.25},
}
