"""Audits: how each table was looked at, and when it was last proved equal to its source."""

from collections.abc import Sequence
from typing import Any

from pipeline import postgres
from pipeline.postgres import Connection


def proofs(connection: Connection) -> list[tuple[Any, ...]]:
    """Return what is known of every loaded table, as proofs.sql has it; nothing where the ledger is older."""
    if postgres.value(connection, "SELECT to_regclass('ops.audit_stopped')") is None:
        return []
    return postgres.rows(connection, postgres.statement("ledger/proofs"))


def record_audit(connection: Connection, source: str, table: str, seen: Sequence[object]) -> None:
    """Write down a look at a table, in the caller's transaction.

    `seen`: part, parts, blocks, storage, the key at which the next part begins, if there is one (kept in the
    latest look alone), result, reason, rows, newer, missing, altered, surplus, how many values of masked
    columns are clear, seconds.
    """
    postgres.rows(
        connection,
        "UPDATE ops.audit SET after_key = NULL"
        " WHERE source = %s AND table_name = %s AND after_key IS NOT NULL",
        (source, table),
    )
    postgres.rows(
        connection,
        """
        INSERT INTO ops.audit (source, table_name, run, snapshot_at, part, parts, blocks, storage, after_key,
                               result, reason, rows, newer, missing, altered, surplus, clear, seconds)
        SELECT %s, %s, w.run, w.snapshot_at, %s, %s, %s, %s, %s,
               %s, nullif(%s, ''), %s, %s, %s, %s, %s, %s, %s
        FROM ops.watermark w WHERE w.source = %s AND w.table_name = %s
        """,
        (source, table, *seen, source, table),
    )

    forget_stopped(connection, source, table)


def record_stopped(connection: Connection, source: str, table: str, rows: int, seconds: float) -> None:
    """Write down, in the caller's transaction, that a look at so many rows was given up after so long."""
    postgres.rows(
        connection,
        """
        INSERT INTO ops.audit_stopped AS s (source, table_name, times, rows, seconds)
        VALUES (%s, %s, 1, %s, %s)
        ON CONFLICT (source, table_name) DO UPDATE
        SET (stopped_at, times, rows, seconds) =
            (clock_timestamp(), s.times + 1, excluded.rows, excluded.seconds)
        """,
        (source, table, rows, seconds),
    )


def forget_stopped(connection: Connection, source: str, table: str) -> None:
    """Forget that looks at a table were given up, once one was not."""
    postgres.rows(
        connection, "DELETE FROM ops.audit_stopped WHERE (source, table_name) = (%s, %s)", (source, table)
    )


def totals(connection: Connection) -> tuple[int, float, int]:
    """Return how many rows were compared, in how many seconds, and how many tables had their turn."""
    found = postgres.rows(
        connection,
        """
        SELECT coalesce(sum(rows), 0)::bigint, coalesce(sum(seconds), 0),
               count(DISTINCT (source, table_name)) FILTER (WHERE part = parts)
        FROM ops.audit
        """,
    )
    ((rows, seconds, tables),) = found
    return rows, seconds, tables
