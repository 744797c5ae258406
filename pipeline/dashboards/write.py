"""Writes one thing to Metabase: made bare, then written whole, then read back and compared.

What is about to be made is remembered before, under a name that nothing else has: who is killed right after,
or never hears the answer, finds it again and makes no second one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.dashboards import objects
from pipeline.dashboards.changes import Action, Change, There, differing
from pipeline.dashboards.objects import PATHS
from pipeline.dashboards.wanted import Wanted
from pipeline.errors import StepError
from pipeline.ledger.surface import Kept, Memory
from pipeline.metabase import Client


class Writer:
    """Writes things, and keeps `there` and the memory as they are then."""

    def __init__(self, client: Client, memory: Memory, there: There) -> None:
        self._client, self._memory, self._there = client, memory, there

    def do(self, change: Change, wanted: Wanted) -> None:
        """Let a thing be as it is declared. Raise StepError if Metabase did not take a part of that."""
        if change.action == Action.KEEP:
            return
        known = self._there.kept.get(wanted.key)
        live = self._there.live(wanted.key, wanted.kind)
        if change.action == Action.REMEMBER and known is not None and live is not None:
            self._remember(replace(known, shown=objects.shown(wanted.kind, live)))
            return
        if live is None:
            live = self._made(wanted, known)
        self._write(wanted, live)

    def archive(self, known: Kept) -> bool:
        """Put a thing that is no longer declared into the trash, and forget it; False if it is gone."""
        live = self._there.live(known.key, known.kind)
        is_there = live is not None and not live.get("archived")
        if is_there:
            self._client.put(f"{PATHS[known.kind]}/{known.number}", {"archived": True})
            after = objects.read(self._client, known.kind, known.number or 0)
            if after is not None and not after.get("archived"):
                raise StepError(f'Metabase did not move {known.kind} "{known.name}" to its trash')
        self._memory.remove(known.key)
        self._there.kept.pop(known.key, None)
        return is_there

    def _made(self, wanted: Wanted, known: Kept | None) -> Mapping[str, Any]:
        """Return a thing that was made just now, or by whoever was killed then."""
        parent = self._there.number(wanted.parent) if wanted.parent else None
        parent = parent if isinstance(parent, int) else None
        number = self._half_made(wanted, known, parent)
        if number is None:
            intended = self._memory.intend(Kept(wanted.key, wanted.kind, wanted.name, wanted.file))
            self._there.kept[wanted.key] = intended
            body = objects.bare(wanted.kind, wanted.name, intended.nonce, parent, wanted.shown(self._there))
            number = int(self._client.post(PATHS[wanted.kind], body)["id"])
        live = objects.read(self._client, wanted.kind, number)
        if live is None:
            raise StepError(f'Metabase lacks {wanted.kind} "{wanted.name}", which it has just created')
        nonce = self._there.kept[wanted.key].nonce
        self._remember(
            Kept(wanted.key, wanted.kind, wanted.name, wanted.file, number, objects.marker(live), nonce)
        )
        return live

    def _half_made(self, wanted: Wanted, known: Kept | None, parent: int | None) -> int | None:
        if known is None or known.number is not None:
            return None
        items = self._client.get(f"/api/collection/{parent or 'root'}/items", models=wanted.kind)
        for one in items.get("data") or ():
            if one.get("description") == known.nonce:
                return int(one["id"])
        return None

    def _write(self, wanted: Wanted, live: Mapping[str, Any]) -> None:
        shown, number = wanted.shown(self._there), int(live["id"])
        self._client.put(f"{PATHS[wanted.kind]}/{number}", objects.whole(wanted.kind, shown, live))
        after = objects.read(self._client, wanted.kind, number)
        written = objects.shown(wanted.kind, after or {})
        if missed := differing(written, shown):
            raise StepError(
                f'Metabase accepted {wanted.kind} "{wanted.name}", but not its {", ".join(missed)}; this '
                "version may expect another format: report it to the maintainers of this program"
            )
        known = self._there.kept[wanted.key]
        self._remember(replace(known, name=wanted.name, file=wanted.file, shown=written))

    def _remember(self, known: Kept) -> None:
        self._memory.save(known)
        self._there.kept[known.key] = known
