"""Sources: what is remembered of each, to tell whether it is still the same and what is new in it."""

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

from pipeline import postgres
from pipeline.postgres import Connection

# A relation of a source: its schema and its name.
Name = tuple[str, str]


def history(connection: Connection, source: str) -> tuple[int, Mapping[str, int] | None, str]:
    """Return in which of its histories a source is, what it counted when last seen, and why that began."""
    query = "SELECT history, marks, reason FROM ops.source_history WHERE source = %s"
    return postgres.row(connection, query, (source,)) or (0, None, "")


def save_history(
    connection: Connection, source: str, number: int, marks: Mapping[str, int] | None, reason: str
) -> None:
    """Remember in which history a source is, and what it counts now."""
    postgres.rows(
        connection,
        """
        INSERT INTO ops.source_history (source, history, marks, reason) VALUES (%s, %s, %s, %s)
        ON CONFLICT (source) DO UPDATE
        SET history = excluded.history, marks = excluded.marks, reason = excluded.reason,
            seen_at = clock_timestamp()
        """,
        (source, number, json.dumps(marks), reason),
    )


def witnesses(connection: Connection, source: str) -> list[tuple[str, int, Any]]:
    """Return the tables of a source that row versions are remembered of: name, horizon, versions."""
    return postgres.rows(connection, postgres.statement("ledger/witnesses"), (source,))


def known_relations(connection: Connection, source: str) -> set[Name]:
    """Return the relations of a source that were ever seen."""
    query = "SELECT schema_name, name FROM ops.source_relation WHERE source = %s"
    return {(schema, name) for schema, name in postgres.rows(connection, query, (source,))}


def remember_relations(
    connection: Connection, source: str, names: Set[Name], there_before: Set[Name]
) -> None:
    """Remember relations that were seen, and which of them were there before anybody looked."""
    query = """
        INSERT INTO ops.source_relation (source, schema_name, name, there_before) VALUES (%s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """
    for name in sorted(names):
        postgres.rows(connection, query, (source, *name, name in there_before))


def due_relations(connection: Connection, source: str, again_after: str) -> list[Name]:
    """Return the relations that are new, and not told within that interval, those never told first."""
    query = """
        SELECT schema_name, name FROM ops.source_relation
        WHERE source = %s AND NOT there_before
          AND (told_at IS NULL OR told_at < clock_timestamp() - %s::interval)
        ORDER BY told_at NULLS FIRST, 1, 2
        """
    return [(schema, name) for schema, name in postgres.rows(connection, query, (source, again_after))]


def record_notices(connection: Connection, source: str, names: Sequence[Name]) -> None:
    """Note that people were told of relations."""
    query = """
        UPDATE ops.source_relation SET told_at = clock_timestamp()
        WHERE source = %s AND schema_name = %s AND name = %s
        """
    for name in names:
        postgres.rows(connection, query, (source, *name))


def loaded(connection: Connection) -> list[str]:
    """Return the schemas of the warehouse that were loaded into."""
    query = """
        SELECT nspname FROM pg_namespace
        WHERE nspname IN (SELECT source FROM ops.table_shape UNION SELECT source FROM ops.watermark)
        ORDER BY 1
        """
    return [schema for (schema,) in postgres.rows(connection, query)]
