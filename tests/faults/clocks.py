"""A machine whose clock is an hour off: clock.c stands between every process of a command and its clock.

The servers have the right one. The same command is typed again once the clock is right.
"""

import contextlib
import struct
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from tests.faults import preloaded
from tests.faults.faults import Around, Fault, Strike
from tests.faults.scene import Scene

SOURCE = Path(__file__).with_name("clock.c")
AHEAD, BEHIND = 3600, -3600


def _file(folder: Path) -> Path:
    return folder / "clock"


def _set(folder: Path, seconds: int) -> None:
    # In its place: the processes have it in their memory.
    with _file(folder).open("r+b" if _file(folder).exists() else "wb") as file:
        file.write(struct.pack("=q", seconds))


def environment(seconds: int, folder: Path) -> dict[str, str]:
    """Return what has the clock of a process, and of those that it starts, be off until somebody sets it."""
    library = preloaded.library(SOURCE)
    _set(folder, seconds)
    return {"LD_PRELOAD": str(library), "CLOCK_OFF_BY": str(_file(folder))}


def _at(seconds: int) -> Around:
    def around(world: Any) -> contextlib.AbstractContextManager[Mapping[str, str]]:
        return contextlib.nullcontext(environment(seconds, world.folder))

    return around


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
    Fault("clock an hour fast", _is_off, around=_at(AHEAD)),
    Fault("clock an hour slow", _is_off, around=_at(BEHIND)),
)
SET = (
    Fault("clock set ahead", _set_to(AHEAD), around=_at(0)),
    Fault("clock set back", _set_to(BEHIND), around=_at(0)),
)
