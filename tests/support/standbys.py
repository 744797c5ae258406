"""A hot standby of the sandbox's sources, as a source of a test's platform."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2.errors

from pipeline import postgres
from pipeline.sandbox import accounts, ports, provision
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters, processes
from pipeline.sandbox.servers.clusters import Cluster
from pipeline.sandbox.servers.server import plain_environment
from tests.support.night import wait_until
from tests.support.platforms import Connection, Platform, Sandbox

FIRST_PORT = 26432
SETTINGS = """
hot_standby = on
hot_standby_feedback = off
# Whoever is in the way of the replay is ended at once.
max_standby_streaming_delay = 0
"""


class _StandbyCluster(Cluster):
    """A server whose data is a copy of another's, which it follows."""

    def __init__(self, primary: Home) -> None:
        super().__init__("standby", FIRST_PORT)
        self._primary = primary

    def _initialize(self, home: Home, data: Path, stopping: threading.Event) -> None:
        programs = accounts.executable_by(
            home.account, clusters.BINARIES / "pg_basebackup", home.servers("binaries")
        )
        processes.run(
            [
                programs,
                *clusters.socket_arguments(self._primary, provision.SOURCES),
                f"--pgdata={data}",
                "--write-recovery-conf",
                "--wal-method=stream",
                "--checkpoint=fast",
                "--no-sync",
            ],
            stopping=stopping,
            environment=plain_environment(),
            account=home.account,
            folder=Path("/"),
        )
        with (data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)


@dataclass
class Server:
    """One running standby."""

    home: Home
    cluster: Cluster


@dataclass
class Standby:
    """A standby, for the sources of one test's platform."""

    platform: Platform
    server: Server

    def connect(self, source: str) -> contextlib.AbstractContextManager[Connection]:
        """Open a source's database here, with autocommit."""
        return self._session(self.platform.database(source))

    @contextlib.contextmanager
    def _session(self, database: str) -> Iterator[Connection]:
        """Open a database here. A login can be in the way of the replay as well, and is tried again."""
        with contextlib.ExitStack() as stack:

            def let_in() -> Connection | None:
                try:
                    return stack.enter_context(
                        clusters.connection(self.server.home, self.server.cluster.name, database)
                    )
                except psycopg2.OperationalError as error:
                    if "conflict with recovery" not in str(error):
                        raise
                    return None

            yield wait_until(let_in, "the standby lets us in")

    def become(self, source: str) -> None:
        """Let the pipeline read a source from here instead of from the primary, and back it up here."""
        vault, port = self.platform.sandbox.vault, self.server.cluster.port(self.server.home)
        for kind in ("source", "database"):
            entry = f"{kind}/{self.platform.database(source)}"
            uri = (vault.read(entry) or {})["uri"]
            vault.write(entry, {"uri": uri.replace(f":{urlsplit(uri).port}/", f":{port}/")})

    @contextlib.contextmanager
    def stopped(self, source: str, statement: str) -> Iterator[datetime]:
        """Replay nothing any more, though the primary goes on by `statement`; yield when that began."""
        with self.connect(source) as here, self.platform.connect(source) as primary:
            postgres.rows(here, "SELECT pg_wal_replay_pause()")
            since: datetime = postgres.value(here, "SELECT clock_timestamp()")
            try:
                postgres.rows(primary, statement)
                waits = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
                wait_until(lambda: postgres.value(here, waits), "the standby has what it does not show")
                yield since
            finally:
                postgres.rows(here, "SELECT pg_wal_replay_resume()")

    def catch_up(self, source: str) -> None:
        """Wait until everything that the primary has committed is seen here."""
        with self.platform.connect(source) as primary:
            reached = postgres.value(primary, "SELECT pg_current_wal_insert_lsn()")
        # The source's own database may not have come over yet.
        with self._session("postgres") as here:

            def caught_up() -> bool:
                try:
                    replayed = "SELECT pg_last_wal_replay_lsn() >= %s"
                    return bool(postgres.value(here, replayed, (reached,)))
                except psycopg2.errors.SerializationFailure:  # this query, too, was in the way of the replay
                    return False

            wait_until(caught_up, "the standby has caught up")

    def promote(self, source: str) -> None:
        """Make it a primary of its own."""
        with self.connect(source) as here:
            postgres.rows(here, "SELECT pg_promote()")


@contextlib.contextmanager
def following(sandbox: Sandbox, folder: Path) -> Iterator[Server]:
    """Run a standby of the sandbox's sources below `folder` during the block."""
    home = Home(folder)
    folder.mkdir(mode=0o700)
    home.prepare()
    cluster = _StandbyCluster(sandbox.home)
    try:
        with ports.reservations(), home.changing() as state:
            chosen = next(port for port in range(FIRST_PORT, FIRST_PORT + 200) if ports.reserve(port))
            state.ports[cluster.name] = chosen
        cluster.prepare(home, threading.Event())
        process = processes.start(
            cluster.arguments(home),
            log=cluster.log(home),
            record=cluster.record(home),
            folder=cluster.folder(home),
            environment=plain_environment(),
            account=home.account,
        )
        try:
            while not cluster.ready(home, process):
                assert processes.is_alive(process), processes.log_tail(cluster.log(home))
            yield Server(home, cluster)
        finally:
            processes.end([(process, cluster.stop_signal)])
    finally:
        home.wipe()
