"""Whether the indexes of a database can be believed: valid, and by amcheck in order and complete."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql

from pipeline import postgres
from pipeline.postgres import Connection

AMCHECK = "amcheck"
SCHEMA = "pipeline_amcheck"
INSTALLED = """
    SELECT n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
    WHERE e.extname = %s
    """


@dataclass(frozen=True)
class Health:
    """`broken` says what is wrong with which; `reason` why amcheck was not used, None if it was."""

    valid: int
    broken: tuple[str, ...]
    trees: int
    others: int
    reason: str | None


@dataclass(frozen=True)
class _Index:
    """An index: whether it can be used, and whether amcheck can look into it."""

    oid: int
    name: str
    valid: bool
    btree: bool


def check(connection: Connection) -> Health:
    """Look at all indexes. `connection` commits each statement; nothing is changed."""
    indexes = postgres.read(connection, postgres.statement("backup/index_health"), _Index)
    broken = [f"{one.name} is not valid" for one in indexes if not one.valid]
    trees = [(one.oid, one.name) for one in indexes if one.valid and one.btree]
    others = len(indexes) - len(trees) - len(broken)
    reason = None
    postgres.rows(connection, "BEGIN")
    try:
        broken += _check_trees(connection, trees)
    except postgres.Error as error:
        reason = postgres.message_of(error)
    finally:
        # With it goes the extension, if we made it.
        postgres.rows(connection, "ROLLBACK")
    return Health(len(indexes) - len(broken), tuple(broken), len(trees), others, reason)


def _check_trees(connection: Connection, trees: Sequence[tuple[int, str]]) -> list[str]:
    schema = postgres.value(connection, INSTALLED, (AMCHECK,))
    if schema is None:
        schema = SCHEMA
        for statement in ("CREATE SCHEMA {schema}", "CREATE EXTENSION {amcheck} SCHEMA {schema}"):
            names = {"schema": sql.Identifier(SCHEMA), "amcheck": sql.Identifier(AMCHECK)}
            postgres.rows(connection, sql.SQL(statement).format(**names))
    query = sql.SQL("SELECT {}(%s::oid::regclass, true)").format(sql.Identifier(schema, "bt_index_check"))
    broken = []
    for oid, name in trees:
        postgres.rows(connection, "SAVEPOINT one")
        try:
            postgres.rows(connection, query, (oid,))
        except postgres.CORRUPTED as error:
            broken.append(f"{name}: {postgres.message_of(error)}")
        postgres.rows(connection, "ROLLBACK TO SAVEPOINT one")
    return broken
