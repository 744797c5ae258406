"""What a check asks in SQL of its own, asked of a table's rows with the rights of an analyst and no more.

The session is the pipeline's, which alone sees the rows yet. So what analysts wrote is run in a function that
is theirs and SECURITY DEFINER: in there the server lets nobody change the role, whatever their views,
functions, types and casts do ("cannot set parameter "role" within security-definer function"). All that is
left of it in the session, settings and objects, is rolled back before the pipeline goes on; it keeps texts.
"""

import contextlib
import itertools
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extras import execute_values

from pipeline import postgres
from pipeline.catalog.check_kinds import CANDIDATE
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection, foreign

_VIEW = sql.Identifier("pg_temp", "asked")
_CREATE = sql.SQL("CREATE TEMP VIEW asked AS {}")
# Of whole rows, "f": a column that cannot be computed is an error. Without the star it could be a column "f".
_WHOLE_ROWS = sql.SQL("pg_catalog.count(f.*)")
_DO = "RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE $1; END'"
_ROWS = "RETURNS SETOF text[] LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN QUERY EXECUTE $1; END'"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Asked:
    """How many rows a check's query returned, and the table of this session that has their keys.

    None if it returned none, or rows that do not have the whole key.
    """

    count: int
    failing: sql.Identifier | None


def ask(
    warehouse: Connection, query: Composable, key: Sequence[str], analyst: str, declared_in: str
) -> Asked:
    """Return what a check's query returns, as the role `analyst` would see it.

    Raise StepError if the query can do more than compute.
    """
    candidate = sql.Identifier(CANDIDATE)
    postgres.rows(warehouse, sql.SQL("GRANT SELECT ON {} TO {}").format(candidate, sql.Identifier(analyst)))
    with _undone(warehouse):
        _as_analyst(warehouse, analyst, _DO, _CREATE.format(query))
        _require_pure(warehouse, declared_in)
        counting = sql.SQL("SELECT ARRAY[{}::text] FROM {} AS f").format(_WHOLE_ROWS, _VIEW)
        ((counted,),) = _as_analyst(warehouse, analyst, _ROWS, counting)
        keys = []
        if int(counted) and key and set(key) <= set(_columns(warehouse)):
            texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in key)
            reading = sql.SQL("SELECT ARRAY[{}] FROM {}").format(texts, _VIEW)
            keys = _as_analyst(warehouse, analyst, _ROWS, reading)
    return Asked(int(counted), _kept(warehouse, key, keys) if keys else None)


def require_pure(theirs: Connection, query: Composable, declared_in: str) -> None:
    """Raise StepError if a check's query can do more than compute. For a session that is an analyst's own.

    A view of it is made for that and taken back, so the transaction must not be a read-only one yet.
    """
    with _undone(theirs):
        postgres.rows(theirs, _CREATE.format(query))
        _require_pure(theirs, declared_in)


def foreign_constant(warehouse: Connection, query: Composable, analyst: str) -> str | None:
    """Return a type of other people's making of which a query has a constant; None if there is none.

    Whoever makes a view of the query reads that constant, and so runs what its type checks: here an analyst.
    """
    with _undone(warehouse):
        _as_analyst(warehouse, analyst, _DO, _CREATE.format(query))
        view = _oid(warehouse)
        return foreign.constants(warehouse, [view]).get(view)


def count(theirs: Connection, query: Composable) -> int:
    """Return how many rows a check's query returns, in a session that is an analyst's own."""
    counting = sql.SQL("SELECT {} FROM ({}) AS f").format(_WHOLE_ROWS, query)
    counted: int = postgres.value(theirs, counting)
    return counted


@contextlib.contextmanager
def _undone(warehouse: Connection) -> Iterator[None]:
    """Take back what the block does to session and database. An error ends the transaction anyway."""
    postgres.rows(warehouse, "SAVEPOINT asked")
    yield
    postgres.rows(warehouse, "ROLLBACK TO SAVEPOINT asked")
    postgres.rows(warehouse, "RELEASE SAVEPOINT asked")


def _as_analyst(warehouse: Connection, analyst: str, kind: str, statement: Composable) -> list[list[str]]:
    """Run a statement as an analyst; return its rows.

    Each time by another function, under a name that nobody knows before: what runs in one could change it.
    """
    function = sql.Identifier("pg_temp", f"asked_{secrets.token_hex(16)}")
    before = postgres.value(warehouse, "SELECT pg_catalog.current_setting('role')")
    postgres.rows(warehouse, sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(analyst)))
    postgres.rows(warehouse, sql.SQL("CREATE FUNCTION {}(text) " + kind).format(function))
    postgres.rows(warehouse, "SELECT pg_catalog.set_config('role', %s, true)", (before,))
    text = statement.as_string(warehouse)
    rows = postgres.rows(warehouse, sql.SQL("SELECT {}(%s)").format(function), (text,))
    # Whatever was set there: names are looked up where ours are.
    postgres.rows(warehouse, "SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)")
    return [row for (row,) in rows]


def _require_pure(warehouse: Connection, declared_in: str) -> None:
    functions = postgres.statement("postgres/view_functions")
    for function in postgres.records(warehouse, functions, (_oid(warehouse),)):
        raise StepError(
            f"its sql check calls {function['name']}, which can do more than compute; its last good rows "
            "stay up",
            hint=f"take that out, {declared_in}",
            retryable=False,
        )


def _oid(warehouse: Connection) -> int:
    query = "SELECT 'pg_temp.asked'::pg_catalog.regclass::pg_catalog.oid::bigint"
    oid: int = postgres.value(warehouse, query)
    return oid


def _columns(warehouse: Connection) -> list[str]:
    query = """
        SELECT attname FROM pg_catalog.pg_attribute
        WHERE attrelid = 'pg_temp.asked'::pg_catalog.regclass AND attnum > 0
        """
    return [name for (name,) in postgres.rows(warehouse, query)]


def _kept(warehouse: Connection, key: Sequence[str], keys: Sequence[Sequence[str]]) -> sql.Identifier:
    """Keep the keys in a table of this session, each of the type that it has in the table that is checked."""
    name = f"failing_{next(_numbers)}"
    table, names = sql.Identifier("pg_temp", name), postgres.columns(key)
    create = sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA")
    postgres.rows(warehouse, create.format(sql.Identifier(name), names, sql.Identifier(CANDIDATE)))
    query = """
        SELECT format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum
        """
    named = postgres.rows(warehouse, query, (table.as_string(warehouse),))
    types = [sql.SQL("%s::" + type_.replace("%", "%%")) for (type_,) in named]
    template = sql.SQL("({})").format(sql.SQL(", ").join(types))
    with warehouse.cursor() as cursor:
        execute_values(
            cursor, sql.SQL("INSERT INTO {} VALUES %s").format(table), keys, template=template, page_size=1000
        )
    return table
