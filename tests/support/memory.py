"""Servers that keep their data in memory: nothing of a test outlives it, and files take much of its time.

Each test makes databases of some three hundred files each, and each step logs in to Vault and out again.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.sandbox import accounts
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import vault_server

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
# A sandbox has some 600 MB, its programs among them; a test may add a large table, and two may run at once.
NEEDED_BYTES = 4 * 1024**3


@contextlib.contextmanager
def in_memory(home: Home, *, vault: bool = True) -> Iterator[None]:
    """Let what is started first in this home during the block keep its data in memory, if there is enough.

    Without `vault`, that server still knows what it has after it was killed.
    """
    with pytest.MonkeyPatch.context() as patch:
        if vault:
            patch.setattr(vault_server, "STORAGE", 'storage "inmem" {{}}')
        if _has_room():
            _move(home)
        yield


def _has_room() -> bool:
    free = shutil.disk_usage(MEMORY).free if MEMORY.is_dir() else 0
    return min(free, psutil.virtual_memory().available) > NEEDED_BYTES


def _move(home: Home) -> None:
    home.path.mkdir(mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix="pipeline-sandbox-", dir=MEMORY))
    accounts.give(folder, home.account)
    (home.path / "servers").symlink_to(folder)
    with home.changing() as state:
        state.server_folder = str(folder)
