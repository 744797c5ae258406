"""Drawn: where a thing comes from and where it goes, and how a check came out, as pictures in SVG."""

import html
from collections.abc import Iterator, Mapping, Sequence

from pipeline.catalog.lineage import Lineage
from pipeline.docs.contents import CheckEntry
from pipeline.names import anchor

BOX_WIDTH, BOX_HEIGHT, GAP, ACROSS, EDGE = 210, 30, 12, 70, 8
# What of a longer name is shown.
CHARACTERS = 28
TICK, TICK_GAP, TICKS_HIGH = 6, 2, 18


def around(known: Lineage, name: str) -> str:
    """Return all that a thing is made of, and all that is made of it, from left to right."""
    return _graph(known, name, {name, *_all(known, name), *_all(turned(known), name)})


def whole(known: Lineage) -> str:
    """Return everything that is made of something, or that something is made of."""
    used = {one for made_of in known.values() for one in made_of}
    return _graph(known, None, {name for name in known if known[name] or name in used})


def turned(known: Lineage) -> Lineage:
    """Return what is made of each thing."""
    return {name: [one for one in known if name in known[one]] for name in known}


def _all(known: Lineage, name: str) -> Iterator[str]:
    seen: set[str] = set()
    ahead = list(known.get(name, ()))
    while ahead:
        one = ahead.pop()
        if one not in seen:
            seen.add(one)
            yield one
            ahead += known.get(one, ())


def _graph(known: Lineage, focus: str | None, names: set[str]) -> str:
    depths: dict[str, int] = {}
    for name in sorted(names):
        _depth(known, name, names, depths)
    layers: dict[int, list[str]] = {}
    for name in sorted(names, key=lambda one: (depths[one], one)):
        layers.setdefault(depths[name], []).append(name)
    places: dict[str, tuple[int, int]] = {}
    for number, depth in enumerate(sorted(layers)):
        # Beside what it is made of, so that few lines cross.
        layer = sorted(layers[depth], key=lambda one: (_middle(known, one, places), one))
        for row, name in enumerate(layer):
            places[name] = (EDGE + number * (BOX_WIDTH + ACROSS), EDGE + row * (BOX_HEIGHT + GAP))
    tallest = max((len(layer) for layer in layers.values()), default=0)
    width = EDGE * 2 + len(layers) * (BOX_WIDTH + ACROSS) - ACROSS
    height = EDGE * 2 + tallest * (BOX_HEIGHT + GAP) - GAP
    inside = [*_lines(known, places), *(_box(name, places[name], name == focus) for name in places)]
    label = html.escape(f"Lineage of {focus}" if focus else "Lineage", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="lineage" role="img" aria-label="{label}" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">{STYLE}{"".join(inside)}</svg>'
    )


# By itself, too, as a file of its own; a page's own colours count where it has some.
STYLE = (
    "<style>.lineage{font:12px system-ui,sans-serif}.lineage text{fill:var(--ink,#1c2430)}"
    ".lineage rect{fill:var(--card,#fff);stroke:var(--line,#b9c0cc)}"
    ".lineage .focus rect{stroke:var(--accent,#2457c5);stroke-width:2}"
    ".lineage path{fill:none;stroke:var(--line,#b9c0cc);stroke-width:1.5}</style>"
)


def _depth(known: Lineage, name: str, names: set[str], depths: dict[str, int]) -> int:
    if name not in depths:
        depths[name] = 0
        parts = [_depth(known, part, names, depths) for part in known.get(name, ()) if part in names]
        depths[name] = max(parts, default=-1) + 1
    return depths[name]


def _middle(known: Lineage, name: str, places: Mapping[str, tuple[int, int]]) -> float:
    rows = [places[part][1] for part in known.get(name, ()) if part in places]
    return sum(rows) / len(rows) if rows else 0


def _lines(known: Lineage, places: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    for name, (x, y) in places.items():
        for part in known.get(name, ()):
            if part in places:
                from_x, from_y = places[part][0] + BOX_WIDTH, places[part][1] + BOX_HEIGHT // 2
                to_y, bend = y + BOX_HEIGHT // 2, (x - from_x) // 2
                yield (
                    f'<path d="M{from_x} {from_y}C{from_x + bend} {from_y} {x - bend} {to_y} {x} {to_y}"/>'
                )


def _box(name: str, place: tuple[int, int], is_focus: bool) -> str:
    x, y = place
    shown = name if len(name) <= CHARACTERS else name[: CHARACTERS - 1] + "…"
    kind = ' class="focus"' if is_focus else ""
    return (
        f'<a href="#{anchor(name)}"><g{kind}><title>{html.escape(name)}</title>'
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
        f'<text x="{x + 10}" y="{y + 19}">{html.escape(shown)}</text></g></a>'
    )


def history(check: CheckEntry) -> str:
    """Return how a check came out, run by run, the latest to the right: short where it held, high if not."""
    if not check.past:
        return '<span class="never">not checked yet</span>'
    ticks = []
    for number, (held, run, observed) in enumerate(check.past):
        kind, high = ("held", 8) if held else (check.level, TICKS_HIGH)
        title = html.escape(f"{run}: {observed}")
        ticks.append(
            f'<rect class="{kind}" x="{number * (TICK + TICK_GAP)}" y="{TICKS_HIGH - high}" width="{TICK}" '
            f'height="{high}" rx="1"><title>{title}</title></rect>'
        )
    width = len(check.past) * (TICK + TICK_GAP)
    label = html.escape(_in_words(check.past), quote=True)
    return (
        f'<svg class="history" role="img" aria-label="{label}" width="{width}" height="{TICKS_HIGH}" '
        f'viewBox="0 0 {width} {TICKS_HIGH}">{"".join(ticks)}</svg>'
    )


def _in_words(past: Sequence[tuple[bool, str, str]]) -> str:
    return f"held {sum(held for held, _, _ in past)} of {len(past)} times"
