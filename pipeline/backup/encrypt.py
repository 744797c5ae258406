"""The dump and the roles, encrypted to every recipient; the plaintext goes as soon as that is done."""

import time
from datetime import UTC, datetime

from pipeline import crypt
from pipeline.backup.store import backups, manifest
from pipeline.backup.store.manifest import File
from pipeline.backup.work import records, work_folder
from pipeline.backup.work.records import Dumped, Encrypted
from pipeline.backup.work.work_folder import Work
from pipeline.chains import ENCRYPT_TASK
from pipeline.crypt import Digest, Keyring
from pipeline.errors import StepError
from pipeline.progress import Show, moved, no_progress
from pipeline.settings import Settings
from pipeline.system.atomic import PARTIAL, settle

STEP = ENCRYPT_TASK


def encrypt_dump(settings: Settings, database: str, run: str, show: Show = no_progress) -> None:
    """Encrypt what DumpDatabase left, and remove it.

    Raise ProblemsError if a recipient's key cannot be used, StepError if gpg fails or there is no room: the
    plaintext is removed then as well, since nobody may ever look after it.
    """
    backup = settings.require_backup()
    folder = Work(backup, database, run)
    with folder.step(STEP, show):
        folder.sweep()
        if records.encrypted(folder) or backups.is_verified(settings, database, run):
            folder.remove_plain()
            return
        dumped = records.dumped(folder)
        if dumped is None:
            raise StepError(
                f"database {database}: its dump is not in {folder.folder}",
            )
        try:
            with crypt.keyring(backup.recipients, now=datetime.now(UTC), folder=folder.folder) as keyring:
                record = _encrypt(folder, dumped, keyring, folder.shown(STEP, show))
        except BaseException:
            folder.remove_plain()
            raise
        folder.write(work_folder.ENCRYPTED, record)
        folder.remove_plain()
        show(100, f"to {len(record.recipients)} keys, {record.dump.encrypted.size_bytes:,} bytes")


def _encrypt(folder: Work, dumped: Dumped, keyring: Keyring, show: Show) -> Encrypted:
    begun, done, whole = time.monotonic(), 0, max(dumped.dump.size_bytes, 1)

    def on_bytes(size: int) -> None:
        nonlocal done
        done += size
        show(min(done * 100 // whole, 99), moved(done, whole, time.monotonic() - begun))

    names = (
        manifest.dump_name(folder.database, folder.run),
        manifest.globals_name(folder.database, folder.run),
    )
    files = []
    for name, path, wanted in zip(
        names, (folder.dump, folder.globals), (dumped.dump, dumped.globals), strict=True
    ):
        target = folder.encrypted(path)
        partial = target.with_name(target.name + PARTIAL)
        plain, encrypted = keyring.encrypt(path, partial, on_bytes)
        _require_same(path.name, plain, wanted)
        partial.replace(target)
        files.append(File(name=name, plain=plain, encrypted=encrypted))
    settle(folder.folder)
    return Encrypted(
        dumped=dumped,
        dump=files[0],
        globals=files[1],
        recipients=keyring.recipients,
        encrypt_seconds=time.monotonic() - begun,
    )


def _require_same(name: str, digest: Digest, wanted: Digest) -> None:
    if digest != wanted:
        raise StepError(
            f"{name}: has changed since it was dumped",
            hint="check the disk",
        )
