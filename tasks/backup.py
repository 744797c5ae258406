"""Backups: DumpDatabase -> EncryptDump -> UploadBackup -> VerifyBackup; BackupDatabase is the root.

They need the database, Vault and B2, and nothing else: never the warehouse.
"""

import luigi

from pipeline.backup import dump, encrypt, upload, verify
from pipeline.backup.store import backups
from pipeline.backup.work import records
from pipeline.backup.work.work_folder import Work
from pipeline.chains import BACKUP
from tasks import events  # noqa: F401 - people are told of what fails
from tasks.step import Done, RunParameter, Step, configured, today


class BackupStep(Step):
    """A step of one database's backup. Each is done as well when a later one has used up what it made."""

    task_namespace = BACKUP.name
    database = luigi.Parameter(description="the database, as in luigi.cfg")

    def require_declared(self) -> None:
        """Raise UsageError if luigi.cfg has no such database."""
        configured().database(self.database)

    @property
    def folder(self) -> Work:
        return Work(configured().require_backup(), self.database, self.logical_date)

    def verified(self) -> bool:
        return backups.is_verified(configured(), self.database, self.logical_date)


class DumpDatabase(BackupStep):
    """The database is dumped, and what it held at that moment is known."""

    def output(self) -> Done:
        return Done(
            f"dump of {self.database}",
            lambda: (
                bool(records.dumped(self.folder)) or bool(records.encrypted(self.folder)) or self.verified()
            ),
        )

    def run(self) -> None:
        dump.dump_database(configured(), self.database, self.logical_date, self.show)


class EncryptDump(BackupStep):
    """The dump is encrypted to every recipient, and the plaintext is gone."""

    # Where it fails the plaintext is gone as well: another try would be another dump, for a person to decide.
    retry_count = 1

    def requires(self) -> DumpDatabase:
        return DumpDatabase(database=self.database, run=self.logical_date)

    def output(self) -> Done:
        return Done(
            f"encrypted dump of {self.database}",
            lambda: bool(records.encrypted(self.folder)) or self.verified(),
        )

    def run(self) -> None:
        encrypt.encrypt_dump(configured(), self.database, self.logical_date, self.show)


class UploadBackup(BackupStep):
    """The bucket has what was encrypted."""

    def requires(self) -> EncryptDump:
        return EncryptDump(database=self.database, run=self.logical_date)

    def output(self) -> Done:
        return Done(
            f"uploaded backup of {self.database}",
            lambda: upload.is_uploaded(configured(), self.database, self.logical_date) or self.verified(),
        )

    def run(self) -> None:
        upload.upload_backup(configured(), self.database, self.logical_date, self.show)


class VerifyBackup(BackupStep):
    """The bucket was read back, and has the manifest."""

    def requires(self) -> UploadBackup:
        return UploadBackup(database=self.database, run=self.logical_date)

    def output(self) -> Done:
        return Done(f"verified backup of {self.database}", self.verified)

    def run(self) -> None:
        verify.verify_backup(configured(), self.database, self.logical_date, self.show)


class BackupDatabase(BackupStep):
    """A database has a verified backup of this run: the root of its chain."""

    # Not in the namespace: this is the name that people type.
    task_namespace = ""
    logical_date = RunParameter(default=today(), description="the logical date, by default today's (UTC)")

    def requires(self) -> VerifyBackup:
        return VerifyBackup(database=self.database, run=self.logical_date)

    def output(self) -> Done:
        return Done(f"backup of {self.database}", self.verified)

    def run(self) -> None:
        self.show(100, "verified")
