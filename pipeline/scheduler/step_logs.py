"""The log of each step, in a file of its own to which the visualizer links: FOLDER/RUN/TASK_ID.log."""

import contextlib
import errno
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline import log
from pipeline.errors import UsageError
from pipeline.settings import Settings

logger = logging.getLogger(__name__)

# Dates, months, and Luigi's own ids of tasks: no slash, and no dot to begin with.
_NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,199}", re.ASCII)
_DAY_SECONDS = 24 * 3600


def path(settings: Settings, run: str, task_id: str) -> Path:
    """Return where the log of a step is, or would be. Raise UsageError if those are no names of a step."""
    for name in (run, task_id):
        if not _NAME.fullmatch(name):
            raise UsageError("no log has that name")
    return settings.logs.folder / run / f"{task_id}.log"


@contextlib.contextmanager
def written(settings: Settings, run: str, task_id: str) -> Iterator[bool]:
    """Write what is logged inside the block into the step's file as well. Yield whether that can be done.

    Where it cannot (a full disk, a folder of somebody else's), the step goes on without it.
    """
    try:
        descriptor = opened(path(settings, run, task_id))
    except (OSError, UsageError) as error:
        # Once for each run this is told by `prepare`.
        logger.info("this step writes no log: %s", error)
        yield False
        return
    handler, root = log.Output(descriptor, log.TEXT), logging.getLogger()
    root.addHandler(handler)
    log.listen()
    try:
        yield True
    finally:
        root.removeHandler(handler)
        os.close(descriptor)


def opened(file: Path) -> int:
    """Open a log to add to it, for us alone, and return its descriptor. Raise OSError if that cannot be."""
    for folder in (file.parent.parent, file.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def prepare(settings: Settings) -> None:
    """Make the folder, or tell why it cannot be used; remove what nobody wrote to for `[logs] keep_days`."""
    oldest = time.time() - settings.logs.keep_days * _DAY_SECONDS
    try:
        settings.logs.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(settings.logs.folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        logger.warning(
            "%s: steps cannot write their logs there: %s; fix that, or set another [logs] folder",
            settings.logs.folder,
            error.strerror,
        )
        return
    with contextlib.suppress(OSError):
        for folder in settings.logs.folder.iterdir():
            if _NAME.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
                _sweep_run(folder, oldest)


def _sweep_run(folder: Path, oldest: float) -> None:
    with contextlib.suppress(OSError):
        files = list(folder.iterdir())
        # Nothing but logs of ours: a folder that was named by mistake is left alone.
        if files and all(file.suffix == ".log" and file.stat().st_mtime < oldest for file in files):
            shutil.rmtree(folder)
