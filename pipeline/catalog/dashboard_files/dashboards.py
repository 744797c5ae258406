"""Reads dashboards/NAME.yaml: what is to be shown, card by card, and what is wrong with it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline import names
from pipeline.catalog import document, gives
from pipeline.catalog.dashboard_files import asked, layout
from pipeline.catalog.dashboard_files.asked import Question
from pipeline.catalog.dashboard_files.board import (
    FILTERS,
    Card,
    Dashboard,
    Filter,
    FilterKind,
    Format,
    Reach,
    Tab,
)
from pipeline.catalog.dashboard_files.cards import DeclaredCard, DeclaredDashboard, DeclaredFilter
from pipeline.catalog.document import Document, dotted
from pipeline.catalog.marts import Mart
from pipeline.catalog.queries import Relation
from pipeline.catalog.source_files.relations import PLATFORM, SCHEMA, Sources, relation_problem
from pipeline.catalog.source_files.validation import validated

FOLDER = "dashboards"
Problem = tuple[int, str]
_Model = TypeVar("_Model", bound=BaseModel)


def read(
    directory: Path, sources: Sources, marts: Mapping[str, Mart], named: set[str]
) -> tuple[dict[str, Dashboard], list[str]]:
    """Return the dashboards of a repository by file name, and the problems of their files.

    `named` are the names of all marts, readable or not.
    """
    dashboards: dict[str, Dashboard] = {}
    folder = directory / FOLDER
    problems = [
        f"{FOLDER}/{path.name}:1: must end in .yaml; rename it" for path in sorted(folder.glob("*.yml"))
    ]
    known = asked.known_columns({name: mart.gives for name, mart in marts.items()}) | PLATFORM
    for path in sorted(folder.glob("*.yaml")):
        wrong, dashboard = _read_dashboard(path, _Around(sources, named, known))
        problems += [f"{FOLDER}/{path.name}:{line}: {what}" for line, what in sorted(set(wrong))]
        if dashboard is not None and not wrong:
            dashboards[path.stem] = dashboard
    return dashboards, problems


class _Around:
    """What there is beside the file: tables, marts, and the columns of marts, as far as they are known."""

    def __init__(self, sources: Sources, marts: set[str], known: gives.Known) -> None:
        self.sources, self.marts, self.known = sources, marts, known

    def problem(self, relation: Relation, granted: tuple[str, ...]) -> str | None:
        """Return why a card cannot show a relation."""
        if not relation.schema:
            return f"is named without a schema; write {SCHEMA}.{relation.name}, or its source before it"
        if str(relation) in PLATFORM:
            return None
        if problem := relation_problem(relation, self.sources, self.marts):
            return problem
        if relation.schema == SCHEMA or str(relation) in granted:
            return None
        return (
            "is not a mart, and dashboards see nothing else; write a mart with these rows, or, if it was "
            f"granted to the role of the dashboards, granted: [{relation}]"
        )


def _read_dashboard(path: Path, around: _Around) -> tuple[list[Problem], Dashboard | None]:
    try:
        written = document.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return [(1, "cannot be read as UTF-8 text; correct the file or its permissions")], None
    if written.problems and written.value is None:
        return written.problems, None
    declared, problems = validated(written, DeclaredDashboard)
    file = _File(written, around)
    tabs = tuple(file.tabs())
    problems = [*written.problems, *problems, *file.problems, *file.unreached()]
    if declared is None:
        return problems, None
    dashboard = Dashboard(
        path.stem, declared.title, tabs, declared.description or "", tuple(file.filters.values())
    )
    return problems, dashboard


class _File:
    """One dashboard's file. Each card is looked at, whatever is wrong with the others."""

    def __init__(self, written: Document, around: _Around) -> None:
        self._written, self._around = written, around
        self.problems: list[Problem] = []
        self.filters = dict(self._filters())
        granted = written.at(("granted",))
        self._granted = tuple(str(each) for each in granted) if isinstance(granted, list) else ()
        self._reached: set[str] = set()
        # Whether a card could not be read, which a filter may be for.
        self._unread = False
        self._titles: dict[str, int] = {}
        self._check_granted()

    def _add_problem(self, path: document.Path, what: str, line: int = 0) -> None:
        if path and isinstance(path[-1], int) and path not in self._written.lines:
            path = path[:-1]  # one name, and no list
        at = self._written.line_within(path, line) if line else self._written.line(path)
        self.problems.append((at, f"{dotted(path)}: {what}" if path else what))

    def _filters(self) -> Iterator[tuple[str, Filter]]:
        for name, value in _mapping(self._written.at(("filters",))).items():
            declared = _declared(value, DeclaredFilter)
            if declared is not None:
                title = declared.title or name.replace("_", " ").capitalize()
                column = declared.column or name
                yield name, Filter(name, title, declared.kind, column, declared.default)

    def _check_granted(self) -> None:
        for index, name in enumerate(self._granted):
            schema, _, table = name.partition(".")
            relation = Relation(schema if table else "", table or schema, 1)
            if problem := self._around.problem(relation, self._granted):
                self._add_problem(("granted", index), f"{name}: {problem}")

    def tabs(self) -> Iterator[Tab]:
        """Yield the tabs with those of their cards that can be shown."""
        if self._written.at(("tabs",)) is None:
            yield Tab("", tuple(self._cards(("cards",))))
        for index, tab in enumerate(_listed(self._written.at(("tabs",)))):
            title = _mapping(tab).get("title")
            yield Tab(str(title), tuple(self._cards(("tabs", index, "cards"))))

    def _cards(self, path: document.Path) -> Iterator[Card]:
        placed = [
            ((*path, index), card)
            for index, raw in enumerate(_listed(self._written.at(path)))
            if (card := _declared(raw, DeclaredCard)) is not None
        ]
        cards = [card for _, card in placed]
        for later, earlier in layout.overlaps(cards):
            other = cards[earlier].title or "a text"
            line = self._written.line(placed[earlier][0])
            self._add_problem(
                (*placed[later][0], "left"), f"overlaps with {other} (line {line}); move one of them"
            )
        for (where, card), place in zip(placed, layout.places(cards), strict=True):
            question = self._question(where, card)
            self._check_title(where, card)
            formats = {name: Format(**_given(each)) for name, each in card.format.items()}
            bare = Card(card.title or "", "text", place, card.description or "", card.text or "")
            if question is None:
                yield bare
                continue
            yield replace(
                bare,
                chart=card.chart,
                sql=question.sql,
                mart=card.mart or "",
                formats=formats,
                dimensions=question.dimensions,
                measures=question.measures,
                stacked=card.stacked,
                reads=question.reads,
                reach=tuple(self._reach(where, card, question)),
            )

    def _check_title(self, where: document.Path, card: DeclaredCard) -> None:
        line = self._written.line(where)
        first = self._titles.setdefault(card.title or f"text {line}", line)
        if first != line:
            self._add_problem(
                (*where, "title"), f"{card.title} is on line {first} already; write another title"
            )

    def _question(self, where: document.Path, card: DeclaredCard) -> Question | None:
        if card.mart is not None and card.mart not in self._around.marts:
            self._unread = True
            self._add_problem(
                (*where, "mart"), f"no such mart; {names.advice(card.mart, self._around.marts)}"
            )
            return None
        question, problems = asked.question(card, self._around.known)
        self._unread |= question is None and card.text is None
        for key, line, what in problems:
            self._add_problem((*where, *key), what, line)
        if card.sql is not None and question is not None:
            for relation in question.relations:
                if problem := self._around.problem(relation, self._granted):
                    self._unread = True
                    self._add_problem((*where, "sql"), f"{relation}: {problem}", relation.line)
        return question

    def _reach(self, where: document.Path, card: DeclaredCard, question: Question) -> Iterator[Reach]:
        """Yield the filters that reach a card: those that it names, or all whose column is there."""
        wanted = card.filters if card.filters is not None else tuple(self.filters)
        path, declared = (*where, "filters"), _mapping(self._written.at(("filters",)))
        for name in wanted:
            if name not in self.filters:
                if name not in declared:  # what is wrong with it is told there
                    self._add_problem(path, f"{name}: no such filter; {names.advice(name, declared)}")
                continue
            column = wanted[name] if isinstance(wanted, Mapping) else self.filters[name].column
            reach, problem = self._reads_column(name, column, question)
            if card.filters is not None and problem and not self._unread:
                self._add_problem(path, f"{name}: {problem}")
            if reach is not None or (problem and card.filters is not None):
                self._reached.add(name)
            if reach is not None:
                self._check_alias(where, reach, question)
                yield reach

    def _check_alias(self, where: document.Path, reach: Reach, question: Question) -> None:
        """Tell where Metabase could not make a condition: it names schema, table and column in it."""
        hidden = question.hidden(reach.relation)
        if hidden is not None and self.filters[reach.filter].kind != FilterKind.SEARCH:
            what = f"{reach.relation} has an alias, and filter {reach.filter} needs its own name"
            self._add_problem(
                (*where, "sql"), f"{what}; write FROM {reach.relation} without an alias", hidden.line
            )

    def _reads_column(self, name: str, column: str, question: Question) -> tuple[Reach | None, str]:
        if FILTERS not in question.sql:
            return None, f"the SELECT has no place for it; write {FILTERS} after WHERE"
        if "." in column:
            return self._reach_of(name, column, question)
        known = self._around.known
        owners = question.owners(column, known)
        if len(owners) == 1:
            return Reach(name, column, owners[0]), ""
        if owners:
            example = f"{{{name}: {owners[0].rpartition('.')[2]}.{column}}}"
            return None, f"{column} is in {' and '.join(owners)}; write which, such as filters: {example}"
        unknown = [relation for relation in question.reads if relation not in known]
        if len(unknown) == 1 == len(question.reads):
            return Reach(name, column, unknown[0]), ""
        there = [each for relation in question.reads for each in known.get(relation, ())]
        return None, f"{column}: no such column; {names.advice(column, there)}"

    def _reach_of(self, name: str, column: str, question: Question) -> tuple[Reach | None, str]:
        """Do so where the card says of which table."""
        called, _, own = column.rpartition(".")
        relation = question.called(called) or ""
        given = self._around.known.get(relation)
        if given is not None and own not in given:
            return None, f"{column}: no such column; {names.advice(own, given)}"
        return Reach(name, column, relation), ""

    def unreached(self) -> Iterator[Problem]:
        """Tell the filters that reach nothing."""
        for name, filter_ in self.filters.items():
            if name not in self._reached and not self._unread:
                where: document.Path = ("filters", name)
                what = (
                    f"reaches no card: none has a column {filter_.column}; correct its column, or remove it"
                )
                yield self._written.line(where), f"{dotted(where)}: {what}"


def _given(declared: BaseModel) -> dict[str, Any]:
    return {key: value for key in declared.model_fields_set if (value := getattr(declared, key)) is not None}


def _declared(value: Any, model: type[_Model]) -> _Model | None:
    """Return one part of a file, without the keys that are not as they should be, which is told elsewhere.

    None where nothing can be said of the rest.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = {details["loc"][0] for details in error.errors() if details["loc"]}
    # What a chart lacks is not told of one whose columns were written wrongly.
    wrong |= {"chart"} if wrong & {"dimensions", "measures"} else set()
    rest = {key: each for key, each in _mapping(value).items() if key not in wrong}
    return _declared(rest, model) if len(rest) < len(_mapping(value)) else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
