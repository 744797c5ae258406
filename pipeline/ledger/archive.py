"""Backups and drills: what the ledger has been told of them. What counts is in the bucket."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from psycopg2 import sql
from psycopg2.sql import Composable

from pipeline import postgres
from pipeline.chains import ARCHIVE_DRILL_TASK, DRILL_TASK
from pipeline.postgres import Connection

T = TypeVar("T")

# By the task that makes them: of our backups, and of what pgBackRest has. Neither proves the other.
_DRILLS = {DRILL_TASK: "ops.drill", ARCHIVE_DRILL_TASK: "ops.archive_drill"}

# For Prometheus: of each database when it was last backed up, and when a drill of each kind last held.
BACKUPS_TAKEN = "SELECT database, extract(epoch FROM max(taken_at)) FROM ops.backup GROUP BY 1 ORDER BY 1"
DRILLS_HELD = "SELECT database, extract(epoch FROM max(finished_at)) FROM ops.drill WHERE held GROUP BY 1"
ARCHIVE_DRILLS_HELD = (
    "SELECT database, extract(epoch FROM max(finished_at)) FROM ops.archive_drill WHERE held GROUP BY 1"
)


def record_backup(connection: Connection, backup: Mapping[str, object]) -> None:
    """Write down a verified backup, by the columns of the table, in the caller's transaction."""
    postgres.rows(connection, postgres.statement("ledger/backup"), backup)


def record_drill(connection: Connection, task: str, drill: Mapping[str, object]) -> None:
    """Write down a drill, in place of an earlier one of the same month, in the caller's transaction."""
    postgres.rows(connection, _of_drills(task, "ledger/drill"), drill)


def newest_backups(connection: Connection, kind: Callable[..., T]) -> list[T]:
    """Return the newest backup of each database: what `kind` makes of it. All that are here are verified."""
    query = """
        SELECT DISTINCT ON (database) database, run, taken_at, size_bytes, true AS verified, warnings
        FROM ops.backup ORDER BY database, taken_at DESC
        """
    return _read(connection, "ops.backup", query, kind)


def first_backups(connection: Connection) -> dict[str, datetime]:
    """Return when the first backup of each database was taken."""
    query = "SELECT database, min(taken_at) FROM ops.backup GROUP BY database"
    return dict(postgres.rows(connection, query))


def last_drills(connection: Connection, task: str, kind: Callable[..., T]) -> list[T]:
    """Return the newest drill of each database, and when one last held: what `kind` makes of it.

    `seconds` is what the recovery took, `error` what did not hold, `hint` what is to be done about that.
    """
    return _read(connection, _DRILLS[task], _of_drills(task, "ledger/last_drills"), kind)


def _of_drills(task: str, name: str) -> Composable:
    """Return a statement about the drills of that task."""
    table = postgres.identifier(*_DRILLS[task].split("."))
    return sql.SQL(postgres.statement(name)).format(table=table)


def _read(connection: Connection, table: str, query: str | Composable, kind: Callable[..., T]) -> list[T]:
    """Return the rows of a table of the ledger, none where that is older than the table."""
    if postgres.value(connection, "SELECT to_regclass(%s)", (table,)) is None:
        return []
    return postgres.read(connection, query, kind)
