"""The roles of a backup on the server that it is restored into: those that are missing are made, as they were
but without a password; those that are there already are left alone.
"""

import contextlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from psycopg2 import sql

from pipeline import postgres
from pipeline.backup.database import contents
from pipeline.errors import StepError
from pipeline.postgres import Connection

# What the backup's file of roles consists of (sql/globals.sql).
NAME = r'("(?:[^"]|"")*"|[^\s";]+)'
CREATE = re.compile(rf"DO .*THEN CREATE ROLE {NAME}; END IF", re.DOTALL)
ALTER = re.compile(rf"ALTER ROLE {NAME} (?:WITH|SET)\b")
GRANT = re.compile(rf"GRANT {NAME} TO {NAME}(?: WITH|$)")
PARAMETER = re.compile(rf"GRANT (?:SET|ALTER SYSTEM) ON PARAMETER {NAME} TO {NAME}(?: WITH|$)")
# Its value may be a credential.
SETTING = re.compile(rf"(ALTER ROLE {NAME} SET {NAME}) TO ")
VALID_UNTIL = re.compile(r" VALID UNTIL '([^']+)'")
# A statement ends at the end of a line, but not within quotes; a value may have any line in it.
END_OF_STATEMENT = ";\n"
TOKEN = re.compile(r"""--[^\n]*\n?|'[^']*'|"[^"]*"|;\n|[^-;'"]+|.""", re.DOTALL)
# Where a role that is made may be used, and what it owns inherited, by the login that made it.
FIRST_WITH_SELF_GRANT = 160000


@dataclass(frozen=True)
class Roles:
    """The roles that were made, what of theirs could not be, and those that were not asked for."""

    made: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Making:
    """Which roles are made: those that are `needed`, or, with `everyone`, all of the backed up server.

    `mark` becomes their comment. What a superuser made, `friend` may use and drop as well: the login that
    restores there otherwise.
    """

    needed: Collection[str]
    everyone: bool = False
    mark: str | None = None
    friend: str | None = None


@dataclass
class _Roles:
    connection: Connection
    wanted: Making
    existing: set[str] = field(default_factory=set)
    made: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def take(self, statement: str, expired: Collection[str]) -> None:
        """Run one statement of the file, if it is about a role that we made or are to make."""
        if match := CREATE.match(statement):
            name = _plain(match[1])
            if name in self.existing:
                return
            if name in self.wanted.needed or (self.wanted.everyone and name not in expired):
                self._make(name)
            elif name not in expired:
                self.others.append(name)
        elif match := ALTER.match(statement):
            if _plain(match[1]) in self.made:
                self._try(statement)
        elif (match := PARAMETER.match(statement)) and _plain(match[2]) in self.made:
            self._try(statement)
        elif (match := GRANT.match(statement)) and _plain(match[2]) in self.made:
            self._join(_plain(match[1]), statement)

    def _make(self, name: str) -> None:
        role = sql.Identifier(name)
        try:
            postgres.rows(self.connection, sql.SQL("CREATE ROLE {}").format(role))
        except postgres.Error as error:
            self.refused[name] = postgres.message_of(error)
            return
        self.made.append(name)
        if self.connection.server_version < FIRST_WITH_SELF_GRANT and not is_superuser(self.connection):
            postgres.rows(self.connection, sql.SQL("GRANT {} TO CURRENT_USER").format(role))
        if self.wanted.friend is not None:
            give = sql.SQL("GRANT {} TO {} WITH ADMIN OPTION")
            postgres.rows(self.connection, give.format(role, sql.Identifier(self.wanted.friend)))
        if self.wanted.mark is not None:
            comment = sql.SQL("COMMENT ON ROLE {} IS {}").format(role, sql.Literal(self.wanted.mark))
            postgres.rows(self.connection, comment)

    def _join(self, group: str, statement: str) -> None:
        # What nobody needs here is not there to be a member of.
        if group not in self.others:
            self._try(statement)

    def _try(self, statement: str) -> None:
        try:
            postgres.rows(self.connection, statement)
        except postgres.Error as error:
            match = SETTING.match(statement)
            what = match[1] if match else statement
            self.remarks.append(f"not done: {what} ({postgres.message_of(error)})")


