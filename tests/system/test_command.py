"""A program that is started and ended: nobody waits for what it left behind."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.errors import StepError
from pipeline.system import command
from tests.support.night import wait_until

# Begins another, which complains where it does and is nobody's child any more, and tells its number.
LEAVES_ONE = """
(sleep 600 > /dev/null & echo $! > {file})
while ! [ -s {file} ]; do :; done
"""


def left_by(file: Path) -> psutil.Process:
    return psutil.Process(int(file.read_text()))


def ended(process: psutil.Process) -> bool:
    """Whether it has ended: of who is killed it is so a moment later."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def program(file: Path, then: str) -> list[str | Path]:
    return ["bash", "-c", LEAVES_ONE.format(file=file) + then]


def child(arguments: list[str | Path], output: int) -> command.Child:
    return command.Child(arguments, environment={"PATH": os.environ["PATH"]}, output=output)


def test_who_stops_a_program_does_not_wait_for_what_that_left_behind(tmp_path: Path) -> None:
    """As pg_restore does, if it is ended in the moment in which it begins one of its processes."""
    file, output = tmp_path / "left", (tmp_path / "output").open("wb")
    with output, child(program(file, "echo >&2 ready; exec sleep 600"), output.fileno()) as started:
        while not file.exists() or not file.read_text().strip():
            assert started.running
        left = left_by(file)
    wait_until(lambda: ended(left), "what it left has ended")


@pytest.mark.parametrize("code", [0, 3])
def test_a_program_that_ends_by_itself_leaves_nothing_and_all_that_it_said_is_told(
    tmp_path: Path, code: int
) -> None:
    file, output = tmp_path / "left", (tmp_path / "output").open("wb")
    with output, child(program(file, f"echo >&2 its last words; exit {code}"), output.fileno()) as started:
        if code:
            with pytest.raises(StepError, match="bash exited with 3: its last words"):
                started.finish()
        else:
            started.finish()
        left = left_by(file)
    wait_until(lambda: ended(left), "what it left has ended")


def test_who_complains_elsewhere_goes_on(tmp_path: Path) -> None:
    code = "import sys; sys.stdin.read()"
    with (
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as other,
        (tmp_path / "output").open("wb") as output,
    ):
        with child(program(tmp_path / "left", "exec sleep 600"), output.fileno()):
            pass
        assert other.poll() is None
        other.communicate()
