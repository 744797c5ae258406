"""No code of the folder in which a command is typed is ever imported: an analysts' one has a `tasks` too."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.sandbox.ports import any_free
from tests.support.night import Night, next_run, program, wait_until

SHOP = "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1);"
DECLARATION = "source: shop\ntables: {item: {}}\n"
PROJECT = Path(__file__).parents[1]
# Ours, Luigi, what it looks for, and what every program imports.
NAMES = ("tasks", "pipeline", "luigi", "json", "psycopg2", "yaml", "toml", "sitecustomize")
HOSTILE = """\
import os
with open({path!r}, "a") as file:
    file.write(__name__ + chr(10))
raise SystemExit("code of the current folder was run")
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder that is full of code; return the file that says which of it was imported."""
    folder, imported = tmp_path / "analysts" / "own", tmp_path / "imported"
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(HOSTILE.format(path=str(imported)))
        (folder / f"{name}.py").write_text(HOSTILE.format(path=str(imported)))
    imported.touch()
    monkeypatch.chdir(folder)
    return imported


@pytest.mark.endurance
def test_no_code_of_the_current_folder_is_imported_by_a_run(night: Night, hostile: Path) -> None:
    """Not by the command, Luigi, its steps, or who holds the snapshot."""
    night.platform.source("shop", SHOP, DECLARATION)
    ended = night.etl(next_run())
    assert (hostile.read_text(), ended.code) == ("", 0), ended.err
    assert night.differing("shop") == []


@pytest.mark.endurance
def test_no_code_of_the_current_folder_is_imported_by_plain_luigi(night: Night, hostile: Path) -> None:
    night.platform.source("shop", SHOP, DECLARATION)
    done = subprocess.run(
        [program("luigi"), "--module", "tasks.etl", "LoadWarehouse", "--run", next_run()],
        capture_output=True,
        text=True,
        env=night.platform.env,
        check=False,
    )
    assert (hostile.read_text(), done.returncode) == ("", 0), done.stderr
    assert night.differing("shop") == []


@pytest.mark.endurance
def test_no_code_of_the_current_folder_is_imported_by_what_goes_on_for_long(
    night: Night, hostile: Path, tmp_path: Path
) -> None:
    night.platform.source("shop", SHOP, DECLARATION)
    port = any_free()
    scheduler = night.start("scheduler", "--port", str(port), "--state-path", str(tmp_path / "state"))
    log = tmp_path / "worker.log"
    worker = night.start("worker", "--log-file", str(log))
    wait_until((tmp_path / "state").exists, "the scheduler's state")
    wait_until(lambda: _is_ready(night, "tasks.worker.assistant"), "the worker's Luigi")
    for process in (worker, scheduler):
        process.terminate()
        process.communicate(timeout=60)
    assert (hostile.read_text(), scheduler.returncode, worker.returncode) == ("", 0, 143)


def _is_ready(night: Night, module: str) -> bool:
    """Whether a process of this module has imported everything: after that it takes SIGTERM for itself."""
    ours = [one for one in night.ours() if module in one.cmdline()]
    status = "".join(Path(f"/proc/{one.pid}/status").read_text() for one in ours)
    caught = re.search(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) & 1 << signal.SIGTERM - 1)


@pytest.mark.parametrize("script", ["sandbox", "demo", "bench"])
def test_no_code_of_the_current_folder_is_imported_by_a_script(hostile: Path, script: str) -> None:
    done = subprocess.run([PROJECT / "bin" / script, "--help"], capture_output=True, text=True, check=False)
    assert (hostile.read_text(), done.returncode) == ("", 0), done.stderr


def test_every_interpreter_is_started_by_the_one_function_that_does_it_safely() -> None:
    found = [
        path.name
        for path in [*PROJECT.glob("pipeline/**/*.py"), *PROJECT.glob("tasks/**/*.py")]
        if re.search(r'sys\.executable,\s*"-', path.read_text())
    ]
    assert found == ["command.py"]
    assert sys.version_info >= (3, 11), "-P is of 3.11"
