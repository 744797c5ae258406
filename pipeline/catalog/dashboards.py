"""Reads dashboards/NAME.yaml: what Metabase is to show, card by card."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline import names
from pipeline.catalog import document, queries
from pipeline.catalog.declared import Declared
from pipeline.catalog.validation import validated
from pipeline.catalog.values import ColumnNames, Name

FOLDER = "dashboards"
Chart = Literal["table", "number", "line", "bar", "area", "pie", "row", "scatter"]
Problem = tuple[int, str]


class Card(Declared):
    """One picture of a dashboard."""

    title: Name
    """What stands above the card."""
    chart: Chart = "table"
    """How the rows are shown."""
    sql: Name | None = None
    """One SELECT that gives the rows; or name a mart."""
    mart: Name | None = None
    """The mart whose rows are shown, without 'mart.'; or write sql."""
    x: Name | None = None
    """The column along the bottom, or the names of the slices."""
    y: ColumnNames | None = None
    """The column, or the columns, that are drawn."""

    @model_validator(mode="after")
    def _sensible(self) -> "Card":
        if (self.sql is None) == (self.mart is None):
            raise ValueError("needs either sql or mart; write one of them")
        return self


class Dashboard(Declared):
    """A file dashboards/NAME.yaml as it is written: one dashboard."""

    title: Name
    """What the dashboard is called."""
    cards: Annotated[tuple[Card, ...], Field(min_length=1)]
    """What is on it, in order."""


def read(directory: Path, marts: set[str]) -> tuple[dict[str, Dashboard], list[str]]:
    """Return the dashboards of a repository by file name, and the problems of their files."""
    dashboards: dict[str, Dashboard] = {}
    folder = directory / FOLDER
    problems = [
        f"{FOLDER}/{path.name}:1: must end in .yaml; rename it" for path in sorted(folder.glob("*.yml"))
    ]
    for path in sorted(folder.glob("*.yaml")):
        found, dashboard = _read_dashboard(path, marts)
        problems += [f"{FOLDER}/{path.name}:{line}: {what}" for line, what in sorted(set(found))]
        if dashboard is not None and not found:
            dashboards[path.stem] = dashboard
    return dashboards, problems


def _read_dashboard(path: Path, marts: set[str]) -> tuple[list[Problem], Dashboard | None]:
    try:
        written = document.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return [(1, "cannot be read as UTF-8 text; correct the file or its permissions")], None
    if written.problems and written.value is None:
        return written.problems, None
    dashboard, problems = validated(written, Dashboard)
    return [*written.problems, *problems, *_cards(written, marts)], dashboard


def _cards(written: document.Document, marts: set[str]) -> list[Problem]:
    """Return what is wrong with the marts and the queries that are named."""
    problems: list[Problem] = []
    cards: Any = written.at(("cards",))
    for index, card in enumerate(cards if isinstance(cards, list) else ()):
        mart, sql = (card.get(key) if isinstance(card, dict) else None for key in ("mart", "sql"))
        path: document.Path = ("cards", index, "mart")
        if isinstance(mart, str) and mart not in marts:
            what = f"no such mart; {names.advice(mart, marts)}"
            problems.append((written.line(path), f"{document.dotted(path)}: {what}"))
        path = ("cards", index, "sql")
        if isinstance(sql, str) and sql:
            try:
                queries.parse(sql)
            except queries.QueryError as error:
                problems.append((written.line(path), f"{document.dotted(path)}: {error.problem}"))
    return problems
