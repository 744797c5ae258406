"""Statements: one at a time, with names that the driver quotes."""

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar

import psycopg2.extensions
from psycopg2 import sql

Connection = psycopg2.extensions.connection
Composable = sql.Composable
Parameters = Sequence[object] | Mapping[str, object]
T = TypeVar("T")


def rows(
    connection: Connection, query: str | Composable, parameters: Parameters = ()
) -> list[tuple[Any, ...]]:
    """Run one statement and return all of its rows, none if it has none."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        return cursor.fetchall() if cursor.description else []


def row(
    connection: Connection, query: str | Composable, parameters: Parameters = ()
) -> tuple[Any, ...] | None:
    """Run one statement and return its first row, or None."""
    all_rows = rows(connection, query, parameters)
    return all_rows[0] if all_rows else None


def records(
    connection: Connection, query: str | Composable, parameters: Parameters = ()
) -> list[dict[str, Any]]:
    """Run one statement and return all of its rows by the names of its columns."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def read(
    connection: Connection, query: str | Composable, kind: Callable[..., T], parameters: Parameters = ()
) -> list[T]:
    """Run one statement and return what `kind`, a class, makes of each row: columns go to fields by name.

    Raise TypeError where the statement has a column that is not a field, or lacks one.
    """
    return [kind(**record) for record in records(connection, query, parameters)]


def value(connection: Connection, query: str | Composable, parameters: Parameters = ()) -> Any:
    """Run one statement and return the first column of its first row, or None."""
    first = row(connection, query, parameters)
    return None if first is None else first[0]


def statement(name: str) -> str:
    """Return the SQL statement "ROOM/NAME", which is kept in pipeline/ROOM/sql/NAME.sql."""
    room, _, file = name.partition("/")
    return resources.files("pipeline").joinpath(room, "sql", f"{file}.sql").read_text(encoding="utf-8")


def identifier(*names: str) -> sql.Identifier:
    """Return a name, qualified if there are several, that the driver quotes."""
    return sql.Identifier(*names)


def columns(names: Sequence[str], prefix: str | None = None) -> Composable:
    """Return quoted column names with commas between them, each with `prefix` before it if given."""
    return sql.SQL(", ").join(
        sql.Identifier(prefix, name) if prefix else sql.Identifier(name) for name in names
    )
