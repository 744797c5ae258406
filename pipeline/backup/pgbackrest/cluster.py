"""A server out of a repository of pgBackRest: restored into a private folder, recovered, and ours alone.

It has no port, reaches no other server, writes into no archive, runs nothing by itself, and ends with us.
"""

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pipeline import postgres
from pipeline.backup.pgbackrest import isolation, program
from pipeline.backup.pgbackrest.machine import Programs
from pipeline.backup.pgbackrest.repository import Stored
from pipeline.errors import LostError, StepError, UnreachableError, UsageError
from pipeline.postgres import Connection
from pipeline.redact import redact
from pipeline.settings.sections import PgBackRestSettings
from pipeline.system import command
from pipeline.system.account import Account
from pipeline.system.command import Child

Show = Callable[[str], None]

PORT = 5432
# It is there in every server.
DATABASE = "template1"
# In a database that is read-only by default, amcheck is made and taken away again.
WRITING: Mapping[str, str] = {"default_transaction_read_only": "off"}
# What it says until it has recovered.
RECOVERING = "not accepting connections"
# What the kernel takes as the path of a socket, its last byte a zero.
SOCKET_BYTES = 107
POLL_SECONDS = 0.2
# How large a folder is takes a look at each of its files.
MEASURE_SECONDS = 5.0
STOP_SECONDS = 300.0
TAIL_LINES = 12


@dataclass(frozen=True)
class Cluster:
    """The folder of a server that is restored, who runs it, and what its first superuser is called."""

    settings: PgBackRestSettings
    stanza: str
    programs: Programs
    folder: Path
    account: Account | None
    superuser: str

    @property
    def data(self) -> Path:
        """Where its data is."""
        return self.folder / "data"

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def prepare(self) -> None:
        """Make its folders, for nobody but whoever runs it. Raise UsageError if the path is too long."""
        if len(os.fsencode(self.folder / f".s.PGSQL.{PORT}")) > SOCKET_BYTES:
            raise UsageError(
                f"{self.folder}: its path is too long for a Unix socket",
                hint="set [pgbackrest] work_dir to a folder with a shorter path",
            )
        for folder in (self.data, self.folder / "lock", self.folder / "tablespaces", self.folder / "socket"):
            folder.mkdir(mode=0o700)
            if self.account:
                self.account.give(folder)
        if self.account:
            # It goes through, and sees nothing there.
            self.folder.chmod(0o711)

    def _arguments(self, *more: str) -> list[str]:
        own = (f"--pg1-path={self.data}", f"--lock-path={self.folder / 'lock'}")
        return program.arguments(self.settings, self.stanza, *own, *more)

    def restore(self, backup: Stored, show: Show) -> None:
        """Restore this backup. Raise StepError if pgBackRest fails.

        It is named: of several repositories pgBackRest would take the first that has any backup at all.
        What its own file says of a restore (delta, a target, where tablespaces go) does not count: nothing
        may be written but in this folder.
        """
        options = (
            f"--repo={backup.repo}",
            f"--set={backup.label}",
            "--no-delta",
            "--type=default",
            "--archive-mode=off",
            "--no-link-all",
            f"--tablespace-map-all={self.folder / 'tablespaces'}",
            "restore",
        )
        with self._child(self._arguments(*options), os.devnull) as child:
            measured = 0.0
            while child.running:
                if time.monotonic() - measured > MEASURE_SECONDS:
                    show(f"{_size(self.folder) / 1e6:,.0f} MB")
                    measured = time.monotonic()
                time.sleep(POLL_SECONDS)
            child.finish()

    def control(self) -> dict[str, str]:
        """Return what pg_controldata says of it, by its own names."""
        output = self._run("pg_controldata", self.data)
        return {
            name.strip(): value.strip()
            for name, _, value in (one.partition(":") for one in output.splitlines())
        }

    def check_pages(self) -> str | None:
        """Return what is wrong with the checksums of its pages, None if nothing is, while it does not run.

        Raise StepError if they cannot be checked.
        """
        try:
            self._run("pg_checksums", "--check", self.data)
        except StepError as error:
            if "checksum verification failed" in error.fact or "Bad checksums" in error.fact:
                return error.fact
            raise
        return None

    @contextlib.contextmanager
    def running(self, show: Show) -> Iterator[None]:
        """Start it, recover to the end of the archive, and stop it at the end of the block, as it should be.

        Raise StepError if it does not come up.
        """
        isolation.write_access(self.folder, self.superuser, self.account)
        arguments: list[str | Path] = [self.programs.path("postgres"), "-D", self.data, "-p", str(PORT)]
        fetch = [shutil.which(program.NAME) or program.NAME, *self._arguments("--no-archive-async")[1:]]
        options = isolation.settings(self.programs.major, self.control(), self.folder, fetch)
        for name, value in options.items():
            arguments += ["-c", f"{name}={value}"]
        with self._child(arguments, self._log) as child:
            self._wait(child, show)
            yield
            child.signal(signal.SIGINT)
            deadline = time.monotonic() + STOP_SECONDS
            while child.running and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if child.running:
                raise StepError(f"the restored server did not stop within {STOP_SECONDS:g} seconds")
            child.finish()

    def opened(
        self, database: str, session: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[Connection]:
        """Open one of its databases while it runs; each statement is committed."""
        socket = quote(str(self.folder / "socket"), safe="")
        options = quote(isolation.session_options(self.programs.major), safe="")
        place = f"{quote(self.superuser, safe='')}@/{quote(database, safe='')}"
        uri = f"postgresql://{place}?host={socket}&port={PORT}&options={options}"
        return postgres.connection(
            uri, f"the restored database {database}", autocommit=True, session={**WRITING, **(session or {})}
        )

    def _wait(self, child: Child, show: Show) -> None:
        while True:
            if not child.running:
                raise StepError(f"the restored server did not start: {self._tail()}", retryable=False)
            show(self._replayed())
            try:
                with self.opened(DATABASE):
                    return
            except UnreachableError as error:
                if not isinstance(error, LostError) and RECOVERING not in error.fact:
                    raise StepError(error.fact, retryable=False) from None
            time.sleep(POLL_SECONDS)

    def _replayed(self) -> str:
        names = re.findall(r'restored log file "(\w+)"', self._log.read_text(errors="replace"))
        return f"replayed {names[-1]}" if names else ""

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return redact("; ".join((fatal or lines)[-TAIL_LINES:]))

    def _run(self, name: str, *arguments: str | Path) -> str:
        return command.run(
            [self.programs.path(name), *arguments],
            environment=command.clean_environment({}),
            account=self.account,
        )

    @contextlib.contextmanager
    def _child(self, arguments: Sequence[str | Path], output: str | Path) -> Iterator[Child]:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            with Child(
                arguments,
                environment=command.clean_environment({}),
                output=descriptor,
                account=self.account,
            ) as child:
                yield child
        finally:
            os.close(descriptor)


def end(folder: Path) -> None:
    """End what still runs in a folder that a process which was killed has left."""
    data = folder / "data"
    for argument in (data, f"--pg1-path={data}"):
        command.kill_started_with(argument)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total
