"""Described: what the analysts say of a table and its columns is a COMMENT in the warehouse."""

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Table
from pipeline.postgres import Connection
from pipeline.warehouse.staging import Staged

_THERE = """
    SELECT a.attname, col_description(a.attrelid, a.attnum)
    FROM pg_attribute a WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT NULL, obj_description(%s::regclass, 'pg_class')
    """


def describe(warehouse: Connection, table: Table, staged: Staged) -> None:
    """Write the descriptions that are declared and are not there yet; what is not declared stays."""
    declared: dict[str | None, str] = {
        name: column.description for name, column in table.columns.items() if column.description
    }
    if table.description:
        declared[None] = table.description
    if not declared:
        return
    name = staged.target.as_string(warehouse)
    there = dict(postgres.rows(warehouse, _THERE, (name, name)))
    for column, text in declared.items():
        if column in there and there[column] != text:
            what = sql.SQL("TABLE {}").format(staged.target)
            if column is not None:
                what = sql.SQL("COLUMN {}.{}").format(staged.target, sql.Identifier(column))
            postgres.rows(warehouse, sql.SQL("COMMENT ON {} IS {}").format(what, sql.Literal(text)))
