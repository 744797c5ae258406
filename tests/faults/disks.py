"""Disks that are full at that very moment: small file systems of a world's own, which only root may mount."""

import contextlib
import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg2 import sql

from pipeline import postgres
from pipeline.sandbox import accounts, provision
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters
from tests.faults.faults import Fault, Strike
from tests.faults.scene import Scene
from tests.support.archive import small_disk
from tests.support.platforms import Platform

PIECE_BYTES = 64 * 1024
FILLER = "filler"
SIZE_BYTES = 48 * 1024 * 1024
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Tablespace:
    """A tablespace of the warehouse's server on a small disk."""

    name: str
    disk: Path

    @contextlib.contextmanager
    def used(self, platform: Platform) -> Iterator[Path]:
        """Have a platform's warehouse keep there what it makes in the block, which is given the disk."""
        name, database = sql.Identifier(self.name), sql.Identifier(platform.database("warehouse"))
        with platform.connect("warehouse") as connection:
            role = sql.Identifier(platform.own.role)
            postgres.rows(connection, sql.SQL("GRANT CREATE ON TABLESPACE {} TO {}").format(name, role))
            statement = sql.SQL("ALTER DATABASE {} SET default_tablespace = {}").format(database, name)
            postgres.rows(connection, statement)
        yield self.disk
        with clusters.connection(platform.sandbox.home, provision.WAREHOUSE, "postgres") as connection:
            # The database keeps it until it is dropped, and the role with it.
            postgres.rows(connection, sql.SQL("REVOKE ALL ON TABLESPACE {} FROM {}").format(name, role))


@contextlib.contextmanager
def tablespace(home: Home) -> Iterator[Tablespace]:
    """Make a tablespace; whoever uses it has to be gone when the block ends."""
    name = f"small{next(_numbers)}"
    folder = home.servers(name)
    folder.mkdir(mode=0o700)
    accounts.give(folder, home.account)
    with small_disk(folder, SIZE_BYTES) as disk:
        place = disk / "space"
        place.mkdir(mode=0o700)
        for path in (disk, place):
            accounts.give(path, home.account)
        made = sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(
            sql.Identifier(name), sql.Literal(str(place))
        )
        dropped = sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(name))
        with clusters.connection(home, provision.WAREHOUSE, "postgres") as connection:
            postgres.rows(connection, made)
        yield Tablespace(name, disk)
        with clusters.connection(home, provision.WAREHOUSE, "postgres") as connection:
            postgres.rows(connection, dropped)


def fill(disk: Path) -> None:
    """Use up what is free, to the last byte."""
    with contextlib.suppress(OSError), (disk / FILLER).open("wb", buffering=0) as file:
        piece = PIECE_BYTES
        while piece:
            try:
                file.write(b"\0" * piece)
            except OSError:
                piece //= 2


def full(which: str) -> Strike:
    """Fill one of a world's disks while the step stands, and make room once the command has ended."""

    def strike(world: Any, _scene: Scene) -> Generator[None, None, None]:
        disk: Path = world.disks[which]
        fill(disk)
        try:
            yield
            yield
        finally:
            (disk / FILLER).unlink(missing_ok=True)

    return strike


WORK_FULL = Fault("disk of the dumps full", full("work"), (0, 3), place="begun", needs_mounts=True)
WAREHOUSE_FULL = Fault(
    "disk of the warehouse full", full("warehouse"), (0, 3), place="begun", needs_mounts=True
)
