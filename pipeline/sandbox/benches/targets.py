"""What the measurements are to be, and how far each is from that: a table, and a picture of it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import chains
from pipeline.sandbox.benches.figures import Figures

RATIO, VALUE, PART = "times the yardstick", "", "each"


@dataclass(frozen=True)
class Target:
    """The most that a measurement may be: times its yardstick, in its unit, or in that for each part."""

    what: str
    name: str
    most: float
    kind: str = RATIO


TARGETS = (
    Target("load", "steps alone", 1.15),
    Target("load", "whole command", 1.4),
    Target("nights", "1 % changed, 0.1 % deleted", 0.6),
    Target("nights", "1 % changed", 0.4),
    Target("nights", "nothing changed", 0.3),
    Target("tables", "unchanged", 0.06, PART),
    Target("backup", "dump, encryption, checksums", 1.1),
    Target("backup", "upload, verify", 1.5),
    Target("restore", "from the bucket to a checked database", 1.3),
    Target("audit", "beside its night", 0.1),
    Target("start", "pipeline status", 0.25, VALUE),
    Target("start", "pipeline --help", 0.12, VALUE),
    Target("memory", chains.ETL.command(), 70, VALUE),
    Target("memory", "scheduler", 96, VALUE),
    Target("memory", "one step", 53, VALUE),
)


@dataclass(frozen=True)
class Row:
    """One line of the table. `share`: how many times the most that it may be it is."""

    label: str
    measured: str
    target: str
    share: float


def rows(measured: Sequence[Figures], parts: int) -> Iterator[Row]:
    """Yield what was measured of what has a target; `parts` is how many tables there were."""
    for figures in measured:
        for name in figures.costs:
            for target in TARGETS:
                if _is_of(target, figures, name):
                    yield _row(figures, name, target, parts)
                    break


def unmeasured(measured: Sequence[Figures]) -> Iterator[Row]:
    """Yield what has a target and was not measured: nobody knows whether it is within."""
    for target in TARGETS:
        if not any(_is_of(target, figures, name) for figures in measured for name in figures.costs):
            yield Row(f"{target.what}: {target.name}", "not measured", f"{target.most:g}", math.inf)


def _is_of(target: Target, figures: Figures, name: str) -> bool:
    # Memory is measured of each process several times.
    of = name.partition(", ")[0] if figures.what == "memory" else name
    return (figures.what, of) == (target.what, target.name)


def _row(figures: Figures, name: str, target: Target, parts: int) -> Row:
    values = (
        figures.ratios(name) if target.kind == RATIO else [cost.seconds for cost, _ in figures.costs[name]]
    )
    count = parts if target.kind == PART else 1
    middle = figures.ratio(name) if target.kind == RATIO else figures.middle(name) / count
    unit = target.kind if target.kind == RATIO else f"{figures.unit} {target.kind}".strip()
    spread = f" ({_figure(min(values) / count)} to {_figure(max(values) / count)})" if len(values) > 1 else ""
    return Row(
        f"{figures.what}: {name}",
        f"{_figure(middle)}{spread} {unit}",
        f"{target.most:g}",
        middle / target.most,
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = ["| what | measured, with its spread | at the most | within |", "|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row.label} | {row.measured} | {row.target} | {'yes' if row.share <= 1 else '**no**'} |"
        )
    return "\n".join(lines) + "\n"


def picture(rows: Sequence[Row]) -> str | None:
    """Return what was measured as SVG: how much of what it may be each is; None without what draws it."""
    try:
        import vl_convert  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    rows = [row for row in rows if math.isfinite(row.share)]
    order = [row.label for row in rows]
    y = {"field": "what", "type": "nominal", "sort": order, "title": None, "axis": {"labelLimit": 320}}
    spec: dict[str, Any] = {
        "background": "white",
        "width": 420,
        "height": {"step": 18},
        "data": {
            "values": [{"what": row.label, "share": row.share, "within": row.share <= 1} for row in rows]
        },
        "layer": [
            {
                "mark": "bar",
                "encoding": {
                    "y": y,
                    "x": {"field": "share", "type": "quantitative", "title": "of what it may be at the most"},
                    "color": {
                        "field": "within",
                        "type": "nominal",
                        "legend": None,
                        "scale": {"domain": [True, False], "range": ["#4c78a8", "#e45756"]},
                    },
                },
            },
            {"mark": {"type": "rule", "strokeDash": [4, 3]}, "encoding": {"x": {"datum": 1}}},
        ],
    }
    return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))


def _figure(value: float) -> str:
    """Return a figure with what can be told from its target: three digits, or a whole number from 100 on.

    >>> _figure(1.408), _figure(0.0861), _figure(232.6)
    ('1.41', '0.0861', '233')
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - where the digits end
