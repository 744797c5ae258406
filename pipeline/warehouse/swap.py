"""Swap: a table that was made beside another takes its place while people read that one.

All views and grants come along. What takes time, filling materialized views included, is done before anybody
is kept out.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg2 import sql

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection
from pipeline.warehouse import locks, views
from pipeline.warehouse import relation as relations
from pipeline.warehouse.views import View


@dataclass(frozen=True)
class Replaced:
    """A new table, and what it has to take over from the one that it replaces, if there is one."""

    rows: sql.Identifier
    target: sql.Identifier
    views: list[View]
    grants: list[str]
    exists: bool
    # The schema where it waits with its views, if those were made before the swap.
    ahead_in: str | None = None


def replaced(warehouse: Connection, rows: sql.Identifier, target: sql.Identifier) -> Replaced:
    """Write down what a new table has to take over from the one whose place it takes."""
    exists = relations.oid(warehouse, target) is not None
    dropped = postgres.rows(warehouse, postgres.statement("warehouse/lost_with_a_table"), target.strings)
    if dropped:
        raise StepError(
            f"its new shape needs a new table, which would lose {', '.join(what for (what,) in dropped)}",
            hint="drop that in the warehouse, run it again, and create it again",
            retryable=False,
        )
    grants = views.grants(warehouse, target, relations.column_names(warehouse, rows))
    return Replaced(rows, target, views.dependent(warehouse, target), grants, exists)


def publish(warehouse: Connection, swapped: Sequence[Replaced]) -> None:
    """Put new tables in the old ones' places, with their views and grants.

    Readers are kept out only from the lock to the commit, which has to follow: nothing but the catalog is
    touched, for materialized views are filled before.
    """
    there = [_with_views_ahead(warehouse, each, swapped) for each in swapped if each.exists]
    ahead = {each.target.strings: each.views for each in there if each.ahead_in}

    def swap() -> None:
        for each in there:
            views.lock(warehouse, each.views)
            views.lock_target(warehouse, each.target)
        # As they are now that nobody can change them any more.
        there[:] = [
            replace(replaced(warehouse, each.rows, each.target), ahead_in=each.ahead_in) for each in there
        ]
        for each in there:
            views.drop(warehouse, each.views)
            views.drop_table(warehouse, each.target)

    if there:
        locks.patiently(warehouse, there[0].target, swap)
    swapped = [*there, *(each for each in swapped if not each.exists)]
    for each in swapped:
        schema, name = each.target.strings
        _execute(warehouse, "ALTER TABLE {} SET SCHEMA {}", each.rows, sql.Identifier(schema))
        if each.rows.strings[1] != name:
            moved = sql.Identifier(schema, each.rows.strings[1])
            _execute(warehouse, "ALTER TABLE {} RENAME TO {}", moved, sql.Identifier(name))
        if each.grants:
            postgres.rows(warehouse, ";\n".join(each.grants))
    for each in swapped:
        if each.ahead_in is None or not _take_places(warehouse, each, ahead[each.target.strings]):
            views.create(warehouse, each.views)


def _with_views_ahead(warehouse: Connection, new: Replaced, swapped: Sequence[Replaced]) -> Replaced:
    """Make the views on a new table before the old one is locked, where one of them takes time to be filled.

    The new table waits for that in a schema of its own, under its final name. If it cannot be done, or the
    views read another table too that is swapped, they are made afterwards.
    """
    others = [view for each in swapped if each is not new for view in each.views]
    if not any(view.populated for view in new.views) or any(view in others for view in new.views):
        return new
    ahead_in, name = new.rows.strings[1], new.target.strings[1]
    postgres.rows(warehouse, "SAVEPOINT ahead")
    _execute(warehouse, "CREATE SCHEMA {}", sql.Identifier(ahead_in))
    _execute(warehouse, "ALTER TABLE {} SET SCHEMA {}", new.rows, sql.Identifier(ahead_in))
    _execute(
        warehouse,
        "ALTER TABLE {} RENAME TO {}",
        sql.Identifier(ahead_in, new.rows.strings[1]),
        sql.Identifier(name),
    )
    if views.make_ahead(warehouse, new.views, new.target, ahead_in):
        return replace(new, rows=sql.Identifier(ahead_in, name), ahead_in=ahead_in)
    postgres.rows(warehouse, "ROLLBACK TO SAVEPOINT ahead")
    return new


def _take_places(warehouse: Connection, new: Replaced, made: Sequence[View]) -> bool:
    """Let the views that were made ahead be those of the new table, unless there are others by now."""
    assert new.ahead_in is not None  # noqa: S101 - they were made there
    taken = False
    if made == new.views:
        postgres.rows(warehouse, "SAVEPOINT places")
        with contextlib.suppress(postgres.Error):
            views.take_places(warehouse, made, new.ahead_in)
            taken = True
        if not taken:
            postgres.rows(warehouse, "ROLLBACK TO SAVEPOINT places")
    views.drop_schema(warehouse, new.ahead_in, [] if taken else made)
    return taken


def _execute(warehouse: Connection, statement: str, *parts: Composable) -> None:
    postgres.rows(warehouse, sql.SQL(statement).format(*parts))
