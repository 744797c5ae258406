"""What one test after the other works in: roles and credentials stay, a database is always new.

Making them anew is most of what a short test takes. Whoever changes a role or a credential gets rid of them:
then they are gone after the test, and the next one has others.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

from psycopg2 import sql

from pipeline import postgres
from pipeline.postgres import Connection
from pipeline.sandbox import provision
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters, vault_server

_numbers = itertools.count(1)
# All that a role is, what it is a member of, and what is set for its sessions.
_ROLES = """
    SELECT to_jsonb(r),
        ARRAY(SELECT to_jsonb(m) - 'oid' FROM pg_auth_members AS m WHERE r.oid IN (m.roleid, m.member)),
        ARRAY(SELECT setconfig FROM pg_db_role_setting WHERE setrole = r.oid)
    FROM pg_authid AS r WHERE rolname ~ %s ORDER BY rolname
    """
_GRANTS = """
    SELECT a.privilege_type, r.rolname FROM pg_database AS d, aclexplode(d.datacl) AS a
    JOIN pg_roles AS r ON r.oid = a.grantee WHERE d.datname = %s AND a.grantee <> d.datdba
    """


@dataclass
class Warehouse:
    """The roles and credentials of a warehouse and of its sources, for one test at a time."""

    home: Home
    prefix: str = field(default_factory=lambda: f"t{next(_numbers)}")
    _as_made: Any = None
    # Of a database that is migrated; it is the template then.
    _grants: list[tuple[str, str]] | None = None
    # Of the sources by their names.
    _sources: dict[str, Any] = field(default_factory=dict)

    @property
    def database(self) -> str:
        """What the database is called, and its entry in Vault."""
        return f"{self.prefix}_warehouse"

    @property
    def role(self) -> str:
        """The pipeline's role, which owns it."""
        return f"{self.prefix}_pipeline"

    @property
    def _template(self) -> str:
        return f"{self.prefix}_migrated"

    def open(self, *, migrated: bool) -> bool:
        """Make the database; return whether it is migrated already."""
        as_before = migrated and self._grants is not None
        with self._server() as server:
            if self._as_made is None:
                provision.warehouse(self.home, server, self.database, self.database, role=self.role)
                self._as_made = self._state(server)
            else:
                self._create(server, self.database, self._template if as_before else "template1")
                _execute(server, "REVOKE ALL ON DATABASE {} FROM PUBLIC", self.database)
            for privilege, role in self._grants or () if as_before else ():
                _execute(server, f"GRANT {privilege} ON DATABASE {{}} TO {{}}", self.database, role)
        return as_before

    def keep(self) -> None:
        """Let the next tests have the database as it is now, if they want a migrated one."""
        with self._server() as server:
            self._grants = postgres.rows(server, _GRANTS, (self.database,))
            self._create(server, self._template, self.database)
            _execute(server, "ALTER DATABASE {} ALLOW_CONNECTIONS false", self._template)

    def close(self) -> bool:
        """Remove the database; return whether all else is as it was, for the next test."""
        with self._server() as server:
            if self._state(server) == self._as_made:
                _execute(server, "DROP DATABASE {} WITH (FORCE)", self.database)
                return True
            _execute(server, "DROP DATABASE IF EXISTS {}", self._template)
            provision.remove_warehouse(self.home, server, self.database, self.role)
            return False

    def note_source(self, name: str) -> None:
        """Remember what has just been made of the roles and credentials of a source."""
        self._sources[name] = self._state_of_source(name)

    def close_source(self, name: str) -> None:
        """Remove a source's database; and its roles and credentials, unless they are as they were."""
        database = f"{self.prefix}_{name}"
        if name in self._sources and self._state_of_source(name) == self._sources[name]:
            with clusters.connection(self.home, provision.SOURCES, "postgres") as server:
                _execute(server, "DROP DATABASE {} WITH (FORCE)", database)
        else:
            self._sources.pop(name, None)
            provision.remove_source(self.home, database)

    def _state_of_source(self, name: str) -> Any:
        database = f"{self.prefix}_{name}"
        vault = vault_server.administrator(self.home)
        entries = [vault.read(f"{kind}/{database}") for kind in ("source", "database")]
        with clusters.connection(self.home, provision.SOURCES, "postgres") as server:
            databases = postgres.rows(server, "SELECT FROM pg_database WHERE datname = %s", (database,))
            # The reader, who backs it up, and the owner.
            roles = postgres.rows(server, _ROLES, (f"^((pipeline|backup)_{database}|{database}_.*)$",))
        return entries, len(databases), roles

    def _create(self, server: Connection, database: str, template: str) -> None:
        made = f"CREATE DATABASE {{}} OWNER {{}} TEMPLATE {{}} {clusters.COPIED}"
        _execute(server, made, database, self.role, template)

    def _state(self, server: Connection) -> Any:
        vault = vault_server.administrator(self.home)
        entries = [vault.read(self.database + below) for below in ("", "/analyst", "/dashboards")]
        databases = postgres.rows(server, "SELECT FROM pg_database WHERE datname = %s", (self.database,))
        return entries, len(databases), postgres.rows(server, _ROLES, (f"^{self.prefix}_",))

    def _server(self) -> Any:
        return clusters.connection(self.home, provision.WAREHOUSE, "postgres")


def _execute(server: Connection, statement: str, *names: str) -> None:
    postgres.rows(server, sql.SQL(statement).format(*map(sql.Identifier, names)))