def make(connection: Connection, globals_sql: str, wanted: Making, where: str) -> Roles:
    """Make the roles of the backup that are wanted and that the server has not.

    `connection` commits each statement. Raise StepError, naming them, if roles that the database needs could
    not be made; then those that could be are gone again.
    """
    statements = list(_statements(globals_sql))
    if connection.server_version >= FIRST_WITH_SELF_GRANT:
        postgres.rows(connection, "SELECT set_config('createrole_self_grant', 'set, inherit', false)")
    making = _Roles(connection, wanted, existing=_names(connection))
    expired = _expired(statements, datetime.now(UTC))
    for statement in statements:
        making.take(statement, expired)
    missing = sorted(set(wanted.needed) - _names(connection))
    if missing:
        remove(connection, making.made)
        why = next((making.refused[name] for name in missing if name in making.refused), "not in the backup")
        raise StepError(
            f"{where}: the database needs roles that are missing: {', '.join(missing)} ({why})",
            hint="create them there, or restore with a login that may create roles",
        )
    return Roles(tuple(making.made), tuple(making.remarks), tuple(making.others))


def remove(connection: Connection, names: Collection[str]) -> None:
    """Remove roles that own nothing any more; those that still do stay."""
    for name in names:
        with contextlib.suppress(postgres.Error):
            _revoke_parameters(connection, name)
            postgres.rows(connection, sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def _revoke_parameters(connection: Connection, name: str) -> None:
    """Take from a role what it may set in the server: it could not be dropped with that."""
    if connection.server_version < contents.FIRST_WITH_PARAMETER_GRANTS:
        return
    query = """
        SELECT DISTINCT p.parname FROM pg_parameter_acl AS p
        CROSS JOIN LATERAL aclexplode(p.paracl) AS a
        JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE r.rolname = %s
        """
    for (parameter,) in postgres.rows(connection, query, (name,)):
        revoke = sql.SQL("REVOKE ALL ON PARAMETER {} FROM {}")
        postgres.rows(connection, revoke.format(sql.Identifier(parameter), sql.Identifier(name)))


def marked(connection: Connection, mark: str) -> tuple[str, ...]:
    """Return the roles that were made with this mark."""
    query = """
        SELECT r.rolname FROM pg_roles AS r
        JOIN pg_shdescription AS d ON d.objoid = r.oid AND d.classoid = 'pg_authid'::regclass
        WHERE d.description = %s
        """
    return tuple(name for (name,) in postgres.rows(connection, query, (mark,)))


def foreign(connection: Connection) -> frozenset[str]:
    """Return the roles in whose name our login may not act."""
    query = "SELECT rolname FROM pg_roles WHERE NOT pg_has_role(current_user, oid, 'MEMBER')"
    return frozenset(name for (name,) in postgres.rows(connection, query))


def is_superuser(connection: Connection) -> bool:
    """Whether our login is a superuser."""
    return bool(postgres.value(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"))


def _names(connection: Connection) -> set[str]:
    return {name for (name,) in postgres.rows(connection, "SELECT rolname FROM pg_roles")}


def _statements(globals_sql: str) -> Iterator[str]:
    """Yield the statements of the file, without its comments.

    >>> list(_statements("-- Roles;\\nALTER ROLE hr SET a.b TO ';\\n--';\\nGRANT a TO b;\\n"))
    ["ALTER ROLE hr SET a.b TO ';\\n--'", 'GRANT a TO b']
    """
    words: list[str] = []
    for token in TOKEN.findall(globals_sql):
        if token == END_OF_STATEMENT:
            yield "".join(words)
            words = []
        elif not token.startswith("--"):
            words.append(token)


def _expired(statements: Collection[str], now: datetime) -> frozenset[str]:
    """Return the roles whose time has run out: logins that Vault made for one step, mostly."""
    names = set()
    for statement in statements:
        role, until = ALTER.match(statement), VALID_UNTIL.search(statement)
        if role and until:
            with contextlib.suppress(ValueError):  # infinity
                if datetime.fromisoformat(until[1]) < now:
                    names.add(_plain(role[1]))
    return frozenset(names)


def _plain(name: str) -> str:
    """Return a name without the quotes that SQL needs.

    >>> _plain('hr'), _plain('"An ""odd"" name"')
    ('hr', 'An "odd" name')
    """
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
