"""The dashboards as Metabase's own files (its representation format 1.0.0), which its paid editions import.

Each thing is a file of YAML that names others by an entity id; ours is made of the thing's key, so that what
is exported twice is the same, and an import changes what an earlier one made.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline import access
from pipeline.catalog.dashboard_files.board import Dashboard
from pipeline.choice import Choice
from pipeline.dashboards import trial, wanted
from pipeline.dashboards.apply import Outcome
from pipeline.dashboards.changes import Action, Change
from pipeline.dashboards.connection import NAME
from pipeline.dashboards.objects import CARD, COLLECTION, DASHBOARD
from pipeline.dashboards.wanted import Wanted
from pipeline.errors import StepError, UsageError
from pipeline.settings import Settings
from pipeline.system import atomic

# The user that every instance has: things are of somebody, by an email address.
CREATOR = "internal@metabase.com"
# Where an import looks for what people see.
INSIDE = Path("collections", "main")
MODELS: Mapping[str, str] = {COLLECTION: "Collection", CARD: "Card", DASHBOARD: "Dashboard"}
CHARACTERS = 21
_NO_SLUG = re.compile(r"\W+", re.ASCII)


class _Places:
    """Numbers are the instance's own: in files there are names and entity ids in their place."""

    database = NAME

    def __init__(self, numeric: Callable[[str, str], bool]) -> None:
        self._numeric = numeric

    def number(self, key: str) -> str:
        return entity_id(key)

    def column(self, relation: str, name: str) -> tuple[tuple[str, ...], str]:
        schema, _, table = relation.partition(".")
        kind = "type/Decimal" if self._numeric(relation, name) else "type/Text"
        return (NAME, schema, table, name), kind


def export(settings: Settings, dashboards: Sequence[Dashboard], folder: Path) -> Outcome:
    """Write the files into a new or empty folder, and return what was written and what is held back.

    They are there all at once, or not at all.

    Each card is tried on the warehouse, as before it is applied. Raise UsageError if something is in that
    folder, StepError if it cannot be written, UnreachableError if the warehouse is out of reach.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is not empty", hint="name another folder, or empty this one")
    outcome = Outcome()
    with access.opened(settings) as databases, databases.dashboards() as own:
        places = _Places(lambda relation, name: trial.holds_numbers(own, relation, name))
        fine = []
        for board in map(wanted.board, dashboards):
            problems = list(trial.problems(own, board))
            outcome.problems += problems
            if not problems:
                fine.append(board)
        objects = [wanted.root(), *(each for board in fine for each in board.objects)]
        files = dict(_files(objects, places))
    whole = folder.resolve()
    try:
        with atomic.folder(whole / INSIDE.parts[0], beside=whole) as partial:
            for path, content in files.items():
                target = partial / path.relative_to(INSIDE.parts[0])
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("w", encoding="utf-8") as file:
                    _yaml().dump(content, file)
    except OSError as error:
        raise StepError(
            f"{folder}: cannot be written: {error.strerror}",
            hint="make room, or name a folder that this user may write to",
        ) from None
    outcome.changes += [Change(Action.CREATE, one.kind, one.name, one.file) for one in objects]
    return outcome


def entity_id(key: str) -> str:
    """Return the id of a thing: 21 characters, always the same for its key.

    >>> entity_id("dashboard staff")
    'KKTvRKzezQ4aFlY5Y3_yj'
    """
    return base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()).decode()[:CHARACTERS]


def slug(name: str) -> str:
    """Return a name as Metabase calls its file.

    >>> slug("Students by programme (2)"), slug("Ämter")
    ('students_by_programme_2', 'mter')
    """
    return _NO_SLUG.sub("_", name.lower()).strip("_") or "_"


def _yaml() -> YAML:
    made = YAML(typ="safe", pure=True)
    made.default_flow_style = False
    made.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # its stub has None alone
    made.width = 120
    made.representer.add_multi_representer(
        Choice, lambda representer, word: representer.represent_str(str(word))
    )
    return made


def _files(objects: Sequence[Wanted], places: _Places) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each thing with its path; collections stand beside the folder of what is in them."""
    folders: dict[str | None, Path] = {None: INSIDE}
    taken: set[Path] = set()
    for one in objects:
        path = _free(folders[one.parent], slug(one.name), taken)
        if one.kind == COLLECTION:
            folders[one.key] = path
        shown = one.shown(places)
        made = {
            COLLECTION: _collection,
            CARD: _card,
            DASHBOARD: _dashboard,
        }[one.kind](one, shown)
        own = entity_id(one.key)
        identity = {"id": own, "label": slug(one.name), "model": MODELS[one.kind]}
        common = {"name": one.name, "description": shown["description"] or None, "entity_id": own}
        yield path.with_name(f"{path.name}.yaml"), {**common, **made, "serdes/meta": [identity]}


def _free(folder: Path, name: str, taken: set[Path]) -> Path:
    path, number = folder / name, 1
    while path in taken:
        number += 1
        path = folder / f"{name}_{number}"
    taken.add(path)
    return path


def _collection(wanted: Wanted, shown: Mapping[str, Any]) -> dict[str, Any]:
    return {"slug": slug(wanted.name), "parent_id": shown["collection"]}


def _card(_wanted: Wanted, shown: Mapping[str, Any]) -> dict[str, Any]:
    stage = {
        "lib/type": "mbql.stage/native",
        "native": shown["sql"],
        "template-tags": [_tag(name, tag) for name, tag in shown["tags"].items()],
    }
    return {
        "creator_id": CREATOR,
        "collection_id": shown["collection"],
        "type": shown["type"],
        "display": shown["display"],
        "visualization_settings": shown["settings"],
        "dataset_query": {"lib/type": "mbql/query", "database": shown["database"], "stages": [stage]},
    }


def _tag(name: str, tag: Mapping[str, Any]) -> dict[str, Any]:
    made = {"type": tag["type"], "name": name, "id": tag["id"], "display-name": tag["title"]}
    if tag["type"] == "dimension":
        made |= {"dimension": ["field", {}, list(tag["field"])], "widget-type": tag["widget"]}
    return made


def _dashboard(wanted: Wanted, shown: Mapping[str, Any]) -> dict[str, Any]:
    own = entity_id(wanted.key)
    tabs = {name: entity_id(f"{wanted.key}: tab {name}") for name in shown["tabs"]}
    return {
        "creator_id": CREATOR,
        "collection_id": shown["collection"],
        "width": shown["width"],
        "parameters": shown["parameters"],
        "tabs": [
            {"entity_id": made, "name": name, "position": position}
            for position, (name, made) in enumerate(tabs.items())
        ],
        "dashcards": [
            _dashcard(own, tabs, entity_id(f"{wanted.key}: place {number}"), card)
            for number, card in enumerate(shown["cards"])
        ],
    }


def _dashcard(dashboard: str, tabs: Mapping[str, str], own: str, card: Mapping[str, Any]) -> dict[str, Any]:
    tab = tabs[card["tab"]] if card["tab"] else None
    above = [{"id": dashboard, "model": "Dashboard"}]
    mappings = [
        {"card_id": each["card"], "parameter_id": each["filter"], "target": list(each["target"])}
        for each in card["filters"]
    ]
    return {
        "entity_id": own,
        "card_id": card["card"],
        "dashboard_tab_id": [dashboard, tab] if tab else None,
        "row": card["row"],
        "col": card["col"],
        "size_x": card["size_x"],
        "size_y": card["size_y"],
        "parameter_mappings": mappings,
        "series": [],
        "visualization_settings": card["settings"],
        "serdes/meta": [*above, {"id": own, "model": "DashboardCard"}],
    }
