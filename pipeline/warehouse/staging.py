"""Staged rows: where a table's rows wait in the warehouse between being read and being believed."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Deletes, Table
from pipeline.names import MAXIMUM_BYTES
from pipeline.postgres import Composable, Connection
from pipeline.warehouse.relation import column_names, column_types, columns_if_any, count, is_empty, oid
from pipeline.warehouse.shape import Column

__all__ = [
    "DELETED_AT",
    "LOADED_AT",
    "SCHEMA",
    "Staged",
    "cast",
    "column_names",
    "column_types",
    "columns_if_any",
    "count",
    "create",
    "drop",
    "drop_every_run",
    "fill",
    "index_key",
    "is_empty",
    "key_index",
    "live",
    "oid",
    "same_key",
    "superseded_unread",
]

SCHEMA = "staging"
LOADED_AT, DELETED_AT = "_loaded_at", "_deleted_at"


@dataclass(frozen=True)
class Staged:
    """The staged rows of one table and run, and of its keys where they are needed."""

    table: Table
    run: str

    @property
    def prefix(self) -> str:
        """Return what the names of all staged tables of this table begin with."""
        plain = f"{self.table.source}.{self.table.name}@"
        longest = MAXIMUM_BYTES - len("2026-11-22T1430 keys")
        if len(plain.encode()) <= longest:
            return plain
        return hashlib.sha256(plain.encode()).hexdigest()[: longest - 1] + "@"

    @property
    def rows(self) -> sql.Identifier:
        return sql.Identifier(SCHEMA, f"{self.prefix}{self.run}")

    @property
    def keys(self) -> sql.Identifier:
        return sql.Identifier(SCHEMA, f"{self.prefix}{self.run} keys")

    @property
    def gone(self) -> sql.Identifier:
        """Return the table of the keys that the target has and the source has no more."""
        return sql.Identifier(SCHEMA, f"{self.prefix}{self.run} gone")

    @property
    def rejected(self) -> sql.Identifier:
        """Return the table of the staged rows' places (ctid) that are to be set aside."""
        return sql.Identifier(SCHEMA, f"{self.prefix}{self.run} bad")

    @property
    def superseded(self) -> sql.Identifier:
        """Return the table of the keys of loaded rows that no longer pass, and are to be set aside."""
        return sql.Identifier(SCHEMA, f"{self.prefix}{self.run} out")

    @property
    def history(self) -> sql.Identifier:
        """Return the table of the warehouse that keeps every version of every row."""
        return sql.Identifier(self.table.source, f"{self.table.name}_history")

    @property
    def new_history(self) -> sql.Identifier:
        """Return the table in which a history is made anew."""
        return sql.Identifier(SCHEMA, f"{self.prefix}{self.run} new")

    @property
    def quarantine(self) -> sql.Identifier:
        """Return the table of rows that were set aside."""
        plain = f"{self.table.source}_{self.table.name}"
        return sql.Identifier("quarantine", plain if len(plain.encode()) <= MAXIMUM_BYTES else self.prefix)

    @property
    def target(self) -> sql.Identifier:
        """Return the table of the warehouse that people read."""
        return sql.Identifier(self.table.source, self.table.name)


def create(
    connection: Connection,
    name: sql.Identifier,
    source: str,
    columns: Sequence[Column],
    first_loaded_at: datetime | None = None,
    never_null: Collection[str] = (),
) -> None:
    """Make an empty staging table.

    With `first_loaded_at` it is meant to become the final table: logged, every row marked as loaded then.
    Without, it is UNLOGGED: half the writing, and empty after a crash of the server. `never_null` are columns
    that take no null: of a table that is filled already, to say so is one more pass.
    """
    definitions = [
        sql.SQL("{} {}{}").format(
            sql.Identifier(column.name),
            column.warehouse_type(source),
            sql.SQL(" NOT NULL" if column.name in never_null else ""),
        )
        for column in columns
    ]
    if first_loaded_at is not None:
        definitions.append(
            sql.SQL("{} timestamptz NOT NULL DEFAULT {}").format(
                sql.Identifier(LOADED_AT), sql.Literal(first_loaded_at.isoformat())
            )
        )
    statement = sql.SQL("CREATE {} TABLE {} ({})").format(
        sql.SQL("UNLOGGED" if first_loaded_at is None else ""), name, sql.SQL(", ").join(definitions)
    )
    postgres.rows(connection, statement)


