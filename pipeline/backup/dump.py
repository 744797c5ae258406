"""The dump of a database, and what the database held at that very moment: both are read in one snapshot."""

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipeline import access, command, crypt, patience, postgres, snapshot
from pipeline.access import Access
from pipeline.backup import backups, contents, files, records, tools
from pipeline.backup.counting import Counting
from pipeline.backup.manifest import LargeObjects, Table
from pipeline.backup.records import Dumped
from pipeline.backup.tools import Tool
from pipeline.backup.work import Work
from pipeline.chains import DUMP_TASK
from pipeline.crypt import Digest
from pipeline.errors import LostError, PipelineError, StepError
from pipeline.postgres import Connection
from pipeline.progress import Show, silent
from pipeline.settings import BackupSettings, Settings
from pipeline.snapshot import Snapshot

STEP = DUMP_TASK
LOOK_SECONDS = 0.1
# A table that somebody alters keeps us waiting so long.
LOCK_WAIT_SECONDS = 30
HASH_BYTES = 1024 * 1024
WARNING = "warning: "
# So much may a server's clock differ from ours without a word.
CLOCK_SECONDS = 60
LOST = re.compile(
    r"server closed the connection|terminating connection|could not connect|connection to server"
)


def dump_database(settings: Settings, database: str, run: str, show: Show = silent) -> None:
    """Dump the database, its roles and what it holds into the work folder.

    Raise UsageError, before anything is started, if pg_dump is missing or a recipient's key cannot be used;
    StepError if pg_dump is older than the server, there is no room, or it fails; UnreachableError if the
    database is.
    """
    backup = settings.require_backup()
    settings.database(database)
    folder = Work(backup, database, run)
    with folder.step(STEP, show) as lock:
        if (
            records.dumped(folder)
            or records.encrypted(folder)
            or backups.is_verified(settings, database, run)
        ):
            return
        folder.sweep()
        crypt.sweep(folder.folder)
        folder.remove_plain()
        warnings = _usable_keys(backup, folder)
        pg_dump = tools.newest("pg_dump", backup.postgres_bin)

        def work_once() -> Dumped:
            try:
                with access.opened(settings) as databases:
                    return _Dump(databases, folder, pg_dump, lock, folder.shown(STEP, show)).run(warnings)
            except BaseException:
                folder.remove_plain()
                raise

        dumped = patience.persevere(work_once, lambda said: show(None, said))
        folder.write(records.DUMPED, dumped)
        show(100, f"{len(dumped.contents.tables)} tables, {dumped.dump.size_bytes:,} bytes")


def _usable_keys(backup: BackupSettings, folder: Work) -> tuple[str, ...]:
    """Find out before a long dump that nobody could be given it."""
    with crypt.keyring(backup.recipients, now=datetime.now(UTC), folder=folder.folder) as keyring:
        return keyring.warnings


