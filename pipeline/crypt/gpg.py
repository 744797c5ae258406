"""Drives gpg in throw-away homes: what is passed through it is hashed, and its end is looked at closely."""

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import gnupg

from pipeline.crypt.digest import Digest
from pipeline.errors import StepError
from pipeline.redact import redact
from pipeline.system import command, temporary

BUFFER_BYTES = 64 * 1024
# A home with a few keys; where there is no room for it, gpg says of every key that it is none.
HOME_BYTES = 128 * 1024
ERROR_LINES = 4
HOME_PREFIX = "temporary-"
MEMORY = "/dev/shm"  # noqa: S108 - a folder of our own is made in it

OnBytes = Callable[[int], None]

# What gpg said is in the error that is raised. The library warns of it besides, also where that is what is
# wanted: a drill sees that a damaged copy is refused.
logging.getLogger("gnupg").setLevel(logging.ERROR)


class Gpg(gnupg.GPG):  # type: ignore[misc] # the library is untyped
    """The library's class, with files passed through it that are hashed on their way."""

    def pass_through(
        self, source: Path, target: Path, on_bytes: OnBytes, work: Callable[[BinaryIO], Any]
    ) -> tuple[Any, Digest, Digest]:
        """Run `work` on a source that is hashed as it is read; return the digests of what came in and out."""
        results: list[Any] = []
        kind = gnupg.GPG.result_map["crypt"]
        # The result is lost where the library raises, and with it what gpg said.

        def remembered(gpg: Any) -> Any:
            results.append(kind(gpg))
            return results[-1]

        self.result_map = {**gnupg.GPG.result_map, "crypt": remembered}
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as output, source.open("rb") as opened:
            reader, writer = _Reader(opened, on_bytes), _Writer(output)
            self.on_data: Callable[[bytes], bool] | None = writer.write
            broken: OSError | None = None
            try:
                work(reader)  # type: ignore[arg-type] # it only needs read()
            except OSError as error:
                broken = error
            finally:
                self.on_data = None
            result = results[-1]
            self._require_written(result, target, broken)
            os.fsync(descriptor)
        return result, reader.digest, writer.digest

    @staticmethod
    def _require_written(result: Any, target: Path, broken: OSError | None) -> None:
        failure = getattr(result, "on_data_failure", None)
        if isinstance(failure, OSError):
            raise StepError(
                f"{target}: cannot be written: {failure.strerror}",
                hint=f"make room in {target.parent}",
            ) from failure
        if failure is not None:
            raise failure
        if broken is not None and not isinstance(broken, BrokenPipeError):
            raise StepError(f"gpg: {broken.strerror or broken}") from broken
        if broken is not None and result.returncode in (0, None):
            raise StepError(f"gpg ended before it had read everything: {complaint(result)}")


class _Reader:
    """A file that is hashed as it is read."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes) -> None:
        self._file, self._on_bytes = file, on_bytes
        self._hash, self._size = hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._hash.update(piece)
        self._size += len(piece)
        self._on_bytes(len(piece))
        return piece

    @property
    def digest(self) -> Digest:
        return Digest(size_bytes=self._size, sha256=self._hash.hexdigest())


class _Writer:
    """A file that is hashed as it is written; what cannot be written is an OSError that the library keeps."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self._size, self._failed = file, hashlib.sha256(), 0, False

    def write(self, piece: bytes) -> bool:
        """Take a piece; False tells the library not to keep it in memory."""
        if not self._failed:
            self._failed = True
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._failed = False
            self._hash.update(piece)
            self._size += len(piece)
        return False

    @property
    def digest(self) -> Digest:
        return Digest(size_bytes=self._size, sha256=self._hash.hexdigest())


@contextlib.contextmanager
def home(folder: Path, *, agent: bool = False) -> Iterator[Gpg]:
    """Give the body a gpg with an empty home, and remove that; no agent is started, or none is left."""
    if not agent:
        _require_room(folder)
    with (
        _home_with_agent(folder)
        if agent
        else tempfile.TemporaryDirectory(prefix=HOME_PREFIX, dir=folder) as home
    ):
        options = ["--batch", "--no-tty", *([] if agent else ["--no-autostart"])]
        yield _started(home, options)


def _started(home: str, options: Sequence[str]) -> Gpg:
    environment = {**os.environ, "LC_ALL": "C", "GNUPGHOME": home}
    try:
        gpg = Gpg(gnupghome=home, options=list(options), env=environment)
    except OSError as error:
        raise StepError(
            f"gpg cannot be started: {error.strerror or error}",
            hint="install gpg and gpg-agent",
        ) from error
    gpg.encoding = "utf-8"
    gpg.buffer_size = BUFFER_BYTES
    return gpg


@contextlib.contextmanager
def _home_with_agent(folder: Path) -> Iterator[str]:
    """Give the body a home with room for an agent; that of a process that was killed is removed first."""
    sweep(folder)
    memory = _memory(folder)
    _require_room(memory)
    with temporary.folder(memory, f"pipeline-{HOME_PREFIX}", _end_agent) as home:
        yield str(home)


def sweep(folder: Path) -> None:
    """Remove the homes of private keys, and their agents, that killed processes of ours left."""
    temporary.sweep(_memory(folder), f"pipeline-{HOME_PREFIX}", _end_agent)


def _memory(folder: Path) -> Path:
    # An agent's sockets must have short names, and a private key is best kept in memory only.
    return Path(MEMORY) if os.access(MEMORY, os.W_OK | os.X_OK) else folder


def _require_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < HOME_BYTES:
        raise StepError(
            f"{folder}: {free:,} bytes are free, too few for gpg to import keys",
            hint="make room there",
        )


def _end_agent(home: Path) -> None:
    # Not asked (gpgconf --kill): it would take its time, with the private key in its memory all the while.
    command.kill_started_with(home)


def complaint(result: Any) -> str:
    """Return the last lines that gpg said to people."""
    lines = [line for line in (result.stderr or "").splitlines() if not line.startswith("[GNUPG:]")]
    return redact("; ".join(lines[-ERROR_LINES:])) or result.status or "no error message"


def require_done(result: Any, what: str) -> None:
    """Raise StepError, beginning with `what`, unless gpg did all of it and says so in every way."""
    if result.returncode is not None and result.returncode < 0:
        raise StepError(f"{what}: gpg was killed by signal {-result.returncode}")
    if not result.ok or result.returncode != 0:
        raise StepError(f"{what}: {complaint(result)}")
