"""Page: what there is to know, as one page of HTML with all that it needs inside."""

import html
from collections.abc import Iterator
from importlib import resources

from pipeline.catalog import Level
from pipeline.docs import drawn
from pipeline.docs.facts import MART, CheckFacts, ColumnFacts, Facts, Thing
from pipeline.names import anchor

STATES = {"new": "not there yet", "ok": "fresh", "failed": "failed", "stale": "too old", "running": "loading"}
# What the browser may do with the page: nothing of it comes from elsewhere.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(facts: Facts) -> str:
    """Return the whole page."""
    folder = resources.files("pipeline").joinpath("data")
    style = folder.joinpath("docs.css").read_text(encoding="utf-8")
    script = folder.joinpath("docs.js").read_text(encoding="utf-8")
    count = f"{len(facts.things)} tables and marts"
    when = f"{facts.made_at:%-d %B %Y, %H:%M} UTC"
    how = f"As the warehouse was on {when}" if facts.seen else f"By the files alone, on {when}"
    body = "\n".join([*_index(facts), *_overall(facts), *_groups(facts), *_dashboards(facts)])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>What is in the warehouse</title>
<style>
{style}</style>
</head>
<body>
<header class="top"><h1>What is in the warehouse</h1><p>{count}. {how}.</p>
<input type="search" id="search" placeholder="Table, column or word" aria-label="Search"></header>
<div class="frame">
{body}
</div>
<script>
{script}</script>
</body>
</html>
"""


def _index(facts: Facts) -> Iterator[str]:
    yield '<nav aria-label="Contents">'
    for schema, things in facts.groups.items():
        yield f"<h2>{_text('marts' if schema == MART else schema)}</h2><ul>"
        for thing in things:
            name, own = anchor(thing.name), _text(thing.name.partition(".")[2])
            yield f'<li data-of="{name}"><a href="#{name}">{own}</a>{_dot(thing)}</li>'
        yield "</ul>"
    yield "</nav><main>"


def _dot(thing: Thing) -> str:
    bad = [check for check in thing.checks if check.holds is False]
    kind = "failed" if thing.state == "failed" else "warn" if bad or thing.state == "stale" else ""
    told = "a load failed" if kind == "failed" else "a check does not hold, or it is too old"
    return f' <span class="dot {kind}" role="img" aria-label="{told}" title="{told}"></span>' if kind else ""


def _overall(facts: Facts) -> Iterator[str]:
    if any(facts.lineage.values()):
        yield '<details class="overall"><summary>What is made of what</summary>'
        yield f'<div class="wide">{drawn.whole(facts.lineage)}</div></details>'


def _groups(facts: Facts) -> Iterator[str]:
    for things in facts.groups.values():
        for thing in things:
            yield from _thing(thing, facts)


def _thing(thing: Thing, facts: Facts) -> Iterator[str]:
    schema, _, own = thing.name.partition(".")
    yield f'<article id="{anchor(thing.name)}">'
    yield f'<h2><span class="schema">{_text(schema)}.</span>{_text(own)}</h2>'
    if thing.description:
        yield f'<p class="lead">{_text(thing.description)}</p>'
    yield f'<ul class="facts">{"".join(f"<li>{fact}</li>" for fact in _facts(thing))}</ul>'
    if thing.columns:
        yield f'<h3>Columns</h3><div class="wide"><table class="columns">{_columns(thing)}</table></div>'
    if thing.checks:
        rows = "".join(
            _check(check) for check in sorted(thing.checks, key=lambda one: one.holds is not False)
        )
        yield f'<h3>Checks</h3><div class="wide"><table class="checks">{rows}</table></div>'
    if thing.made_of or thing.used_by:
        yield f'<h3>Lineage</h3><div class="wide">{drawn.around(facts.lineage, thing.name)}</div>'
    if thing.used_by:
        links = ", ".join(f'<a href="#{anchor(one)}">{_text(one)}</a>' for one in thing.used_by)
        yield f"<p>Used by {links}.</p>"
    if thing.reads:
        read = "".join(
            f'<li><a href="#{anchor(name)}">{_text(name)}</a>: {_text(", ".join(columns))}</li>'
            for name, columns in sorted(thing.reads.items())
        )
        yield f"<details><summary>Columns that it reads</summary><ul>{read}</ul></details>"
    if thing.sql:
        yield f"<details><summary>SQL</summary><pre>{_text(thing.sql)}</pre></details>"
    yield "</article>"


def _facts(thing: Thing) -> Iterator[str]:
    if thing.state:
        yield f'<span class="state {thing.state}">{STATES.get(thing.state, thing.state)}</span>'
    if thing.rows is not None:
        yield f"{thing.rows:,} rows"
    if thing.as_of:
        yield f"as of {thing.as_of:%-d %b %Y, %H:%M} UTC"
    yield from map(_text, thing.how)


def _columns(thing: Thing) -> str:
    rows = ["<tr><th>column</th><th>type</th><th>what it is</th></tr>"]
    rows += [_column(column) for column in thing.columns if not column.name.startswith("_")]
    own = [column for column in thing.columns if column.name.startswith("_")]
    if own:
        names = ", ".join(column.name for column in own)
        rows.append(f'<tr class="own"><td colspan="3">and the platform\'s own: {_text(names)}</td></tr>')
    return "".join(rows)


def _column(column: ColumnFacts) -> str:
    masks = {"hash": "hashed", "null": "always empty", "exclude": "not loaded"}
    mask = f' <span class="mask">{masks[column.mask]}</span>' if column.mask in masks else ""
    kind = _text(column.type) + (" <small>not null</small>" if column.required else "")
    name, text = _text(column.name), _text(column.description)
    return f"<tr><td><code>{name}</code>{mask}</td><td>{kind}</td><td>{text}</td></tr>"


def _check(check: CheckFacts) -> str:
    kind = "" if check.holds is not False else check.level
    last = _text(check.past[-1][2]) if check.past else ""
    level = " <small>only warns</small>" if check.level == Level.WARN else ""
    name, past = f"{_text(check.name)}{level}", drawn.history(check)
    return f'<tr class="{kind}"><td>{name}</td><td>{last}</td><td>{past}</td></tr>'


def _dashboards(facts: Facts) -> Iterator[str]:
    for name, title in sorted(facts.dashboards.items()):
        known = f"dashboard {name}"
        links = (f'<a href="#{anchor(one)}">{_text(one)}</a>' for one in facts.lineage.get(known, ()))
        made_of = ", ".join(links)
        yield f'<article id="{anchor(known)}"><h2><span class="schema">dashboard </span>{_text(title)}</h2>'
        yield f"<p>Shows {made_of or 'nothing that is declared'}.</p></article>"
    yield "</main>"


def _text(value: str) -> str:
    return html.escape(value, quote=True)
