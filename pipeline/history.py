"""History: every version of every row, in <table>_history: from which night on it was so, and until which.

It is written from the published table itself, by comparing it with the open versions: correct under nulls,
repeats and deletes, and it heals itself if a night was missed.
"""

from collections.abc import Mapping, Sequence

from psycopg2 import sql

from pipeline import postgres, staging
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection
from pipeline.staging import Staged

VALID_FROM, VALID_TO = "_valid_from", "_valid_to"


def record(
    warehouse: Connection, staged: Staged, key: Sequence[str], columns: Sequence[str], as_of: str
) -> None:
    """Close the versions that no longer hold and open those that now do, as of the moment `as_of`.

    Raise StepError for a table without a key: nobody could tell one row's versions from another's.
    """
    if not key:
        raise StepError("history needs a key: write key: with its columns, or take history out")
    if staging.oid(warehouse, staged.history) is None:
        _create(warehouse, staged, key)
    _follow(warehouse, staged)
    parts: Mapping[str, Composable] = {
        "history": staged.history,
        "target": staged.target,
        "same": staging.same_key(key, "t", "h"),
        "live": staging.live(warehouse, staged.target, staged.table, "t"),
        "columns": postgres.columns(columns),
        "values": postgres.columns(columns, "t"),
        "old": sql.SQL("ROW({})::record").format(postgres.columns(columns, "h")),
        "new": sql.SQL("ROW({})::record").format(postgres.columns(columns, "t")),
        "valid_from": sql.Identifier(VALID_FROM),
        "valid_to": sql.Identifier(VALID_TO),
        "as_of": sql.Literal(as_of),
    }
    for statement in (
        "UPDATE {history} AS h SET {valid_to} = {as_of} WHERE h.{valid_to} IS NULL AND NOT EXISTS"
        " (SELECT 1 FROM {target} AS t WHERE {same} AND {live} AND {new} *= {old})",
        "INSERT INTO {history} ({columns}, {valid_from}) SELECT {values}, {as_of} FROM {target} AS t"
        " WHERE {live} AND NOT EXISTS (SELECT 1 FROM {history} AS h WHERE h.{valid_to} IS NULL AND {same})",
    ):
        postgres.rows(warehouse, sql.SQL(statement).format(**parts))


def _create(warehouse: Connection, staged: Staged, key: Sequence[str]) -> None:
    for statement in (
        "CREATE TABLE {history} AS SELECT * FROM {target} WHERE false",
        "ALTER TABLE {history} DROP COLUMN {loaded_at}, DROP COLUMN IF EXISTS {deleted_at},"
        " ADD COLUMN {valid_from} timestamptz NOT NULL, ADD COLUMN {valid_to} timestamptz",
        "CREATE UNIQUE INDEX ON {history} ({key}) WHERE {valid_to} IS NULL",
    ):
        postgres.rows(
            warehouse,
            sql.SQL(statement).format(
                history=staged.history,
                target=staged.target,
                key=postgres.columns(key),
                loaded_at=sql.Identifier(staging.LOADED_AT),
                deleted_at=sql.Identifier(staging.DELETED_AT),
                valid_from=sql.Identifier(VALID_FROM),
                valid_to=sql.Identifier(VALID_TO),
            ),
        )


def _follow(warehouse: Connection, staged: Staged) -> None:
    """Give the history the columns and types that the table has got since."""
    wanted, known = _types(warehouse, staged.target), _types(warehouse, staged.history)
    for name, type_ in wanted.items():
        if name in (staging.LOADED_AT, staging.DELETED_AT):
            continue
        column, named = sql.Identifier(name), sql.SQL(type_)
        change = None
        if name not in known:
            change = sql.SQL("ADD COLUMN {} {}").format(column, named)
        elif known[name] != type_:
            change = sql.SQL("ALTER COLUMN {0} TYPE {1} USING {0}::text::{1}").format(column, named)
        if change is not None:
            postgres.rows(warehouse, sql.SQL("ALTER TABLE {} {}").format(staged.history, change))


def _types(warehouse: Connection, relation: sql.Identifier) -> dict[str, str]:
    query = """
        SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
        """
    return dict(postgres.rows(warehouse, query, (staging.oid(warehouse, relation),)))


def forget(warehouse: Connection, staged: Staged, columns: Sequence[str]) -> None:
    """Empty columns in every version: they are masked from now on."""
    if staging.oid(warehouse, staged.history) is None:
        return
    known = _types(warehouse, staged.history)
    for name in columns:
        if name in known:
            postgres.rows(
                warehouse,
                sql.SQL("UPDATE {} SET {} = NULL").format(staged.history, sql.Identifier(name)),
            )
