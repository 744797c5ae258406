"""Page: dashboards and their rows as one page of HTML, with all that it needs inside."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from importlib import resources
from typing import Any

from pipeline.catalog import Card, Dashboard, Past
from pipeline.report import rows, written
from pipeline.report.drawn import Pencil
from pipeline.report.rows import Answer, Chosen
from pipeline.report.spec import Size, spec

# So many rows of a table are shown, and so many below a chart.
TABLE_ROWS = 60
# What a picture is drawn for: the page of a screen, a telephone, and the width of a printed page.
PAGE, PHONE, PRINT = 1200, 330, 690
WIDE = 14
ROW = 46
HEAD = 84


@dataclass(frozen=True)
class Shown:
    """A dashboard, the rows of its cards in order, and what is chosen of its filters."""

    dashboard: Dashboard
    answers: Sequence[Answer]
    chosen: Chosen


def page(shown: Sequence[Shown], pencil: Pencil, today: date, made_at: datetime) -> str:
    """Return the whole page."""
    title = shown[0].dashboard.title if len(shown) == 1 else "Dashboards"
    sections = "\n".join(line for each in shown for line in _dashboard(each, pencil, today))
    links = "".join(
        f'<a href="#{_id(each.dashboard.name)}">{_text(each.dashboard.title)}</a>' for each in shown
    )
    style = resources.files("pipeline").joinpath("data/report.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{_text(title)}</title>
<style>
{style}</style>
</head>
<body>
<header class="top"><nav aria-label="Dashboards">{links}</nav></header>
<main>
{sections}
</main>
<footer>Read from the warehouse on {made_at:%-d %B %Y at %H:%M} UTC. The page is whole by itself: it can be
kept, mailed and printed.</footer>
</body>
</html>
"""


def _dashboard(shown: Shown, pencil: Pencil, today: date) -> Iterator[str]:
    dashboard = shown.dashboard
    answers = iter(shown.answers)
    yield f'<section class="dashboard" id="{_id(dashboard.name)}">'
    yield f"<h1>{_text(dashboard.title)}</h1>"
    if dashboard.description:
        yield f'<p class="lead">{_text(dashboard.description)}</p>'
    yield from _filters(shown, today)
    for number, tab in enumerate(dashboard.tabs):
        name = f"{_id(dashboard.name)}-{number}"
        if tab.title:
            yield f'<h2 id="{name}">{_text(tab.title)}</h2>'
        yield '<div class="grid">'
        # As they are read on a telephone and aloud: row by row.
        cards = [(card, next(answers), f"{name}-{index}") for index, card in enumerate(tab.cards)]
        for card, answer, anchor in sorted(cards, key=lambda one: (one[0].place.top, one[0].place.left)):
            yield from _card(card, answer, anchor, pencil)
        yield "</div>"
    yield "</section>"


def _filters(shown: Shown, today: date) -> Iterator[str]:
    """Say what is chosen, and what each filter reaches."""
    dashboard = shown.dashboard
    if not dashboard.filters:
        return
    picked = rows.chosen(dashboard, shown.chosen)
    yield '<div class="filters">'
    for each in dashboard.filters:
        reached = [
            card.title for card in dashboard.cards if any(one.filter == each.name for one in card.reach)
        ]
        value = picked.get(each.name)
        what = "all" if value is None else _choice(value, each.kind == "date", today)
        cards = "".join(f"<li>{_text(title)}</li>" for title in reached)
        yield (
            f"<details><summary>{_text(each.title)}: <b>{_text(what)}</b></summary>"
            f"<p>It holds for:</p><ul>{cards}</ul></details>"
        )
    yield "</div>"


def _choice(value: Past | tuple[str, ...], dated: bool, today: date) -> str:
    if not dated and not isinstance(value, Past):
        return ", ".join(value)
    first, last = rows.between(value, today)
    return f"{first:%-d %b %Y} to {last:%-d %b %Y}"


