"""The drill of the archive that pgBackRest has beside our backups: it is restored into a private folder,
recovered to its end, read in full, compared with our own backup, timed, and removed.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipeline import postgres
from pipeline.access import Access
from pipeline.backup.database import assertions, contents
from pipeline.backup.database.assertions import Assertion
from pipeline.backup.database.counting import Counting
from pipeline.backup.drills import attempt, recovered, report
from pipeline.backup.drills.attempt import DrillWork
from pipeline.backup.drills.recovered import Recovered
from pipeline.backup.drills.report import Origin, Report
from pipeline.backup.pgbackrest import cluster, machine, repository
from pipeline.backup.pgbackrest.cluster import Cluster
from pipeline.backup.pgbackrest.repository import Repository
from pipeline.backup.store.manifest import Manifest
from pipeline.backup.work.work_folder import FINISHED, RESTORE, RESTORES
from pipeline.chains import ARCHIVE_DRILL_TASK
from pipeline.errors import CheckError, PipelineError, StepError, UnreachableError, UsageError
from pipeline.progress import Show, no_progress
from pipeline.redact import redact
from pipeline.settings import Settings
from pipeline.settings.sections import DrillSettings
from pipeline.system import command, temporary
from pipeline.system.account import Account

STEP = ARCHIVE_DRILL_TASK
ORIGIN = Origin.PGBACKREST
PHASES = ("restore", "recovery", "check", "control")
POLL_SECONDS = 0.2
PAGE_BYTES = 8192
# Where the manifest is older than that it says so.
USUAL_SUPERUSER = "postgres"


def stanza_of(settings: Settings, database: str) -> str:
    """Return what pgBackRest calls a database's server. Raise UsageError if luigi.cfg does not say so."""
    stanza = settings.database(database).pgbackrest
    if stanza is None:
        raise UsageError(
            f"database {database}: luigi.cfg names no stanza of pgBackRest",
            hint=f"write pgbackrest = STANZA into [database.{database}]",
        )
    return stanza


def drill_archive(settings: Settings, database: str, month: str, show: Show = no_progress) -> Report:
    """Drill what pgBackRest has of a database's server. The report is in the bucket, held or not.

    Raise CheckError if it did not hold, StepError if it could not be tried (no room, no programs of that
    version, no backup), UnreachableError if Vault, B2 or the repository is.
    """
    stanza = stanza_of(settings, database)
    folder = DrillWork(settings, database, month, ORIGIN)
    with attempt.stoppable(), folder.step(STEP, show), attempt.reading(settings) as (databases, bucket):
        drill = _Recovery(
            databases, stanza, month, folder.shown(STEP, show), *attempt.newest(bucket, settings, database)
        )
        try:
            drill.run()
        except (CheckError, StepError) as error:
            attempt.publish(databases, STEP, drill.report(error))
            raise
        result = drill.report(None)
        attempt.publish(databases, STEP, result)
        if not result.held:
            raise CheckError(f"{database}, stanza {stanza}: " + "; ".join(result.failures))
        folder.write(FINISHED, result)
        show(100, f"grade {result.grade}, recovered in {result.recovery_seconds:,.0f} s")
        return result


