"""Views: what depends on a table of the warehouse, kept over the exchange of the table under it.

PostgreSQL ties a view to the very table it was made on, and drops its grants with it. So each dependent
view is written down whole (definition, owner, grants, options, comments, indexes), and made again on the new
table.
"""

from dataclasses import dataclass

from psycopg2 import sql

from pipeline import postgres, staging
from pipeline.errors import StepError
from pipeline.postgres import Connection


@dataclass(frozen=True)
class View:
    """A view, or a materialized one, with the statements that make it again as it is."""

    schema: str
    name: str
    materialized: bool
    statements: tuple[str, ...]


def dependent(warehouse: Connection, relation: sql.Identifier) -> list[View]:
    """Return the views on a table, and the views on those, each after what it reads."""
    found = postgres.rows(warehouse, postgres.statement("dependent_views"), relation.strings)
    return [
        View(schema, name, materialized, tuple(statements))
        for schema, name, materialized, statements in found
    ]


def drop(warehouse: Connection, views: list[View]) -> None:
    """Drop the views, the last dependent first."""
    for view in reversed(views):
        kind = sql.SQL("MATERIALIZED VIEW" if view.materialized else "VIEW")
        postgres.rows(warehouse, sql.SQL("DROP {} {}").format(kind, sql.Identifier(view.schema, view.name)))


def create(warehouse: Connection, views: list[View]) -> None:
    """Make the views again. Raise StepError, naming the one that the new table no longer fits."""
    for view in views:
        for statement in view.statements:
            try:
                postgres.rows(warehouse, statement)
            except postgres.Error as error:
                raise StepError(
                    f'view "{view.schema}"."{view.name}" does not fit the table\'s new shape: '
                    f"{postgres.said(error)}; change or drop the view, then run it again"
                ) from None


def grants(warehouse: Connection, relation: sql.Identifier) -> list[str]:
    """Return the statements that give a table's owner, grants and comments to another of the same name."""
    if staging.oid(warehouse, relation) is None:
        return []
    found = postgres.rows(warehouse, postgres.statement("grants"), relation.strings)
    return [statement for (statement,) in found]
