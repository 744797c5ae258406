"""A server of its own as a source, whose data can be put back to an earlier copy of it."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from psycopg2 import sql

from pipeline import postgres
from pipeline.sandbox import ports
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters, processes
from pipeline.sandbox.servers.clusters import Cluster
from pipeline.sandbox.servers.server import plain_environment
from tests.support.platforms import Connection, Platform

FIRST_PORT = 27432


class Server:
    """One server with its own data, and a copy of that."""

    def __init__(self, home: Home) -> None:
        self.home, self.cluster = home, Cluster("putback", FIRST_PORT)
        self._process: psutil.Process | None = None

    def start(self) -> None:
        """Start it, with whatever data lies there."""
        self.cluster.prepare(self.home, threading.Event())
        self._process = processes.start(
            self.cluster.arguments(self.home),
            log=self.cluster.log(self.home),
            record=self.cluster.record(self.home),
            folder=self.cluster.folder(self.home),
            environment=plain_environment(),
            account=self.home.account,
        )
        while not self.cluster.ready(self.home, self._process):
            assert processes.is_alive(self._process), processes.log_tail(self.cluster.log(self.home))

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT as it should be, SIGQUIT as a crash."""
        if self._process is not None:
            processes.end([(self._process, how)])
            self._process = None

    def copy(self) -> None:
        """Keep a copy of its data."""
        self._run("cp", "-a", self._data, self._kept)

    def put_back(self) -> None:
        """Have the data of the copy instead."""
        self._run("rm", "-rf", self._data)
        self._run("cp", "-a", self._kept, self._data)

    def connect(self, database: str) -> contextlib.AbstractContextManager[Connection]:
        """Open a database as superuser, with autocommit."""
        return clusters.connection(self.home, self.cluster.name, database)

    def serve(self, platform: Platform, source: str, script: str) -> str:
        """Have a database here that the pipeline reads as this source; return its name."""
        vault, database = platform.sandbox.vault, platform.database(source)
        entry = f"source/{database}"
        address = urlsplit((vault.read(entry) or {})["uri"])
        reader = sql.Identifier(platform.reader(source))
        with self.connect("postgres") as here:
            postgres.rows(
                here,
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(reader, sql.Literal(address.password)),
            )
            postgres.rows(here, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        with self.connect(database) as here:
            # A crash may follow at once, and in a sandbox no commit waits otherwise.
            postgres.rows(here, "SET synchronous_commit = on")
            postgres.rows(here, script)
            postgres.rows(here, sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(reader))
        port = self.cluster.port(self.home)
        uri = address._replace(netloc=address.netloc.replace(f":{address.port}", f":{port}")).geturl()
        vault.write(entry, {"uri": uri})
        return database

    @property
    def _data(self) -> Path:
        return self.cluster.folder(self.home)

    @property
    def _kept(self) -> Path:
        return self._data.with_suffix(".kept")

    @staticmethod
    def _run(*words: str | Path) -> None:
        processes.run(list(words), stopping=threading.Event(), environment=plain_environment())


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run a server below `folder` during the block."""
    home = Home(folder)
    folder.mkdir(mode=0o700)
    home.prepare()
    server = Server(home)
    try:
        with ports.reservations(), home.changing() as state:
            chosen = next(port for port in range(FIRST_PORT, FIRST_PORT + 200) if ports.reserve(port))
            state.ports[server.cluster.name] = chosen
        server.start()
        yield server
    finally:
        server.stop()
        home.wipe()
