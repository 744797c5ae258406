"""Locks of the work folder: each is held by a process, and signed, so that others can say who holds it."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.progress import Show
from pipeline.system import file_lock, process_tree

WAIT_SECONDS = 0.2


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open the file of a lock, and make it if need be. The lock ends with the last who has it open."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def wait(descriptor: int, show: Show) -> None:
    """Take a lock; say who has it while it has to be waited for."""
    is_shown = False
    while not file_lock.try_take(descriptor):
        if not is_shown:
            show(None, f"waiting for processes of an earlier run{_holder(descriptor)}")
        is_shown = True
        time.sleep(WAIT_SECONDS)


def sign(descriptor: int, run: str) -> None:
    """Write into a lock that we hold who we are."""
    since = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
    text = json.dumps({"run": run, "pid": os.getpid(), "host": process_tree.place(), "since": since})
    with contextlib.suppress(OSError):  # on a full disk the lock holds as well
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def signed(descriptor: int) -> dict[str, Any]:
    """Return who holds a lock: run, pid, host and since; nothing if that is not written yet."""
    try:
        signature: dict[str, Any] = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return signature if signature.keys() >= {"run", "pid", "host", "since"} else {}


def _holder(descriptor: int) -> str:
    signature = signed(descriptor)
    if not signature:
        return ""
    at_work = f"process {signature['pid']} on {signature['host']}"
    return f" (run {signature['run']}, {at_work}, since {signature['since']} UTC)"
