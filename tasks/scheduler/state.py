"""The scheduler's state on disk: written every few seconds, whole or not at all, for its owner alone.

Luigi itself writes it only when it is told to stop, in place, and believes any file that it finds.
"""

import asyncio
import io
import logging
import os
import pickle
import stat
import time
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from tasks import luigi_internals
from tasks.luigi_internals import Scheduler

logger = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
# Saving stops the scheduler for a moment: of its time it takes no more than one part in so many.
MOST_OF_TIME = 20
# What Luigi's state is made of. A pickle can name anything else, and have it called.
KINDS = {
    ("builtins", "set"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("luigi.scheduler", "OrderedSet"),
    ("luigi.scheduler", "RetryPolicy"),
    ("luigi.scheduler", "Task"),
    ("luigi.scheduler", "Worker"),
}


class State:
    """The state of one scheduler in one file."""

    def __init__(self, scheduler: Scheduler, path: Path) -> None:
        self._inner = scheduler.state
        self._path = path
        self._written = b""

    def load(self) -> None:
        """Take up what was saved. What cannot be read is put aside, and the scheduler begins without it.

        Raise UsageError if others may write it: it would be theirs to say what runs here. Likewise if nothing
        can be saved there.
        """
        if not os.access(self._path.parent, os.W_OK | os.X_OK):
            raise UsageError(
                f"{self._path.parent}: the state cannot be saved there; create that folder, writable by this "
                "user, or name another --state-path"
            )
        try:
            with self._path.open("rb") as file:
                _require_ours(self._path, os.fstat(file.fileno()))
                saved = file.read()
        except FileNotFoundError:
            logger.info("there is no state in %s yet", self._path)
            return
        except OSError as error:
            raise UsageError(
                f"{self._path}: cannot be read: {error.strerror}; fix that, or name another --state-path"
            ) from None
        try:
            luigi_internals.take_up(self._inner, _Unpickler(io.BytesIO(saved)).load())
        except Exception:  # a damaged pickle raises anything
            aside = self._path.with_name(f"{self._path.name}.unreadable")
            self._path.replace(aside)
            logger.warning(
                "the state in %s cannot be read; it was moved to %s, and the scheduler starts without it",
                self._path,
                aside,
                exc_info=True,
            )
            return
        logger.info("restored %d tasks from %s", len(self._inner.get_active_tasks()), self._path)

    def save(self) -> None:
        """Write it, if it has changed. A full disk is told, and tried again: the night goes on."""
        pickled = pickle.dumps(self._inner.get_state())
        if pickled == self._written:
            return
        partial = self._path.with_name(f"{self._path.name}.partial")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(pickled)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
        except OSError as error:
            logger.warning("the state cannot be saved: %s: %s", partial, error.strerror)
        else:
            self._written = pickled

    async def keep(self) -> None:
        """Save it again and again, until this is cancelled."""
        while True:
            began = time.monotonic()
            self.save()
            await asyncio.sleep(max(EVERY_SECONDS, MOST_OF_TIME * (time.monotonic() - began)))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KINDS:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong in a scheduler's state")
        return super().find_class(module, name)


def _require_ours(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"{path}: others may write it, and could run code here; make this user its owner, and make it "
            f"private: chmod 600 {path}"
        )
