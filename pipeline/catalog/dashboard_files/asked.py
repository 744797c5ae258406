"""What a card asks: its SELECT, what that reads and gives, and what is wrong with it as far as files say."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pipeline import names
from pipeline.catalog import queries
from pipeline.catalog.dashboard_files.board import FILTERS, NO_CONDITION, Chart
from pipeline.catalog.dashboard_files.cards import SHAPES, DeclaredCard, measure
from pipeline.catalog.gives import UNNAMED, Known, expanded
from pipeline.catalog.source_files.relations import SCHEMA

# The key that is wrong, the line within its text (0: the key's own), and what.
Problem = tuple[tuple[str | int, ...], int, str]


@dataclass(frozen=True)
class Question:
    """What a card asks."""

    # With FILTERS where conditions belong.
    sql: str
    relations: tuple[queries.Relation, ...]
    # The columns that it gives, and those that it draws; None: cannot be told.
    gives: tuple[str, ...] | None
    dimensions: tuple[str, ...]
    measures: tuple[str, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        """The relations, each once."""
        return tuple(dict.fromkeys(str(relation) for relation in self.relations))

    def owners(self, column: str, known: Known) -> list[str]:
        """Return which of the relations have a column, of those whose columns are known."""
        return [relation for relation in self.reads if column in known.get(relation, ())]

    def called(self, name: str) -> str | None:
        """Return the relation that the SELECT knows by a name: its alias, or its own."""
        for relation in self.relations:
            if name in ([relation.alias] if relation.alias else [relation.name, str(relation)]):
                return str(relation)
        return None

    def hidden(self, name: str) -> queries.Relation | None:
        """Return a relation where it is read under an alias alone, and not by its own name."""
        relations = [relation for relation in self.relations if str(relation) == name]
        return relations[0] if relations and all(relation.alias for relation in relations) else None


def question(card: DeclaredCard, known: Known) -> tuple[Question | None, list[Problem]]:
    """Return what a card asks, or None for a text; and what is wrong. `known` are columns by relation."""
    if card.text is not None:
        return None, list(_of_text(card))
    if card.sql is not None:
        return _of_sql(card, card.sql, known)
    return _of_mart(card, str(card.mart), known)


def _of_text(card: DeclaredCard) -> Iterator[Problem]:
    for key in ("chart", "dimensions", "measures", "order", "limit", "format", "stacked", "filters"):
        if key in card.model_fields_set:
            yield (key,), 0, "has no effect on a text; remove it"


def _of_sql(card: DeclaredCard, sql: str, known: Known) -> tuple[Question | None, list[Problem]]:
    try:
        query = queries.parse(sql.replace(FILTERS, NO_CONDITION))
    except queries.QueryError as error:
        return None, [(("sql",), error.line, error.problem)]
    given = expanded(query.gives, known)
    problems: list[Problem] = [
        ((key,), 0, "is for a mart; write it in the SELECT")
        for key in ("order", "limit")
        if key in card.model_fields_set
    ]
    problems += _misnamed(query, known)
    measures = card.measures or ()
    if card.chart == Chart.NUMBER and not measures and given is not None and len(given) == 1:
        measures = given
    problems += [
        (("measures", index), 0, f"{each} is for a mart; write it in the SELECT, with AS and a name")
        for index, each in enumerate(measures)
        if measure(each)[0]
    ]
    question = Question(
        sql.strip().rstrip(";").rstrip(), query.relations, given, card.dimensions or (), measures
    )
    return question, [*problems, *_wrong_shape(card, question), *_missing(card, question)]


def _misnamed(query: queries.Query, known: Known) -> Iterator[Problem]:
    """Tell columns that neither the relations have nor the query makes, where all of those are known."""
    if query.inner is None or any(str(relation) not in known for relation in query.relations):
        return
    there = {column for relation in query.relations for column in known[str(relation)]}
    for column in sorted(query.columns - there - query.inner - {queries.EVERYTHING}):
        yield (("sql",), 0, f"{column}: no such column; {names.advice(column, there)}")


def _of_mart(card: DeclaredCard, mart: str, known: Known) -> tuple[Question | None, list[Problem]]:
    name = f"{SCHEMA}.{mart}"
    given, dimensions = known.get(name), card.dimensions or ()
    pairs = [measure(each) for each in card.measures or ()]
    problems: list[Problem] = []
    if any(how for how, _ in pairs) and not all(how for how, _ in pairs):
        problems.append((("measures",), 0, "are columns and sums of columns; write all of one kind"))
    if len({column for _, column in pairs}) < len(pairs):
        problems.append((("measures",), 0, "name a column twice; write two cards, or sql"))
    measures = tuple(column for _, column in pairs)
    if not pairs and card.chart == Chart.NUMBER and given is not None and len(given) == 1:
        measures, pairs = given, [(None, given[0])]
    shown = given if not dimensions and not measures else (*dimensions, *measures)
    relations = (queries.Relation(SCHEMA, mart, 1),)
    question = Question(_select(card, name, dimensions, pairs), relations, shown, dimensions, measures)
    # Its columns are looked for among those of the mart.
    return question, [
        *problems,
        *_wrong_shape(card, question),
        *_missing(card, replace(question, gives=given)),
    ]


def _select(
    card: DeclaredCard, name: str, dimensions: tuple[str, ...], pairs: list[tuple[str | None, str]]
) -> str:
    """Write the SELECT of a card that shows a mart."""
    grouped = any(how for how, _ in pairs)
    columns = [quoted(each) for each in dimensions]
    columns += [f"{how}({quoted(each)}) AS {quoted(each)}" if how else quoted(each) for how, each in pairs]
    lines = [f"SELECT {', '.join(columns) or '*'}", f"FROM {name}", f"WHERE {FILTERS}"]
    if grouped and dimensions:
        lines.append(f"GROUP BY {', '.join(quoted(each) for each in dimensions)}")
    orders = card.order or (dimensions if card.chart != Chart.TABLE else ())
    ways = [
        f"{quoted(each[1:])} DESC NULLS LAST" if each.startswith("-") else quoted(each) for each in orders
    ]
    if ways:
        lines.append(f"ORDER BY {', '.join(ways)}")
    if card.limit:
        lines.append(f"LIMIT {card.limit}")
    return "\n".join(lines)


def quoted(name: str) -> str:
    """Return a name as SQL takes it, whatever is in it; each part of it where it has a dot.

    >>> print(quoted("t.Köln 2"))
    "t"."Köln 2"
    """
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def _wrong_shape(card: DeclaredCard, question: Question) -> Iterator[Problem]:
    """Tell where a chart has too few or too many columns."""
    if card.chart not in SHAPES:
        return
    for key, columns, (least, most) in zip(
        ("dimensions", "measures"), (question.dimensions, question.measures), SHAPES[card.chart], strict=True
    ):
        if len(columns) < least:
            yield (), 0, f"its chart needs {key}; write {key}: and {_ROLE[key]}"
        if len(columns) > most:
            how = f"at most {most}" if most else "none"
            yield (key,), 0, f"are {len(columns)}, and its chart has {how}; remove some"
    if question.dimensions[1:] and question.measures[1:]:
        yield ("measures",), 0, "are several, beside a second dimension; keep one of them, or one dimension"


_ROLE = {"dimensions": "the column along its axis", "measures": "the column that is drawn"}


def _missing(card: DeclaredCard, question: Question) -> Iterator[Problem]:
    """Tell columns that the card names and its rows do not have."""
    if question.gives is None:
        return
    for column, path in _named(card, question):
        if column not in question.gives:
            known = [each for each in question.gives if each != UNNAMED]
            hint = "" if card.mart or len(known) == len(question.gives) else ", or name one of them with AS"
            yield path, 0, f"{column}: no such column; {names.advice(column, known)}{hint}"


def _named(card: DeclaredCard, question: Question) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    for key, columns in (("dimensions", question.dimensions), ("measures", question.measures)):
        for index, column in enumerate(columns):
            if not (card.sql and measure(column)[0]):
                yield column, (key, index)
    for index, column in enumerate(card.order or ()):
        yield column.removeprefix("-"), ("order", index)
    for column in card.format:
        yield column, ("format", column)


def known_columns(marts: Mapping[str, tuple[str, ...] | None]) -> dict[str, tuple[str, ...]]:
    """Return the columns of marts as `mart.NAME`, as far as they can be told from what each gives."""
    known: dict[str, tuple[str, ...]] = {}
    waiting = dict(marts)
    while True:
        resolved = {
            name: columns
            for name, given in waiting.items()
            if (columns := expanded(given, known)) is not None
        }
        if not resolved:
            return known
        for name, columns in resolved.items():
            known[f"{SCHEMA}.{name}"] = columns
            del waiting[name]
