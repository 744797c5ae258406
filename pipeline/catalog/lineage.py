"""Lineage: what comes from what, from the tables of sources over marts to dashboards, as far as files say."""

from collections.abc import Iterator, Mapping, Sequence

from pipeline import names
from pipeline.catalog.dashboard_files.board import Dashboard
from pipeline.catalog.source_files.relations import SCHEMA
from pipeline.catalog.whole import Catalog
from pipeline.errors import UsageError

DASHBOARD = "dashboard"

# What each thing is made of, by its name: `mart.staff`, `dashboard staff`. Tables are made of nothing here.
Lineage = Mapping[str, Sequence[str]]


def of(catalog: Catalog, dashboards: Mapping[str, Dashboard]) -> Lineage:
    """Return what everything that is declared is made of."""
    made_of: dict[str, Sequence[str]] = {
        f"{source.name}.{table}": () for source in catalog.sources.values() for table in source.tables
    }
    # Which tables "*" brings only the source knows; those that are used are known by that.
    used = [name for mart in catalog.marts.values() for name in mart.reads]
    used += [name for dashboard in dashboards.values() for name in _shown(dashboard)]
    starred = {source.name for source in catalog.sources.values() if source.everything}
    made_of |= {name: () for name in sorted(set(used) - made_of.keys()) if name.partition(".")[0] in starred}
    for mart in catalog.marts.values():
        made_of[f"{SCHEMA}.{mart.name}"] = sorted(mart.reads)
    for name, dashboard in dashboards.items():
        made_of[f"{DASHBOARD} {name}"] = sorted(set(_shown(dashboard)))
    return made_of


def _shown(dashboard: Dashboard) -> Iterator[str]:
    for card in dashboard.cards:
        yield from card.reads


def tree(lineage: Lineage, name: str | None = None) -> list[str]:
    """Return what each last thing is made of, in lines; or what one is, and what is made of it.

    Raise UsageError if there is no such thing.
    """
    if name is None:
        used = {one for made_of in lineage.values() for one in made_of}
        roots = [one for one in lineage if one not in used and lineage[one]]
        return [line for root in sorted(roots) for line in _branches(root, lineage)]
    full_name = named(lineage, name)
    users = sorted(one for one in lineage if full_name in lineage[one])
    return [*_branches(full_name, lineage), *(f"used by {user}" for user in users)]


def named(lineage: Lineage, name: str) -> str:
    """Return the whole name of a thing. Raise UsageError if there is none of it."""
    for known in (name, f"{SCHEMA}.{name}", f"{DASHBOARD} {name}"):
        if known in lineage:
            return known
    raise UsageError(f"{name}: no such table, mart or dashboard; {names.advice(name, lineage)}")


def _branches(name: str, lineage: Lineage, first: str = "", others: str = "") -> Iterator[str]:
    yield f"{first}{name}"
    parts = lineage.get(name, ())
    for number, part in enumerate(parts, start=1):
        last = number == len(parts)
        yield from _branches(
            part, lineage, f"{others}{'└── ' if last else '├── '}", f"{others}{'    ' if last else '│   '}"
        )


def mermaid(lineage: Lineage) -> list[str]:
    """Return all of it as a diagram that git's web pages draw."""
    numbers = {name: f"n{number}" for number, name in enumerate(sorted(lineage))}
    lines = ["graph LR"]
    lines += [f'    {numbers[name]}["{name}"]' for name in sorted(lineage)]
    lines += [
        f"    {numbers[part]} --> {numbers[name]}"
        for name in sorted(lineage)
        for part in lineage[name]
        if part in numbers
    ]
    return lines
