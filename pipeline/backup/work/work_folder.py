"""The folder in which backups are made: private, used by one run of a database at a time, and swept of what
a killed run left there. Plaintext lies nowhere else, and here only until it is encrypted.
"""

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pipeline import crypt
from pipeline.backup.work import lock
from pipeline.backup.work.status import Failure, Progress
from pipeline.errors import AlreadyRunningError, PipelineError, StepError, UsageError
from pipeline.progress import SHOW_SECONDS, Show, no_progress
from pipeline.redact import redact
from pipeline.settings import BackupSettings
from pipeline.system import atomic, file_lock, temporary
from pipeline.system.atomic import PARTIAL

Model = TypeVar("Model", bound=BaseModel)

# A command for drills of what pgBackRest has goes on beside one for those of our backups; their steps wait.
ARCHIVE_LOCK = "archive.lock"
RUN_LOCK, STEP_LOCK, STATUS = "run.lock", "step.lock", "status.json"
# What a step says while it waits, when the status is another run's.
WAITING = "waiting.json"
ENCRYPTED, FAILED, FINISHED = "encrypted.json", "failed.json", "finished.json"
# The home of the drills, beside those of the databases.
DRILLS = ".drill"
# Where restores and drills work, below the same folder; no database may be called so.
RESTORES, RESTORE = ".restore", "restore-"
LEAST_BYTES = 64 * 1024
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# A run that could not be uploaded is kept so long, as long as B2 keeps the parts that it has of it.
KEEP_SECONDS = 7 * 24 * 3600


