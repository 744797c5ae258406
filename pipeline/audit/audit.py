"""Audits tables one after the other, over one connection to each source; one that is lost hides no other."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline import ledger, mask, postgres
from pipeline.access import Access
from pipeline.audit import proofs, rotation
from pipeline.audit.comparable import begin
from pipeline.audit.compare import compare
from pipeline.audit.finding import Finding, Outcome, Part
from pipeline.audit.proofs import Proof
from pipeline.audit.rotation import Turn
from pipeline.catalog import Table
from pipeline.errors import AlreadyRunningError, LostError, UnreachableError
from pipeline.ledger import runs
from pipeline.postgres import Connection, locks


@dataclass(frozen=True)
class Audited:
    """A table, or a part of it, that was looked at; or why it could not be."""

    table: Table
    part: Part
    finding: Finding | None = None
    error: UnreachableError | None = None

    @property
    def name(self) -> str:
        return f"{self.table.source}.{self.table.name}"

    @property
    def differs(self) -> bool:
        return self.finding is not None and self.finding.result == Outcome.DIFFERS

    @property
    def proved(self) -> bool:
        """Whether the whole table is proved equal by now."""
        return self.finding is not None and self.finding.result == Outcome.EQUAL and self.part.last

    def __str__(self) -> str:
        part = "" if self.part.whole else f" (part {self.part.number} of {self.part.of})"
        return f"{self.name}{part}: {self.error or self.finding}"


@dataclass(frozen=True)
class Night:
    """A night's audit: what it may take, and in how many nights every table has its turn.

    `share_for_a_week` of a night like the last one would be enough for all of them within a week, None where
    no night is known.
    """

    share: float
    night_seconds: float | None
    budget: float
    nights: int
    share_for_a_week: float | None = None


class Auditor:
    """Looks at tables of a catalog, for as long as its connections are open."""

    def __init__(self, databases: Access, warehouse: Connection, tables: Sequence[Table]) -> None:
        """`warehouse` is a connection of its own, for the transactions of this."""
        self._databases, self._warehouse = databases, warehouse
        self._tables = {f"{table.source}.{table.name}": table for table in tables}
        # What is known of them, this night's looks included.
        self._proofs: dict[str, Proof] = {}
        # How long the look that begins now may take at the most, where that is limited.
        self._most_seconds: Callable[[], float | None] = lambda: None

    def everything(self) -> Iterator[Audited]:
        """Look at every table as a whole, and yield what is seen."""
        yield from self._each(iter([Turn(name, 1, None) for name in self._known()]))

    def night(self, share: float, spent: Callable[[], float]) -> tuple[Night, Iterator[Audited]]:
        """Look at those whose turn it is, for so large a share of the last night's time.

        `spent` tells how many seconds this audit took so far, its start among them.
        """
        known = self._known()
        seconds = runs.night_seconds(self._warehouse)
        budget, began = rotation.budget_seconds(seconds, share), spent()
        looking = rotation.for_looking(budget, began)
        self._proofs, names = known, list(known)
        self._most_seconds = lambda: rotation.most_seconds(budget, spent())
        enough = rotation.share_for_a_week(known, names, seconds, began) if seconds else None
        night = Night(share, seconds, budget, rotation.nights(known, names, looking), enough)
        return night, self._each(rotation.turns(known, names, looking, lambda: spent() - began))

    def _known(self) -> dict[str, Proof]:
        recorded = proofs.read(self._warehouse)
        self._warehouse.commit()
        return {name: proof for name, proof in recorded.items() if name in self._tables}

    def _each(self, turns: Iterator[Turn]) -> Iterator[Audited]:
        with contextlib.ExitStack() as stack:
            sources: dict[str, _Source] = {}
            for turn in turns:
                table = self._tables[turn.name]
                source = sources.setdefault(table.source, _Source(self._databases, table.source, stack))
                yield self._audited(source, table, turn)

    def _audited(self, source: "_Source", table: Table, turn: Turn) -> Audited:
        try:
            return Audited(table, *self._compare(source.open(), source.unlock, table, turn))
        except LostError as error:
            source.failure = error
            return Audited(table, turn.following or Part(), error=error)
        except UnreachableError as error:
            return Audited(table, turn.following or Part(), error=error)

    def _compare(
        self, source: Connection, unlock: Callable[[], str], table: Table, turn: Turn
    ) -> tuple[Part, Finding]:
        began = time.monotonic()
        part = Part()
        with postgres.explained(f"{table.source}.{table.name}"):
            if begin(self._warehouse, table):
                part, finding = compare(self._warehouse, source, table, unlock, turn, self._most_seconds())
            else:
                finding = Finding(Outcome.DIFFERS, "its table is gone from the warehouse")
            source.rollback()
            seconds = time.monotonic() - began
            if finding.result == Outcome.STOPPED:
                rows = self._proofs[turn.name].rows
                proofs.record_stopped(self._warehouse, table, part, rows, seconds)
            else:
                proofs.record(self._warehouse, table, part, finding, seconds)
            self._warehouse.commit()
        if turn.name in self._proofs and finding.result != Outcome.STOPPED:
            self._proofs[turn.name] = self._proofs[turn.name].after(part, finding.result)
        return part, finding


class _Source:
    """A source, opened when it is first needed; once it is lost, it is not tried again."""

    def __init__(self, databases: Access, name: str, stack: contextlib.ExitStack) -> None:
        self._databases, self._name, self._stack = databases, name, stack
        self._connection: Connection | None = None
        self._mask_key = ""
        self.failure: UnreachableError | None = None

    def open(self) -> Connection:
        """Return its connection. Raise UnreachableError if there is none."""
        if self.failure is not None:
            raise self.failure
        if self._connection is None:
            try:
                self._connection = self._stack.enter_context(self._databases.source(self._name))
            except UnreachableError as error:
                self.failure = error
                raise
        return self._connection

    def unlock(self) -> str:
        """Give its session the key of the hashes; return what tells that key from another."""
        self._mask_key = self._mask_key or self._databases.mask_key()
        return mask.unlock(self.open(), self._mask_key)


@contextlib.contextmanager
def auditor(databases: Access, tables: Sequence[Table]) -> Iterator[Auditor]:
    """Give the block what audits these tables. Raise AlreadyRunningError if another one does so now."""
    with databases.warehouse(autocommit=True) as beside, databases.warehouse() as warehouse:
        ledger.require_migrated(beside)
        if not locks.try_hold(beside, "audit"):
            raise AlreadyRunningError(
                "an audit is already running",
                hint="wait for it to end",
            )
        yield Auditor(databases, warehouse, tables)
