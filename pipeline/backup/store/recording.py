"""Tells the warehouse's ledger what is in the bucket: the one word that a backup has for the warehouse."""

import logging
from collections.abc import Callable, Mapping

from pipeline import chains, postgres
from pipeline.access import Access
from pipeline.errors import PipelineError
from pipeline.ledger import archive
from pipeline.postgres import Connection

logger = logging.getLogger(__name__)


def record_backup(databases: Access, database: str, row: Mapping[str, object]) -> None:
    """Let the ledger know of a backup that is in the bucket."""
    _record(databases, f"the backup of {database}", archive.record_backup, row)


def record_drill(databases: Access, database: str, task: str, row: Mapping[str, object]) -> None:
    """Let the ledger know of a drill whose report is in the bucket, by the task that made it."""

    def record(warehouse: Connection, drill: Mapping[str, object]) -> None:
        archive.record_drill(warehouse, task, drill)

    name = chains.DRILL.subject(task, {"database": database}).name
    _record(databases, f"the report of the {name}", record, row)


def _record(
    databases: Access,
    what: str,
    record: Callable[[Connection, Mapping[str, object]], None],
    row: Mapping[str, object],
) -> None:
    """Let the ledger know, if it is up: no backup, and no drill, ever depends on it."""
    if databases.settings.warehouse is None:
        return
    try:
        with databases.warehouse() as warehouse, postgres.explained("the ledger"):
            record(warehouse, row)
    except PipelineError as error:
        logger.warning("%s is in the bucket, but the warehouse has no record of it: %s", what, error)
