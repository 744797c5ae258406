"""What there is to be in Metabase: collections, cards and dashboards as analysts declare them, in order."""

import hashlib
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.catalog.dashboard_files.asked import quoted
from pipeline.catalog.dashboard_files.board import TEXT, Card, Dashboard, Filter, FilterKind, Past, Reach
from pipeline.dashboards import visual
from pipeline.dashboards.objects import CARD, COLLECTION, DASHBOARD, by_filter, place
from pipeline.errors import CheckError

# Above the collections of all dashboards; what people see first.
ROOT_NAME = "School"
ROOT_KEY = COLLECTION
ROOT_DESCRIPTION = "Made from the analysts' repository. Changes by hand may be written over."
# What Metabase reads in SQL as its own.
TAKEN = ("{{", "}}", "[[", "]]")


class Places(Protocol):
    """What is there already: numbers of things and of columns."""

    @property
    def database(self) -> int | str:
        """Return the number, or in a file the name, of the warehouse's connection."""

    def number(self, key: str) -> int | str:
        """Return the number of a thing of ours; its key, which no number is, as long as it is not made."""

    def column(self, relation: str, name: str) -> tuple[int | tuple[str, ...], str]:
        """Return number, or in a file path, and base type of a column. Raise CheckError if it is unknown."""


@dataclass(frozen=True)
class Wanted:
    """One thing that is to be, in the collection of the key `parent`. `shown` is what it is to show."""

    kind: str
    key: str
    name: str
    shown: Callable[[Places], dict[str, Any]]
    parent: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class Board:
    """A dashboard with all that it is made of, in the order in which that is made; itself the last."""

    dashboard: Dashboard
    objects: Sequence[Wanted]
    cards: Mapping[str, Card]

    @property
    def name(self) -> str:
        return self.dashboard.name


def root() -> Wanted:
    """Return the collection that all of ours are in."""
    shown = {"name": ROOT_NAME, "description": ROOT_DESCRIPTION, "archived": False, "collection": None}
    return Wanted(COLLECTION, ROOT_KEY, ROOT_NAME, lambda _: dict(shown))


def board(dashboard: Dashboard) -> Board:
    """Return what a dashboard is made of: a collection of its own, its cards, and itself."""
    collection = f"{COLLECTION} {dashboard.name}"
    cards = dict(_keyed(dashboard))
    objects = [
        Wanted(
            COLLECTION,
            collection,
            dashboard.title,
            lambda places: _common(places, dashboard.title, dashboard.description, ROOT_KEY),
            ROOT_KEY,
            dashboard.file,
        )
    ]
    for key, card in cards.items():
        objects.append(_card(dashboard, collection, key, card))
    objects.append(
        Wanted(
            DASHBOARD,
            f"{DASHBOARD} {dashboard.name}",
            dashboard.title,
            lambda places: _dashboard(places, dashboard, cards, collection),
            collection,
            dashboard.file,
        )
    )
    return Board(dashboard, objects, cards)


def _keyed(dashboard: Dashboard) -> Iterator[tuple[str, Card]]:
    """Yield each card with its key: its title, and a number where that is there twice."""
    seen: dict[str, int] = {}
    for card in dashboard.cards:
        if card.chart == TEXT:
            continue
        seen[card.title] = seen.get(card.title, 0) + 1
        number = f" ({seen[card.title]})" if seen[card.title] > 1 else ""
        yield f"{CARD} {dashboard.name}: {card.title}{number}", card


def _common(places: Places, name: str, description: str, parent: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "archived": False,
        "collection": places.number(parent),
    }


def _card(dashboard: Dashboard, collection: str, key: str, card: Card) -> Wanted:
    def shown(places: Places) -> dict[str, Any]:
        tags = {
            reach.filter: _tag(places, dashboard.filter(reach.filter), reach, key) for reach in card.reach
        }
        return _common(places, card.title, card.description, collection) | {
            "type": "question",
            "display": visual.display(card),
            "sql": statement(card, dashboard),
            "tags": tags,
            "settings": visual.settings(card),
            "database": places.database,
        }

    return Wanted(CARD, key, card.title, shown, collection, dashboard.file)


def is_variable(chosen: Filter, reach: Reach) -> bool:
    """Whether a filter is put into the SQL as a text, and not as a condition that Metabase makes."""
    return chosen.kind == FilterKind.SEARCH or not reach.relation


def statement(card: Card, dashboard: Dashboard) -> str:
    """Return the SQL of a card, with the tags of the filters that reach it. Raise CheckError if none."""
    if taken := next((mark for mark in TAKEN if mark in card.sql), None):
        raise CheckError(
            f"its SQL has {taken}, which is Metabase's own syntax",
            hint="write it in another way, such as ARRAY[ARRAY[1, 2]] for a nested array",
        )
    conditions = [_condition(dashboard.filter(reach.filter), reach) for reach in card.reach]
    return card.statement(" ".join(["true", *conditions]) if conditions else "")


