"""A machine whose clock is an hour off: clock.c stands between every process of a command and its clock.

The servers have the right one. The same command is typed again once the clock is right.
"""

import functools
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.faults import Fault, Strike
from tests.faults.scene import Scene

SOURCE = Path(__file__).with_name("clock.c")
AHEAD, BEHIND = 3600, -3600
# Gone with this process.
_folder = tempfile.TemporaryDirectory(prefix="clock")


@functools.cache
def _library() -> Path | None:
    """Return the library, made once; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    made = Path(_folder.name) / "clock.so"
    done = subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE], check=False)
    return made if done.returncode == 0 else None


def _file(folder: Path) -> Path:
    return folder / "clock"


def _set(folder: Path, seconds: int) -> None:
    # In its place: the processes have it in their memory.
    with _file(folder).open("r+b" if _file(folder).exists() else "wb") as file:
        file.write(struct.pack("=q", seconds))


def environment(seconds: int, folder: Path) -> dict[str, str]:
    """Return what has the clock of a process, and of those that it starts, be off until somebody sets it."""
    found = _library()
    if found is None:
        pytest.skip("no C compiler here; apt-get install gcc libc6-dev")
    _set(folder, seconds)
    return {"LD_PRELOAD": str(found), "CLOCK_OFF_BY": str(_file(folder))}


def _is_off(_world: Any, _scene: Scene) -> Generator[None, None, None]:
    yield
    yield


def _set_to(seconds: int) -> Strike:
    def strike(world: Any, _scene: Scene) -> Generator[None, None, None]:
        _set(world.folder, seconds)
        yield
        yield

    return strike


OFF = (
    Fault("clock an hour fast", _is_off, clock=AHEAD),
    Fault("clock an hour slow", _is_off, clock=BEHIND),
)
SET = (
    Fault("clock set ahead", _set_to(AHEAD), clock=0),
    Fault("clock set back", _set_to(BEHIND), clock=0),
)
