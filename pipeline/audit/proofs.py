"""Proofs: what the ledger keeps of audits, and what it says of when a table was last proved equal."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pipeline import postgres
from pipeline.audit.finding import DIFFERS, EQUAL, Finding, Part
from pipeline.catalog import Table
from pipeline.ledger import audits
from pipeline.postgres import Connection

# Before anything was measured: seconds for each row on both sides, and for each table.
ROW_SECONDS, TABLE_SECONDS = 6e-6, 0.05


@dataclass(frozen=True)
class Proof:
    """What is known of a table that is loaded: how it was last looked at, and when it was last proved equal.

    `seconds` is what it takes to look at all of it, as far as that is known.
    """

    name: str
    rows: int
    loaded_since: datetime
    proved_at: datetime | None
    looked_at: datetime | None
    result: str | None
    reason: str
    last: Part | None
    seconds: float

    @property
    def differs(self) -> bool:
        """Whether it was not equal when it, or a part of it, was last looked at."""
        return self.result == DIFFERS

    @property
    def following(self) -> Part | None:
        """Return the part that is to be looked at next, of a table that is looked at in parts; else None."""
        if self.last is None or self.last.last or self.result != EQUAL:
            return None
        last = self.last
        return Part(last.number + 1, last.of, last.blocks, last.storage, first=last.after)


def read(warehouse: Connection) -> Mapping[str, Proof]:
    """Return what is known of every table that is loaded, by source.table."""
    found = audits.proofs(warehouse)
    spent = [(rows, seconds) for *_, rows, seconds in found if seconds is not None and rows]
    usual = sum(seconds for _, seconds in spent) / sum(rows for rows, _ in spent) if spent else ROW_SECONDS
    return {name: _proof(usual, name, *rest) for name, *rest in found}


def _proof(
    usual: float, name: str, rows: int, loaded_since: datetime,
    proved_at: datetime | None, looked_at: datetime | None,
    result: str | None, reason: str | None, part: int | None, parts: int, blocks: int, storage: str,
    after: list[str] | None, compared: int | None, seconds: float | None,
) -> Proof:  # fmt: skip
    rate = seconds / compared if seconds and compared else usual
    last = Part(part, parts, blocks, storage, after=tuple(after or ())) if part else None
    return Proof(
        name, rows, loaded_since, proved_at, looked_at, result, reason or "", last,
        max(TABLE_SECONDS, rows * rate),
    )  # fmt: skip


def record(warehouse: Connection, table: Table, part: Part, found: Finding, seconds: float) -> None:
    """Write down what was seen, in the caller's transaction.

    Of a table that is looked at in parts that is also the key at which the next part begins, and no other.
    """
    after = list(part.after) if part.after and found.result == EQUAL else None
    seen = (
        part.number, part.of, part.blocks, part.storage, after, found.result, found.reason, found.rows,
        found.newer, found.missing, found.altered, found.surplus, sum(found.clear.values()), seconds,
    )  # fmt: skip
    audits.record_audit(warehouse, table.source, table.name, seen)


def forget_keys(warehouse: Connection, table: Table) -> None:
    """Take out the keys that an earlier audit of a table kept, before it is looked at anew."""
    postgres.rows(
        warehouse,
        "DELETE FROM quarantine.audit WHERE source = %s AND table_name = %s",
        (table.source, table.name),
    )