@dataclass
class _Recovery:
    """One drill on its way, and what is known of it so far."""

    databases: Access
    stanza: str
    month: str
    show: Show
    proven: Manifest
    remarks: tuple[str, ...]
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: dict[str, float] = field(default_factory=dict)
    sentences: tuple[Assertion, ...] = ()
    controls: tuple[Assertion, ...] = ()
    before: Repository | None = None
    after: Recovered | None = None

    @property
    def _settings(self) -> Settings:
        return self.databases.settings

    @property
    def _superuser(self) -> str:
        return self.proven.contents.database.superuser or USUAL_SUPERUSER

    def run(self) -> None:
        """Restore, recover, read everything, compare, and try what is damaged."""
        own = self._settings.pgbackrest
        self.before = before = repository.read(own, self.stanza)
        if before.backup is None:
            raise StepError(
                f"stanza {self.stanza}: {before.problem or 'pgBackRest has no backup of this server'}",
                hint=f"type 'pgbackrest --stanza={self.stanza} info'",
                retryable=False,
            )
        self.remarks = (*self.remarks, *recovered.not_drilled(before, before.backup))
        programs, account = machine.programs(own, before.version), machine.account(own)
        with _folder(self._settings, account) as folder:
            machine.require_room(folder, before.backup.size_bytes)
            made = Cluster(own, self.stanza, programs, folder, account, self._superuser)
            made.prepare()
            with self._phase("restore"):
                made.restore(before.backup, lambda words: self._show_phase("restore", words))
            begun = time.monotonic()
            with made.running(lambda words: self._show_phase("recovery", words)):
                self.seconds["recovery"] = time.monotonic() - begun
                with self._phase("check"):
                    self._ask(made, before)
            with self._phase("check"):
                pages = _pages(made)
            self.sentences = (*self.sentences, pages)
            self._show_phase("control", "")
            self.controls = (_damaged_page(made, pages),)

    def _ask(self, made: Cluster, before: Repository) -> None:
        """Ask the server that was recovered, and read every table of the database."""
        with made.opened(cluster.DATABASE) as connection:
            after = postgres.read(connection, postgres.statement("backup/recovered"), Recovered)[0]
        self.after, name = after, self.proven.contents.database.name
        self.sentences = (
            recovered.sound_backup(before),
            recovered.same_server(after, self.proven),
            recovered.whole_archive(after, before, self.started_at),
            recovered.as_far_as_backup(after, self.proven),
        )
        try:
            self.sentences = (*self.sentences, *self._read(made, name))
        except (StepError, UnreachableError) as error:
            # That it cannot be read, or does not live through that, is what was asked.
            self.sentences = (
                *self.sentences,
                Assertion(name="tables", held=False, detail=redact(error.fact)),
            )

    def _read(self, made: Cluster, name: str) -> list[Assertion]:
        """Read every table and every index of a database."""
        session = self.proven.contents.session
        with made.opened(name, session) as connection:
            shapes = contents.tables(connection)
            with Counting(lambda: made.opened(name, session), shapes) as counting:
                while not counting.ended:
                    self._show_phase("check", counting.progress)
                    time.sleep(POLL_SECONDS)
                counted, _ = counting.result()
            return [recovered.tables(counted, self.proven), *assertions.indexes(connection)]

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun

    def _show_phase(self, phase: str, words: str) -> None:
        self.show(int(PHASES.index(phase) / len(PHASES) * 100), f"{phase} {words}".strip())

    def report(self, error: PipelineError | None) -> Report:
        """Return the report of all that is known."""
        deadline = _deadline_seconds(self._settings)
        recovery, fact = sum(self.seconds.values()), redact(error.fact) if error else None
        backup = self.before.backup if self.before else None
        size = backup.size_bytes if backup else 0
        return Report.model_validate(
            {
                "origin": ORIGIN,
                "label": backup.label if backup else None,
                "recovered_to": self.after.recovered_to if self.after else None,
                "database": self.proven.database,
                "month": self.month,
                "run": self.proven.run,
                "taken_at": backup.taken_at if backup else self.proven.taken_at,
                "started_at": self.started_at,
                "finished_at": datetime.now(UTC),
                "size_bytes": size,
                "dump_bytes": size,
                "seconds": {phase: round(took, 3) for phase, took in self.seconds.items()},
                "recovery_seconds": round(recovery, 3),
                "deadline_seconds": deadline,
                "limit_bytes": report.limit_bytes(size, recovery, deadline) if error is None else None,
                "assertions": self.sentences,
                "controls": self.controls,
                "remarks": self.remarks,
                "error": fact,
                "hint": redact(error.hint) if error else "",
                "grade": report.grade(
                    (*self.sentences, *self.controls), self.remarks, in_time=recovery <= deadline, error=fact
                ),
            }
        )


def _deadline_seconds(settings: Settings) -> float:
    # The server of [drill] is not needed for this.
    minutes = DrillSettings.model_fields["deadline_minutes"].default
    return 60.0 * (settings.drill.deadline_minutes if settings.drill else minutes)


@contextmanager
def _folder(settings: Settings, account: Account | None) -> Iterator[Path]:
    """Give the block a private folder for the server, that whoever runs it can reach; gone afterwards."""
    parent = (settings.pgbackrest.work_dir or settings.require_backup().work_dir) / RESTORES
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account:
            parent.chmod(0o711)
    except OSError as error:
        raise UsageError(
            f"{parent}: cannot be created: {error.strerror}", hint="fix [pgbackrest] work_dir"
        ) from error
    with temporary.folder(parent, RESTORE, cluster.end) as folder:
        if account:
            folder.chmod(0o711)
            try:
                command.run(["test", "-x", folder], account=account)
            except StepError:
                raise UsageError(
                    f"{folder}: user {account.name}, who runs the restored server, cannot enter it",
                    hint="set [pgbackrest] work_dir to a folder that this user can enter",
                ) from None
        yield folder


def _pages(made: Cluster) -> Assertion:
    """Say whether each page has the checksum that it should have."""
    name = "page checksums"
    try:
        wrong = made.check_pages()
    except StepError as error:
        return Assertion(name=name, held=None, detail=f"not checked: {redact(error.fact)}")
    return Assertion(name=name, held=wrong is None, detail=wrong or "correct on every page")


def _damaged_page(made: Cluster, pages: Assertion) -> Assertion:
    """Change one byte of one page: its checksum must tell."""
    name = "a damaged page is noticed"
    if pages.held is None:
        return Assertion(name=name, held=None, detail="not tried: pages have no checksums")
    files = [path for path in (made.data / "base").glob("*/*") if path.name.isdigit()]
    path = max(files, key=lambda one: one.stat().st_size)
    _flip(path, PAGE_BYTES - 1)
    wrong = made.check_pages()
    detail = (
        "one bit flipped: its checksum shows it"
        if wrong
        else f"one bit of {path.name} was flipped, unnoticed"
    )
    return Assertion(name=name, held=wrong is not None, detail=detail)


def _flip(path: Path, offset: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        byte = os.pread(descriptor, 1, offset)[0]
        os.pwrite(descriptor, bytes([byte ^ 1]), offset)
    finally:
        os.close(descriptor)