def _condition(chosen: Filter, reach: Reach) -> str:
    tag = f"{{{{{chosen.name}}}}}"
    column = quoted(reach.column)
    if chosen.kind == FilterKind.SEARCH:
        return f"[[AND {column}::text ILIKE '%' || {tag} || '%']]"
    if not reach.relation:
        if chosen.kind == FilterKind.DATE:
            raise CheckError(
                f"filter {chosen.name}: the table of its column {reach.column} is ambiguous, and "
                "Metabase needs it",
                hint="read that column from one mart, without a query in between",
            )
        return f"[[AND {column}::text = {tag}]]"
    return f"[[AND {tag}]]"


def _tag(places: Places, chosen: Filter, reach: Reach, key: str) -> dict[str, Any]:
    tag = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{key}/{chosen.name}")),
        "name": chosen.name,
        "title": chosen.title,
    }
    if is_variable(chosen, reach):
        return tag | {"type": "text"}
    number, base_type = places.column(reach.relation, reach.name)
    return tag | {"type": "dimension", "field": number, "widget": _type(chosen, base_type)}


def _type(chosen: Filter, base_type: str) -> str:
    if chosen.kind == FilterKind.DATE:
        return "date/all-options"
    numeric = base_type in ("type/Integer", "type/BigInteger", "type/Decimal", "type/Float")
    return "number/=" if numeric and chosen.kind == FilterKind.CATEGORY else "string/="


def _dashboard(
    places: Places, dashboard: Dashboard, cards: Mapping[str, Card], collection: str
) -> dict[str, Any]:
    keys = {id(card): key for key, card in cards.items()}
    titles = [tab.title for tab in dashboard.tabs if tab.title]
    placed = []
    for tab in dashboard.tabs:
        for card in tab.cards:
            key = keys.get(id(card))
            placed.append(
                {
                    "card": places.number(key) if key else None,
                    "tab": tab.title if titles else None,
                    "row": card.place.top,
                    "col": card.place.left,
                    "size_x": card.place.width,
                    "size_y": card.place.height,
                    "filters": sorted(
                        (
                            {
                                "filter": _parameter_id(reach.filter),
                                "card": places.number(key) if key else None,
                                "target": _target(dashboard.filter(reach.filter), reach),
                            }
                            for reach in card.reach
                        ),
                        key=by_filter,
                    ),
                    "settings": {} if key else visual.text(card),
                    "series": [],
                }
            )
    return _common(places, dashboard.title, dashboard.description, collection) | {
        "width": "full",
        "auto_apply_filters": True,
        "parameters": [_parameter(places, dashboard, one) for one in dashboard.filters],
        "tabs": titles,
        "cards": sorted(placed, key=place),
    }


def _parameter_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _target(chosen: Filter, reach: Reach) -> list[Any]:
    kind = "variable" if is_variable(chosen, reach) else "dimension"
    return [kind, ["template-tag", chosen.name]]


def _parameter(places: Places, dashboard: Dashboard, chosen: Filter) -> dict[str, Any]:
    reaches = [
        reach
        for card in dashboard.cards
        for reach in card.reach
        if reach.filter == chosen.name and not is_variable(chosen, reach)
    ]
    base_type = places.column(reaches[0].relation, reaches[0].name)[1] if reaches else ""
    kind = _type(chosen, base_type)
    parameter: dict[str, Any] = {
        "id": _parameter_id(chosen.name),
        "name": chosen.title,
        "slug": chosen.name,
        "type": kind,
        "sectionId": kind.partition("/")[0],
    }
    if chosen.kind != FilterKind.DATE:
        parameter["isMultiSelect"] = bool(reaches)
    return parameter | ({"default": _default(chosen, kind)} if chosen.default else {})


def _default(chosen: Filter, kind: str) -> Any:
    if isinstance(chosen.default, Past):
        # With ~ the current one is in it.
        return f"past{chosen.default.count}{chosen.default.unit}s~"
    values = list(chosen.default or ())
    if chosen.kind == FilterKind.DATE:
        return "~".join(values)
    return list(numbers(chosen)) if kind == "number/=" else values


def numbers(chosen: Filter) -> Iterator[int | float]:
    """Yield what is chosen at first of a column of numbers. Raise CheckError if one is none."""
    for value in () if isinstance(chosen.default, Past) else chosen.default or ():
        try:
            number = float(value) if "." in value else int(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise CheckError(
                f"its default {value} is not a number, but its column is numeric", hint="correct its default"
            )
        yield number
