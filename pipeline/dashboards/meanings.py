"""What marts and their columns mean, for whoever looks at them in Metabase: from marts/NAME.sql."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.catalog import Catalog
from pipeline.dashboards import connection
from pipeline.dashboards.changes import Action, Change
from pipeline.dashboards.connection import Database
from pipeline.errors import StepError
from pipeline.ledger.surface import Kept
from pipeline.settings import Edits

KEY = "meanings"
SCHEMA = "mart"
TABLE, COLUMN = "table", "column"
_PART = ("description",)


@dataclass(frozen=True)
class Meaning:
    """What a table or a column means, where in Metabase that is to stand, and what stands there."""

    kind: str
    name: str
    path: str
    # Empty where nothing is declared any more.
    text: str
    live: str
    # What we have written there; None if nothing.
    ours: str | None

    def change(self, edits: Edits) -> Change | None:
        """Return what is to be done; None if it stands there as declared."""
        if self.live == self.text:
            return None
        # An empty one that we have not filled is nobody's.
        by_hand = _PART if self.live != (self.ours or "") else ()
        action = Action.KEEP if by_hand and edits == Edits.KEEP else Action.UPDATE
        return Change(action, self.kind, self.name, None, _PART, by_hand)


def missing(database: Database, catalog: Catalog, edits: Edits) -> list[Change]:
    """Return the descriptions that Metabase has otherwise than declared, also those that are to go."""
    changes = (meaning.change(edits) for meaning in _all(database, catalog))
    return [change for change in changes if change is not None]


def keep(database: Database, catalog: Catalog, edits: Edits) -> list[Change]:
    """Write what is missing, and return it with what stays as somebody changed it.

    Raise StepError if Metabase did not take one.
    """
    changes = missing(database, catalog, edits)
    wanted = {change.name for change in changes if change.action != Action.KEEP}
    for meaning in _all(database, catalog):
        if meaning.name in wanted:
            # An empty text is refused.
            database.client.put(meaning.path, {"description": meaning.text or None})
    if wanted:
        database.clear_cache()
    after = list(_all(database, catalog))
    _remember(database, after)
    if left := [meaning.name for meaning in after if meaning.name in wanted and meaning.live != meaning.text]:
        raise StepError(
            f"Metabase did not accept the description of {', '.join(left)}",
            hint="see its own log; this version may expect another format: report it to the maintainers "
            "of this program",
        )
    return changes


def _remember(database: Database, after: list[Meaning]) -> None:
    """Remember what stands there as declared, whoever wrote it, so that it is not taken for another's.

    What is no longer declared, and what Metabase has no more, is forgotten.
    """
    before, now = _ours(database), {}
    for meaning in after:
        if meaning.text and meaning.live == meaning.text:
            now[meaning.name] = meaning.text
        elif meaning.ours is not None and (meaning.text or meaning.live == meaning.ours):
            now[meaning.name] = meaning.ours
    if now != before:
        database.memory.save(Kept(KEY, KEY, "", marker=_instance(database), detail=now))


def _ours(database: Database) -> Mapping[str, str]:
    """Return what we have written, by name. Another connection's tables were never given anything."""
    known = database.memory.find(KEY)
    is_same = known is not None and known.marker in (None, _instance(database))
    return known.detail if known is not None and is_same else {}


def _instance(database: Database) -> str | None:
    known = database.memory.find(connection.KEY)
    return known.marker if known else None


def _all(database: Database, catalog: Catalog) -> Iterator[Meaning]:
    """Yield each description that is declared, or was, of what Metabase knows."""
    ours = _ours(database)
    for table in database.tables:
        if table.get("schema") != SCHEMA:
            continue
        mart = catalog.marts.get(str(table.get("name")))
        name = f"{SCHEMA}.{table.get('name')}"
        text = (mart.description if mart else None) or ""
        if text or name in ours:
            path, live = f"/api/table/{table['id']}", table.get("description") or ""
            yield Meaning(TABLE, name, path, text, live, ours.get(name))
        for field in table.get("fields") or ():
            column, rule = f"{name}.{field['name']}", mart.rules.get(str(field["name"])) if mart else None
            text = (rule.description if rule else None) or ""
            if text or column in ours:
                path, live = f"/api/field/{field['id']}", field.get("description") or ""
                yield Meaning(COLUMN, column, path, text, live, ours.get(column))
