"""Roles: who may do what in the warehouse. Three groups, into which logins are put, and what each may.

They are called after the database, for roles belong to the server: `warehouse_loader` writes what is loaded,
`warehouse_analyst` reads that and writes marts, `warehouse_dashboards` reads marts. Both read what the
platform shows of itself. What is staged, set aside or in the ledger is for neither.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg2 import sql

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.ledger import sources
from pipeline.names import MAXIMUM_BYTES
from pipeline.postgres import Composable, Connection, locks

MART, ANALYST, PLATFORM = "mart", "analyst", "platform"
# Schemas that only the loader may look into.
CLOSED = ("ops", "quarantine", "staging")
READING: tuple[str, ...] = ("SELECT",)
WRITING: tuple[str, ...] = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True)
class Roles:
    """The names of the three groups in one warehouse."""

    loader: str
    analyst: str
    dashboards: str

    @property
    def names(self) -> tuple[str, str, str]:
        return self.loader, self.analyst, self.dashboards


def of(connection: Connection) -> Roles:
    """Return the groups of this warehouse, whether they are there or not."""
    database = connection.info.dbname
    names = [f"{database}_{group}" for group in ("loader", "analyst", "dashboards")]
    if any(len(name.encode()) > MAXIMUM_BYTES for name in names):
        raise StepError(f'the warehouse\'s name "{database}" is too long for role names derived from it')
    return Roles(*names)


def there(connection: Connection) -> bool:
    """Whether the groups were made, and given what each may here: roles belong to the server."""
    query = """
        SELECT count(*) = 3 FROM pg_roles AS r JOIN pg_namespace AS n ON n.nspname = %s
        WHERE r.rolname = ANY(%s) AND has_schema_privilege(r.oid, n.oid, 'USAGE')
        """
    return bool(postgres.value(connection, query, (PLATFORM, list(of(connection).names))))


def keep(connection: Connection, lock: int) -> str | None:
    """Make the groups and give each what it may, and nothing of what it may not; safe to run at any time.

    Return what somebody with more rights has to type before, or None if all is done. `lock` is the number of
    an advisory lock: what is granted by two at once is refused by the server.
    """
    locks.give_back_when_stopped(connection)
    locks.take(connection, lock)
    roles = of(connection)
    _make(connection, roles)
    if missing := list(_missing(connection, roles)):
        return "; ".join(statement.as_string(connection) for statement in missing)
    _open_database(connection, roles)
    for name in roles.names:
        _grant_schema(connection, PLATFORM, name, ["USAGE"])
        _grant_tables(connection, PLATFORM, name, READING)
    for schema in sources.loaded(connection):
        open_source(connection, schema)
    _open_marts(connection, roles)
    _close(connection, roles)
    for schema in CLOSED:
        _grant_schema(connection, schema, roles.loader, ["USAGE"])
        _grant_tables(connection, schema, roles.loader, WRITING)
    return None


def _make(connection: Connection, roles: Roles) -> None:
    """Make the groups that are not there, and become a member, as far as our login may."""
    query = "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
    if not postgres.value(connection, query):
        return
    for name in roles.names:
        if not _exists(connection, name):
            _execute(connection, "CREATE ROLE {} NOLOGIN", sql.Identifier(name))
    for statement in _missing(connection, roles):
        postgres.rows(connection, "SAVEPOINT member")
        try:
            postgres.rows(connection, statement)
        except postgres.InsufficientPrivilege:
            # Made by another: what is missing is told.
            postgres.rows(connection, "ROLLBACK TO SAVEPOINT member")


def _missing(connection: Connection, roles: Roles) -> Iterator[Composable]:
    """Yield what has to be done before anything can be granted."""
    (user,) = postgres.rows(connection, "SELECT current_user")[0]
    for name in roles.names:
        if not _exists(connection, name):
            yield sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name))
    # Marts belong to the analysts, and are put into their places by us.
    if not _exists(connection, roles.analyst) or not postgres.value(
        connection, "SELECT pg_has_role(current_user, %s, 'USAGE')", (roles.analyst,)
    ):
        yield sql.SQL("GRANT {} TO {}").format(sql.Identifier(roles.analyst), sql.Identifier(user))


def _exists(connection: Connection, name: str) -> bool:
    return bool(postgres.value(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)))


def _open_database(connection: Connection, roles: Roles) -> None:
    database = sql.Identifier(connection.info.dbname)
    query = "SELECT has_database_privilege(%s, current_database(), 'CONNECT')"
    lacking = [name for name in roles.names if not postgres.value(connection, query, (name,))]
    for name in lacking:
        _execute(connection, "GRANT CONNECT ON DATABASE {} TO {}", database, sql.Identifier(name))
    # Where a candidate for a mart is made.
    query = "SELECT has_database_privilege(%s, current_database(), 'TEMPORARY')"
    if not postgres.value(connection, query, (roles.analyst,)):
        _execute(connection, "GRANT TEMPORARY ON DATABASE {} TO {}", database, sql.Identifier(roles.analyst))


def open_source(connection: Connection, schema: str) -> None:
    """Let analysts read a source's tables, those that are there and those to come; if there are groups."""
    roles = of(connection)
    if not there(connection):
        return
    for name, privileges in ((roles.analyst, READING), (roles.loader, WRITING)):
        _grant_schema(connection, schema, name, ["USAGE"])
        _grant_tables(connection, schema, name, privileges)
        _grant_by_default(connection, schema, name, privileges)


