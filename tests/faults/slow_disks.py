"""Disks that are slow: slow.c is between a program and its files, and waits for them.

The disk of the dumps is slow to every process of a command, each time that it reads or writes there. That of
the warehouse is slow to its server as often as it waits until something is on the disk, which those of a
sandbox otherwise never do: it is started anew for it. What it reads, or writes without waiting, is in memory.
"""

import contextlib
import shlex
import shutil
import struct
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from pipeline import postgres
from pipeline.sandbox import accounts, lifecycle
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters
from tests.faults import preloaded, servers
from tests.faults.faults import Fault
from tests.faults.scene import Scene

SOURCE = Path(__file__).with_name("slow.c")
WAIT_SECONDS, SYNC_SECONDS = 0.005, 0.02
LEAST_WAITS = 10
# As slow.c has it: nanoseconds to wait, the device, and how often somebody has waited.
FORM = struct.Struct("=qqq")
TOOLS = ("pg_dump", "pg_restore")
# In a sandbox nobody waits for a disk.
WAITING = ("fsync", "synchronous_commit")


class _Disk:
    """What slow.c goes by."""

    def __init__(self, folder: Path, wait_seconds: float, device: int = 0) -> None:
        """`device` is that of the disk; without it only who syncs waits, on any disk."""
        self._wait, self._device, self.file = int(wait_seconds * 1e9), device, folder / "slow_disk"
        self.library = Path(shutil.copy(preloaded.library(SOURCE), folder))
        self.file.write_bytes(FORM.pack(0, device, 0))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "SLOW_DISK": str(self.file)}

    def be_slow(self) -> None:
        with self.file.open("r+b") as file:
            file.write(FORM.pack(self._wait, self._device, 0))

    @property
    def waits(self) -> int:
        return int(FORM.unpack(self.file.read_bytes())[2])


class _OfDumps:
    """The disk of the dumps, to each process of the command and to PostgreSQL's programs."""

    def __init__(self) -> None:
        self.disk: _Disk | None = None

    @contextlib.contextmanager
    def around(self, world: Any) -> Iterator[Mapping[str, str]]:
        work: Path = world.disks["work"]
        folder = world.folder / "slow"
        folder.mkdir()
        self.disk = _Disk(folder, WAIT_SECONDS, work.stat().st_dev)
        # These get nothing of our environment but what they need.
        more = shlex.join(["env", *(f"{name}={value}" for name, value in self.disk.environment.items())])
        for name in TOOLS:
            tool = folder / name
            tool.write_text(f'#!/bin/sh\nexec {more} {shlex.quote(str(clusters.BINARIES / name))} "$@"\n')
            tool.chmod(0o755)
        world.archive.write_settings(postgres_bin=str(folder))
        try:
            yield self.disk.environment
        finally:
            world.archive.write_settings(postgres_bin=str(clusters.BINARIES))
            shutil.rmtree(folder)


class _OfWarehouse:
    """The disk of the warehouse, to its server."""

    def __init__(self) -> None:
        self.disk: _Disk | None = None

    @contextlib.contextmanager
    def around(self, world: Any) -> Iterator[Mapping[str, str]]:
        home: Home = servers.home_of(world)
        folder = home.servers("slow")
        folder.mkdir(mode=0o700)
        self.disk = _Disk(folder, SYNC_SECONDS)
        for path in (folder, self.disk.library, self.disk.file):
            accounts.give(path, home.account)
        server = servers.server_of(servers.WAREHOUSE)
        environment = {**server.environment(home), **self.disk.environment}
        try:
            with mock.patch.object(server, "environment", return_value=environment):
                self._start_anew(world)
            self._set(home, "ALTER SYSTEM SET {} = on")
            yield {}
        finally:
            self._set(home, "ALTER SYSTEM RESET {}")
            self._start_anew(world)
            shutil.rmtree(folder)

    @staticmethod
    def _start_anew(world: Any) -> None:
        lifecycle._end(servers.home_of(world), [servers.server_of(servers.WAREHOUSE)])
        servers.start(world, servers.WAREHOUSE)

    @staticmethod
    def _set(home: Home, statement: str) -> None:
        with clusters.connection(home, servers.WAREHOUSE, "postgres") as connection:
            for name in WAITING:
                postgres.rows(connection, statement.format(name))
            postgres.rows(connection, "SELECT pg_reload_conf()")


def _slow(name: str, which: _OfDumps | _OfWarehouse, *, harms: bool = False) -> Fault:
    def strike(_world: Any, _scene: Scene) -> Generator[None, None, None]:
        disk = which.disk
        assert disk is not None
        disk.be_slow()
        yield
        yield
        assert disk.waits >= LEAST_WAITS, f"it was waited {disk.waits} times: nobody had to do with that disk"

    return Fault(
        name, strike, place="begun", needs_mounts=True, around=which.around, harms=harms, fails=False
    )


WORK_SLOW = _slow("disk of the dumps slow", _OfDumps())
WAREHOUSE_SLOW = _slow("disk of the warehouse slow", _OfWarehouse(), harms=True)
