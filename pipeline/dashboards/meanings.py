"""What marts and their columns mean, for whoever looks at them in Metabase: from marts/NAME.sql."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.catalog import Catalog
from pipeline.dashboards.connection import Database
from pipeline.dashboards.kept import Kept
from pipeline.errors import StepError

KEY = "meanings"
SCHEMA = "mart"


@dataclass(frozen=True)
class Meaning:
    """What a table or a column means, and where in Metabase that is to stand."""

    name: str
    path: str
    text: str


def missing(database: Database, catalog: Catalog, edits: str) -> list[Meaning]:
    """Return the descriptions that Metabase has not, or has otherwise. With `edits` keep, not by hand."""
    known = database.memory.find(KEY)
    ours: Mapping[str, str] = known.detail if known else {}
    found = []
    for meaning, live in _all(database, catalog):
        by_hand = live and live != ours.get(meaning.name)
        if live != meaning.text and not (by_hand and edits == "keep"):
            found.append(meaning)
    return found


def keep(database: Database, catalog: Catalog, edits: str) -> int:
    """Write the descriptions that are missing, and return how many. Raise StepError if one was not taken."""
    wanted = missing(database, catalog, edits)
    for meaning in wanted:
        database.client.put(meaning.path, {"description": meaning.text})
    if wanted:
        database.forget_tables()
    taken = {meaning.name: meaning.text for meaning, live in _all(database, catalog) if live == meaning.text}
    if left := [meaning.name for meaning in wanted if meaning.name not in taken]:
        raise StepError(f"Metabase did not take the description of {left[0]}")
    _remember(database, taken)
    return len(wanted)


def _remember(database: Database, taken: Mapping[str, str]) -> None:
    """Remember what stands there as declared, whoever wrote it, so that it is not taken for another's."""
    known = database.memory.find(KEY)
    before = known.detail if known else {}
    if taken.items() - before.items():
        database.memory.save(Kept(KEY, KEY, "", detail={**before, **taken}))


def _all(database: Database, catalog: Catalog) -> Iterator[tuple[Meaning, str]]:
    """Yield each description of a mart that Metabase knows, with what stands there."""
    for table in database.tables:
        mart = catalog.marts.get(str(table.get("name"))) if table.get("schema") == SCHEMA else None
        if mart is None:
            continue
        name = f"{SCHEMA}.{mart.name}"
        if mart.description:
            yield Meaning(name, f"/api/table/{table['id']}", mart.description), table.get("description") or ""
        for field in table.get("fields") or ():
            column = mart.rules.get(str(field["name"]))
            if text := (column.description or "") if column else "":
                path = f"/api/field/{field['id']}"
                yield Meaning(f"{name}.{field['name']}", path, text), field.get("description") or ""
