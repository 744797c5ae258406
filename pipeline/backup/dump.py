"""The dump of a database, and what the database held at that very moment: both are read in one snapshot."""

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline import access, alerts, crypt, postgres, retry
from pipeline.access import Access
from pipeline.alerts import failures
from pipeline.backup import tools
from pipeline.backup.database import archive, archiving, contents, counting, moment, schema
from pipeline.backup.database.archive import Archived
from pipeline.backup.database.counting import Counting
from pipeline.backup.database.table_locks import TableLocks
from pipeline.backup.store import backups, signature
from pipeline.backup.store.encrypted_properties import Properties
from pipeline.backup.store.manifest import Contents, LargeObjects, Table
from pipeline.backup.tools import Tool
from pipeline.backup.work import files, records
from pipeline.backup.work.records import Dumped
from pipeline.backup.work.work_folder import Work
from pipeline.chains import DUMP_TASK
from pipeline.crypt import Digest
from pipeline.errors import LostError, PipelineError, StepError
from pipeline.postgres import Connection, snapshot
from pipeline.postgres.snapshot import Snapshot
from pipeline.progress import Show, no_progress
from pipeline.settings import BackupSettings, Settings
from pipeline.system import atomic, command, room

STEP = DUMP_TASK
POLL_SECONDS = 0.1
# A table that somebody alters keeps us waiting so long.
LOCK_WAIT_SECONDS = 30
# As libpq and servers say it. pg_dump ends with 1 whatever it was, and hands on no code of the server's.
CONNECTION_LOST = re.compile(
    r"server closed the connection|terminating connection|could not connect|connection to server"
)


