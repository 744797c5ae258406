"""Merge: brings a table of the warehouse to what was staged, touching only the rows that differ."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Deletes
from pipeline.errors import StepError
from pipeline.loading.extracted import Extracted, Mode
from pipeline.postgres import Composable, Connection
from pipeline.warehouse import staging
from pipeline.warehouse.staging import DELETED_AT, LOADED_AT, Staged


@dataclass(frozen=True)
class SetAside:
    """How many staged rows are not to be loaded, and how many rows the table will lack for that."""

    rows: int
    missing: int


def set_aside(
    warehouse: Connection,
    staged: Staged,
    key: Sequence[str],
    lasting: Sequence[str] | None,
    *,
    into_new_table: bool,
) -> SetAside:
    """Take out of the table what is not good any more; return what is set aside.

    A row whose last good version is in the table is not lacking there. A new table takes that over, if it has
    values for these `lasting` columns and passed the checks there.
    """
    if staging.oid(warehouse, staged.rejected) is None:
        return SetAside(0, 0)
    count = sql.SQL("SELECT count(DISTINCT place) FROM {}").format(staged.rejected)
    rows: int = postgres.value(warehouse, count)
    if into_new_table:
        kept = _keep_good_versions(warehouse, staged, key, lasting) if lasting is not None else 0
        _remove_rejected(warehouse, staged, key)
        return SetAside(rows, rows - kept)
    if not key:
        return SetAside(rows, rows)
    unread = staging.superseded_unread(warehouse, staged)
    if staging.oid(warehouse, staged.superseded) is not None:
        superseded = sql.SQL("EXISTS (SELECT 1 FROM {} AS f WHERE {})")
        same = staging.same_key(key, "t", "f")
        live = staging.live(warehouse, staged.target, staged.table, "t")
        _execute(
            warehouse,
            "DELETE FROM {} AS t WHERE {} AND {}",
            staged.target,
            live,
            superseded.format(staged.superseded, same),
        )
    missing = postgres.value(
        warehouse,
        sql.SQL(
            "SELECT count(*) FROM {staged} AS s WHERE s.ctid IN (SELECT place FROM {rejected})"
            " AND NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {same} AND {live})"
        ).format(
            staged=staged.rows,
            rejected=staged.rejected,
            target=staged.target,
            same=staging.same_key(key, "t", "s"),
            live=staging.live(warehouse, staged.target, staged.table, "t"),
        ),
    )
    return SetAside(rows + unread, missing + unread)


def _keep_good_versions(
    warehouse: Connection, staged: Staged, key: Sequence[str], lasting: Sequence[str]
) -> int:
    """Copy the last good version of each rejected row into the new table; return how many have one."""
    if staging.oid(warehouse, staged.superseded) is None:
        # They were not looked at.
        return 0
    old, new = (staging.column_types(warehouse, name) for name in (staged.target, staged.rows))
    return _execute(
        warehouse,
        "INSERT INTO {} ({}, {}) SELECT {}, t.{} FROM {} AS t WHERE {} AND EXISTS"
        " (SELECT 1 FROM {} AS s JOIN {} AS b ON b.place = s.ctid WHERE {})"
        " AND NOT EXISTS (SELECT 1 FROM {} AS f WHERE {})",
        staged.rows,
        postgres.columns(lasting),
        sql.Identifier(LOADED_AT),
        sql.SQL(", ").join(staging.cast(name, old[name], new[name], "t") for name in lasting),
        sql.Identifier(LOADED_AT),
        staged.target,
        staging.live(warehouse, staged.target, staged.table, "t"),
        staged.rows,
        staged.rejected,
        staging.same_key(key, "t", "s"),
        staged.superseded,
        staging.same_key(key, "t", "f"),
    )


def _remove_rejected(warehouse: Connection, staged: Staged, key: Sequence[str]) -> None:
    """Delete the rejected rows from the new table; note their keys, which are not gone from the source."""
    rejected = sql.SQL("DELETE FROM {} AS s WHERE s.ctid IN (SELECT place FROM {})").format(
        staged.rows, staged.rejected
    )
    if not key:
        postgres.rows(warehouse, rejected)
        return
    columns = postgres.columns(key)
    if staging.oid(warehouse, staged.superseded) is None:
        nothing = "CREATE UNLOGGED TABLE {} AS SELECT {} FROM {} LIMIT 0"
        _execute(warehouse, nothing, staged.superseded, columns, staged.rows)
    note = sql.SQL("WITH rejected AS ({} RETURNING {}) INSERT INTO {} SELECT * FROM rejected")
    postgres.rows(warehouse, note.format(rejected, postgres.columns(key, "s"), staged.superseded))


def publish(
    warehouse: Connection,
    staged: Staged,
    columns: Sequence[str],
    key: Sequence[str],
    extracted: Extracted,
) -> tuple[int, int, int]:
    """Merge the staged rows into the table; return how many rows are new, changed and deleted."""
    good = _good(warehouse, staged)
    if not key:
        return _replace(warehouse, staged, columns, good)
    inserted, updated = _upsert(warehouse, staged, columns, key, good)
    deleted = 0
    if staged.table.deletes != Deletes.IGNORE and extracted.deleted:
        deleted = _remove(warehouse, staged, _gone(staged, key, extracted.mode))
    return inserted, updated, deleted


def _good(warehouse: Connection, staged: Staged) -> Composable:
    """Return the condition under which a staged row, called "s", is to be loaded."""
    if staging.oid(warehouse, staged.rejected) is None:
        return sql.SQL("true")
    return sql.SQL("NOT EXISTS (SELECT 1 FROM {} AS b WHERE b.place = s.ctid)").format(staged.rejected)


def _upsert(
    warehouse: Connection, staged: Staged, columns: Sequence[str], key: Sequence[str], good: Composable
) -> tuple[int, int]:
    # Rows are compared byte by byte: equality takes 1.0 for 1.00, and json has none.
    images = [
        sql.SQL("ROW({})::record").format(postgres.columns(columns, side)) for side in ("t", "excluded")
    ]
    differs = sql.SQL("{} *<> {}").format(*images)
    # The key too: what is equal may still be written differently, as 1.0 and 1.00 are.
    assigned = [*columns, LOADED_AT]
    assignments = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in assigned]
    if DELETED_AT in staging.column_names(warehouse, staged.target):
        deleted_at = sql.Identifier(DELETED_AT)
        assignments.append(sql.SQL("{} = NULL").format(deleted_at))
        differs += sql.SQL(" OR t.{} IS NOT NULL").format(deleted_at)
    query = sql.SQL(
        """
        WITH merged AS (
            INSERT INTO {target} AS t ({columns}, {loaded_at})
            SELECT {columns}, statement_timestamp() FROM {staged} AS s WHERE {good}
            ON CONFLICT ({key}) DO UPDATE SET {assignments} WHERE {differs}
            RETURNING t.xmax = 0 AS inserted)
        SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged
        """
    ).format(
        target=staged.target,
        columns=postgres.columns(columns),
        staged=staged.rows,
        good=good,
        loaded_at=sql.Identifier(LOADED_AT),
        key=postgres.columns(key),
        assignments=sql.SQL(", ").join(assignments),
        differs=differs,
    )
    try:
        inserted, updated = postgres.rows(warehouse, query)[0]
    except postgres.InvalidColumnReference:
        target, listed = (part.as_string(warehouse) for part in (staged.target, postgres.columns(key)))
        raise StepError(
            f"the warehouse's table has no unique index of its key ({', '.join(key)})",
            hint=f"run 'ALTER TABLE {target} ADD PRIMARY KEY ({listed})' in the warehouse",
            retryable=False,
        ) from None
    return inserted, updated


def _gone(staged: Staged, key: Sequence[str], mode: Mode) -> Composable:
    """Return the condition under which a row of the target, called "t", is gone from the source."""
    exists = (
        "NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})"
        if mode == Mode.FULL
        else "EXISTS (SELECT 1 FROM {} AS p WHERE {})"
    )
    rows = staged.rows if mode == Mode.FULL else staged.gone
    return sql.SQL(exists).format(rows, staging.same_key(key, "t", "p"))


def _replace(
    warehouse: Connection, staged: Staged, columns: Sequence[str], good: Composable
) -> tuple[int, int, int]:
    """Make a table without a key equal to its staged rows, leaving alone the rows that are the same."""
    numbered = sql.SQL(
        "SELECT s.ctid, ROW({columns})::text AS content,"
        " row_number() OVER (PARTITION BY ROW({columns})::text) AS number FROM {relation} AS s WHERE {good}"
    )
    listed, loaded_at = postgres.columns(columns), sql.Identifier(LOADED_AT)
    live = staging.live(warehouse, staged.target, staged.table, "s")
    old = numbered.format(columns=listed, relation=staged.target, good=live)
    new = numbered.format(columns=listed, relation=staged.rows, good=good)
    deleted = 0
    if staged.table.deletes != Deletes.IGNORE:
        gone = sql.SQL(
            "t.ctid IN (SELECT o.ctid FROM ({}) AS o WHERE NOT EXISTS"
            " (SELECT 1 FROM ({}) AS n WHERE n.content = o.content AND n.number = o.number))"
        ).format(old, new)
        deleted = _remove(warehouse, staged, gone)
    names = sql.SQL(", ").join([*map(sql.Identifier, columns), loaded_at])
    values = sql.SQL(", ").join([*map(sql.Identifier, columns), sql.SQL("statement_timestamp()")])
    inserted = _execute(
        warehouse,
        "INSERT INTO {} ({}) SELECT {} FROM {} AS s WHERE s.ctid IN (SELECT n.ctid FROM ({}) AS n"
        " WHERE NOT EXISTS"
        " (SELECT 1 FROM ({}) AS o WHERE o.content = n.content AND o.number = n.number))",
        staged.target,
        names,
        values,
        staged.rows,
        new,
        old,
    )
    return inserted, 0, deleted


def _remove(warehouse: Connection, staged: Staged, gone: Composable) -> int:
    """Delete rows of the target, called "t", or mark them as deleted; return how many."""
    if staged.table.deletes == Deletes.HARD:
        return _execute(warehouse, "DELETE FROM {} AS t WHERE {}", staged.target, gone)
    return _execute(
        warehouse,
        "UPDATE {} AS t SET {} = statement_timestamp() WHERE {} AND {}",
        staged.target,
        sql.Identifier(DELETED_AT),
        staging.live(warehouse, staged.target, staged.table, "t"),
        gone,
    )


def _execute(warehouse: Connection, statement: str, *parts: Composable) -> int:
    with warehouse.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*parts))
        return cursor.rowcount
