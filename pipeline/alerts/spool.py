"""The folder in which alerts lie until they are sent, and which knows what was told and has not recovered.

It is local and needs nothing else, so that what went wrong can be kept when all else is out of reach.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pipeline.alerts.message import Alert, Kind
from pipeline.system import atomic, file_lock

logger = logging.getLogger(__name__)

LOCK, SENDING, QUIET = "lock", "sending.lock", "quiet"
OPEN, UNSENT = "open", "unsent"
UNREADABLE = ".unreadable"
# Under the lock only files are written; who holds it for longer has stopped.
LOCK_SECONDS = 5.0
# After a webhook was out of reach, those who tell do not try again for so long.
QUIET_SECONDS = 30.0
WAIT_SECONDS = 0.02
# Nobody asks for a longer grace period: what is due later was written by a clock that was set back since.
LONGEST_GRACE_SECONDS = 600.0

# A process that is forked while a lock is held would keep it for as long as it lives.
_held: set[int] = set()


def _let_go() -> None:
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


class Spool:
    """One such folder. Its methods raise OSError where the folder cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open, self._unsent = folder / OPEN, folder / UNSENT

    # Telling.

    def add(self, alert: Alert, grace_seconds: float = 0.0) -> None:
        """Keep an alert to be sent, unless it was told already and has not recovered.

        With a grace period it is sent only after that, or at once when it is added a second time, in the
        words of that time: what recovers before was never told.
        """
        self.prepare()
        with self._locked():
            if alert.kind == Kind.NOTICE:
                # Nothing is wrong, and nothing will be over.
                self._put(alert, time.time())
                return
            known = self._read(self._opened_as(alert.key))
            if known is not None and not alert.is_worse_than(known):
                self._hasten(known, alert)
                return
            # In this order: what is interrupted between the two is told twice rather than never.
            self._put(alert, time.time() + grace_seconds)
            _write(self._opened_as(alert.key), alert)

    def recover(self, key: str, summary: str, task: str | None = None, run: str | None = None) -> bool:
        """Keep the message that what was told of `key` is over. Return whether there is something to send.

        With `task`, only if that is what had failed; with `run`, only if it was that run or an earlier one.
        """
        if not self._opened_as(key).exists():
            return False
        with self._locked():
            known = self._read(self._opened_as(key))
            if known is None or task not in (None, known.task):
                return False
            # Logical dates, and months, are in the order of their letters.
            if run and known.run and run < known.run:
                return False
            is_logged, moment = True, time.time()
            for path in self._files_of(known):
                if _has_time(path):
                    path.unlink()
                    is_logged = False
                # Behind what it ends, whatever the clock was then: they are sent in the order of their names.
                moment = max(moment, _due_at(path) + 2e-6)
            if is_logged:
                self._put(known.recovery(summary), moment)
            self._opened_as(key).unlink()
            return is_logged

    def opened(self) -> list[Alert]:
        """Return what was told and has not recovered, the oldest first."""
        alerts = [self._read(path) for path in _listed(self._open)]
        return sorted((alert for alert in alerts if alert), key=lambda alert: alert.since)

    # Sending.

    def due(self) -> list[Path]:
        """Return the files that are to be sent now, in their order."""
        return [path for path in _listed(self._unsent) if not _has_time(path)]

    def unsent(self) -> list[Alert]:
        """Return what is still to be sent, in its order, also what has some time yet."""
        return [alert for path in _listed(self._unsent) if (alert := self._read(path))]

    def read(self, path: Path) -> Alert | None:
        """Return what is in a file that was due, or None if somebody else has sent it."""
        return self._read(path)

    @contextlib.contextmanager
    def sending(self, wait_seconds: float) -> Iterator[bool]:
        """Be the only one that sends, and say whether we are."""
        self.prepare()
        with _lock(self.folder / SENDING, wait_seconds) as ours:
            yield ours

    @property
    def is_quiet(self) -> bool:
        """Whether the webhook was out of reach a moment ago."""
        try:
            return 0 <= time.time() - (self.folder / QUIET).stat().st_mtime < QUIET_SECONDS
        except FileNotFoundError:
            return False

    def hush(self, *, quiet: bool) -> None:
        """Note whether the webhook was out of reach."""
        if quiet:
            (self.folder / QUIET).touch(mode=0o600)
        else:
            (self.folder / QUIET).unlink(missing_ok=True)

    # Files.

    def prepare(self) -> None:
        """Make the folder. Raise OSError if it cannot be ours to write in."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self._open, self._unsent):
            folder.mkdir(mode=0o700, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with _lock(self.folder / LOCK, LOCK_SECONDS) as ours:
            if not ours:
                raise TimeoutError(f"{self.folder / LOCK} is held by another process that has stopped")
            yield

    def _opened_as(self, key: str) -> Path:
        readable = re.sub(r"[^\w.-]+", "_", key)[:80]
        return self._open / f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"

    def _put(self, alert: Alert, due_at: float) -> None:
        if not self._files_of(alert):
            _write(self._unsent / f"{int(due_at * 1e6):020d}-{alert.id}.json", alert)

    def _hasten(self, known: Alert, alert: Alert) -> None:
        for path in self._files_of(known):
            if _has_time(path):
                worse = alert.model_copy(update={"id": known.id, "since": known.since})
                _write(path, worse)
                _write(self._opened_as(worse.key), worse)
                path.rename(path.with_name(f"{int(time.time() * 1e6):020d}-{worse.id}.json"))

    def _files_of(self, alert: Alert) -> list[Path]:
        return [path for path in _listed(self._unsent) if path.name.endswith(f"-{alert.id}.json")]

    def _read(self, path: Path) -> Alert | None:
        try:
            return Alert.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            kept = path.with_name(path.name + UNREADABLE)
            with contextlib.suppress(FileNotFoundError):
                path.rename(kept)
            logger.error("%s: not an alert that this version can read; inspect and remove it", kept)  # noqa: TRY400
            return None


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return []


def _due_at(path: Path) -> float:
    moment = path.name.partition("-")[0]
    return int(moment) / 1e6 if moment.isdecimal() else 0.0


def _has_time(path: Path) -> bool:
    """Whether the grace period of a file goes on."""
    return 0 < _due_at(path) - time.time() <= LONGEST_GRACE_SECONDS


@contextlib.contextmanager
def _lock(path: Path, wait_seconds: float) -> Iterator[bool]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _held.add(descriptor)
    try:
        yield _taken(descriptor, wait_seconds)
    finally:
        _held.discard(descriptor)
        # For whoever was forked in this very moment, and has it open as well.
        file_lock.release(descriptor)
        os.close(descriptor)


def _taken(descriptor: int, wait_seconds: float) -> bool:
    deadline = time.monotonic() + wait_seconds
    while not file_lock.try_take(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(WAIT_SECONDS)
    return True


def _write(path: Path, alert: Alert) -> None:
    atomic.write(path, alert.model_dump_json(), durable=True)
