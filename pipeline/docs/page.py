"""Page: what there is to know, as one page of HTML with all that it needs inside."""

import html
from collections.abc import Iterator
from importlib import resources

from pipeline.catalog import Level
from pipeline.docs import drawn
from pipeline.docs.contents import MART, CheckEntry, ColumnEntry, Contents, Relation
from pipeline.names import anchor
from pipeline.observe.overview import Status

STATES = {"new": "not there yet", "ok": "fresh", "failed": "failed", "stale": "too old", "running": "loading"}
# What the browser may do with the page: nothing of it comes from elsewhere.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(contents: Contents) -> str:
    """Return the whole page."""
    folder = resources.files("pipeline").joinpath("data")
    style = folder.joinpath("docs.css").read_text(encoding="utf-8")
    script = folder.joinpath("docs.js").read_text(encoding="utf-8")
    count = f"{len(contents.relations)} tables and marts"
    when = f"{contents.made_at:%-d %B %Y, %H:%M} UTC"
    how = f"State of the warehouse on {when}" if contents.seen else f"From the files alone, on {when}"
    body = "\n".join([*_index(contents), *_overall(contents), *_groups(contents), *_dashboards(contents)])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>The contents of the warehouse</title>
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


def _index(contents: Contents) -> Iterator[str]:
    yield '<nav aria-label="Contents">'
    for schema, entries in contents.groups.items():
        yield f"<h2>{_text('marts' if schema == MART else schema)}</h2><ul>"
        for entry in entries:
            name, own = anchor(entry.name), _text(entry.name.partition(".")[2])
            yield f'<li data-of="{name}"><a href="#{name}">{own}</a>{_dot(entry)}</li>'
        yield "</ul>"
    yield "</nav><main>"


def _dot(entry: Relation) -> str:
    failing = [check for check in entry.checks if check.holds is False]
    warns = failing or entry.state == Status.STALE
    style = "failed" if entry.state == Status.FAILED else "warn" if warns else ""
    label = "a load failed" if style == "failed" else "a check failed, or it is too old"
    return (
        f' <span class="dot {style}" role="img" aria-label="{label}" title="{label}"></span>' if style else ""
    )


def _overall(contents: Contents) -> Iterator[str]:
    if any(contents.lineage.values()):
        yield '<details class="overall"><summary>Lineage</summary>'
        yield f'<div class="wide">{drawn.whole(contents.lineage)}</div></details>'


def _groups(contents: Contents) -> Iterator[str]:
    for entries in contents.groups.values():
        for entry in entries:
            yield from _relation(entry, contents)


def _relation(entry: Relation, contents: Contents) -> Iterator[str]:
    schema, _, own = entry.name.partition(".")
    yield f'<article id="{anchor(entry.name)}">'
    yield f'<h2><span class="schema">{_text(schema)}.</span>{_text(own)}</h2>'
    if entry.description:
        yield f'<p class="lead">{_text(entry.description)}</p>'
    yield f'<ul class="details">{"".join(f"<li>{detail}</li>" for detail in _details(entry))}</ul>'
    if entry.columns:
        yield f'<h3>Columns</h3><div class="wide"><table class="columns">{_columns(entry)}</table></div>'
    if entry.checks:
        rows = "".join(
            _check(check) for check in sorted(entry.checks, key=lambda one: one.holds is not False)
        )
        yield f'<h3>Checks</h3><div class="wide"><table class="checks">{rows}</table></div>'
    if entry.made_of or entry.used_by:
        yield f'<h3>Lineage</h3><div class="wide">{drawn.around(contents.lineage, entry.name)}</div>'
    if entry.used_by:
        links = ", ".join(f'<a href="#{anchor(one)}">{_text(one)}</a>' for one in entry.used_by)
        yield f"<p>Used by {links}.</p>"
    if entry.reads:
        read = "".join(
            f'<li><a href="#{anchor(name)}">{_text(name)}</a>: {_text(", ".join(columns))}</li>'
            for name, columns in sorted(entry.reads.items())
        )
        yield f"<details><summary>Columns that it reads</summary><ul>{read}</ul></details>"
    if entry.sql:
        yield f"<details><summary>SQL</summary><pre>{_text(entry.sql)}</pre></details>"
    yield "</article>"


def _details(entry: Relation) -> Iterator[str]:
    if entry.state:
        yield f'<span class="state {entry.state}">{STATES.get(entry.state, entry.state)}</span>'
    if entry.rows is not None:
        yield f"{entry.rows:,} rows"
    if entry.as_of:
        yield f"as of {entry.as_of:%-d %b %Y, %H:%M} UTC"
    yield from map(_text, entry.how)


def _columns(entry: Relation) -> str:
    rows = ["<tr><th>column</th><th>type</th><th>description</th></tr>"]
    rows += [_column(column) for column in entry.columns if not column.name.startswith("_")]
    own = [column for column in entry.columns if column.name.startswith("_")]
    if own:
        names = ", ".join(column.name for column in own)
        rows.append(
            f'<tr class="own"><td colspan="3">and columns added by the platform: {_text(names)}</td></tr>'
        )
    return "".join(rows)


def _column(column: ColumnEntry) -> str:
    masks = {"hash": "hashed", "null": "always empty", "exclude": "not loaded"}
    mask = f' <span class="mask">{masks[column.mask]}</span>' if column.mask in masks else ""
    kind = _text(column.type) + (" <small>not null</small>" if column.required else "")
    name, text = _text(column.name), _text(column.description)
    return f"<tr><td><code>{name}</code>{mask}</td><td>{kind}</td><td>{text}</td></tr>"


def _check(check: CheckEntry) -> str:
    kind = "" if check.holds is not False else check.level
    last = _text(check.past[-1][2]) if check.past else ""
    level = " <small>only warns</small>" if check.level == Level.WARN else ""
    name, past = f"{_text(check.name)}{level}", drawn.history(check)
    return f'<tr class="{kind}"><td>{name}</td><td>{last}</td><td>{past}</td></tr>'


def _dashboards(contents: Contents) -> Iterator[str]:
    for name, title in sorted(contents.dashboards.items()):
        known = f"dashboard {name}"
        links = (f'<a href="#{anchor(one)}">{_text(one)}</a>' for one in contents.lineage.get(known, ()))
        made_of = ", ".join(links)
        yield f'<article id="{anchor(known)}"><h2><span class="schema">dashboard </span>{_text(title)}</h2>'
        yield f"<p>Shows {made_of or 'nothing declared'}.</p></article>"
    yield "</main>"


def _text(value: str) -> str:
    return html.escape(value, quote=True)
