"""Relations: what there is of a table or a view of the warehouse, by its name."""

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import RelationKind
from pipeline.postgres import Composable, Connection


def oid(connection: Connection, name: sql.Identifier) -> int | None:
    """Return the oid of a table of the warehouse, or None if there is none of that name."""
    schema, table = name.strings
    number: int | None = postgres.value(
        connection,
        """
        SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s
        """,
        (schema, table),
    )
    return number


def column_types(connection: Connection, relation: sql.Identifier) -> dict[str, str]:
    """Return the types of a table's columns by their names, in order; nothing if there is no such table."""
    return columns_if_any(connection, relation) or {}


def columns_if_any(connection: Connection, relation: sql.Identifier) -> dict[str, str] | None:
    """Return the types of a table's columns by their names, in order; None if there is no such table."""
    query = """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE n.nspname = %s AND c.relname = %s ORDER BY a.attnum
        """
    columns = postgres.rows(connection, query, tuple(relation.strings))
    # A table without columns is one row of nothing.
    return {name: type_ for name, type_ in columns if name is not None} if columns else None


def column_names(connection: Connection, relation: sql.Identifier) -> list[str]:
    """Return the names of a table's columns, in order."""
    return list(column_types(connection, relation))


def count(connection: Connection, relation: sql.Identifier, condition: Composable | None = None) -> int:
    """Return the exact number of rows of a relation, or of those that meet `condition`."""
    where = sql.SQL(" WHERE {}").format(condition) if condition else sql.SQL("")
    counted: int = postgres.value(connection, sql.SQL("SELECT count(*) FROM {}").format(relation) + where)
    return counted


def is_empty(connection: Connection, relation: sql.Identifier) -> bool:
    """Whether a relation has no row; it is not counted."""
    query = sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(relation)
    return bool(postgres.value(connection, query))


def kind(connection: Connection, name: sql.Identifier) -> RelationKind | None:
    """Return what a relation is, or None if there is none."""
    query = "SELECT relkind::text FROM pg_class WHERE oid = %s"
    letter: str | None = postgres.value(connection, query, (oid(connection, name),))
    return None if letter is None else RelationKind(letter)
