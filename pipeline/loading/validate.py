"""Validate: decides whether staged rows may be loaded: the source's shape first, then the declared checks."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline import access, alerts, ledger, quality, retry
from pipeline.alerts import failures
from pipeline.catalog import Table
from pipeline.chains import LOAD_TASK, VALIDATE_TASK
from pipeline.errors import CheckError
from pipeline.ledger import Standing, checks
from pipeline.loading import checking, extract, plan, quarantine, steps
from pipeline.loading.checking import Candidate
from pipeline.loading.extracted import Extracted, Mode
from pipeline.loading.shapes import altered
from pipeline.loading.shapes.drift import Change
from pipeline.loading.shapes.kinds import FixedKind
from pipeline.postgres import Connection
from pipeline.progress import Show, no_progress
from pipeline.quality import Result
from pipeline.settings import Settings
from pipeline.step import Record
from pipeline.warehouse import staging
from pipeline.warehouse.shape import Shape
from pipeline.warehouse.staging import Staged

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validated(Record):
    """The record of one validation: of which staged table, and how many rows it set aside."""

    staged_oid: int | None
    set_aside: int
    checks: int = 0


def validated(warehouse: Connection, table: Table, run: str) -> bool:
    """Whether the rows that are staged now, and no earlier ones, were found good."""
    known = steps.standing(warehouse, table, run)
    if known.is_done(LOAD_TASK):
        return True
    if not known.is_done(VALIDATE_TASK):
        return False
    # Rows that are gone, or were read for another declaration, have to be read and looked at again.
    read = extract.still_staged(warehouse, table, run, known)
    return read is not None and holds_for(warehouse, table, run, known, read)


def holds_for(warehouse: Connection, table: Table, run: str, known: Standing, read: Extracted) -> bool:
    """Whether it was these rows that were found good, and what was set aside of them still is."""
    record = Validated.of(known.steps.get(VALIDATE_TASK))
    if record is None or record.staged_oid != read.staged_oid:
        return False
    return bool(quarantine.count(warehouse, Staged(table, run)) == record.set_aside)


def is_validated(settings: Settings, table: Table, run: str) -> bool:
    """Whether the table is validated, for who has no connection to the warehouse."""
    with access.brief(settings).asking() as warehouse:
        return validated(warehouse, table, run)


def validate_extract(settings: Settings, table: Table, run: str, show: Show = no_progress) -> None:
    """Check the staged rows of a table, record every result, and set failing rows aside.

    Raise CheckError, telling everything that is wrong at once, if they must not be loaded.
    """
    retry.call(lambda: _validate_extract(settings, table, run, show), lambda message: show(None, message))


def _validate_extract(settings: Settings, table: Table, run: str, show: Show) -> None:
    # Staged rows of a run are looked at once, and not while somebody else replaces or publishes them.
    with steps.begun(settings, table, run, VALIDATE_TASK, validated) as step:
        if step is None:
            return
        warehouse = step.warehouse
        rows, record = extract.staged(warehouse, table, run, steps.standing(warehouse, table, run))
        extract.require_all(warehouse, table, run, rows)
        accepted, changes = _changes(warehouse, table, record)
        candidate = _candidate(warehouse, table, run, record, accepted, changes)
        results = _results(warehouse, candidate, changes)
        results, set_aside = quarantine.fill(warehouse, candidate, results)
        checks.record_checks(warehouse, run, table.source, table.name, results)
        stopping = [str(result) for result in results if result.stops]
        if stopping and (kept := quarantine.where(warehouse, candidate.staged)):
            stopping.append(f"the failing rows are in {kept}")
        if not stopping:
            step.attempt.finish(warehouse, rows, Validated(record.staged_oid, set_aside, len(results)))
        candidate.drop(warehouse)
        # What was found is kept, whether the table is held back or not.
        warehouse.commit()
        _warn(settings, table, run, results)
        if stopping:
            raise CheckError(
                f"{'; '.join(stopping)}; its last good rows stay up", hint=quality.how_to_fix(results)
            )
        show(100, _summary(f"{table.source}.{table.name}", results, set_aside))


def _changes(
    warehouse: Connection, table: Table, record: Extracted
) -> tuple[Shape | None, tuple[Change, ...]]:
    """Return the shape in which the table was last loaded, if it is there, and what has changed since."""
    known = None
    if record.mode != Mode.FIRST:
        known = ledger.accepted_shape(warehouse, table.source, table.name)
    accepted = Shape.from_json(known) if known else None
    return accepted, plan.compared(warehouse, accepted, record.shape, table)


def _results(warehouse: Connection, candidate: Candidate, changes: Sequence[Change]) -> list[Result]:
    drifted = checking.of_drift(changes, candidate.table)
    candidate = replace(candidate, filtered_anew=any(change.kind == FixedKind.WHERE for change in changes))
    if any(result.stops for result in drifted):
        # The rows have a shape of which nothing is known yet: no check could be trusted.
        return drifted
    return drifted + checking.check(warehouse, candidate)


def _candidate(
    warehouse: Connection,
    table: Table,
    run: str,
    record: Extracted,
    accepted: Shape | None,
    changes: Sequence[Change],
) -> Candidate:
    staged = Staged(table, run)
    lasting: Sequence[str] | None = record.shape.names
    if record.mode.into_new_table:
        held = staging.column_types(warehouse, staged.target)
        lasting = altered.lasting(warehouse, table.source, accepted, record.shape, changes, held)
    return Candidate(
        table=table,
        staged=staged,
        columns=record.shape.names,
        key=record.key,
        increment=record.mode == Mode.INCREMENT,
        gone_staged=record.gone_staged,
        source_rows=record.source_rows,
        deleted=record.deleted,
        history=ledger.row_counts(warehouse, steps.key_of(table, run, LOAD_TASK)),
        renamed=record.renamed,
        lasting=lasting,
        is_new=record.mode == Mode.FIRST,
    )


def _warn(settings: Settings, table: Table, run: str, results: Sequence[Result]) -> None:
    """Tell of what did not hold and stops nothing; once for each check, until it holds."""
    of = failures.table(table.source, table.name, run)
    warnings = [
        replace(of, key=f"{of.key}/{result.name}").alert(
            f"{result.name} does not hold", str(result), kind=alerts.Kind.WARNING
        )
        for result in results
        if not result.passed and not result.stops
    ]
    alerts.reconcile(settings, f"{of.key}/", warnings)


def _summary(name: str, results: Sequence[Result], set_aside: int) -> str:
    warnings = [str(result) for result in results if not result.passed]
    for warning in warnings:
        logger.warning("%s: %s", name, warning)
    lines = [*warnings] or [f"{len(results)} checks passed"]
    if set_aside:
        lines.append(f"{set_aside:,} rows quarantined")
    return "; ".join(lines)
