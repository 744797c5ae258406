"""Faults that people make at that very moment: a table changed, a right or a password taken, a second run."""

import threading
import time
from collections.abc import Generator
from typing import Any
from urllib.parse import urlsplit

from psycopg2 import sql

from pipeline import postgres
from pipeline.errors import AlreadyRunningError
from pipeline.postgres import Connection
from tests.faults.faults import Fault, Strike
from tests.faults.scene import Scene

LOOK_SECONDS = 0.05
KEPT = "CREATE TABLE IF NOT EXISTS kept AS TABLE payment"
ANEW = """
    CREATE TABLE payment (LIKE kept);
    ALTER TABLE payment ADD PRIMARY KEY (student_id, number);
    INSERT INTO payment SELECT * FROM kept;
    DROP TABLE kept;
    """


class Beside(threading.Thread):
    """A statement in the source, which may have to wait for locks of the step that stands."""

    def __init__(self, world: Any, statement: str) -> None:
        super().__init__(name="a change of the source")
        self._world, self._statement = world, statement
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with self._world.platform.connect(self._world.source) as connection:
                postgres.rows(connection, self._statement)
        except BaseException as error:  # noqa: BLE001 - told to who waits
            self.error = error

    def begin(self) -> None:
        """Return once it is done, or waits for somebody."""
        self.start()
        waiting = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with self._world.platform.connect(self._world.source) as connection:
            while self.is_alive() and not postgres.rows(connection, waiting):
                time.sleep(LOOK_SECONDS)

    def end(self) -> None:
        """Wait for its end. Raise what went wrong."""
        self.join()
        if self.error is not None:
            raise self.error


def changed(statement: str, mend: str = "") -> Strike:
    """Change a table of the source; `mend` makes it what it was once the command has ended."""

    def strike(world: Any, _scene: Scene) -> Generator[None, None, None]:
        beside = Beside(world, statement)
        beside.begin()
        yield
        yield
        beside.end()
        if mend:
            with world.platform.connect(world.source) as connection:
                postgres.rows(connection, mend)

    return strike


def not_permitted(world: Any, _scene: Scene) -> Generator[None, None, None]:
    """Take a table from the source's role, and give it back once the command has ended."""
    role = sql.Identifier(world.reader)
    with world.platform.connect(world.source) as connection:
        postgres.rows(connection, sql.SQL("REVOKE SELECT ON payment FROM {}").format(role))
        yield
        yield
        postgres.rows(connection, sql.SQL("GRANT SELECT ON payment TO {}").format(role))


def _rotate(world: Any, entry: str, connection: Connection, password: str) -> None:
    vault = world.platform.sandbox.vault
    known = vault.read(entry) or {}
    address = urlsplit(known["uri"])
    role = sql.Identifier(address.username or "")
    postgres.rows(connection, sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(password)))
    new = address._replace(netloc=address.netloc.replace(f":{address.password}@", f":{password}@"))
    vault.write(entry, {**known, "uri": new.geturl()})


def rotated(where: str) -> Strike:
    """Give the role of the source, or of the warehouse, another password, which Vault has at once."""

    def strike(world: Any, scene: Scene) -> Generator[None, None, None]:
        place = "warehouse" if where == "warehouse" else world.source
        with world.platform.connect(place) as connection:
            _rotate(world, world.entry(where), connection, f"rotated{scene.pid}")
        yield
        yield

    return strike


def revoked(world: Any, _scene: Scene) -> Generator[None, None, None]:
    """Revoke every login that the pipeline has in Vault."""
    world.platform.sandbox.vault.call("PUT", "sys/leases/revoke-prefix/auth/approle/login")
    yield
    yield


def twice(world: Any, scene: Scene) -> Generator[None, None, None]:
    """Type the same command a second time while the first one stands."""
    second = world.again(scene.arguments)
    assert second.code == AlreadyRunningError.exit_code, second
    yield
    yield


LOADED = (0, 3, 4)
TABLES = (
    Fault(
        "table rewritten",
        changed("ALTER TABLE payment ALTER number TYPE bigint", "ALTER TABLE payment ALTER number TYPE int"),
        LOADED,
        next_night=True,
    ),
    Fault("table truncated", changed("TRUNCATE payment"), LOADED, next_night=True),
    Fault(
        "table renamed",
        changed("ALTER TABLE payment RENAME TO gone", "ALTER TABLE gone RENAME TO payment"),
        LOADED,
        next_night=True,
    ),
    Fault("table dropped", changed(f"{KEPT}; DROP TABLE payment", ANEW), LOADED, next_night=True),
)
NOT_PERMITTED = Fault("no permission", not_permitted, LOADED)
SOURCE_ROTATED = Fault("source's password rotated", rotated("source"))
WAREHOUSE_ROTATED = Fault("warehouse's password rotated", rotated("warehouse"))
TOKEN_REVOKED = Fault("token revoked", revoked)
TWICE = Fault("two at once", twice)
