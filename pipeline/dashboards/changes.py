"""What is to be done to Metabase: what is declared beside what is there, thing by thing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pipeline.catalog.dashboard_files.board import Dashboard
from pipeline.dashboards import objects
from pipeline.dashboards.connection import Database
from pipeline.dashboards.objects import CARD, COLLECTION, DASHBOARD
from pipeline.dashboards.wanted import Wanted
from pipeline.errors import CheckError
from pipeline.ledger.surface import Kept
from pipeline.metabase import Client
from pipeline.settings import Edits

_ARCHIVED_FIRST = (DASHBOARD, CARD, COLLECTION)


class Action(StrEnum):
    """What is done to one thing."""

    CREATE = "create"
    UPDATE = "update"
    RESTORE = "restore"
    ARCHIVE = "archive"
    # What somebody changed there by hand stays.
    KEEP = "keep"
    # It is as it is to be, though we did not write it.
    REMEMBER = "remember"


@dataclass(frozen=True)
class Change:
    """One thing that is not as it is declared: what is done, what of it differs, what was changed by hand."""

    action: Action
    kind: str
    name: str
    file: str | None = None
    differs: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    renamed_from: str | None = None
    # What Metabase has to come to know before.
    follows: str = ""

    def __str__(self) -> str:
        """Return it in a line, such as `update card "Students" (sql)`."""
        where = f", {self.file}" if self.file else ""
        parts = [f'{self.action} {self.kind} "{self.name}"{where}']
        if self.renamed_from and self.renamed_from != self.name:
            parts.append(f'it was "{self.renamed_from}"')
        if self.differs and self.action not in (Action.CREATE, Action.ARCHIVE):
            parts.append(f"differs: {', '.join(self.differs)}")
        if self.follows:
            parts.append(f"follows a sync, because Metabase does not know {self.follows} yet")
        if self.by_hand:
            what = "stays" if self.action == Action.KEEP else "is overwritten"
            parts.append(f"changed in Metabase by hand, which {what}: {', '.join(self.by_hand)}")
        return "; ".join(parts)


class UnknownColumnError(CheckError):
    """Metabase does not know a column, which a sync may change."""

    column = ""

    @classmethod
    def of(cls, column: str) -> "UnknownColumnError":
        """Return the error of a column, such as mart.staff.grade."""
        made = cls(f"Metabase does not know {column} yet")
        made.column = column
        return made


class There:
    """What is there already, by what is remembered and by what Metabase says."""

    def __init__(self, client: Client | None, kept: Mapping[str, Kept], database: Database | None) -> None:
        """Without a client, as an empty instance is."""
        self.client, self.kept, self._database = client, dict(kept), database

    @property
    def database(self) -> int:
        """Return the number of the warehouse's connection; 0 before it is made."""
        return self._database.number if self._database else 0

    def number(self, key: str) -> int | str:
        """Return the number of a thing; its key before it is made."""
        known = self.kept.get(key)
        return known.number if known and known.number is not None else key

    def column(self, relation: str, name: str) -> tuple[int, str]:
        """Return number and base type of a column; 0 where there is no Metabase yet.

        Raise UnknownColumnError if it does not know it.
        """
        if self._database is None:
            return 0, ""
        column = self._database.column(relation, name)
        if column is None:
            raise UnknownColumnError.of(f"{relation}.{name}")
        return column

    @property
    def collections(self) -> list[int]:
        """Return the numbers of our collections."""
        numbers = [known.number for known in self.kept.values() if known.kind == COLLECTION]
        return [number for number in numbers if number is not None]

    def live(self, key: str, kind: str) -> Mapping[str, Any] | None:
        """Return a thing of ours as Metabase has it; None if it has not, or has another under its number."""
        known = self.kept.get(key)
        if self.client is None or known is None or known.number is None:
            return None
        live = objects.read(self.client, kind, known.number)
        return live if live is not None and objects.marker(live) == known.marker else None


