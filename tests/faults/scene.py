"""A command of the pipeline that stands at a place in a step, and what a fault finds there."""

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults import stand
from tests.support.night import is_luigi, program, wait_until

STAND_SECONDS = 60
COMMAND_SECONDS = 150
_numbers = itertools.count(1)


@dataclass
class Scene:
    """One command, and the process of it that stands."""

    arguments: Sequence[str]
    process: "subprocess.Popen[str]"
    folder: Path
    pid: int = 0
    # Of those that were started beside it.
    code: int | None = None
    out: str = ""

    @property
    def step(self) -> psutil.Process:
        """The process that stands."""
        return psutil.Process(self.pid)

    @property
    def parent(self) -> psutil.Process:
        """The command itself."""
        return psutil.Process(self.process.pid)

    @property
    def luigi(self) -> psutil.Process:
        """The Luigi that the command has started."""
        (found,) = [one for one in self.parent.children() if is_luigi(one)]
        return found

    @property
    def everyone(self) -> list[psutil.Process]:
        """All of its processes, the command first."""
        return [self.parent, *self.parent.children(recursive=True)]

    def go_on(self) -> None:
        """Let it go on."""
        (self.folder / "go").touch()

    def end(self) -> None:
        """Wait for its end."""
        self.out, err = self.process.communicate(timeout=COMMAND_SECONDS)
        self.out += err
        self.code = self.process.returncode


@contextlib.contextmanager
def standing(
    arguments: Sequence[str], environment: Mapping[str, str], place: str, folder: Path
) -> Iterator[Scene]:
    """Start `pipeline ARGUMENTS`, wait until it stands at `place`, and end what is left after the block."""
    own = folder / f"stand{next(_numbers)}"
    own.mkdir(mode=0o700)
    shutil.copy(stand.__file__, own / "sitecustomize.py")
    path = os.pathsep.join(filter(None, [str(own), environment.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [program("pipeline"), *arguments],
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**environment, "PYTHONPATH": path, "STAND_AT": place, "STAND_IN": str(own)},
    )
    scene = Scene(arguments, process, own)
    try:
        wait_until(
            lambda: (own / "standing").exists() or process.poll() is not None,
            f"it stands at {place}",
            STAND_SECONDS,
        )
        if not (own / "standing").exists():
            scene.end()
            raise AssertionError(f"it ended with {scene.code} without coming to {place}:\n{scene.out}")
        scene.pid = int((own / "standing").read_text())
        yield scene
    finally:
        scene.go_on()
        if process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in scene.everyone:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
            process.communicate()
        shutil.rmtree(own)
