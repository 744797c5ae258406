"""Page: dashboards and their rows as one page of HTML, with all that it needs inside."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib import resources
from urllib.parse import quote

from pipeline.catalog import Card, Dashboard, Filter, Past
from pipeline.catalog.dashboard_files.board import TEXT, Chart, FilterKind
from pipeline.names import anchor
from pipeline.report import parts, rows, written
from pipeline.report.choices import Choice, Offered, label
from pipeline.report.drawn import Pencil
from pipeline.report.moments import Ages
from pipeline.report.parts import text
from pipeline.report.rows import Answer, Chosen
from pipeline.report.spec import Size, spec

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
    # What else can be chosen, and what is shown then.
    offered: Offered = field(default_factory=Offered)
    ages: Ages = field(default_factory=Ages)

    @property
    def choices(self) -> Sequence[Choice]:
        return self.offered.choices


def page(shown: Sequence[Shown], pencil: Pencil, today: date, made_at: datetime) -> str:
    """Return the whole page."""
    title = shown[0].dashboard.title if len(shown) == 1 else "Dashboards"
    sections = "\n".join(line for each in shown for line in _dashboard(each, pencil, today))
    links = "".join(
        f'<a href="#{anchor(each.dashboard.name)}">{text(each.dashboard.title)}</a>' for each in shown
    )
    style = resources.files("pipeline").joinpath("data/report.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{text(title)}</title>
<style>
{style}</style>
</head>
<body>
<header class="top"><nav aria-label="Dashboards">{links}</nav></header>
<main>
{sections}
</main>
<footer>Read from the warehouse on {made_at:%-d %B %Y at %H:%M} UTC. The page is self-contained: it can be
kept, mailed and printed.</footer>
</body>
</html>
"""


def _dashboard(shown: Shown, pencil: Pencil, today: date) -> Iterator[str]:
    """Write each choice as a section that is shown where a link leads to it, in place of the whole one."""
    names = list(_names(shown.dashboard, shown.choices))
    yield '<div class="board">'
    for choice, name in zip(shown.choices, names, strict=True):
        yield from _chosen(shown, choice, name, names, today)
    yield from _whole(shown, names, pencil, today)
    yield "</div>"


def _names(dashboard: Dashboard, choices: Sequence[Choice]) -> Iterator[str]:
    """Yield the anchor of each choice; it is the same each night, so that a link to it can be kept."""
    taken: dict[str, int] = {}
    for choice in choices:
        parts_of = (dashboard.name, choice.filter.name, label(choice.value))
        name = ".".join(anchor(part) for part in parts_of)
        taken[name] = taken.get(name, 0) + 1
        yield name if taken[name] == 1 else f"{name}.{taken[name]}"


def _chosen(shown: Shown, choice: Choice, name: str, names: Sequence[str], today: date) -> Iterator[str]:
    dashboard = shown.dashboard
    what = f"{choice.filter.title}: {_range_of(choice.value, choice.filter, today)}"
    yield f'<section class="dashboard choice" id="{name}" aria-label="{text(f"{dashboard.title}. {what}")}">'
    yield f"<h1>{text(dashboard.title)}</h1>"
    yield f'<p class="lead">{text(what)}</p>'
    yield from _filters(shown, names, today, choice)
    yield '<div class="grid">'
    cards = sorted(choice.cards, key=lambda one: _order(one[0]))
    for index, (card, answer) in enumerate(cards):
        yield from _card(card, answer, f"{name}-{index}", None, shown.ages)
    yield "</div>"
    reached = {id(card) for card, _ in choice.cards}
    if others := [card.title for card in dashboard.cards if id(card) not in reached and card.chart != TEXT]:
        yield (
            f'<p class="more">It does not apply to <a href="#{anchor(dashboard.name)}">the others</a>: '
            f"{text(', '.join(others))}.</p>"
        )
    yield "</section>"


def _whole(shown: Shown, names: Sequence[str], pencil: Pencil, today: date) -> Iterator[str]:
    dashboard = shown.dashboard
    answers = iter(shown.answers)
    yield f'<section class="dashboard" id="{anchor(dashboard.name)}">'
    yield f"<h1>{text(dashboard.title)}</h1>"
    if dashboard.description:
        yield f'<p class="lead">{text(dashboard.description)}</p>'
    if sentence := shown.ages.sentence:
        yield f'<p class="as-of">{text(sentence)}</p>'
    yield from _filters(shown, names, today, None)
    for number, tab in enumerate(dashboard.tabs):
        name = f"{anchor(dashboard.name)}-{number}"
        if tab.title:
            yield f'<h2 id="{name}">{text(tab.title)}</h2>'
        yield '<div class="grid">'
        cards = [(card, next(answers), f"{name}-{index}") for index, card in enumerate(tab.cards)]
        for card, answer, own in sorted(cards, key=lambda one: _order(one[0])):
            yield from _card(card, answer, own, pencil, shown.ages)
        yield "</div>"
    yield "</section>"


