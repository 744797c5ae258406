"""What a source sees of us: who we are, how long we may wait, and never more connections than was agreed."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline import postgres
from pipeline.sandbox import ports
from pipeline.sandbox.servers import processes
from tests.support.night import Night, next_run, wait_until

pytestmark = pytest.mark.endurance

TABLES = 5
FIRST_PORT = 28082
# Reading takes long enough that all who may read at once do.
SLOWLY = "SELECT n AS id FROM generate_series(1, 60) AS n WHERE pg_sleep(0.02) IS NOT NULL"
SLOW = "".join(f"CREATE VIEW slow_{n} AS {SLOWLY};" for n in range(TABLES))
SETTINGS = """
    CREATE VIEW seen AS
    SELECT name, setting FROM pg_settings WHERE name IN
        ('application_name', 'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
         'transaction_read_only', 'row_security')
    UNION ALL SELECT 'isolation', current_setting('transaction_isolation');
"""


def declared(*names: str) -> str:
    tables = "".join(f"  {name}: {{}}\n" for name in names)
    return f"source: shop\ndefaults: {{changes: full}}\ntables:\n{tables}"


@contextlib.contextmanager
def scheduler(night: Night, folder: Path) -> Iterator[None]:
    """Run a scheduler that goes by this test's settings, and have them name it."""
    with ports.reservations():
        port = next(port for port in range(FIRST_PORT, FIRST_PORT + 200) if ports.reserve(port))
    shared = night.platform.sandbox.home.state.ports["luigid"]
    settings = night.platform.settings_file
    settings.write_text(
        settings.read_text().replace(f"default-scheduler-port = {shared}", f"default-scheduler-port = {port}")
    )
    log = (folder / "scheduler.log").open("wb")
    started = subprocess.Popen(
        [sys.executable, "-m", "tasks.scheduler", "--port", str(port), "--state-path", folder / "state"],
        env=night.platform.env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        wait_until(lambda: processes.listens(psutil.Process(started.pid), port), "the scheduler serves")
        yield
    finally:
        started.terminate()
        started.wait()
        log.close()


class Sampler(threading.Thread):
    """Looks at a source's sessions all the time, and remembers how many there were at most."""

    def __init__(self, night: Night) -> None:
        super().__init__()
        self._night, self._ended = night, threading.Event()
        self.all, self.reading = 0, 0
        self.names: set[str] = set()

    def run(self) -> None:
        query = """
            SELECT count(*), count(*) FILTER (WHERE query LIKE 'COPY (SELECT%%'),
                   array_agg(DISTINCT application_name) FILTER (WHERE application_name IS NOT NULL)
            FROM pg_stat_activity WHERE datname = current_database() AND usename = %s
            """
        with self._night.platform.connect("shop") as connection:
            while not self._ended.wait(0.005):
                reader = self._night.platform.reader("shop")
                ((everyone, reading, names),) = postgres.rows(connection, query, (reader,))
                self.all, self.reading = max(self.all, everyone), max(self.reading, reading)
                self.names |= set(names or ())

    def __enter__(self) -> "Sampler":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


@pytest.mark.parametrize("connections", [1, 3])
def test_a_source_never_has_more_connections_of_ours_than_its_settings_say(
    night: Night, tmp_path: Path, connections: int
) -> None:
    """So many read at once, workers or not, and one more holds the moment that they read."""
    night.platform.source("shop", SLOW, declared(*(f"slow_{n}" for n in range(TABLES))))
    settings = night.platform.settings_file
    text = settings.read_text()
    settings.write_text(text.replace("[source.shop]", f"[source.shop]\nconnections = {connections}"))
    with scheduler(night, tmp_path), Sampler(night) as seen:
        ended = night.etl(next_run(), "--workers", "4")
    assert ended.code == 0, ended.err
    assert min(connections, 2) <= seen.reading <= connections
    assert seen.all <= connections + 1
    assert seen.names <= {"pipeline", ""}


def test_the_source_s_sessions_wait_for_nothing_for_ever(night: Night) -> None:
    """A production database is read by a named session, read-only, that neither waits nor runs for ever."""
    night.platform.source("shop", SETTINGS, declared("seen"))
    night.load("shop", "seen")
    assert dict(night.ask("warehouse", "SELECT name, setting FROM shop.seen")) == {
        "application_name": "pipeline",
        "statement_timeout": "14400000",
        "lock_timeout": "30000",
        "idle_in_transaction_session_timeout": "21600000",
        "transaction_read_only": "on",
        "row_security": "off",
        "isolation": "repeatable read",
    }
