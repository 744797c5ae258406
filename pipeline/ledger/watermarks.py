"""Watermarks: up to where each table has been loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline import postgres
from pipeline.ledger.sources import Witnesses
from pipeline.ledger.steps import to_json
from pipeline.postgres import Connection

# For Prometheus: of each table the moment that it shows.
TABLES_FRESH_AS_OF = (
    "SELECT source || '.' || table_name, extract(epoch FROM snapshot_at) FROM ops.watermark ORDER BY 1"
)


@dataclass(frozen=True)
class Watermark:
    """Up to where a table has been loaded: all that was committed before `horizon` in this source's history.

    `horizon` is a 64-bit transaction id, `system_identifier` and `timeline` say whose.
    """

    run: str
    snapshot_at: datetime
    horizon: int
    system_identifier: str
    timeline: int
    cursor_value: str | None
    rows: int
    # Rows that were set aside, so that the table has not all that the source had.
    quarantined: int = 0
    cursor_name: str | None = None
    # Why the next load is to read all of it, if somebody asked for that.
    in_full: str | None = None
    # In which history of the source that was, and row versions that it had then.
    history: int = 0
    witnesses: Witnesses | None = None


def watermark(connection: Connection, source: str, table: str) -> Watermark | None:
    """Return up to where the table has been loaded, or None if it never was."""
    rows = postgres.read(
        connection,
        """
        SELECT run, snapshot_at, horizon, system_identifier, timeline, cursor_value, rows, quarantined,
               cursor_name, in_full, history, witnesses
        FROM ops.watermark WHERE source = %s AND table_name = %s
        """,
        _watermark,
        (source, table),
    )
    return rows[0] if rows else None


def _watermark(*, witnesses: Mapping[str, Any] | None, **columns: Any) -> Watermark:
    return Watermark(witnesses=Witnesses.from_json(witnesses) if witnesses else None, **columns)


def save_watermark(connection: Connection, source: str, table: str, mark: Watermark) -> None:
    """Record up to where the table is loaded, in the transaction that publishes its rows."""
    postgres.rows(
        connection,
        """
        INSERT INTO ops.watermark (source, table_name, run, snapshot_at, horizon, system_identifier, timeline,
                                   cursor_value, rows, quarantined, cursor_name, history, witnesses,
                                   loaded_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp())
        ON CONFLICT (source, table_name) DO UPDATE
        SET run = excluded.run, snapshot_at = excluded.snapshot_at, horizon = excluded.horizon,
            system_identifier = excluded.system_identifier, timeline = excluded.timeline,
            cursor_value = excluded.cursor_value, rows = excluded.rows,
            quarantined = excluded.quarantined, cursor_name = excluded.cursor_name,
            loaded_at = excluded.loaded_at, in_full = NULL, history = excluded.history,
            witnesses = excluded.witnesses
        """,
        (
            source,
            table,
            mark.run,
            mark.snapshot_at,
            mark.horizon,
            mark.system_identifier,
            mark.timeline,
            mark.cursor_value,
            mark.rows,
            mark.quarantined,
            mark.cursor_name,
            mark.history,
            mark.witnesses and to_json(mark.witnesses.to_json()),
        ),
    )


def read_in_full(connection: Connection, source: str, table: str, reason: str) -> None:
    """Have the table's next load read all of it, for that reason."""
    query = "UPDATE ops.watermark SET in_full = %s WHERE source = %s AND table_name = %s"
    postgres.rows(connection, query, (reason, source, table))


@dataclass(frozen=True)
class Fresh:
    """A loaded table by source.table, the moment of the source that it shows, and its rows."""

    name: str
    as_of: datetime
    rows: int


def fresh_as_of(connection: Connection) -> list[Fresh]:
    """Return how fresh each loaded table is, declared or not."""
    query = """
        SELECT source || '.' || table_name AS name, snapshot_at AS as_of, rows FROM ops.watermark ORDER BY 1
        """
    return postgres.read(connection, query, Fresh)


def loaded_tables(connection: Connection, source: str) -> set[str]:
    """Return the tables of a source that were ever loaded."""
    query = "SELECT table_name FROM ops.watermark WHERE source = %s"
    return {name for (name,) in postgres.rows(connection, query, (source,))}
