"""What tests run on: one sandbox for all of them, and in it an own warehouse and own sources for each."""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2.extensions
from psycopg2 import sql

from pipeline import mask
from pipeline.sandbox import configuration, lifecycle, provision, sources
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import backup_store, clusters
from pipeline.sandbox.servers.server import addresses
from pipeline.sandbox.servers.vault_server import Administrator, administrator
from tests.support import impatient
from tests.support.warehouses import Warehouse

Connection = psycopg2.extensions.connection


@dataclass
class Sandbox:
    """A running sandbox; the sample sources come when they are first asked for."""

    home: Home
    # What is left of the tests before, as good as new: by whether a migrated database is to be had of it.
    warehouses: dict[bool, list[Warehouse]] = field(default_factory=lambda: {True: [], False: []}, repr=False)

    @property
    def env(self) -> dict[str, str]:
        """The environment for programs that are to use it."""
        tools = {"PATH": f"{clusters.BINARIES}{os.pathsep}{os.environ['PATH']}"}
        return {**os.environ, **tools, **addresses(self.home)}

    @property
    def vault(self) -> Administrator:
        """Vault with the root token, to plant, change and remove credentials."""
        return administrator(self.home)

    def with_samples(self) -> "Sandbox":
        """Return the same with the sample sources, for tests that leave those as they are."""
        lifecycle.up(self.home, lambda _line: None)
        return self

    def make_logins_cheap(self) -> None:
        """Let who logs in with a password that is made from now on wait for nothing: all tests do."""
        for cluster in (provision.SOURCES, provision.WAREHOUSE, provision.DRILL):
            with (
                clusters.connection(self.home, cluster, "postgres") as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute("ALTER SYSTEM SET scram_iterations = 1")
                cursor.execute("SELECT pg_reload_conf()")

    def connect(self, name: str, role: str = "superuser") -> contextlib.AbstractContextManager[Connection]:
        """Open a sample source, `warehouse` or `drill`, with autocommit."""
        cluster, database = provision.place(self.home, name)
        return clusters.connection(self.home, cluster, database, user=_user(role))


@dataclass
class Platform:
    """An empty warehouse, sources as they are asked for, and their settings. Gone after the test."""

    sandbox: Sandbox
    folder: Path
    own: Warehouse = field(repr=False)
    # Whether the warehouse has its tables from the beginning.
    migrated: bool = False
    sources: list[str] = field(default_factory=list)
    alerts: dict[str, str] = field(default_factory=lambda: {"secret": "alerts"})
    # Sections of luigi.cfg that a test adds.
    more: dict[str, dict[str, str]] = field(default_factory=dict)
    # What the environment of its programs has beside, as a test wants it.
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """What the names of all that is of this test begin with."""
        return self.own.prefix

    @property
    def settings_file(self) -> Path:
        """The luigi.cfg of this test."""
        return self.folder / "luigi.cfg"

    @property
    def analysts(self) -> Path:
        """The analysts' checkout of this test: write YAML below its `sources/`, or call `declare`."""
        return self.folder / "analysts"

    @property
    def env(self) -> dict[str, str]:
        """The environment for programs that are to use it."""
        return {**self.sandbox.env, "LUIGI_CONFIG_PATH": str(self.settings_file), **self.variables}

    def give_up_soon(self) -> None:
        """Let programs give up a server after some seconds: for tests of what comes then."""
        self.variables.update(impatient.environment(self.folder / "impatient"))

    def database(self, name: str) -> str:
        """Return what the database of this test's source, or its `warehouse`, is really called."""
        return f"{self.prefix}_{name}"

    def reader(self, source: str) -> str:
        """Return the role that the pipeline reads a source with."""
        return f"pipeline_{self.database(source)}"

    def source(
        self, name: str, script: str = "", declaration: str = "", *, encoding: str | None = None
    ) -> str:
        """Make a source called `name` in the settings, fill it by `script`, and return its database."""
        database = self.database(name)
        home = self.sandbox.home
        if encoding:
            self._make_encoded(database, encoding)
        sources.make(home, database, None, threading.Event(), as_owner=True)
        self.sources.append(name)
        provision.source(home, database)
        self.own.note_source(name)
        if script:
            with self.connect(name) as connection, connection.cursor() as cursor:
                cursor.execute(script)
        self.write_settings()
        if declaration:
            self.declare(name, declaration)
        return database

    def _make_encoded(self, database: str, encoding: str) -> None:
        home = self.sandbox.home
        with clusters.connection(home, provision.SOURCES, "postgres") as connection:
            provision.ensure_owner(connection, database)
            with connection.cursor() as cursor:
                # The locale that goes with every encoding.
                cursor.execute(
                    sql.SQL(
                        "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {} LOCALE 'C' "
                        + clusters.COPIED
                    ).format(
                        sql.Identifier(database),
                        sql.Identifier(provision.owner(database)),
                        sql.Literal(encoding),
                    )
                )

    def declare(self, name: str, declaration: str) -> None:
        """Write sources/NAME.yaml."""
        folder = self.analysts / "sources"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(declaration)

    def connect(self, name: str, role: str = "superuser") -> contextlib.AbstractContextManager[Connection]:
        """Open one of this test's sources, or its `warehouse`, with autocommit."""
        cluster = provision.WAREHOUSE if name == "warehouse" else provision.SOURCES
        return clusters.connection(self.sandbox.home, cluster, self.database(name), user=_user(role))

    def write_settings(self) -> None:
        """Write luigi.cfg for the sources there are."""
        shared = configuration.sections(self.sandbox.home)
        own = {name: values for name, values in shared.items() if not name.startswith(configuration.NAMED)}
        own["warehouse"] = {"secret": self.database("warehouse")}
        own["analysts"] = {"checkout": str(self.analysts)}
        own["backup"]["signers"] = str(self.folder / "signers")
        backup_store.write_signers(self.sandbox.home, self.sources, self.folder / "signers")
        own["alerts"] = {"spool": str(self.folder / "alerts"), **self.alerts}
        for name in self.sources:
            own[f"source.{name}"] = {"secret": f"source/{self.database(name)}"}
            own[f"database.{name}"] = {"secret": f"database/{self.database(name)}"}
        own |= self.more
        self.settings_file.write_text(configuration.render(configuration.template(), own))


@contextlib.contextmanager
def platform_in(sandbox: Sandbox, folder: Path, *, migrated: bool = False) -> Iterator[Platform]:
    """Make a platform for one test, and remove it afterwards.

    `migrated`: with the tables of its warehouse, if one before has left them (`Warehouse.keep`).
    """
    left = sandbox.warehouses[migrated]
    own = left.pop() if left else Warehouse(sandbox.home)
    made = Platform(sandbox, folder, own, own.open(migrated=migrated))
    made.write_settings()
    (made.analysts / "sources").mkdir(parents=True)
    # The one entry that all platforms of a sandbox share.
    key = sandbox.vault.read(mask.SECRET)
    try:
        yield made
    finally:
        if key is not None and sandbox.vault.read(mask.SECRET) != key:
            sandbox.vault.write(mask.SECRET, key)
        for name in made.sources:
            own.close_source(name)
        if own.close():
            left.append(own)


def _user(role: str) -> str:
    return clusters.SUPERUSER if role == "superuser" else role
