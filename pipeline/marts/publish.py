"""Publish: puts what a mart's SELECT gives where people read it, as a view or as a table.

In the caller's transaction. Readers see the mart as it was or as it is; views of other people stay on it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql

from pipeline import postgres, quality
from pipeline.catalog import Mart, RelationKind
from pipeline.errors import StepError
from pipeline.marts.question import Answer
from pipeline.postgres import Composable, Connection, foreign
from pipeline.quality import CANDIDATE
from pipeline.warehouse import locks, relation, roles, staging, swap, views
from pipeline.warehouse.views import View

VIEW, TABLE = "VIEW", "TABLE"

# Whether a mart of that name is going to be another one, and may be gone until then.
AboutToChange = Callable[[str], bool]


@dataclass(frozen=True)
class New:
    """A mart that is to be published."""

    mart: Mart
    run: str
    answer: Answer

    @property
    def target(self) -> sql.Identifier:
        return sql.Identifier(roles.MART, self.mart.name)

    @property
    def rows(self) -> sql.Identifier:
        """Where a table waits until it is whole."""
        # No source is called mart, and a name of 40 characters is cut nowhere.
        return sql.Identifier(staging.SCHEMA, f"mart.{self.mart.name[:40]}@{self.run}")


def as_table(warehouse: Connection, theirs: Connection, new: New) -> None:
    """Copy the rows from the session that has them, and put them into the mart's place."""
    _execute(warehouse, "DROP TABLE IF EXISTS {}", new.rows)
    definitions = [
        sql.SQL("{} {} {}").format(
            sql.Identifier(column.name),
            sql.SQL(column.type),
            sql.SQL(f"COLLATE {column.collation}" if column.collation else ""),
        )
        for column in new.answer.columns
    ]
    _execute(warehouse, "CREATE TABLE {} ({})", new.rows, sql.SQL(", ").join(definitions))
    query = "SELECT array_agg(atttypid::bigint) FROM pg_attribute WHERE attrelid = %s AND attnum > 0"
    types = postgres.value(warehouse, query, (relation.oid(warehouse, new.rows),))
    for made in foreign.types(warehouse, types).values():
        raise _refused(
            new.mart, "gives a column", made, "cast the column to text or to a type of PostgreSQL's own"
        )
    copied = postgres.copy(
        theirs,
        sql.SQL("COPY pg_temp.{} TO STDOUT (FORMAT binary)").format(sql.Identifier(CANDIDATE)),
        warehouse,
        sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(new.rows),
    )
    if copied != new.answer.rows:
        raise StepError(
            f"{copied:,} of {new.answer.rows:,} rows were copied",
        )
    _index(warehouse, new)
    _execute(warehouse, "ANALYZE {}", new.rows)
    replaced = swap.replaced(warehouse, new.rows, new.target)
    swap.publish(warehouse, [replaced])
    _finish(warehouse, new, TABLE)


def _index(warehouse: Connection, new: New) -> None:
    known = [column.name for column in new.answer.columns]
    for columns in new.mart.indexes:
        if missing := [name for name in columns if name not in known]:
            raise StepError(
                f"{new.mart.file}:1: an index on {', '.join(missing)}, which its SELECT does not return",
                retryable=False,
            )
        _execute(warehouse, "CREATE INDEX ON {} ({})", new.rows, postgres.columns(columns))


def as_view(warehouse: Connection, new: New, about_to_change: AboutToChange) -> None:
    """Make the mart a view. Where its columns change, what hangs on it is made again, or named."""
    definition, analyst = sql.SQL(new.answer.definition), roles.of(warehouse).analyst
    if made := quality.foreign_constant(warehouse, definition, analyst):
        raise _refused(new.mart, "has a constant", made, "write the constant without that type")
    kind = relation.kind(warehouse, new.target)
    create = sql.SQL("CREATE OR REPLACE VIEW {} AS {}").format(new.target, definition)
    if kind in (None, RelationKind.VIEW):
        postgres.rows(warehouse, "SAVEPOINT columns")
        try:
            locks.patiently(warehouse, new.target, lambda: postgres.rows(warehouse, create))
        except psycopg2.errors.InvalidTableDefinition:
            postgres.rows(warehouse, "ROLLBACK TO SAVEPOINT columns")
        else:
            _finish(warehouse, new, VIEW)
            return
    _replace(warehouse, new, create, about_to_change)


def _refused(mart: Mart, what: str, made: str, hint: str) -> StepError:
    return StepError(
        f"{mart.file}:1: {what} of the type {made}, whose checks would be run with the pipeline's rights",
        hint=hint,
        retryable=False,
    )


def _replace(warehouse: Connection, new: New, create: Composable, about_to_change: AboutToChange) -> None:
    """Drop the mart and make it anew, with all that hangs on it."""
    hanging: list[View] = []

    def drop() -> None:
        hanging[:] = views.dependent(warehouse, new.target)
        views.lock(warehouse, hanging)
        views.lock_target(warehouse, new.target)
        views.drop(warehouse, hanging)
        views.drop_table(warehouse, new.target)

    columns = [column.name for column in new.answer.columns]
    # A comment on a table is none on a view.
    granted = [
        statement
        for statement in views.grants(warehouse, new.target, columns)
        if not statement.startswith("COMMENT ON TABLE")
    ]
    locks.patiently(warehouse, new.target, drop)
    postgres.rows(warehouse, create)
    if granted:
        postgres.rows(warehouse, ";\n".join(granted))
    _finish(warehouse, new, VIEW)
    for view in hanging:
        postgres.rows(warehouse, "SAVEPOINT hanging")
        try:
            views.create(warehouse, [view])
        except StepError:
            postgres.rows(warehouse, "ROLLBACK TO SAVEPOINT hanging")
            if view.schema != roles.MART or not about_to_change(view.name):
                raise


def _finish(warehouse: Connection, new: New, kind: str) -> None:
    roles.give_mart(warehouse, new.target, kind)
    comment = sql.SQL("COMMENT ON {} {} IS {}")
    described = sql.Literal(new.mart.description or None)
    postgres.rows(warehouse, comment.format(sql.SQL(kind), new.target, described))


def _execute(warehouse: Connection, statement: str, *parts: Composable) -> None:
    postgres.rows(warehouse, sql.SQL(statement).format(*parts))
