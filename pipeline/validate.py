"""Validate: decides whether staged rows may be loaded: the source's shape first, then the declared checks."""

from pipeline import access, drift, extract, ledger, postgres, quality
from pipeline.catalog import Table
from pipeline.errors import CheckError, StepError
from pipeline.extract import INCREMENT, Show, silent, step_key
from pipeline.ledger import Step
from pipeline.postgres import Connection
from pipeline.quality import Candidate
from pipeline.settings import Settings
from pipeline.shape import Shape
from pipeline.staging import Staged

TASK = "ValidateExtract"


def validated(warehouse: Connection, table: Table, run: str) -> bool:
    """Whether the rows that are staged now, and no earlier ones, were found good."""
    loaded = ledger.find_step(warehouse, step_key(table, run, extract.LOAD_TASK))
    if loaded and loaded.done:
        return True
    step = ledger.find_step(warehouse, step_key(table, run, TASK))
    if step is None or not step.done:
        return False
    extracted = ledger.find_step(warehouse, step_key(table, run))
    return bool(extracted and extracted.detail.get("staged_oid") == step.detail.get("staged_oid"))


def is_validated(settings: Settings, table: Table, run: str) -> bool:
    """Whether the table is validated, for who has no connection to the warehouse."""
    with access.brief(settings).warehouse() as warehouse:
        return validated(warehouse, table, run)


def validate_extract(settings: Settings, table: Table, run: str, show: Show = silent) -> None:
    """Check the staged rows of a table, and record each check's result whatever it is.

    Raise CheckError, telling everything that is wrong at once, if they must not be loaded.
    """
    key = step_key(table, run, TASK)
    with (
        access.opened(settings) as databases,
        databases.warehouse(autocommit=True) as beside,
        databases.warehouse() as warehouse,
        postgres.explained(key.name),
    ):
        if validated(warehouse, table, run):
            return
        with ledger.recorded(beside, key):
            extracted = ledger.find_step(warehouse, step_key(table, run))
            if extracted is None or not extract.extracted(warehouse, table, run):
                raise StepError("its staged rows are gone; run it again")
            _require_no_block(warehouse, table, extracted)
            mark = ledger.watermark(warehouse, table.source, table.name)
            results = quality.check(warehouse, candidate(table, run, extracted), mark.rows if mark else None)
            quality.record(beside, run, table, results)
            if errors := quality.failed(results, "error"):
                raise CheckError("; ".join(map(str, errors)))
            detail = {"staged_oid": extracted.detail["staged_oid"], "checks": len(results)}
            ledger.finish_step(warehouse, key, extracted.rows, detail)
            warehouse.commit()
            warnings = quality.failed(results, "warn")
            show(100, "; ".join(map(str, warnings)) or f"{len(results)} checks passed")


def candidate(table: Table, run: str, extracted: Step) -> Candidate:
    """Return the table as it will be once the extracted rows are in it."""
    detail = extracted.detail
    increment = detail["mode"] == INCREMENT
    return Candidate(
        table=table,
        staged=Staged(table, run),
        columns=Shape.from_json(detail["shape"]).names,
        key=detail["key"],
        increment=increment,
        keys_staged=increment and detail["deleted"] > 0,
        source_rows=detail["source_rows"],
        deleted=detail["deleted"],
    )


def _require_no_block(warehouse: Connection, table: Table, extracted: Step) -> None:
    accepted = ledger.accepted_shape(warehouse, table.source, table.name)
    changes = drift.compare(
        Shape.from_json(accepted) if accepted else None, Shape.from_json(extracted.detail["shape"])
    )
    blocked = [str(change) for change in changes if change.action == drift.BLOCK]
    if blocked:
        raise CheckError(f"{'; '.join(blocked)}; its last good rows stay up")
