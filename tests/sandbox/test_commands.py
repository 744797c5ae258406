"""What the demo starts beside other things: it is heard of, shown in its turn, and never left behind."""

import os
import pty
from pathlib import Path

import psutil
import pytest

from pipeline.errors import CheckError, StepError, UnreachableError, UsageError
from pipeline.sandbox.commands import Commands
from pipeline.sandbox.home import Home

PROGRAM = """#!/bin/sh
case $1 in
    say) echo "$2" ;;
    fail) echo "no good: $2" >&2; exit "${3:-4}" ;;
    draw) [ -t 2 ] && echo "a bar" >&2; exit 0 ;;
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
        with pytest.raises(CheckError, match=r"'pipeline fail' ended with 4"):
            wait()
    assert said == ["meanwhile"]


def test_each_that_fails_beside_something_is_named_and_what_it_says_is_shown(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        commands.beside(("fail", "one"), ("say", "two"), ("fail", "three", "5")) as wait,
        pytest.raises(StepError, match=r"fail one' ended with 4\n'pipeline fail three 5' ended with 5$"),
    ):
        wait()
    assert sorted(capsys.readouterr().err.splitlines()) == ["no good: one", "no good: three"]


@pytest.mark.parametrize(
    ("code", "kind"), [(2, UsageError), (4, CheckError), (5, UnreachableError), (1, StepError)]
)
def test_a_command_that_fails_ends_the_demo_with_its_exit_code(
    commands: Commands, code: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        commands.run("fail", "one", str(code))


def test_what_goes_on_beside_something_draws_nothing_over_it(commands: Commands) -> None:
    """Each has a terminal, as for a person, and what goes on alone draws there."""
    ours, theirs = pty.openpty()
    try:
        saved = os.dup(2)
        os.dup2(theirs, 2)
        try:
            with commands.beside(("draw",)) as wait:
                wait()
            os.write(2, b"between\n")
            commands.run("draw")
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        assert os.read(ours, 1000).split() == [b"between", b"a", b"bar"]
    finally:
        os.close(ours)
        os.close(theirs)


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
    with pytest.raises(CheckError, match="'pipeline fail'"):
        fail_beside()
    assert not found[0].is_running()
