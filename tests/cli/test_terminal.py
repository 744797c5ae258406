"""What is shown fits where it is shown, and nothing of it is lost."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.cli import terminal
from pipeline.cli.runs import supervise
from pipeline.settings import Auth, Settings, VaultSettings

COLUMNS = ("table", ">rows", ">new", ">changed", ">deleted", "mode", "as of")


# Not asked for anything where the file is named.
SETTINGS = Settings.model_construct(vault=VaultSettings.model_construct(url="", auth=Auth.TOKEN))


def shown(name: str, width: int) -> list[str]:
    """Return the lines of a table with one row."""
    table = terminal.table(*COLUMNS)
    table.add_row(name, "4,000,000", "12,345", "1,814", "4,037", "delta", "02:15")
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(table)
    return file.getvalue().splitlines()


def test_names_of_28_letters_beside_millions_of_rows_fit_a_terminal_of_80_columns() -> None:
    lines = shown("service_desk.abcdefghijklmno", 80)
    assert len(lines) == 2
    assert lines[1].split() == [
        "service_desk.abcdefghijklmno",
        "4,000,000",
        "12,345",
        "1,814",
        "4,037",
        "delta",
        "02:15",
    ]


def test_a_reader_that_leaves_fails_no_command() -> None:
    """As `pipeline status | head` does: it is no bug, and no run has failed by it."""
    reader, writer = os.pipe()
    os.close(reader)
    program = (
        "import sys; from pipeline.cli import output, terminal; output.outlive_the_reader();"
        "terminal.print_text('first'); terminal.console().print('second');"
        "terminal.print_text('x' * 100_000); sys.exit(4)"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (4, b"")


def test_a_name_that_is_too_long_is_folded_and_numbers_are_never_cut() -> None:
    name = "records." + "very_long_name_of_a_table_" * 2
    lines = shown(name, 80)
    assert max(map(len, lines)) <= 80
    assert "".join(line.split(" ")[0] for line in lines[1:]) == name
    assert "…" not in "".join(lines)
    assert all(number in lines[1] for number in ("4,000,000", "12,345", "1,814", "4,037", "02:15"))


def test_elsewhere_than_on_a_terminal_a_line_is_as_long_as_it_must_be() -> None:
    """A log or a pipe has no width, whatever the environment of a cron job says."""
    assert terminal.console().width == terminal.UNLIMITED_WIDTH


def test_a_log_that_cannot_be_written_does_not_stop_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """The disk is full, or whoever listened has left: the pipe from Luigi must go on being emptied."""
    much = (
        "import signal; signal.alarm(60)\n"
        "for n in range(3000): print('a line that fills the pipe before long', n)"
    )
    with supervise.log_file(Path("/dev/full"), SETTINGS, "full") as log:
        supervision = supervise.Supervision("full", 1, lambda: (0.0, ""), log)
        code, tail = supervision.run([sys.executable, "-c", much])
    assert code == 0
    assert tail[-1].endswith(" 2999")
    assert "/dev/full is not complete: No space left on device" in caplog.text
