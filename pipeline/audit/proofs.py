"""Proofs: what the ledger keeps of audits, and what it says of when a table was last proved equal."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pipeline import postgres
from pipeline.audit.finding import Finding, Outcome, Part
from pipeline.catalog import Table
from pipeline.ledger import audits
from pipeline.ledger.audits import AuditRecord
from pipeline.postgres import Connection

# Before anything was measured: seconds for each row on both sides, and for each look.
ROW_SECONDS, TABLE_SECONDS = 6e-6, 0.05
# What fewer rows take is no measure of a row.
FEW_ROWS = 1000


@dataclass(frozen=True)
class Pace:
    """What looks take: seconds for each, however little it looks at, and for each row beside that."""

    table_seconds: float = TABLE_SECONDS
    row: float = ROW_SECONDS

    @classmethod
    def of(cls, records: Sequence[tuple[int, float]]) -> "Pace":
        """Return the pace of these records, each with its rows and seconds.

        >>> Pace.of([(10, 0.1), (12, 0.1), (200_000, 0.3), (100_000, 0.2)])
        Pace(table_seconds=0.1, row=1e-06)
        """
        small = [seconds for rows, seconds in records if rows < FEW_ROWS]
        table_seconds = statistics.median(small) if small else TABLE_SECONDS
        large = [(rows, max(0.0, seconds - table_seconds)) for rows, seconds in records if rows >= FEW_ROWS]
        total = sum(rows for rows, _ in large)
        return cls(table_seconds, sum(seconds for _, seconds in large) / total if large else ROW_SECONDS)

    def whole(self, rows: int, compared: int | None, seconds: float | None) -> float:
        """Return what a look at so many rows takes, where the last one took so long for those it compared.

        >>> pace = Pace(table_seconds=0.1, row=1e-6)
        >>> pace.whole(100_000, None, None), pace.whole(200_000, 100_000, 0.6), pace.whole(12, 10, 0.3)
        (0.2, 1.1, 0.300002)
        """
        if seconds is None or not compared:
            return self.table_seconds + rows * self.row
        if compared < FEW_ROWS:
            return seconds + max(0, rows - compared) * self.row
        # Of a look that took no longer than any, its rows took something all the same.
        return self.table_seconds + max(seconds - self.table_seconds, seconds / 10) * rows / compared


@dataclass(frozen=True)
class Proof:
    """What is known of a table that is loaded: how it was last looked at, and when it was last proved equal.

    `seconds` is what it takes to look at all of it at once, as far as that is known; of that, `fixed_seconds`
    go by for each look, also at a part. `stopped`: how many looks were given up since the last one.
    """

    name: str
    rows: int
    loaded_since: datetime
    proved_at: datetime | None
    looked_at: datetime | None
    result: Outcome | None
    reason: str
    last: Part | None
    seconds: float
    fixed_seconds: float = 0.0
    stopped: int = 0

    def part_seconds(self, parts: int) -> float:
        """Return what one of so many parts takes."""
        fixed = min(self.fixed_seconds, self.seconds)
        return fixed + (self.seconds - fixed) / parts

    def after(self, part: Part, result: Outcome) -> "Proof":
        """Return what is known once this part was looked at."""
        return replace(self, last=part, result=result, stopped=0)

    @property
    def differs(self) -> bool:
        """Whether it was not equal when it, or a part of it, was last looked at."""
        return self.result == Outcome.DIFFERS

    @property
    def following(self) -> Part | None:
        """Return the part that is to be looked at next, of a table that is looked at in parts; else None."""
        if self.last is None or self.last.last or self.result != Outcome.EQUAL:
            return None
        last = self.last
        following = Part(last.number + 1, last.of, last.blocks, last.storage, first=last.after)
        return following.smaller(self.stopped)


def read(warehouse: Connection) -> Mapping[str, Proof]:
    """Return what is known of every table that is loaded, by source.table."""
    records = audits.proofs(warehouse)
    timed = [(one.compared, one.seconds) for one in records if one.seconds is not None and one.compared]
    pace = Pace.of(timed)
    return {one.name: _proof(pace, one) for one in records}


def _proof(pace: Pace, audited: AuditRecord) -> Proof:
    after = tuple(audited.after or ())
    last = (
        Part(audited.part, audited.parts, audited.blocks, audited.storage, after=after)
        if audited.part
        else None
    )
    whole = pace.whole(audited.rows, audited.compared, audited.seconds)
    if audited.stopped_seconds is not None:
        # As far as is known it would have taken as long again.
        whole = max(whole, pace.whole(audited.rows, audited.stopped_rows, 2 * audited.stopped_seconds))
    return Proof(
        audited.name,
        audited.rows,
        audited.loaded_since,
        audited.proved_at,
        audited.looked_at,
        Outcome(audited.result) if audited.result else None,
        audited.reason or "",
        last,
        whole,
        pace.table_seconds,
        audited.stopped,
    )


def record(warehouse: Connection, table: Table, part: Part, finding: Finding, seconds: float) -> None:
    """Write down what was seen, in the caller's transaction.

    Of a table that is looked at in parts that is also the key at which the next part begins, and no other.
    """
    after = list(part.after) if part.after and finding.result == Outcome.EQUAL else None
    seen = (
        part.number,
        part.of,
        part.blocks,
        part.storage,
        after,
        finding.result,
        finding.reason,
        finding.rows,
        finding.newer,
        finding.missing,
        finding.altered,
        finding.surplus,
        sum(finding.clear.values()),
        seconds,
    )
    audits.record_audit(warehouse, table.source, table.name, seen)


def record_stopped(warehouse: Connection, table: Table, part: Part, rows: int, seconds: float) -> None:
    """Write down, in the caller's transaction, that a look at a part of so many rows was given up."""
    audits.record_stopped(warehouse, table.source, table.name, max(1, rows // part.of), seconds)


def drop_keys(warehouse: Connection, table: Table) -> None:
    """Take out the keys that an earlier audit of a table kept, before it is looked at anew."""
    postgres.rows(
        warehouse,
        "DELETE FROM quarantine.audit WHERE source = %s AND table_name = %s",
        (table.source, table.name),
    )