class Work:
    """The folder of one run of one database."""

    run_lock = RUN_LOCK

    def __init__(self, settings: BackupSettings, database: str, run: str) -> None:
        self.database, self.run = database, run
        self.home = settings.work_dir / database
        self.folder = self.home / run
        self.dump = self.folder / f"{database}.dump"
        self.globals = self.folder / "globals.sql"

    @property
    def going(self) -> str:
        """What this is the folder of, for people."""
        return f"a backup of {self.database}"

    @staticmethod
    def encrypted(plain: Path) -> Path:
        """Return what a file is called once it is encrypted."""
        return plain.with_name(f"{plain.name}.gpg")

    def prepare(self) -> None:
        """Make the folders. Raise UsageError if they cannot be ours alone."""
        try:
            for folder in (self.home.parent, self.home, self.folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _require_private(folder)
        except OSError as error:
            raise UsageError(
                f"{error.filename}: cannot be used: {error.strerror}",
                hint="fix that, or set another [backup] work_dir",
            ) from error

    @property
    def is_full(self) -> bool:
        """Whether there is not even room for a word on how it ended."""
        return shutil.disk_usage(self.home).free < LEAST_BYTES

    # Records: what a step leaves for the next ones.

    def write(self, name: str, record: BaseModel) -> None:
        """Write a record that survives a crash, all of it or nothing."""
        atomic.write(self.folder / name, record.model_dump_json(indent=1), durable=True)

    def read(self, name: str, kind: type[Model]) -> Model | None:
        """Return a record, or None if there is none, or none that this version wrote."""
        return _read(self.folder / name, kind)

    # Locks: the run's is held by the command, the step's by the process that does the work and its children.

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keep other commands off this database. Raise AlreadyRunningError if one is at work."""
        self.prepare()
        with lock.opened(self.home / self.run_lock) as descriptor:
            if not file_lock.try_take(descriptor):
                signature = lock.signed(descriptor)
                if not signature:  # it has just begun
                    raise AlreadyRunningError(
                        f"{self.going} is already running",
                        hint="wait for it to end",
                    )
                raise AlreadyRunningError.of(
                    self.going, signature["run"], signature["since"], signature["host"], signature["pid"]
                )
            lock.sign(descriptor, self.run)
            yield

    @contextlib.contextmanager
    def step(self, name: str, show: Show = no_progress) -> Iterator[int]:
        """Do one step at a time: wait for a killed run's to end, and remember how this one failed.

        Yield the lock's descriptor, for children that may outlive us. Look only now whether the work is done.
        """
        self.prepare()
        with lock.opened(self.home / STEP_LOCK) as descriptor:
            lock.wait(descriptor, self._waiting(name, show))
            (self.folder / WAITING).unlink(missing_ok=True)
            # What we waited for may have been the end of this very run, which removes its folder.
            self.prepare()
            lock.sign(descriptor, self.run)
            failure = self.failure()
            if failure and failure.step == name:
                self.clear_failure()
            self.write_progress(name, 0, "")
            try:
                yield descriptor
            except OSError as error:
                if error.errno not in DISK_FULL:
                    self._remember(name, error)
                    raise
                failed = StepError(
                    f"{self.folder}: {error.strerror}",
                    hint="make room there",
                )
                self._remember(name, failed)
                raise failed from error
            except BaseException as error:
                self._remember(name, error)
                raise

    def _waiting(self, name: str, show: Show) -> Show:
        """Return a `show` that also leaves word in the folder of this very run."""

        def both(percent: int | None, message: str) -> None:
            show(percent, message)
            with contextlib.suppress(OSError):
                self._write_progress(self.folder / WAITING, name, percent or 0, message)

        return both

    def waits(self) -> Progress | None:
        """Return the step of this run that waits, and for whom; None if none does."""
        return self.read(WAITING, Progress)

    def shown(self, name: str, show: Show) -> Show:
        """Return a `show` that also tells the command that waits; neither is told more often than is of use.

        Each word to the visualizer is a call to the scheduler, which would cost more than the work itself.
        """
        last = 0.0

        def both(percent: int | None, message: str) -> None:
            nonlocal last
            if time.monotonic() - last > SHOW_SECONDS:
                last = time.monotonic()
                show(percent, message)
                self.write_progress(name, percent or 0, message)

        return both

    def write_progress(self, name: str, percent: int, message: str) -> None:
        """Leave word of how the step gets on, if there is room for that."""
        with contextlib.suppress(OSError):
            self._write_progress(self.home / STATUS, name, percent, message)

    def _write_progress(self, path: Path, name: str, percent: int, message: str) -> None:
        progress = Progress(run=self.run, step=name, percent=percent, message=redact(message))
        atomic.write(path, progress.model_dump_json())

    def read_progress(self) -> Progress | None:
        """Return what the step of this run last said; None if it is another run's, or there is none."""
        progress = _read(self.home / STATUS, Progress)
        return progress if progress and progress.run == self.run else None

    def _remember(self, name: str, error: BaseException) -> None:
        fact, hint = (error.fact, error.hint) if isinstance(error, PipelineError) else (str(error), "")
        failure = Failure(
            step=name,
            error=redact(fact or type(error).__name__),
            hint=redact(hint),
            again=getattr(error, "again", ""),
            exit_code=getattr(error, "exit_code", 1),
            at=datetime.now(UTC),
        )
        with contextlib.suppress(OSError):  # a full disk is what may have failed
            atomic.write(self.folder / FAILED, failure.model_dump_json())

    def failure(self) -> Failure | None:
        """Return how the last step of this run failed, if one did."""
        return self.read(FAILED, Failure)

    def fail_step_of(self, pid: int, error: PipelineError) -> None:
        """Remember how a step failed that could not say so itself, if process `pid` was at work on it."""
        try:
            with lock.opened(self.home / STEP_LOCK) as descriptor:
                signature = lock.signed(descriptor)
        except OSError:
            return
        if (signature.get("run"), signature.get("pid")) == (self.run, pid):
            progress = self.read_progress()
            self._remember(progress.step if progress else "a step", error)

    def clear_failure(self) -> None:
        """Let what failed in an earlier attempt not be taken for what failed in this one."""
        (self.folder / FAILED).unlink(missing_ok=True)

    # Sweeping.

    def remove_plain(self) -> None:
        """Remove the plaintext of this run, and all that is unfinished."""
        for path in (self.dump, self.globals):
            path.unlink(missing_ok=True)
        _remove_unfinished(self.folder)

    def remove_unfinished(self) -> None:
        """Remove what a step of this run that was ended left half done. Nobody may be at work on it."""
        _remove_unfinished(self.folder)

    def sweep(self) -> None:
        """Remove what earlier runs left behind: all plaintext and all that is unfinished, but not what a run
        encrypted and can still upload. Of this run, only what is unfinished. And what killed restores left.
        """
        temporary.sweep(self.home.parent / RESTORES, RESTORE)
        _remove_unfinished(self.folder)
        for other in self.home.iterdir():
            if not other.is_dir() or other == self.folder:
                continue
            record = other / ENCRYPTED
            if record.exists() and time.time() - record.stat().st_mtime < KEEP_SECONDS:
                _remove_unfinished(other)
                for path in (other / f"{self.database}.dump", other / self.globals.name):
                    path.unlink(missing_ok=True)
            else:
                shutil.rmtree(other)

    def remove(self) -> None:
        """Remove everything of this run."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(path: Path, kind: type[Model]) -> Model | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def _remove_unfinished(folder: Path) -> None:
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.name.startswith(crypt.HOME_PREFIX):
            shutil.rmtree(path)
        elif path.name.endswith(PARTIAL):
            path.unlink()


def _require_private(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise UsageError(
            f"{folder}: belongs to another user",
            hint="set [backup] work_dir to a folder of the pipeline's user",
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            f"{folder}: other users may enter it",
            hint=f"make it private: chmod 700 {folder}",
        )
