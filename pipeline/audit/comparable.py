"""Whether what is loaded and what the source has now can be held against each other at all."""

from collections.abc import Iterator

from psycopg2 import sql

from pipeline import ledger, postgres
from pipeline.catalog import DriftAction, DriftKind, Table
from pipeline.loading.plan import HALF_CIRCLE, Plan
from pipeline.loading.shapes import altered, filtering
from pipeline.postgres import Connection
from pipeline.postgres.snapshot import Snapshot
from pipeline.warehouse import staging
from pipeline.warehouse.staging import Staged

# Changes that were ignored and leave every column that is compared as it is.
HARMLESS = frozenset(
    {
        DriftKind.ADDED,
        DriftKind.ADDED_WITH_DEFAULT,
        DriftKind.DROPPED,
        DriftKind.ORDER,
        DriftKind.NULLABLE,
        DriftKind.RECREATED,
        DriftKind.PARTITION,
    }
)


def hindrances(warehouse: Connection, planned: Plan, taken: Snapshot) -> list[str]:
    """Return why a table cannot be compared with its source, nothing if it can."""
    return [*_unlike(planned, taken), *_held_otherwise(warehouse, planned)]


def _unlike(planned: Plan, taken: Snapshot) -> Iterator[str]:
    """Yield why what is loaded and what the source has now cannot be held against each other."""
    since = planned.since
    if since is None:
        yield "it is not loaded yet"
        return
    for change in planned.changes:
        if change.action != DriftAction.IGNORE or change.kind not in HARMLESS:
            yield f"{change}; its next load handles that"
    if (since.system_identifier, since.timeline) != (taken.system_identifier, taken.timeline):
        yield "the source was restored or failed over since; its next load reads it in full"
    if since.quarantined:
        yield f"{since.quarantined:,} rows are in quarantine; until they are fixed each load reads it in full"
    if not filtering.is_steady(planned.table):
        yield "which of its rows are loaded depends on the time; each load compares their keys"
    if planned.shape.has_xmin and not 0 <= taken.next_transaction - since.horizon < HALF_CIRCLE:
        yield "its last load is too long ago to find the changes since; the next one reads it in full"


def _held_otherwise(warehouse: Connection, planned: Plan) -> Iterator[str]:
    """Yield the columns that the warehouse has as another type than they are read in: as was declared."""
    held = staging.column_types(warehouse, Staged(planned.table, "").target)
    for column in planned.columns:
        type_ = held.get(column.name)
        if type_ is not None and not altered.is_held(warehouse, column, planned.table.source, type_):
            wanted = column.warehouse_type(planned.table.source).as_string(warehouse)
            yield f'the warehouse has its column "{column.name}" as {type_}, expected {wanted}'


def begin(warehouse: Connection, table: Table) -> bool:
    """Begin a transaction that sees one moment of the table and keeps it in its place; False if it is gone.

    Loads may go on merging into it meanwhile, and wait with no more than what takes its place.
    """
    warehouse.rollback()
    warehouse.set_session(isolation_level="REPEATABLE READ", autocommit=False)
    lock = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(Staged(table, "").target)
    try:
        # Before anything else: only then is the moment one in which the table is what its name says.
        postgres.rows(warehouse, lock)
    except (postgres.UndefinedTable, postgres.InvalidSchemaName):
        warehouse.rollback()
        return False
    return ledger.watermark(warehouse, table.source, table.name) is not None