def differing(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the parts in which two contents differ."""
    first = one or {}
    return tuple(key for key in sorted({*first, *other}) if first.get(key) != other.get(key))


def of_object(there: There, wanted: Wanted, edits: Edits, renamed_from: str | None = None) -> Change | None:
    """Return what is to be done so that a thing is as it is declared; None if it is."""
    known, live = there.kept.get(wanted.key), there.live(wanted.key, wanted.kind)
    name, file = wanted.name, wanted.file
    if live is None:
        gone = ("removed",) if known is not None and known.shown is not None and there.client else ()
        return Change(Action.CREATE, wanted.kind, name, file, by_hand=gone)
    shown = objects.shown(wanted.kind, live)
    by_hand = differing(known.shown, shown) if known and known.shown is not None else ()
    try:
        differs, follows = differing(shown, wanted.shown(there)), ""
    except UnknownColumnError as error:
        differs, follows = (), error.column
    if not differs and not follows:
        return Change(Action.REMEMBER, wanted.kind, name, file) if known and known.shown != shown else None
    if by_hand and edits == Edits.KEEP:
        return Change(Action.KEEP, wanted.kind, name, file, differs, by_hand, follows=follows)
    action = Action.RESTORE if shown["archived"] else Action.UPDATE
    return Change(action, wanted.kind, name, file, differs, by_hand, renamed_from, follows)


def removed(there: There, wanted: Sequence[Wanted], held: Sequence[Dashboard]) -> Iterator[Kept]:
    """Yield what is ours and no longer declared, in the order in which it is archived.

    Of a dashboard that is held back nothing is.
    """
    keys, files = {one.key for one in wanted}, _files(there, held)
    for kind in _ARCHIVED_FIRST:
        for known in there.kept.values():
            if known.kind == kind and known.key not in keys and known.file not in files:
                yield known


def _files(there: There, held: Sequence[Dashboard]) -> set[str | None]:
    """Return the files of the dashboards that are held back, also under the names that they had before."""
    files: set[str | None] = {one.file for one in held}
    known = [kept for kept in there.kept.values() if kept.kind == DASHBOARD]
    new = {one.title for one in held if one.file not in {kept.file for kept in known}}
    return files | {kept.file for kept in known if kept.name in new}


def renames(
    there: There, wanted: Sequence[Wanted], held: Sequence[Dashboard]
) -> Iterator[tuple[Kept, Wanted]]:
    """Yield what is ours under a key that is gone, with what is most probably the same under a new one.

    A card that asks the same, drawn the same; a dashboard or collection whose title is the same. What is of a
    dashboard that is held back stays that one's.
    """
    keys, files = {one.key for one in wanted}, _files(there, held)
    free = [
        known
        for known in there.kept.values()
        if known.key not in keys and known.file not in files and known.shown is not None
    ]
    new = [one for one in wanted if one.key not in there.kept]
    for one in new:
        shown = _shown(there, one) if one.kind == CARD else {}
        for known in free:
            if known.kind == one.kind and _is_same(known, one, shown):
                free.remove(known)
                yield known, one
                break


def _shown(there: There, wanted: Wanted) -> Mapping[str, Any]:
    try:
        return wanted.shown(there)
    except CheckError:
        # What it asks cannot be told before a sync; then it is taken for another.
        return {}


def _is_same(known: Kept, wanted: Wanted, shown: Mapping[str, Any]) -> bool:
    if wanted.kind == CARD:
        before = known.shown or {}
        return all(part in shown and before.get(part) == shown[part] for part in ("sql", "display"))
    return known.name == wanted.name


def renamed(there: There, pairs: Sequence[tuple[Kept, Wanted]]) -> dict[str, str]:
    """Let things be known by their new keys, and return what each was called."""
    names = {}
    for known, wanted in pairs:
        del there.kept[known.key]
        there.kept[wanted.key] = replace(known, key=wanted.key, file=wanted.file)
        names[wanted.key] = known.name
    return names
