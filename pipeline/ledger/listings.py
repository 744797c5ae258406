"""Listings: which tables a source had as a run began, for sources that declare all of them."""

import json
from collections.abc import Sequence
from typing import Any

from pipeline import postgres
from pipeline.postgres import Connection

# Who does a run over that is older than this has it ask the source anew.
KEPT = "40 days"

# A table of a source, as JSON has it.
Entry = dict[str, Any]


def listing(connection: Connection, source: str, run: str) -> list[Entry] | None:
    """Return the tables that a source had as the run began; None if it was not asked in that run."""
    query = "SELECT tables FROM ops.listing WHERE source = %s AND run = %s"
    tables: list[Entry] | None = postgres.value(connection, query, (source, run))
    return tables


def last_listing(connection: Connection, source: str) -> list[Entry] | None:
    """Return the tables that a source had when it was asked last; None if it never was."""
    query = "SELECT tables FROM ops.listing WHERE source = %s ORDER BY listed_at DESC LIMIT 1"
    tables: list[Entry] | None = postgres.value(connection, query, (source,))
    return tables


def keep_listing(connection: Connection, source: str, run: str, tables: Sequence[Entry]) -> bool:
    """Write down which tables a source has as a run begins. Return whether that was not known yet."""
    query = """
        INSERT INTO ops.listing (run, source, tables) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING run
        """
    is_new = bool(postgres.rows(connection, query, (run, source, json.dumps(list(tables)))))
    old = """
        DELETE FROM ops.listing
        WHERE source = %s AND run <> %s AND listed_at < clock_timestamp() - %s::interval
        """
    postgres.rows(connection, old, (source, run, KEPT))
    return is_new
