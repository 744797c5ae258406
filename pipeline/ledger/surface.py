"""The surface: which of Metabase's things are ours, and how each was after our last write.

A thing is ours by its number there and by a marker that its server made up, never by its title alone: another
instance, or the same one made anew, has other things under the same numbers.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline import postgres
from pipeline.ledger import steps
from pipeline.postgres import Connection

_COLUMNS = "key, kind, name, file, number, marker, nonce, shown, detail"


@dataclass(frozen=True)
class Kept:
    """A thing of ours. Without `number` it is about to be made, and known by its `nonce` if it was."""

    key: str
    kind: str
    name: str
    file: str | None = None
    number: int | None = None
    marker: str | None = None
    nonce: str = ""
    # Its content as it was read back; None before that.
    shown: Mapping[str, Any] | None = None
    # What else is to be known the next time.
    detail: Mapping[str, Any] = field(default_factory=dict)


def require_migrated(connection: Connection) -> None:
    """Raise StepError if the ledger is older than the surface, or is not there at all."""
    steps.require_migrated(connection)
    if postgres.value(connection, "SELECT to_regclass('ops.surface')") is None:
        raise steps.outdated()


class Memory:
    """The table ops.surface, over a connection that commits by itself: what was done there stays done."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> dict[str, Kept]:
        """Return everything that is ours, by its key."""
        query = f"SELECT {_COLUMNS} FROM ops.surface ORDER BY key"  # noqa: S608
        return {one.key: one for one in postgres.read(self._connection, query, Kept)}

    def find(self, key: str) -> Kept | None:
        """Return one thing of ours."""
        query = f"SELECT {_COLUMNS} FROM ops.surface WHERE key = %s"  # noqa: S608
        return next(iter(postgres.read(self._connection, query, Kept, (key,))), None)

    def intend(self, kept: Kept) -> Kept:
        """Remember that it is about to be made, under a name that nothing else can have, and return that."""
        made = replace(kept, number=None, marker=None, shown=None, nonce=secrets.token_hex(8))
        self.save(made)
        return made

    def save(self, kept: Kept) -> None:
        """Remember a thing as it is."""
        postgres.rows(
            self._connection,
            """
            INSERT INTO ops.surface (key, kind, name, file, number, marker, nonce, shown, detail)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (key) DO UPDATE
            SET kind = excluded.kind, name = excluded.name, file = excluded.file, number = excluded.number,
                marker = excluded.marker, nonce = excluded.nonce, shown = excluded.shown,
                detail = excluded.detail, written_at = clock_timestamp()
            """,
            (
                kept.key,
                kept.kind,
                kept.name,
                kept.file,
                kept.number,
                kept.marker,
                kept.nonce,
                None if kept.shown is None else json.dumps(kept.shown),
                json.dumps(kept.detail),
            ),
        )

    def remove(self, key: str) -> None:
        """Remove the record of a thing: it is nobody's, or gone."""
        postgres.rows(self._connection, "DELETE FROM ops.surface WHERE key = %s", (key,))

    def rename(self, key: str, new: str) -> None:
        """Know a thing by another key: its file, or its title there, was renamed."""
        postgres.rows(self._connection, "UPDATE ops.surface SET key = %s WHERE key = %s", (new, key))
