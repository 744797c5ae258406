"""History: every version of every row, in <table>_history: from which night on it was so, and until which.

It is written from the table itself, by comparing it with the open versions: correct under nulls, repeats and
deletes, and it heals itself if a night was missed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg2 import sql

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection
from pipeline.warehouse import locks, staging
from pipeline.warehouse.staging import Staged

VALID_FROM, VALID_TO = "_valid_from", "_valid_to"
OURS = (staging.LOADED_AT, staging.DELETED_AT, VALID_FROM, VALID_TO)


@dataclass(frozen=True)
class Book:
    """A table's history, ready to be written into: its own table, or a new one that will take its place."""

    relation: sql.Identifier
    replaces: bool


def open_book(
    beside: Connection, warehouse: Connection, staged: Staged, rows: sql.Identifier, key: Sequence[str]
) -> Book:
    """Return the history with every column that `rows` has. `beside` commits by itself.

    Raise StepError for a table without a key: nobody could tell one row's versions from another's.
    """
    if not key:
        raise StepError(
            "history needs a key, which connects the versions of a row",
            hint=f"write 'key: [COLUMN]' or remove 'history' under {staged.table.name} in "
            f"{staged.table.file}",
            retryable=False,
        )
    wanted = {
        name: type_ for name, type_ in staging.column_types(warehouse, rows).items() if name not in OURS
    }
    if staging.oid(warehouse, staged.history) is None:
        _create(warehouse, staged.history, wanted)
        _add_index(warehouse, staged.history, key)
        return Book(staged.history, replaces=False)
    known = staging.column_types(warehouse, staged.history)
    same_types = all(known.get(name, type_) == type_ for name, type_ in wanted.items())
    if not same_types or _open_key(warehouse, staged.history) != set(key):
        # To rewrite it in place would keep its readers out as long as that takes.
        return Book(_copy(warehouse, staged, {**known, **wanted}, known), replaces=True)
    added = {name: type_ for name, type_ in wanted.items() if name not in known}
    if added:
        columns = sql.SQL(", ").join(
            sql.SQL("ADD COLUMN {}").format(_definition(*item)) for item in added.items()
        )
        statement = sql.SQL("ALTER TABLE {} {}").format(staged.history, columns)
        locks.patiently(beside, staged.history, lambda: postgres.rows(beside, statement))
    return Book(staged.history, replaces=False)


def record(
    warehouse: Connection,
    book: Book,
    staged: Staged,
    rows: sql.Identifier,
    key: Sequence[str],
    columns: Sequence[str],
    as_of: str,
) -> None:
    """Close the versions that no longer hold in `rows` and open those that now do, as of a moment."""
    parts: Mapping[str, Composable] = {
        "history": book.relation,
        "rows": rows,
        "same": staging.same_key(key, "t", "h"),
        "live": staging.live(warehouse, rows, staged.table, "t"),
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
        " (SELECT 1 FROM {rows} AS t WHERE {same} AND {live} AND {new} *= {old})",
        "INSERT INTO {history} ({columns}, {valid_from}) SELECT {values}, {as_of} FROM {rows} AS t"
        " WHERE {live} AND NOT EXISTS (SELECT 1 FROM {history} AS h WHERE h.{valid_to} IS NULL AND {same})",
    ):
        postgres.rows(warehouse, sql.SQL(statement).format(**parts))
    if book.replaces:
        _add_index(warehouse, book.relation, key)


def _create(warehouse: Connection, relation: sql.Identifier, types: Mapping[str, str]) -> None:
    columns = [_definition(name, type_) for name, type_ in types.items() if name not in OURS]
    columns += [
        sql.SQL("{} timestamptz NOT NULL").format(sql.Identifier(VALID_FROM)),
        sql.SQL("{} timestamptz").format(sql.Identifier(VALID_TO)),
    ]
    statement = sql.SQL("CREATE TABLE {} ({})").format(relation, sql.SQL(", ").join(columns))
    postgres.rows(warehouse, statement)


def _definition(name: str, type_: str) -> Composable:
    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_))


def _add_index(warehouse: Connection, relation: sql.Identifier, key: Sequence[str]) -> None:
    """Hold each key to one open version."""
    statement = sql.SQL("CREATE UNIQUE INDEX ON {} ({}) WHERE {} IS NULL").format(
        relation, postgres.columns(key), sql.Identifier(VALID_TO)
    )
    postgres.rows(warehouse, statement)


def _copy(
    warehouse: Connection, staged: Staged, types: Mapping[str, str], known: Mapping[str, str]
) -> sql.Identifier:
    """Make a new history with columns of these types, and all versions in it."""
    _create(warehouse, staged.new_history, types)
    names = list(known)
    values = sql.SQL(", ").join(staging.cast(name, known[name], types[name], "h") for name in names)
    statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} AS h").format(
        staged.new_history, postgres.columns(names), values, staged.history
    )
    try:
        postgres.rows(warehouse, statement)
    except postgres.Error as error:
        schema, name = staged.history.strings
        raise postgres.environmental(error) or StepError(
            f'"{schema}"."{name}" has values that do not fit the new type: {postgres.message_of(error)}',
            hint="to begin a new history and keep that one, run 'ALTER TABLE "
            f'"{schema}"."{name}" RENAME TO ...\' in the warehouse',
            retryable=False,
        ) from None
    return staged.new_history


def _open_key(warehouse: Connection, relation: sql.Identifier) -> set[str]:
    """Return the columns of which there is only one open version."""
    query = """
        SELECT a.attname FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = %s AND i.indisunique AND i.indpred IS NOT NULL
        """
    return {name for (name,) in postgres.rows(warehouse, query, (staging.oid(warehouse, relation),))}


def empty_columns(warehouse: Connection, book: sql.Identifier, columns: Sequence[str]) -> None:
    """Empty columns in every version: they are masked from now on."""
    if not columns or staging.oid(warehouse, book) is None:
        return
    known = staging.column_types(warehouse, book)
    for name in columns:
        if name in known:
            statement = sql.SQL("UPDATE {} SET {} = NULL").format(book, sql.Identifier(name))
            postgres.rows(warehouse, statement)
