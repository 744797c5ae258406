"""Parts: tables, texts and names in HTML."""

import html
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from pipeline.catalog import Card
from pipeline.catalog.dashboard_files.board import Chart
from pipeline.report import written
from pipeline.report.rows import Answer

# So many rows of a table are shown, and so many below a chart.
TABLE_ROWS = 60


def table(card: Card, answer: Answer, *, bars: bool = False) -> str:
    """Return the rows as a table; with `bars`, numbers that are measured have one as long as they are."""
    columns = [name for name in (*card.dimensions, *card.measures) if name in answer.columns]
    if card.chart == Chart.TABLE and (not columns or (card.sql and not card.mart)):
        columns = [*columns, *(name for name in answer.columns if name not in columns)]
    indexes = [answer.columns.index(name) for name in columns]
    formats = [card.format_of(name) for name in columns]
    numeric = [_is_numeric([row[index] for row in answer.rows]) for index in indexes]
    head = "".join(
        f'<th scope="col"{_right(right)}>{text(written.heading(how))}</th>'
        for how, right in zip(formats, numeric, strict=True)
    )
    longest = [
        _longest([row[index] for row in answer.rows]) if bars and right and name in card.measures else 0
        for name, index, right in zip(columns, indexes, numeric, strict=True)
    ]
    shown = list(zip(indexes, formats, numeric, longest, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_right(right)}{_bar(row[index], most)}>"
            f"{text(written.text(row[index], how, unit=False))}</td>"
            for index, how, right, most in shown
        )
        + "</tr>"
        for row in answer.rows[:TABLE_ROWS]
    )
    more = len(answer.rows) - TABLE_ROWS
    note = f"The first {TABLE_ROWS} of {len(answer.rows):,}{' and more' if answer.cut else ''} rows."
    rest = f'<p class="more">{note}</p>' if more > 0 else ""
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{text(card.title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{rest}"
    )


def _right(right: bool) -> str:
    return ' class="n"' if right else ""


def _longest(values: Sequence[Any]) -> float:
    return max((abs(float(value)) for value in values if value is not None), default=0)


def _bar(value: Any, most: float) -> str:
    share = abs(float(value)) / most if most and value is not None else 0
    return f' style="--share:{share:.1%}"' if share else ""


def _is_numeric(values: Sequence[Any]) -> bool:
    there = [value for value in values if value is not None]
    return bool(there) and all(
        isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in there
    )


def markdown(written_text: str) -> str:
    """Return the paragraphs, headings and lists of a text, with bold and slanted words."""
    made = []
    for block in re.split(r"\n\s*\n", written_text.strip()):
        lines = [_inline(line.strip()) for line in block.splitlines()]
        if all(line.startswith(("- ", "* ")) for line in lines):
            made.append("<ul>" + "".join(f"<li>{line[2:]}</li>" for line in lines) + "</ul>")
        elif heading := re.fullmatch(r"#{1,6} (.+)", lines[0]):
            made.append(f"<h3>{heading[1]}</h3>")
            made += [f"<p>{' '.join(lines[1:])}</p>"] if lines[1:] else []
        else:
            made.append(f"<p>{' '.join(lines)}</p>")
    return "".join(made)


def _inline(line: str) -> str:
    line = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text(line))
    line = re.sub(r"(?<!\w)[*_](?!\s)(.+?)(?<!\s)[*_](?!\w)", r"<i>\1</i>", line)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", line)


def text(value: str) -> str:
    """Return what a text is in HTML."""
    return html.escape(value)