def _order(card: Card) -> tuple[int, int]:
    """Return by what cards are sorted as they are read on a telephone and aloud: row by row."""
    return card.place.top, card.place.left


def _filters(shown: Shown, names: Sequence[str], today: date, made: Choice | None) -> Iterator[str]:
    """Say what is chosen, and what each filter reaches; with links to what else can be chosen."""
    dashboard = shown.dashboard
    if not dashboard.filters:
        return
    others = {**shown.chosen, **({made.filter.name: made.value} if made else {})}
    picked = rows.chosen(dashboard, others)
    yield '<div class="filters">'
    for each in dashboard.filters:
        reached = [
            card.title for card in dashboard.cards if any(one.filter == each.name for one in card.reach)
        ]
        links = [
            _link(name, label(choice.value), choice is made)
            for choice, name in zip(shown.choices, names, strict=True)
            if choice.filter is each
        ]
        first = rows.chosen(dashboard, shown.chosen).get(each.name, ())
        is_first = made is None or made.filter is not each
        links = [_link(anchor(dashboard.name), label(first), is_first), *links] if links else []
        choose = f'<p class="links">{" ".join(links)}</p>' if links else ""
        if why := shown.offered.left_out.get(each.name):
            choose += f'<p class="more">{text(why)}</p>'
        cards = "".join(f"<li>{text(title)}</li>" for title in reached)
        what = text(_range_of(picked.get(each.name, ()), each, today))
        yield (
            f"<details><summary>{text(each.title)}: <b>{what}</b></summary>{choose}"
            f"<p>It applies to:</p><ul>{cards}</ul></details>"
        )
    yield "</div>"


def _link(name: str, label: str, is_current: bool) -> str:
    current = ' aria-current="true"' if is_current else ""
    return f'<a href="#{quote(name)}"{current}>{text(label)}</a>'


def _range_of(value: Past | tuple[str, ...], filter_: Filter, today: date) -> str:
    """Return what is chosen; of dates, which."""
    if not value or filter_.kind != FilterKind.DATE:
        return label(value)
    first, last = rows.between(value, today)
    return f"{first:%-d %b %Y} to {last:%-d %b %Y}"


def _card(card: Card, answer: Answer, name: str, pencil: Pencil | None, ages: Ages) -> Iterator[str]:
    """Write a card in its place with its picture; without a pencil after others, with its numbers as bars."""
    place = card.place
    kind = "number" if card.chart == Chart.NUMBER else "wide" if place.width > WIDE else "half"
    where = f"grid-column:{place.left + 1}/span {place.width};grid-row:{place.top + 1}/span {place.height}"
    style = where if pencil else f"grid-column:span {place.width}"
    yield f'<article class="card {kind} chart-{card.chart}" style="{style}" aria-labelledby="{name}">'
    if card.title:
        yield f'<h3 id="{name}">{text(card.title)}</h3>'
    if card.description:
        yield f'<p class="about">{text(card.description)}</p>'
    if sentence := ages.sentence_of(card):
        yield f'<p class="old">{text(sentence)}</p>'
    if card.chart == TEXT:
        yield parts.markdown(card.text)
    elif answer.error:
        yield f'<p class="error">It cannot be shown: {text(answer.error)}.</p>'
    elif answer.missing:
        yield '<p class="nothing">There is nothing to show.</p>'
    elif card.chart == Chart.NUMBER:
        yield f'<p class="value">{_value(card, answer)}</p>'
    elif card.chart == Chart.TABLE or pencil is None:
        yield parts.table(card, answer, bars=card.chart != Chart.TABLE)
    else:
        yield from _picture(card, answer, pencil)
        yield f'<details class="data"><summary>Data</summary>{parts.table(card, answer)}</details>'
    yield "</article>"


def _value(card: Card, answer: Answer) -> str:
    how = card.format_of(card.measures[0])
    value = answer.column(card.measures[0])[0]
    unit = f' <span class="unit">{text(how.unit)}</span>' if how.unit and value is not None else ""
    return f"{text(written.text(value, how, unit=False))}{unit}"


def _picture(card: Card, answer: Answer, pencil: Pencil) -> Iterator[str]:
    wide = round(card.place.width / 24 * PAGE) - 56
    high = max(card.place.height * ROW - HEAD, 150)
    drawn = {"screen": Size(wide, high), "phone": Size(PHONE, max(min(high, 240), 200))}
    if card.place.width > WIDE:
        drawn["paper"] = Size(PRINT, high)
    title = text(f"{card.title}. {card.description}".strip())
    for where, size in drawn.items():
        also = " paper" if where == "phone" and "paper" not in drawn else ""
        yield f'<div class="picture {where}{also}">{pencil.svg(spec(card, answer, size), title)}</div>'