class _Dump:
    """One dump on its way: pg_dump in a process, the checksums beside it, all in one snapshot."""

    def __init__(self, databases: Access, folder: Work, pg_dump: Tool, lock: int, show: Show) -> None:
        self._databases, self._folder, self._pg_dump, self._lock = databases, folder, pg_dump, lock
        self._show = show
        self._name = f"database {folder.database}"
        self._uri = databases.database_uri(folder.database)
        self._compression = tools.compression(pg_dump)
        self._partial = folder.dump.with_name(folder.dump.name + files.PARTIAL)

    def run(self, warnings: tuple[str, ...]) -> Dumped:
        started_at, begun = datetime.now(UTC), time.monotonic()
        with self._databases.database(self._folder.database) as connection, postgres.explained(self._name):
            taken = snapshot.take(connection)
            taken_at = datetime.now(UTC)
            warnings += clock_warnings(self._name, taken.taken_at, taken_at)
            shapes = contents.tables(connection)
            encoding = self._require_possible(connection)
            # They are outside the snapshot: read before the dump, so that this has each at least so far.
            sequences = contents.sequences(connection)
            roles = self._write_globals(connection)
            with Counting(lambda: self._reading(taken), shapes) as counting:
                dump_seconds, complaints = self._dump(taken, encoding, counting, begun)
                # While the last checksums are still being computed.
                digest = _digest(self._partial)
                tables, large_objects = self._wait(counting)
            found = contents.complete(connection, tables, sequences, large_objects)
        self._partial.replace(self._folder.dump)
        files.settle(self._folder.folder)
        return Dumped(
            # By our clock, which B2 holds to its own: by a server's, an old backup could pass for the newest.
            taken_at=taken_at,
            started_at=started_at,
            dump_seconds=dump_seconds,
            contents_seconds=counting.seconds,
            client_version=self._pg_dump.version,
            compression=self._compression,
            contents=found,
            dump=digest,
            globals=roles,
            warnings=(*warnings, *complaints),
        )

    @contextlib.contextmanager
    def _reading(self, taken: Snapshot) -> Iterator[Connection]:
        with self._databases.database(self._folder.database) as connection:
            snapshot.read_at(connection, taken)
            yield connection

    def _require_possible(self, connection: Connection) -> str:
        """Return the encoding of the database, if it can be dumped."""
        found = contents.database(connection)
        server = found.version_number // 10000
        if self._pg_dump.major < server:
            raise StepError(
                f"{self._name}: pg_dump {self._pg_dump.version} ({self._pg_dump.path}) is older than the "
                f"server ({found.version}); install the client of {server}, or set [backup] postgres_bin"
            )
        free = shutil.disk_usage(self._folder.folder).free
        if free < found.size_bytes:
            raise StepError(
                f"{self._folder.folder}: {free:,} bytes are free, and the dump of {self._name} may need "
                f"{found.size_bytes:,}; make room there, or set another [backup] work_dir"
            )
        return found.encoding

    def _write_globals(self, connection: Connection) -> Digest:
        data = contents.globals_sql(connection).encode()
        with _new(self._folder.globals) as descriptor, os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        return Digest(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def _dump(
        self, taken: Snapshot, encoding: str, counting: Counting, begun: float
    ) -> tuple[float, tuple[str, ...]]:
        """Run pg_dump to its end; return the seconds it took, and in its words what it left out."""
        arguments: list[str | Path] = [
            self._pg_dump.path, "--format=custom",
            tools.compression_argument(self._pg_dump, self._compression),
            # Its own: no byte becomes another, and what a role asks for (client_encoding) does not count.
            f"--encoding={encoding}",
            f"--snapshot={taken.identifier}", f"--lock-wait-timeout={LOCK_WAIT_SECONDS}s", "--no-password",
        ]  # fmt: skip
        environment = command.clean_environment(postgres.program_environment(self._uri, self._name))
        with (
            _new(self._partial) as output,
            # The lock goes with it: if we are killed, nobody begins before it has ended as well.
            command.Child(arguments, environment=environment, output=output, keep_open=[self._lock]) as child,
        ):
            while child.running:
                counting.require_well()
                self._tell(counting)
                time.sleep(LOOK_SECONDS)
            try:
                said = child.finish()
            except StepError as error:
                raise self._explained(error) from None
        return time.monotonic() - begun, tuple(f"{self._name}: {line}" for line in said if WARNING in line)

    def _explained(self, error: StepError) -> PipelineError:
        if "No space left on device" in str(error):
            return StepError(f"{self._name}: {error}; make room in {self._folder.folder}")
        if LOST.search(str(error)):
            return LostError(f"{self._name}: the connection was lost: {error}")
        return StepError(f"{self._name}: {error}")

    def _tell(self, counting: Counting) -> None:
        written = self._partial.stat().st_size / 1e6
        # The last percent are the end's.
        self._show(int(counting.share * 99), f"{written:,.0f} MB written, {counting.told}")

    def _wait(self, counting: Counting) -> tuple[list[Table], LargeObjects]:
        while not counting.ended:
            self._tell(counting)
            time.sleep(LOOK_SECONDS)
        return counting.result()


def clock_warnings(name: str, theirs: datetime, ours: datetime) -> tuple[str, ...]:
    """Return a warning if the clock of a server differs from ours.

    >>> noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    >>> clock_warnings("database hr", noon, noon)
    ()
    >>> clock_warnings("database hr", datetime(2026, 11, 21, 12, tzinfo=UTC), noon)
    ("database hr: its server's clock is 86,400 seconds behind ours; set the one that is wrong",)
    """
    behind = (ours - theirs).total_seconds()
    if abs(behind) <= CLOCK_SECONDS:
        return ()
    how = "behind" if behind > 0 else "ahead of"
    told = f"its server's clock is {abs(behind):,.0f} seconds {how} ours; set the one that is wrong"
    return (f"{name}: {told}",)


@contextlib.contextmanager
def _new(path: Path) -> Iterator[int]:
    """Open a new file (0600), on disk for certain at the end of the block."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> Digest:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(HASH_BYTES):
            digest.update(piece)
        return Digest(size_bytes=file.tell(), sha256=digest.hexdigest())
