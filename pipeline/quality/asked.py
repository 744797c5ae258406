"""What a check asks in SQL of its own, asked of a table's rows with the rights of an analyst and no more.

The session is the pipeline's, which alone sees the rows yet: the analysts' role is taken for their statement,
and the server's own account of it is looked at first, so that no function in it gives that role back.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence

from psycopg2 import sql

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection
from pipeline.quality.subject import CANDIDATE

_VIEW = sql.Identifier("pg_temp", "asked")
_numbers = itertools.count(1)


def count(warehouse: Connection, query: Composable, declared_in: str) -> int:
    """Return how many rows a check's query returns, as an analyst would see them.

    Raise StepError if the warehouse has no role for analysts, or if the query can do more than compute.
    """
    postgres.rows(warehouse, sql.SQL("DROP VIEW IF EXISTS {}").format(_VIEW))
    candidate = sql.Identifier(CANDIDATE)
    role = sql.Identifier(_role(warehouse))
    postgres.rows(warehouse, sql.SQL("GRANT SELECT ON {} TO {}").format(candidate, role))
    with _as_analyst(warehouse):
        postgres.rows(warehouse, sql.SQL("CREATE TEMP VIEW asked AS {}").format(query))
    oid = postgres.value(warehouse, "SELECT 'pg_temp.asked'::pg_catalog.regclass::oid::bigint")
    for name, _ in postgres.rows(warehouse, postgres.statement("view_functions"), (oid,)):
        raise StepError(
            f"its sql check calls {name}, which can do more than compute; its last good rows stay up",
            hint=f"take that out, {declared_in}",
        )
    with _as_analyst(warehouse):
        counted = sql.SQL("SELECT count(*) FROM ({}) AS found").format(query)
        found: int = postgres.value(warehouse, counted)
    return found


def columns(warehouse: Connection) -> list[str]:
    """Return the columns of what was asked last."""
    with _as_analyst(warehouse), warehouse.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(_VIEW))
        return [column.name for column in cursor.description or ()]


def keep(warehouse: Connection, key: Sequence[str]) -> sql.Identifier:
    """Keep the keys of the rows that were asked for last in a table of this session, and return its name."""
    name = f"failing_{next(_numbers)}"
    table = sql.Identifier("pg_temp", name)
    with _as_analyst(warehouse):
        query = sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {}")
        postgres.rows(warehouse, query.format(sql.Identifier(name), postgres.columns(key), _VIEW))
        # Who it belongs to may not be one whose tables we may read.
        postgres.rows(warehouse, sql.SQL("GRANT SELECT ON {} TO PUBLIC").format(table))
    return table


def _role(warehouse: Connection) -> str:
    query = "SELECT rolname FROM pg_roles WHERE rolname = current_database() || '_analyst'"
    found = postgres.rows(warehouse, query)
    if not found:
        raise StepError(
            "the warehouse has no role for analysts, as which its sql checks are run",
            hint="run 'pipeline migrate'",
        )
    return str(found[0][0])


@contextlib.contextmanager
def _as_analyst(warehouse: Connection) -> Iterator[None]:
    """Be an analyst during the block; after an error the transaction is over, and its role with it."""
    before = postgres.value(warehouse, "SELECT current_setting('role')")
    postgres.rows(warehouse, sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(_role(warehouse))))
    yield
    postgres.rows(warehouse, "SELECT set_config('role', %s, true)", (before,))