def open_table(connection: Connection, table: sql.Identifier) -> None:
    """Let analysts read a table that was made elsewhere and is in its source's schema now."""
    roles = of(connection)
    if there(connection):
        for name, privileges in ((roles.analyst, READING), (roles.loader, WRITING)):
            granted = sql.SQL(", ").join(map(sql.SQL, privileges))
            _execute(connection, "GRANT {} ON {} TO {}", granted, table, sql.Identifier(name))


def give_mart(connection: Connection, mart: sql.Identifier, kind: str) -> None:
    """Make a mart, a VIEW or a TABLE, the analysts' own, for dashboards to read."""
    roles = of(connection)
    statement = sql.SQL("ALTER {} {} OWNER TO {}")
    postgres.rows(connection, statement.format(sql.SQL(kind), mart, sql.Identifier(roles.analyst)))
    _execute(connection, "GRANT SELECT ON {} TO {}", mart, sql.Identifier(roles.dashboards))
    _execute(connection, "GRANT SELECT ON {} TO {}", mart, sql.Identifier(roles.loader))


def _open_marts(connection: Connection, roles: Roles) -> None:
    analyst = sql.Identifier(roles.analyst)
    _execute(connection, "CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}", sql.Identifier(ANALYST), analyst)
    _grant_schema(connection, MART, roles.analyst, ["USAGE", "CREATE"])
    # What we ourselves made there; a mart is theirs.
    _grant_tables(connection, MART, roles.analyst, WRITING)
    _grant_by_default(connection, MART, roles.analyst, WRITING)
    for name in (roles.dashboards, roles.loader):
        _grant_schema(connection, MART, name, ["USAGE"])
        _grant_tables(connection, MART, name, READING)
        _grant_by_default(connection, MART, name, READING)
        _grant_by_default(connection, MART, name, READING, maker=roles.analyst)


def _close(connection: Connection, roles: Roles) -> None:
    """Take away what somebody may have granted where analysts and dashboards have no business."""
    for schema in CLOSED:
        for name in (roles.analyst, roles.dashboards):
            query = "SELECT has_schema_privilege(%s, %s, 'USAGE, CREATE')"
            if postgres.value(connection, query, (name, schema)):
                for whose in (sql.Identifier(name), sql.SQL("PUBLIC")):
                    _execute(connection, "REVOKE ALL ON SCHEMA {} FROM {}", sql.Identifier(schema), whose)


def _grant_schema(connection: Connection, schema: str, role: str, privileges: Sequence[str]) -> None:
    for privilege in privileges:
        query = "SELECT has_schema_privilege(%s, %s, %s)"
        if not postgres.value(connection, query, (role, schema, privilege)):
            _execute(
                connection,
                "GRANT {} ON SCHEMA {} TO {}",
                sql.SQL(privilege),
                sql.Identifier(schema),
                sql.Identifier(role),
            )


def _grant_tables(connection: Connection, schema: str, role: str, privileges: Sequence[str]) -> None:
    """Grant what is missing alone: a grant that changes nothing would still touch the catalog."""
    parameters = {"schema": schema, "role": role, "privileges": list(privileges)}
    lacking = postgres.records(connection, postgres.statement("warehouse/not_granted"), parameters)
    for grant in lacking:
        _execute(
            connection,
            "GRANT {} ON {} TO {}",
            sql.SQL(grant["privilege"]),
            sql.Identifier(schema, grant["name"]),
            sql.Identifier(role),
        )


def _grant_by_default(
    connection: Connection, schema: str, role: str, privileges: Sequence[str], maker: str | None = None
) -> None:
    """Grant the same on tables that are yet to be made, by us or by `maker`."""
    _execute(
        connection,
        "ALTER DEFAULT PRIVILEGES {} IN SCHEMA {} GRANT {} ON TABLES TO {}",
        sql.SQL("FOR ROLE {}").format(sql.Identifier(maker)) if maker else sql.SQL(""),
        sql.Identifier(schema),
        sql.SQL(", ").join(map(sql.SQL, privileges)),
        sql.Identifier(role),
    )


def _execute(connection: Connection, statement: str, *parts: Composable) -> None:
    postgres.rows(connection, sql.SQL(statement).format(*parts))
