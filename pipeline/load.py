"""Load: publishes validated rows in one transaction, with the proof that the table now equals its source.

Readers see the table as it was or as it is, never in between; views and grants stay.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2 import sql

from pipeline import access, extract, ledger, postgres, staging, validate
from pipeline.catalog import Table
from pipeline.errors import StepError
from pipeline.extract import FIRST, FULL, LOAD_TASK, Show, silent, step_key
from pipeline.ledger import StepKey, Watermark
from pipeline.postgres import Composable, Connection
from pipeline.settings import Settings
from pipeline.shape import Shape
from pipeline.snapshot import Snapshot
from pipeline.staging import DELETED_AT, LOADED_AT, Staged

# A catalog change waits this long for readers before it lets them pass and tries again.
LOCK_TIMEOUT = "200ms"
LOCK_TRIES = 50
LOCK_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Loaded:
    """What a load did to the table, in rows, and how many the table has now."""

    inserted: int
    updated: int
    deleted: int
    total: int

    @property
    def changed(self) -> bool:
        return bool(self.inserted or self.updated or self.deleted)

    def __str__(self) -> str:
        if not self.changed:
            return f"nothing changed, {self.total:,} rows"
        return (
            f"{self.inserted:,} new, {self.updated:,} changed, {self.deleted:,} deleted, {self.total:,} rows"
        )


def is_loaded(settings: Settings, table: Table, run: str) -> bool:
    """Whether the run has loaded the table, and the table is still there."""
    with access.brief(settings).warehouse() as warehouse:
        return _loaded(warehouse, table, run)


def _loaded(warehouse: Connection, table: Table, run: str) -> bool:
    step = ledger.find_step(warehouse, step_key(table, run, LOAD_TASK))
    return bool(step and step.done) and staging.oid(warehouse, Staged(table, run).target) is not None


def are_loaded(settings: Settings, tables: Sequence[Table], run: str) -> bool:
    """Whether the run has loaded all of these tables."""
    with access.brief(settings).warehouse() as warehouse:
        return all(_loaded(warehouse, table, run) for table in tables)


def load_table(settings: Settings, table: Table, run: str, show: Show = silent) -> Loaded | None:
    """Publish the table's staged rows; return what that did, or None if it was done before.

    Raise StepError if the rows are not there, were not validated, or if the result is not the source's.
    """
    key = step_key(table, run, LOAD_TASK)
    with (
        access.opened(settings) as databases,
        databases.warehouse(autocommit=True) as beside,
        databases.warehouse() as warehouse,
        postgres.explained(key.name),
    ):
        ledger.lock_table(warehouse, table.source, table.name)
        if _loaded(warehouse, table, run):
            return None
        with ledger.recorded(beside, key):
            show(None, "merging")
            publication = _Publication(warehouse, beside, table, run)
            loaded = publication.publish()
            publication.record(key, loaded)
            warehouse.commit()
            show(100, str(loaded))
            return loaded


class _Publication:
    """One load under way."""

    def __init__(self, warehouse: Connection, beside: Connection, table: Table, run: str) -> None:
        self._warehouse, self._beside, self._table, self._run = warehouse, beside, table, run
        self._staged = Staged(table, run)
        self._detail = self._believed()
        self._key = tuple(self._detail["key"])
        self._mode = self._detail["mode"]
        self._shape = Shape.from_json(self._detail["shape"])
        self._columns = self._shape.names

    def _believed(self) -> dict[str, Any]:
        """Return what the extraction left, once it is certain that it is whole and was validated."""
        if not extract.extracted(self._warehouse, self._table, self._run):
            raise StepError("its staged rows are gone or were overtaken by another load; run it again")
        if not validate.validated(self._warehouse, self._table, self._run):
            raise StepError("its staged rows were not validated; run it again")
        step = ledger.find_step(self._warehouse, step_key(self._table, self._run))
        assert step is not None  # noqa: S101 - extracted() saw it
        return dict(step.detail)

    def publish(self) -> Loaded:
        if self._mode == FIRST:
            return self._adopt()
        self._evolve()
        inserted, updated, deleted = self._merge() if self._key else self._replace()
        return Loaded(inserted, updated, deleted, self._proof())

    def _adopt(self) -> Loaded:
        """Make the staged table the final one: its rows are written only once."""
        schema, name = self._staged.target.strings
        self._execute(
            "ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT", self._staged.rows, sql.Identifier(LOADED_AT)
        )
        if self._table.deletes == "soft":
            self._execute(
                "ALTER TABLE {} ADD COLUMN {} timestamptz", self._staged.rows, sql.Identifier(DELETED_AT)
            )
        self._execute("ALTER TABLE {} SET SCHEMA {}", self._staged.rows, sql.Identifier(schema))
        moved = sql.Identifier(schema, self._staged.rows.strings[1])
        self._execute("ALTER TABLE {} RENAME TO {}", moved, sql.Identifier(name))
        if self._key:
            key = postgres.columns(self._key)
            self._execute("ALTER TABLE {} ADD PRIMARY KEY ({})", self._staged.target, key)
        self._execute("ANALYZE {}", self._staged.target)
        total = self._proof()
        return Loaded(total, 0, 0, total)

    def _evolve(self) -> None:
        """Give the table the columns that are new in the source."""
        known = set(staging.column_names(self._warehouse, self._staged.target))
        added = [column for column in self._shape.columns if column.name not in known]
        if added:
            parts = [
                sql.SQL("ADD COLUMN {} {}").format(
                    sql.Identifier(column.name), column.warehouse_type(self._table.source)
                )
                for column in added
            ]
            change_patiently(
                self._beside,
                sql.SQL("ALTER TABLE {} {}").format(self._staged.target, sql.SQL(", ").join(parts)),
            )

    def _merge(self) -> tuple[int, int, int]:
        # Rows are compared byte by byte: equality takes 1.0 for 1.00, and json has none.
        others = [name for name in self._columns if name not in self._key]
        images = [
            sql.SQL("ROW({})::record").format(postgres.columns(self._columns, prefix))
            for prefix in ("t", "excluded")
        ]
        differs = sql.SQL("{} *<> {}").format(*images)
        assignments = [
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in [*others, LOADED_AT]
        ]
        if self._table.deletes == "soft":
            assignments.append(sql.SQL("{} = NULL").format(sql.Identifier(DELETED_AT)))
            differs += sql.SQL(" OR t.{} IS NOT NULL").format(sql.Identifier(DELETED_AT))
        query = sql.SQL(
            """
            WITH merged AS (
                INSERT INTO {target} AS t ({columns}, {loaded_at})
                SELECT {columns}, statement_timestamp() FROM {staged}
                ON CONFLICT ({key}) DO UPDATE SET {assignments} WHERE {differs}
                RETURNING t.xmax = 0 AS inserted)
            SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged
            """
        ).format(
            target=self._staged.target, columns=postgres.columns(self._columns), staged=self._staged.rows,
            loaded_at=sql.Identifier(LOADED_AT), key=postgres.columns(self._key),
            assignments=sql.SQL(", ").join(assignments), differs=differs,
        )  # fmt: skip
        merged = postgres.row(self._warehouse, query)
        assert merged is not None  # noqa: S101 - an aggregate always has a row
        return merged[0], merged[1], self._delete()

    def _delete(self) -> int:
        """Delete, or mark, what is gone from the source; return how many rows."""
        if self._table.deletes == "ignore" or self._detail["deleted"] == 0:
            return 0
        present = self._staged.rows if self._mode == FULL else self._staged.keys
        gone = sql.SQL("NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})").format(
            present, staging.same_key(self._key, "t", "p")
        )
        if self._table.deletes == "hard":
            return self._execute("DELETE FROM {} AS t WHERE {}", self._staged.target, gone)
        return self._execute(
            "UPDATE {} AS t SET {} = statement_timestamp() WHERE {} AND {}",
            self._staged.target, sql.Identifier(DELETED_AT), staging.live(self._table, "t"), gone,
        )  # fmt: skip

    def _replace(self) -> tuple[int, int, int]:
        """Make a table without a key equal to its staged rows, leaving alone the rows that are the same."""
        numbered = sql.SQL(
            "SELECT ctid, ROW({columns})::text AS content,"
            " row_number() OVER (PARTITION BY ROW({columns})::text) AS number FROM {relation}"
        )
        columns = postgres.columns(self._columns)
        parts = {
            "old": numbered.format(columns=columns, relation=self._staged.target),
            "new": numbered.format(columns=columns, relation=self._staged.rows),
            "target": self._staged.target,
            "staged": self._staged.rows,
            "columns": columns,
            "loaded_at": sql.Identifier(LOADED_AT),
        }
        deleted = self._execute(
            "DELETE FROM {target} AS t USING ({old}) AS o WHERE t.ctid = o.ctid AND NOT EXISTS"
            " (SELECT 1 FROM ({new}) AS n WHERE n.content = o.content AND n.number = o.number)",
            **parts,
        )
        inserted = self._execute(
            "INSERT INTO {target} ({columns}, {loaded_at}) SELECT {columns}, statement_timestamp()"
            " FROM {staged} AS s WHERE s.ctid IN (SELECT n.ctid FROM ({new}) AS n WHERE NOT EXISTS"
            " (SELECT 1 FROM ({old}) AS o WHERE o.content = n.content AND o.number = n.number))",
            **parts,
        )
        return inserted, 0, deleted

    def _proof(self) -> int:
        """Return the table's rows, once they are as many as the source's snapshot has."""
        total = staging.count(self._warehouse, self._staged.target, staging.live(self._table))
        expected = self._detail["source_rows"]
        if total != expected and not (self._table.deletes == "ignore" and total > expected):
            raise StepError(
                f"after the merge the table would have {total} rows, but the source's snapshot has "
                f"{expected}; nothing was published; run it again with 'changes: full'"
            )
        return total

    def record(self, key: StepKey, loaded: Loaded) -> None:
        """Write what is now believed of the table, and drop what was staged."""
        taken = Snapshot.from_json(self._detail["snapshot"])
        mark = Watermark(
            self._run, taken.taken_at, taken.horizon, taken.system_identifier, taken.timeline,
            self._detail["cursor_value"], loaded.total,
        )  # fmt: skip
        source, name = self._table.source, self._table.name
        ledger.save_watermark(self._warehouse, source, name, mark)
        ledger.accept_shape(self._warehouse, source, name, self._run, self._shape.to_json())
        staging.drop(self._warehouse, self._staged)
        ledger.finish_step(
            self._warehouse,
            key,
            loaded.total,
            {**loaded.__dict__, "mode": self._mode, "fresh_as_of": taken.taken_at},
        )

    def _execute(self, statement: str, *parts: Composable, **named: Composable) -> int:
        with self._warehouse.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*parts, **named))
            return cursor.rowcount


def change_patiently(beside: Connection, statement: Composable) -> None:
    """Make a catalog change at once or not at all, so that no reader queues behind it; try until it works.

    `beside` commits by itself: the change must not be held for as long as a merge takes.
    Raise StepError if readers never leave a gap.
    """
    postgres.rows(beside, "SELECT set_config('lock_timeout', %s, false)", (LOCK_TIMEOUT,))
    for _ in range(LOCK_TRIES):
        try:
            postgres.rows(beside, statement)
        except postgres.LockNotAvailable:
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            postgres.rows(beside, "RESET lock_timeout")
            return
    raise StepError(
        f"somebody has kept the table locked for {LOCK_TRIES} tries; find them in pg_stat_activity of the "
        "warehouse, then run it again"
    )


def fresh_as_of(warehouse: Connection) -> list[tuple[str, datetime, int]]:
    """Return each loaded table's name, the moment of the source that it shows, and its rows."""
    query = "SELECT source || '.' || table_name, snapshot_at, rows FROM ops.watermark ORDER BY 1"
    return postgres.rows(warehouse, query)
