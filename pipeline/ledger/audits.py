"""Audits: how each table was looked at, and when it was last proved equal to its source."""

from collections.abc import Sequence
from typing import Any

from pipeline import postgres
from pipeline.postgres import Connection


def proofs(connection: Connection) -> list[tuple[Any, ...]]:
    """Return what is known of every loaded table, as proofs.sql has it; nothing where the ledger is older."""
    if postgres.value(connection, "SELECT to_regclass('ops.audit')") is None:
        return []
    return postgres.rows(connection, postgres.statement("proofs"))


def record_audit(connection: Connection, source: str, table: str, seen: Sequence[object]) -> None:
    """Write down a look at a table, in the caller's transaction.

    `seen`: part, parts, blocks, storage, result, reason, rows, newer, missing, altered, surplus, how many
    values of masked columns are clear, seconds.
    """
    postgres.rows(
        connection,
        """
        INSERT INTO ops.audit (source, table_name, run, snapshot_at, part, parts, blocks, storage, result,
                               reason, rows, newer, missing, altered, surplus, clear, seconds)
        SELECT %s, %s, w.run, w.snapshot_at, %s, %s, %s, %s, %s, nullif(%s, ''), %s, %s, %s, %s, %s, %s, %s
        FROM ops.watermark w WHERE w.source = %s AND w.table_name = %s
        """,
        (source, table, *seen, source, table),
    )


def proved_as_a_whole(connection: Connection) -> int:
    """Return how many tables had their turn, all of them or to their last part."""
    found: int = postgres.value(
        connection, "SELECT count(DISTINCT table_name) FROM ops.audit WHERE part = parts"
    )
    return found
