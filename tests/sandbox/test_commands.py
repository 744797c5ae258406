"""What the demo starts beside other things: it is heard of, shown in its turn, and never left behind."""

from pathlib import Path

import psutil
import pytest

from pipeline.errors import StepError
from pipeline.sandbox.commands import Commands
from pipeline.sandbox.home import Home

PROGRAM = """#!/bin/sh
case $1 in
    say) echo "$2" ;;
    fail) exit 4 ;;
    stay) echo $$ >"$2.partial" && mv "$2.partial" "$2" && exec sleep 600 ;;
esac
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def commands(tmp_path: Path, said: list[str]) -> Commands:
    """Commands of a program that does as it is told."""
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    program.chmod(0o700)
    home = Home(tmp_path)
    home.state.ports = {"vault": 1}
    return Commands(home, said.append, program)


def test_what_was_written_beside_something_is_shown_when_it_is_waited_for(
    commands: Commands, said: list[str]
) -> None:
    with commands.beside(("say", "one"), ("say", "two")) as wait:
        said.append("meanwhile")
        wait()
    assert said == ["meanwhile", "one", "two"]


def test_what_fails_beside_something_is_raised_when_it_is_waited_for(
    commands: Commands, said: list[str]
) -> None:
    with commands.beside(("say", "one"), ("fail",), quiet=True) as wait:
        said.append("meanwhile")
        with pytest.raises(StepError, match=r"'pipeline fail' ended with 4"):
            wait()
    assert said == ["meanwhile"]


def test_what_goes_on_beside_something_that_fails_is_ended_with_it(
    commands: Commands, tmp_path: Path
) -> None:
    file = tmp_path / "pid"

    def fail_beside() -> None:
        with commands.beside(("stay", str(file))):
            while not file.exists():
                pass
            found.append(psutil.Process(int(file.read_text())))
            commands.run("fail")

    found: list[psutil.Process] = []
    with pytest.raises(StepError, match="'pipeline fail'"):
        fail_beside()
    assert not found[0].is_running()
