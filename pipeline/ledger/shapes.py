"""Shapes: what each table looked like when it was last loaded, as plain data."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline import postgres
from pipeline.ledger.steps import to_json
from pipeline.postgres import Connection


def accepted_shape(connection: Connection, source: str, table: str) -> Mapping[str, Any] | None:
    """Return the shape in which the table was last loaded, as plain data, or None."""
    shape: Mapping[str, Any] | None = postgres.value(
        connection,
        """
        SELECT shape FROM ops.table_shape WHERE source = %s AND table_name = %s
        ORDER BY accepted_at DESC LIMIT 1
        """,
        (source, table),
    )
    return shape


def shapes_of(connection: Connection, source: str, oid: int) -> list[Mapping[str, Any]]:
    """Return the last shape in which each table was loaded from this relation of the source, newest first."""
    rows = postgres.rows(
        connection,
        """
        SELECT shape FROM (
            SELECT DISTINCT ON (table_name) accepted_at, shape FROM ops.table_shape
            WHERE source = %s AND shape ->> 'oid' = %s::text
            ORDER BY table_name, accepted_at DESC
        ) AS latest ORDER BY accepted_at DESC
        """,
        (source, oid),
    )
    return [shape for (shape,) in rows]


def accept_shape(connection: Connection, source: str, table: str, run: str, shape: Mapping[str, Any]) -> None:
    """Record the shape in which the table is now loaded, if it is another than before."""
    # As it is read back: a tuple comes back as a list.
    if accepted_shape(connection, source, table) != json.loads(to_json(shape)):
        postgres.rows(
            connection,
            "INSERT INTO ops.table_shape (source, table_name, run, shape) VALUES (%s, %s, %s, %s)",
            (source, table, run, to_json(shape)),
        )
