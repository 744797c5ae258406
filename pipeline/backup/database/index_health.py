"""Whether the indexes of a database can be believed: valid, and by amcheck in order and complete."""

from dataclasses import dataclass

from psycopg2 import sql

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.postgres import Connection

AMCHECK = "amcheck"
SCHEMA = "pipeline_amcheck"
CHECK = "bt_index_check"
# The server found no function, table, type or schema of a name.
UNRESOLVED = ("42883", "42P01", "42704", "3F000")
SEARCH_PATH = "; in the source, ALTER FUNCTION ... SET search_path for the functions that it calls"


@dataclass(frozen=True)
class Health:
    """`broken` says what is wrong with which, `unchecked` of which not all is known, and why.

    `reason` says why amcheck was not used at all, and what to do; None if it was.
    """

    valid: int
    broken: tuple[str, ...]
    unchecked: tuple[str, ...]
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


@dataclass(frozen=True)
class _Schema:
    """Where amcheck is, and whether the login may use it."""

    name: str
    usable: bool


def check(connection: Connection) -> Health:
    """Look at all indexes. `connection` commits each statement; nothing is changed.

    What cannot be checked of one hides nothing of another. Raise what a connection raises that is lost.
    """
    indexes = postgres.read(connection, postgres.statement("backup/index_health"), _Index)
    broken = [f"{one.name} is not valid" for one in indexes if not one.valid]
    valid = len(indexes) - len(broken)
    trees = [one for one in indexes if one.valid and one.btree]
    unchecked: list[str] = []
    reason = None
    postgres.rows(connection, "BEGIN")
    try:
        function = sql.Identifier(_schema(connection), CHECK)
        postgres.rows(connection, "SAVEPOINT before")
        for one in trees:
            _check_tree(connection, function, one, broken, unchecked)
    except StepError as error:
        reason = str(error)
    finally:
        if not connection.closed:
            # With it goes the extension, if we made it.
            postgres.rows(connection, "ROLLBACK")
    return Health(valid, tuple(broken), tuple(unchecked), len(trees), valid - len(trees), reason)


def _schema(connection: Connection) -> str:
    """Return where amcheck is, for this transaction if need be. Raise StepError if it cannot be used."""
    there = postgres.read(connection, postgres.statement("backup/amcheck"), _Schema)
    for one in there:
        if one.usable:
            return one.name
        function = f"{sql.Identifier(one.name, CHECK).as_string(connection)}(regclass, boolean)"
        raise StepError(
            f"{function} is missing, or this login may not call it",
            hint=f"ALTER EXTENSION {AMCHECK} UPDATE there, and GRANT EXECUTE ON FUNCTION {function} to it",
        )
    for statement in ("CREATE SCHEMA {schema}", "CREATE EXTENSION {amcheck} SCHEMA {schema}"):
        names = {"schema": sql.Identifier(SCHEMA), "amcheck": sql.Identifier(AMCHECK)}
        if error := _failure(connection, sql.SQL(statement).format(**names)):
            raise StepError(
                postgres.message_of(error), hint=f"CREATE EXTENSION {AMCHECK} there as a superuser"
            )
    return SCHEMA


def _check_tree(
    connection: Connection, function: sql.Identifier, one: _Index, broken: list[str], unchecked: list[str]
) -> None:
    """Look into an index; add what is wrong with it to `broken`, what is not known of it to `unchecked`."""
    error = _tree_failure(connection, function, one, with_rows=True)
    if error is not None and not isinstance(error, postgres.CORRUPTED):
        reason = postgres.message_of(error)
        hint = SEARCH_PATH if error.pgcode in UNRESOLVED else ""
        # What it is computed with may have failed: its order needs no row of the table.
        error = _tree_failure(connection, function, one, with_rows=False)
        if error is None:
            unchecked.append(f"{one.name} is in order, but was not compared with its table: {reason}{hint}")
        elif not isinstance(error, postgres.CORRUPTED):
            unchecked.append(f"{one.name} was not checked: {postgres.message_of(error)}")
    if isinstance(error, postgres.CORRUPTED):
        broken.append(f"{one.name}: {postgres.message_of(error)}")


def _tree_failure(
    connection: Connection, function: sql.Identifier, one: _Index, *, with_rows: bool
) -> postgres.Error | None:
    """Return what amcheck says against an index, None if nothing."""
    query = sql.SQL("SELECT {}({}::oid::regclass, {})")
    error = _failure(connection, query.format(function, sql.Literal(one.oid), sql.Literal(with_rows)))
    postgres.rows(connection, "ROLLBACK TO SAVEPOINT before")
    return error


def _failure(connection: Connection, statement: postgres.Composable) -> postgres.Error | None:
    """Run a statement; return what the server refuses it with, None if it does not.

    Raise what a connection raises that is lost.
    """
    try:
        postgres.rows(connection, statement)
    except postgres.Error as error:
        if postgres.is_lost(error) or connection.closed:
            raise
        return error
    return None
