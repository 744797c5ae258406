"""The encrypted files on their way to the bucket; an upload that was cut goes on where it was."""

import time

from pipeline import access
from pipeline.access import Access
from pipeline.backup.store import backups
from pipeline.backup.store.manifest import File
from pipeline.backup.work import records
from pipeline.backup.work.records import Encrypted, Uploaded
from pipeline.backup.work.work_folder import Work
from pipeline.chains import UPLOAD_TASK
from pipeline.errors import StepError
from pipeline.progress import Show, moved, no_progress
from pipeline.settings import BackupSettings, Settings

STEP = UPLOAD_TASK
MEBIBYTE = 1024 * 1024


def is_uploaded(settings: Settings, database: str, run: str) -> bool:
    """Whether the bucket has both files just as they were encrypted here."""
    backup = settings.require_backup()
    encrypted = records.encrypted(Work(backup, database, run))
    if encrypted is None:
        return False
    databases = access.brief(settings)
    with backups.reading(databases) as bucket:
        for file in (encrypted.dump, encrypted.globals):
            stored = bucket.find(file.name)
            if stored is None or (stored.sha256, stored.size_bytes) != _identity(file):
                return False
    return True


def _identity(file: File) -> tuple[str, int]:
    return file.encrypted.sha256, file.encrypted.size_bytes


def upload_backup(settings: Settings, database: str, run: str, show: Show = no_progress) -> None:
    """Upload what EncryptDump left.

    Raise UnreachableError if B2 does not answer or refuses our login, StepError if it refuses, or if the
    bucket has another backup under the name of this run.
    """
    backup = settings.require_backup()
    folder = Work(backup, database, run)
    with folder.step(STEP, show):
        folder.sweep()
        encrypted = records.encrypted(folder)
        if encrypted is None:
            raise StepError(
                f"database {database}: no encrypted dump is in {folder.folder}",
            )
        begun = time.monotonic()
        with access.opened(settings) as databases:
            _upload(databases, backup, folder, encrypted, folder.shown(STEP, show))
        took, size = time.monotonic() - begun, encrypted.dump.encrypted.size_bytes
        folder.write(records.UPLOADED, Uploaded(upload_seconds=took))
        show(100, f"{size:,} bytes in {took:,.1f} s, {size / 1e6 / max(took, 0.001):,.1f} MB a second")


def _upload(
    databases: Access, backup: BackupSettings, folder: Work, encrypted: Encrypted, show: Show
) -> None:
    limit, begun = backup.upload_mib_per_second, time.monotonic()

    def progress(done: int, whole: int) -> None:
        message = moved(done, whole, time.monotonic() - begun)
        show(min(done * 100 // max(whole, 1), 99), message)

    with databases.bucket(backup.secret) as bucket:
        # The small one first: what is refused is refused at once.
        for path, file in ((folder.globals, encrypted.globals), (folder.dump, encrypted.dump)):
            bucket.upload(
                folder.encrypted(path),
                file.name,
                sha256=file.encrypted.sha256,
                info={"database": folder.database, "run": folder.run},
                progress=progress,
                rate_limit_bytes_per_second=limit and limit * MEBIBYTE,
            )