def fill(connection: Connection, name: sql.Identifier, rows: int) -> int:
    """Put so many rows of nothing but defaults into a staging table, and return how many."""
    query = sql.SQL("INSERT INTO {} SELECT FROM generate_series(1, {})").format(name, sql.Literal(rows))
    postgres.rows(connection, query)
    return rows


def key_index(connection: Connection, name: sql.Identifier, key: Sequence[str]) -> str | None:
    """Return the name of the index that `index_key` made of these columns; None where there is none."""
    index: str | None = postgres.value(
        connection, postgres.statement("warehouse/unique_index"), (*name.strings, list(key))
    )
    return index


def index_key(connection: Connection, name: sql.Identifier, key: Sequence[str]) -> bool:
    """Make a unique index of these columns; return whether that could be done.

    If not, nothing was changed: there are values twice, or some that no index takes. Nulls are no values.
    Raise what the server tells of itself, such as a full disk.
    """
    if key_index(connection, name, key) is not None:
        return True
    query = sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(name, postgres.columns(key))
    postgres.rows(connection, "SAVEPOINT unindexed")
    try:
        postgres.rows(connection, query)
    except postgres.Error as error:
        if failure := postgres.environmental(error):
            raise failure from None
        postgres.rows(connection, "ROLLBACK TO SAVEPOINT unindexed")
        return False
    return True


def superseded_unread(connection: Connection, staged: Staged) -> int:
    """Return how many loaded rows are to be set aside without that anything was read for them."""
    if oid(connection, staged.superseded) is None:
        return 0
    query = sql.SQL(
        "SELECT count(*) FROM (SELECT DISTINCT * FROM {}) AS f"
        " WHERE NOT EXISTS (SELECT 1 FROM {} AS s WHERE {})"
    ).format(staged.superseded, staged.rows, same_key(column_names(connection, staged.superseded), "f", "s"))
    counted: int = postgres.value(connection, query)
    return counted


def drop(connection: Connection, staged: Staged, *, but_rows: bool = False) -> None:
    """Drop what was staged of one run, except the rows where those are to be published as they are."""
    names = [staged.gone, staged.rejected, staged.superseded, *([] if but_rows else [staged.rows])]
    postgres.rows(connection, sql.SQL("DROP TABLE IF EXISTS {}").format(sql.SQL(", ").join(names)))


def drop_every_run(connection: Connection, staged: Staged) -> None:
    """Drop what was staged of a table in any run."""
    rows = postgres.rows(
        connection,
        "SELECT tablename FROM pg_tables WHERE schemaname = %s AND starts_with(tablename, %s)",
        (SCHEMA, staged.prefix),
    )
    for (name,) in rows:
        postgres.rows(connection, sql.SQL("DROP TABLE {}").format(sql.Identifier(SCHEMA, name)))


def cast(name: str, old: str, new: str, prefix: str) -> Composable:
    """Return a column of a table called `prefix`, as another type if it has another."""
    column = sql.Identifier(prefix, name)
    return column if old == new else sql.SQL("{}::text::{}").format(column, sql.SQL(new))


def live(
    connection: Connection, relation: sql.Identifier, table: Table, alias: str | None = None
) -> Composable:
    """Return the condition under which a row of the target stands for a row of the source."""
    # A table that was loaded before its deletes became soft has no mark yet.
    if table.deletes != Deletes.SOFT or DELETED_AT not in column_names(connection, relation):
        return sql.SQL("true")
    return sql.SQL("{} IS NULL").format(sql.Identifier(*filter(None, (alias, DELETED_AT))))


def same_key(
    key: Sequence[str], left: str, right: str, renamed: Mapping[str, str] | None = None
) -> Composable:
    """Return the condition under which two rows have the same key.

    `renamed` has what the left one calls a column, where that is another name.
    """
    known = renamed or {}
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, known.get(name, name)), sql.Identifier(right, name))
        for name in key
    )
