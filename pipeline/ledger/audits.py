"""Audits: how each table was looked at, and when it was last proved equal to its source."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline import postgres
from pipeline.postgres import Connection


@dataclass(frozen=True)
class AuditRecord:
    """What is known of how a loaded table was looked at.

    `result` to `after` are of the last part; `compared` rows in `seconds` is what its last looks took on the
    average, `stopped_rows` in `stopped_seconds` what the last one has taken that was given up since.
    """

    name: str
    rows: int
    loaded_since: datetime
    proved_at: datetime | None
    looked_at: datetime | None
    result: str | None
    reason: str | None
    part: int | None
    parts: int
    blocks: int
    storage: str
    after: Sequence[str] | None
    compared: int | None
    seconds: float | None
    stopped_rows: int | None
    stopped_seconds: float | None
    stopped: int


@dataclass(frozen=True)
class Totals:
    """How many rows were compared, in how many seconds, and how many tables had their turn."""

    rows: int
    seconds: float
    tables: int


def proofs(connection: Connection) -> list[AuditRecord]:
    """Return what is known of every loaded table; nothing where the ledger is older."""
    if postgres.value(connection, "SELECT to_regclass('ops.audit_stopped')") is None:
        return []
    return postgres.read(connection, postgres.statement("ledger/proofs"), AuditRecord)


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

    clear_stopped(connection, source, table)


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


def clear_stopped(connection: Connection, source: str, table: str) -> None:
    """Forget that looks at a table were given up, once one was not."""
    postgres.rows(
        connection, "DELETE FROM ops.audit_stopped WHERE (source, table_name) = (%s, %s)", (source, table)
    )


def totals(connection: Connection) -> Totals:
    """Return what all audits did together."""
    query = """
        SELECT coalesce(sum(rows), 0)::bigint AS rows, coalesce(sum(seconds), 0) AS seconds,
               count(DISTINCT (source, table_name)) FILTER (WHERE part = parts) AS tables
        FROM ops.audit
        """
    (audited,) = postgres.read(connection, query, Totals)
    return audited
