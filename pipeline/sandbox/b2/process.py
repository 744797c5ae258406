"""Runs the emulator as a process of its own, for as long as a block lasts."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import StepError
from pipeline.sandbox.b2.calls import MINIMUM_PART_SIZE_BYTES
from pipeline.sandbox.b2.control import CONTROL_FILE, Control
from pipeline.system import command

START_SECONDS = 30
STOP_SECONDS = 10


@contextlib.contextmanager
def running(
    home: Path, *, port: int = 0, part_size_bytes: int = MINIMUM_PART_SIZE_BYTES
) -> Iterator[Control]:
    """Yield the control of an emulator that runs in `home`, on a free port unless one is given.

    Raise StepError if it does not start.
    """
    (home / CONTROL_FILE).unlink(missing_ok=True)
    arguments = ["--home", str(home), "--port", str(port), "--part-size", str(part_size_bytes)]
    process = subprocess.Popen(command.python("pipeline.sandbox.b2", *arguments))
    try:
        with _when_up(home, process) as control:
            yield control
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _when_up(home: Path, process: subprocess.Popen[bytes]) -> Control:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if (home / CONTROL_FILE).exists():
            return Control(home)
        time.sleep(0.02)
    raise StepError(f"the B2 emulator in {home} did not start")
