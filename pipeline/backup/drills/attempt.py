"""One attempt at a drill, whatever is restored in it: its folder, our backup, its report, and its end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline import access, chains
from pipeline.access import Access
from pipeline.backup.drills import report
from pipeline.backup.drills.report import Origin, Report
from pipeline.backup.store import backups, choice, recording
from pipeline.backup.store.manifest import Manifest
from pipeline.backup.work import work_folder
from pipeline.backup.work.work_folder import Work
from pipeline.bucket import Bucket
from pipeline.errors import StepError
from pipeline.settings import Settings
from pipeline.system import stopping


class DrillWork(Work):
    """Where the drills of a month leave word of how they get on."""

    def __init__(self, settings: Settings, database: str, month: str, origin: Origin = Origin.BACKUP) -> None:
        aspect = f"-{origin}" if origin is not Origin.BACKUP else ""
        super().__init__(settings.require_backup(), work_folder.DRILLS, f"{database}-{month}{aspect}")
        self.month, self._origin = month, origin
        if origin is not Origin.BACKUP:
            self.run_lock = work_folder.ARCHIVE_LOCK

    @property
    def going(self) -> str:
        """What this is the folder of."""
        return "a drill" if self._origin is Origin.BACKUP else "a drill of what pgBackRest has"

    @property
    def is_finished(self) -> bool:
        """Whether this drill has ended, well or not."""
        return (self.folder / work_folder.FINISHED).exists() or bool(self.failure())


def is_held(settings: Settings, database: str, month: str, origin: Origin = Origin.BACKUP) -> bool:
    """Whether the bucket has a report of that month that says that a backup of the database was proven."""
    with reading(settings) as (_, bucket):
        result = report.find(bucket, database, month, origin)
        return result is not None and result.info["grade"] in report.HOLDING


def reports(
    settings: Settings, databases: list[str], month: str, origin: Origin = Origin.BACKUP
) -> dict[str, Report]:
    """Return the reports of a month, of those databases that have one."""
    with reading(settings) as (_, bucket):
        result = {name: report.find(bucket, name, month, origin) for name in databases}
        return {name: report.read(bucket, stored) for name, stored in result.items() if stored}


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM end the block as an error does, with everything tidied up; Luigi would end us at once."""

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, stopping.stop)
    try:
        with stopping.heard():
            yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def reading(settings: Settings) -> Iterator[tuple[Access, Bucket]]:
    """Open the bucket with what a restore may have."""
    with (
        access.restoring(settings) as databases,
        databases.bucket(settings.require_restore().secret) as bucket,
    ):
        yield databases, bucket


def newest(bucket: Bucket, settings: Settings, database: str) -> tuple[Manifest, tuple[str, ...]]:
    """Return the manifest of the newest sound backup, and a remark if there is a newer one that is not."""
    there = backups.find(bucket, settings, database).of(database)
    sound = [one for one in there if one.sound]
    if not sound:
        raise StepError(
            f"{database}: the bucket has no verified backup of it{' that is signed' if there else ''}",
            hint=f"make one with '{chains.BACKUP.command(None, database)}'",
            retryable=False,
        )
    remarks: tuple[str, ...] = ()
    if there[-1] != sound[-1]:
        remarks = (f"the newest backup, run {there[-1].run}, {there[-1].flaw}: an older one was used",)
    return choice.choose(bucket, settings, database, sound[-1].run), remarks


def publish(databases: Access, task: str, result: Report) -> None:
    """Put the report into the bucket and, where the warehouse is up, into its ledger; `task` made it."""
    with databases.bucket(databases.settings.require_backup().secret) as bucket:
        report.write(bucket, result)
    recording.record_drill(databases, result.database, task, _row(result))


def _row(result: Report) -> dict[str, object]:
    return {
        "database": result.database,
        "month": result.month,
        "run": result.run,
        "held": result.held,
        "grade": result.grade,
        "recovery_seconds": result.recovery_seconds,
        "deadline_seconds": result.deadline_seconds,
        "size_bytes": result.size_bytes,
        "limit_bytes": result.limit_bytes,
        "finished_at": result.finished_at,
        "report": result.model_dump_json(),
    }