def dump_database(settings: Settings, database: str, run: str, show: Show = no_progress) -> None:
    """Dump the database, its roles and what it holds into the work folder.

    Raise UsageError, before anything is started, if pg_dump or pg_restore is missing, or a recipient's key
    cannot be used; StepError if somebody else's manifest has the name of this run, pg_dump is older than the
    server, there is no room, a table is kept locked, or it fails; CheckError if it did not write the rows
    that there are; UnreachableError if the database is, or Vault does not sign.
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
        backups.require_free(settings, database, run)
        warnings = _usable_keys(backup, folder)
        programs = tuple(tools.newest(name, backup.postgres_bin) for name in ("pg_dump", "pg_restore"))

        def work_once() -> Dumped:
            try:
                with access.opened(settings) as databases:
                    # A night is too long to find out at its end.
                    signature.require_able(databases, database)
                    return _Dump(databases, folder, programs, lock, folder.shown(STEP, show)).run(warnings)
            except BaseException:
                folder.remove_plain()
                raise

        dumped = retry.call(work_once, lambda message: show(None, message))
        folder.write(records.DUMPED, dumped)
        show(100, f"{len(dumped.contents.tables)} tables, {dumped.dump.size_bytes:,} bytes")


def _usable_keys(backup: BackupSettings, folder: Work) -> tuple[str, ...]:
    """Find out before a long dump that nobody could be given it."""
    with crypt.keyring(backup.recipients, now=datetime.now(UTC), folder=folder.folder) as keyring:
        return keyring.warnings


class _Dump:
    """One dump on its way: pg_dump in a process, the checksums beside it, all in one snapshot."""

    def __init__(
        self, databases: Access, folder: Work, programs: tuple[Tool, ...], lock: int, show: Show
    ) -> None:
        self._databases, self._folder, self._lock = databases, folder, lock
        self._pg_dump, self._pg_restore = programs
        self._show = show
        self._name = f"database {folder.database}"
        self._uri = databases.database_uri(folder.database)
        self._compression = tools.compression(self._pg_dump)
        self._partial = folder.dump.with_name(folder.dump.name + atomic.PARTIAL)

    def run(self, warnings: tuple[str, ...]) -> Dumped:
        started_at, begun = datetime.now(UTC), time.monotonic()
        with self._databases.database(self._folder.database) as connection, postgres.explained(self._name):
            encoding = self._require_possible(connection)
            # This session, those that count, and pg_dump's own.
            locks = TableLocks(connection, self._name, counting.COUNTERS + 2, self._show)
            taken = locks.take()
            now = datetime.now(UTC)
            warnings += (*moment.warnings(self._name, taken, now), *self._archiving(connection))
            # They are outside the snapshot: read before the dump, so that this has each at least so far.
            sequences = contents.sequences(connection)
            own = contents.properties(connection)
            roles = self._write_globals(connection, own)
            shapes = [one for one in locks.tables if one.kind == contents.TableKind.PLAIN]
            with Counting(lambda: self._reading(taken, locks), shapes) as counted:
                dump_seconds, complaints = self._dump(taken, encoding, locks, counted, begun)
                # While the last checksums are still being computed.
                digest, archived = self._read_back()
                tables, large_objects = self._wait(counted)
            archive.require_same(archived, counted.rows, shapes, large_objects.count)
            described = contents.complete(connection, tables, sequences, large_objects)
            neighbours = contents.neighbours(connection)
        definitions = schema.fingerprint(self._pg_restore, self._partial, encoding)
        described = described.model_copy(update={"schema_sha256": definitions, "settings": own.names})
        self._partial.replace(self._folder.dump)
        atomic.settle(self._folder.folder)
        return Dumped(
            taken_at=moment.shown(taken, now),
            started_at=started_at,
            dump_seconds=dump_seconds,
            contents_seconds=counted.seconds,
            client_version=self._pg_dump.version,
            compression=self._compression,
            contents=described,
            dump=digest,
            globals=roles,
            warnings=(*warnings, *complaints, *_missing(self._name, described)),
            neighbours=neighbours,
        )

    def _archiving(self, connection: Connection) -> tuple[str, ...]:
        """Tell once that the server's own archive of WAL is not written any more, and that this is over."""
        state = archiving.read(connection)
        settings, database = self._databases.settings, self._folder.database
        of = replace(failures.backup(database, self._folder.run), key=f"{failures.ARCHIVING}{database}")
        if state is None or (problem := state.problem) is None:
            now = "archives its WAL again" if state else "no longer has to archive its WAL"
            alerts.send_recovery(settings, of.key, f"{self._name}: its server {now}")
            return ()
        alerts.send(settings, of.alert(problem, kind=alerts.Kind.WARNING))
        return (f"{self._name}: {problem}",)

    @contextlib.contextmanager
    def _reading(self, taken: Snapshot, locks: TableLocks) -> Iterator[Connection]:
        with self._databases.database(self._folder.database) as connection:
            snapshot.read_at(connection, taken)
            locks.join(connection)
            yield connection

    def _read_back(self) -> tuple[Digest, Archived]:
        """Return the dump's digest and what is in it: of the same bytes, which EncryptDump holds to that."""
        with ThreadPoolExecutor(1) as beside:
            digest = beside.submit(files.digest, self._partial)
            try:
                archived = archive.read(self._pg_restore, self._partial, keep_open=[self._lock])
            except StepError as error:
                raise StepError(f"{self._name}: the dump cannot be read back: {error}") from None
            return digest.result(), archived

    def _require_possible(self, connection: Connection) -> str:
        """Return the encoding of the database, if it can be dumped."""
        database = contents.database(connection)
        server = database.version_number // 10000
        if self._pg_dump.major < server:
            raise StepError(
                f"{self._name}: pg_dump {self._pg_dump.version} ({self._pg_dump.path}) is older than the "
                f"server ({database.version})",
                hint=f"install the client of {server}, or set [backup] postgres_bin",
                retryable=False,
            )
        free = shutil.disk_usage(self._folder.folder).free
        if free < database.size_bytes:
            raise StepError(
                f"{self._folder.folder}: {free:,} bytes are free, and the dump of {self._name} may need "
                f"{database.size_bytes:,}",
                hint="make room there, or set another [backup] work_dir",
            )
        return database.encoding

    def _write_globals(self, connection: Connection, own: Properties) -> Digest:
        data = contents.globals_sql(connection, own).encode()
        with (
            files.new(self._folder.globals) as descriptor,
            os.fdopen(descriptor, "wb", closefd=False) as file,
        ):
            file.write(data)
        return Digest(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def _dump(
        self, taken: Snapshot, encoding: str, locks: TableLocks, counted: Counting, begun: float
    ) -> tuple[float, tuple[str, ...]]:
        """Run pg_dump to its end; return the seconds it took, and in its words what it left out."""
        arguments: list[str | Path] = [
            self._pg_dump.path,
            "--format=custom",
            tools.compression_argument(self._pg_dump, self._compression),
            # Its own: no byte becomes another, and what a role asks for (client_encoding) does not count.
            f"--encoding={encoding}",
            f"--snapshot={taken.identifier}",
            f"--lock-wait-timeout={LOCK_WAIT_SECONDS}s",
            "--no-password",
        ]
        environment = postgres.program_environment(self._uri, self._name)
        with (
            files.new(self._partial) as output,
            postgres.unseen(environment) as (variables, kept),
            # The lock goes with it: if we are killed, nobody begins before it has ended as well.
            command.Child(
                arguments,
                environment=command.clean_environment(variables),
                output=output,
                keep_open=[self._lock, *kept],
            ) as child,
        ):
            self._see_begin(child, locks, counted)
            while child.running:
                counted.raise_failure()
                self._show_progress(counted)
                time.sleep(POLL_SECONDS)
            try:
                complaints = child.finish()
            except StepError as error:
                raise self._explained(error) from None
        return time.monotonic() - begun, tuple(f"{self._name}: {line}" for line in complaints)

    def _see_begin(self, child: command.Child, locks: TableLocks, counted: Counting) -> None:
        """Wait until pg_dump has locked all tables, and then writes; make sure that it sees all rows."""
        while child.running and not self._partial.stat().st_size:
            counted.raise_failure()
            locks.step_aside()
            time.sleep(POLL_SECONDS)
        with self._databases.database(self._folder.database) as fresh:
            locks.require_unmoved(fresh)

    def _explained(self, error: StepError) -> PipelineError:
        if room.lacking(self._folder.folder):
            return StepError(
                f"{self._name}: {error}",
                hint=f"make room in {self._folder.folder}",
            )
        if CONNECTION_LOST.search(str(error)):
            return LostError(f"{self._name}: the connection was lost: {error}")
        return StepError(f"{self._name}: {error}")

    def _show_progress(self, counted: Counting) -> None:
        written = self._partial.stat().st_size / 1e6
        # The last percent are the end's.
        self._show(int(counted.share * 99), f"{written:,.0f} MB written, {counted.progress}")

    def _wait(self, counted: Counting) -> tuple[list[Table], LargeObjects]:
        while not counted.ended:
            self._show_progress(counted)
            time.sleep(POLL_SECONDS)
        return counted.result()


def _missing(name: str, dumped: Contents) -> tuple[str, ...]:
    """Say what this database has that its dump has not."""
    return tuple(
        f"{name}: not in the backup: {one.description}" for one in dumped.missing if not one.by_nature
    )