def _card(card: Card, answer: Answer, anchor: str, pencil: Pencil) -> Iterator[str]:
    place = card.place
    kind = "number" if card.chart == "number" else "wide" if place.width > WIDE else "half"
    style = f"grid-column:{place.left + 1}/span {place.width};grid-row:{place.top + 1}/span {place.height}"
    yield f'<article class="card {kind} chart-{card.chart}" style="{style}" aria-labelledby="{anchor}">'
    if card.title:
        yield f'<h3 id="{anchor}">{_text(card.title)}</h3>'
    if card.description:
        yield f'<p class="about">{_text(card.description)}</p>'
    if card.chart == "text":
        yield _markdown(card.text)
    elif answer.error:
        yield f'<p class="error">It cannot be shown: {_text(answer.error)}.</p>'
    elif answer.missing:
        yield '<p class="nothing">There is nothing to show.</p>'
    elif card.chart == "number":
        yield f'<p class="value">{_value(card, answer)}</p>'
    elif card.chart == "table":
        yield _table(card, answer)
    else:
        yield from _picture(card, answer, pencil)
        yield f'<details class="data"><summary>Data</summary>{_table(card, answer)}</details>'
    yield "</article>"


def _value(card: Card, answer: Answer) -> str:
    how = card.format_of(card.measures[0])
    value = answer.column(card.measures[0])[0]
    unit = f' <span class="unit">{_text(how.unit)}</span>' if how.unit and value is not None else ""
    return f"{_text(written.text(value, how, unit=False))}{unit}"


def _picture(card: Card, answer: Answer, pencil: Pencil) -> Iterator[str]:
    wide = round(card.place.width / 24 * PAGE) - 56
    high = max(card.place.height * ROW - HEAD, 150)
    drawn = {"screen": Size(wide, high), "phone": Size(PHONE, max(min(high, 240), 200))}
    if card.place.width > WIDE:
        drawn["paper"] = Size(PRINT, high)
    title = _text(f"{card.title}. {card.description}".strip())
    for where, size in drawn.items():
        also = " paper" if where == "phone" and "paper" not in drawn else ""
        yield f'<div class="picture {where}{also}">{pencil.svg(spec(card, answer, size), title)}</div>'


def _table(card: Card, answer: Answer) -> str:
    """Return the rows as a table."""
    columns = [name for name in (*card.dimensions, *card.measures) if name in answer.columns]
    if card.chart == "table" and (not columns or (card.sql and not card.mart)):
        columns = [*columns, *(name for name in answer.columns if name not in columns)]
    indexes = [answer.columns.index(name) for name in columns]
    formats = [card.format_of(name) for name in columns]
    numeric = [_is_numeric([row[index] for row in answer.rows]) for index in indexes]
    head = "".join(
        f'<th scope="col"{_right(right)}>{_text(written.heading(how))}</th>'
        for how, right in zip(formats, numeric, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_right(right)}>{_text(written.text(row[index], how, unit=False))}</td>"
            for index, how, right in zip(indexes, formats, numeric, strict=True)
        )
        + "</tr>"
        for row in answer.rows[:TABLE_ROWS]
    )
    more = len(answer.rows) - TABLE_ROWS
    note = f"The first {TABLE_ROWS} of {len(answer.rows):,}{' and more' if answer.cut else ''} rows."
    rest = f'<p class="more">{note}</p>' if more > 0 else ""
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{_text(card.title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{rest}"
    )


def _right(right: bool) -> str:
    return ' class="n"' if right else ""


def _is_numeric(values: Sequence[Any]) -> bool:
    there = [value for value in values if value is not None]
    return bool(there) and all(
        isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in there
    )


def _markdown(text: str) -> str:
    """Return the paragraphs, headings and lists of a text, with bold and slanted words."""
    made = []
    for block in re.split(r"\n\s*\n", text.strip()):
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
    line = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", _text(line))
    line = re.sub(r"(?<!\w)[*_](?!\s)(.+?)(?<!\s)[*_](?!\w)", r"<i>\1</i>", line)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", line)


def _text(value: str) -> str:
    return html.escape(value)


def _id(name: str) -> str:
    return re.sub(r"[^\w-]", "-", name)
