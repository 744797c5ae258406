"""Load: publishes validated rows in one transaction, with the proof that the table now equals its source.

Readers see the table as it was or as it is, never in between; views and grants stay.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2 import sql

from pipeline import access, ledger, retry
from pipeline.catalog import Changes, Deletes, DriftKind, Table
from pipeline.chains import LOAD_TASK
from pipeline.errors import StepError
from pipeline.ledger import Watermark
from pipeline.ledger.lease import Attempt
from pipeline.ledger.runs import Published
from pipeline.loading import extract, quarantine, steps, validate
from pipeline.loading.extracted import Extracted
from pipeline.loading.publishing import described, history, merge, reshape
from pipeline.loading.shapes import altered, drift
from pipeline.loading.shapes.kinds import FixedKind
from pipeline.postgres import Connection
from pipeline.progress import Show, no_progress
from pipeline.settings import Settings
from pipeline.warehouse import roles, staging, swap
from pipeline.warehouse.shape import Shape
from pipeline.warehouse.staging import Staged
from pipeline.warehouse.swap import Replaced


@dataclass(frozen=True, kw_only=True)
class Loaded(Published):
    """The record of one load. `fresh_as_of` is the moment of the source that the table shows from now on."""

    inserted: int
    updated: int
    deleted: int
    # Why it was read so.
    reason: str = ""
    fresh_as_of: datetime

    @classmethod
    def _typed(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "fresh_as_of": datetime.fromisoformat(values["fresh_as_of"])}

    @property
    def changed(self) -> bool:
        return bool(self.inserted or self.updated or self.deleted)

    def __str__(self) -> str:
        aside = f", {self.quarantined:,} quarantined" if self.quarantined else ""
        if not self.changed:
            return f"nothing changed{aside}, {self.total:,} rows"
        return (
            f"{self.inserted:,} new, {self.updated:,} changed, {self.deleted:,} deleted{aside}, "
            f"{self.total:,} rows"
        )


def is_loaded(settings: Settings, table: Table, run: str) -> bool:
    """Whether the run has loaded the table, and the table is still there."""
    with access.brief(settings).asking() as warehouse:
        return _loaded(warehouse, table, run)


def are_loaded(settings: Settings, tables: Sequence[Table], run: str) -> bool:
    """Whether the run has loaded all of these tables."""
    names = [(table.source, table.name) for table in tables]
    with access.brief(settings).asking() as warehouse:
        return not ledger.count_not_loaded(warehouse, run, names)


def _loaded(warehouse: Connection, table: Table, run: str) -> bool:
    known = steps.standing(warehouse, table, run)
    return known.is_done(LOAD_TASK) and staging.oid(warehouse, Staged(table, run).target) is not None


def load_table(settings: Settings, table: Table, run: str, show: Show = no_progress) -> Loaded | None:
    """Publish the table's staged rows; return what that did, or None if it was done before.

    What passes is tried again. Raise StepError if the rows are not there, were not validated, or if the
    result is not the source's.
    """
    return retry.call(lambda: _load_table(settings, table, run, show), lambda message: show(None, message))


def _load_table(settings: Settings, table: Table, run: str, show: Show) -> Loaded | None:
    with steps.begun(settings, table, run, LOAD_TASK, _loaded) as step:
        if step is None:
            return None
        show(None, "publishing")
        loaded = _Publication(step.warehouse, step.beside, table, run).publish(step.attempt)
        step.warehouse.commit()
        show(100, str(loaded))
        return loaded


class _Publication:
    """One load under way."""

    def __init__(self, warehouse: Connection, beside: Connection, table: Table, run: str) -> None:
        self._warehouse, self._beside, self._table, self._run = warehouse, beside, table, run
        self._staged = Staged(table, run)
        self._extracted = self._believed()
        self._key, self._shape = self._extracted.key, self._extracted.shape
        accepted = ledger.accepted_shape(warehouse, table.source, table.name)
        self._accepted = Shape.from_json(accepted) if accepted else None
        self._changes = drift.compare(self._accepted, self._shape, table)
        # Before any of them gets another name.
        self._gone = self._known() - self._still_there() if self._renames() else set()

    def _believed(self) -> Extracted:
        """Return what the extraction left, once it is certain that it is whole and was validated."""
        known = steps.standing(self._warehouse, self._table, self._run)
        rows, record = extract.staged(self._warehouse, self._table, self._run, known)
        # Where they become the table themselves its proof counts them, of whom none may be missing.
        if not record.mode.into_new_table:
            extract.require_all(self._warehouse, self._table, self._run, rows)
        if not validate.holds_for(self._warehouse, self._table, self._run, known, record):
            raise StepError("its staged rows were not validated")
        return record

    def publish(self, attempt: Attempt) -> Loaded:
        """Publish the rows, prove the result and record it, in the transaction of the warehouse."""
        # Before this transaction so much as looks at the table: its own lock would be in the way.
        for relation in (self._staged.target, self._staged.history):
            reshape.rename(self._beside, relation, self._renames())
        if not self._into_new_table:
            reshape.evolve(self._beside, self._staged, self._shape)
        aside = merge.set_aside(
            self._warehouse,
            self._staged,
            self._key,
            self._lasting() if self._into_new_table else None,
            into_new_table=self._into_new_table,
        )
        swapped: list[Replaced] = []
        if self._into_new_table:
            rows = self._staged.rows
            swapped.append(reshape.prepare(self._warehouse, self._staged, self._key, self._emptied()))
            total = self._proof(rows, aside)
            inserted, updated, deleted = total, 0, 0
        else:
            rows = self._staged.target
            inserted, updated, deleted = merge.publish(
                self._warehouse, self._staged, self._shape.names, self._key, self._extracted
            )
            total = self._proof(rows, aside)
        swapped += self._write_history(rows)
        if self._emptied():
            quarantine.purge(self._warehouse, self._staged)
        loaded = Loaded(
            mode=self._extracted.mode,
            reason=self._extracted.reason,
            fresh_as_of=self._extracted.snapshot.as_of,
            inserted=inserted,
            updated=updated,
            deleted=deleted,
            total=total,
            quarantined=aside.rows,
        )
        self._record(loaded)
        staging.drop(self._warehouse, self._staged, but_rows=self._into_new_table)
        # At the end, for from here on readers wait for the commit.
        swap.publish(self._warehouse, swapped)
        for new in swapped:
            if not new.exists:
                roles.open_table(self._warehouse, new.target)
        described.describe(self._warehouse, self._table, self._staged)
        # Until here the ledger's row is free to say for whom this waits.
        attempt.finish(self._warehouse, loaded.total, loaded)
        return loaded

    @property
    def _into_new_table(self) -> bool:
        return self._extracted.mode.into_new_table

    def _renames(self) -> list[tuple[str, str]]:
        return [(change.old, change.new) for change in self._changes if change.kind == DriftKind.RENAMED]

    def _known(self) -> set[str]:
        """Return the columns of the warehouse's table and its history."""
        return {
            name
            for relation in (self._staged.target, self._staged.history)
            if staging.oid(self._warehouse, relation) is not None
            for name in staging.column_names(self._warehouse, relation)
        }

    def _still_there(self) -> set[str]:
        """Return what those columns were called that the source has not dropped since the last load."""
        dropped = {change.column for change in self._changes if change.kind == DriftKind.DROPPED}
        return set(self._accepted.names if self._accepted else ()) - dropped

    def _emptied(self) -> list[str]:
        """Return the columns of which no value stays that was loaded before."""
        masked = [
            change.column for change in self._changes if change.kind in (DriftKind.MASK, FixedKind.LISTED)
        ]
        if any(column.mask for column in self._shape.every_column):
            # Their names in the warehouse stand for other columns now, or for none; some of those are masked.
            masked += reshape.unrenamed(self._renames(), self._gone)
        return masked

    def _lasting(self) -> Sequence[str] | None:
        """Return the columns of the warehouse's rows that hold in the new table too, None if no row does."""
        held = staging.column_types(self._warehouse, self._staged.target)
        source = self._table.source
        return altered.lasting(self._warehouse, source, self._accepted, self._shape, self._changes, held)

    def _write_history(self, rows: sql.Identifier) -> Iterator[Replaced]:
        """Record what now holds by `rows`; yield the new history if one takes the old one's place.

        Where a column is masked from now on, no version keeps its value.
        """
        if not self._table.history:
            history.empty_columns(self._warehouse, self._staged.history, self._emptied())
            return
        book = history.open_book(self._beside, self._warehouse, self._staged, rows, self._key)
        history.empty_columns(self._warehouse, book.relation, self._emptied())
        as_of = self._extracted.snapshot.taken_at.isoformat()
        history.record(self._warehouse, book, self._staged, rows, self._key, self._shape.names, as_of)
        if book.replaces:
            yield swap.replaced(self._warehouse, book.relation, self._staged.history)

    def _proof(self, relation: Any, aside: merge.SetAside) -> int:
        """Return the table's rows, once they are as many as the source's snapshot has."""
        total = staging.count(self._warehouse, relation, staging.live(self._warehouse, relation, self._table))
        expected = self._extracted.source_rows - aside.missing
        if total != expected and not (self._table.deletes == Deletes.IGNORE and total > expected):
            raise StepError(
                f"the table would have {total:,} rows, but the source's snapshot has {expected:,}; "
                "nothing was published",
                hint=f"read it again; if that fails too, write 'changes: full' under "
                f"{self._table.name} in {self._table.file}",
                # Rows that were read and do not add up: to load them once more would end the same.
                again="extract",
            )
        return total

    def _record(self, loaded: Loaded) -> None:
        """Write what is believed of the table from now on."""
        taken = self._extracted.snapshot
        source, name = self._table.source, self._table.name
        mark = Watermark(
            self._run,
            taken.as_of,
            taken.horizon,
            taken.system_identifier,
            taken.timeline,
            self._extracted.cursor_value,
            loaded.total,
            loaded.quarantined,
            self._table.cursor if self._table.changes == Changes.CURSOR else None,
            history=taken.history,
            witnesses=self._extracted.witnesses,
        )
        ledger.save_watermark(self._warehouse, source, name, mark)
        ledger.accept_shape(self._warehouse, source, name, self._run, self._shape.to_json())
