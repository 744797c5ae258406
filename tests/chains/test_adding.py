"""What a new chain costs: its room, its file in tasks/, and its entry. One is added here, and run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.night import Night

TOP = Path(__file__).parents[2]
ROOM = '''"""Tidy: what a new chain does."""

from pipeline import access, ledger
from pipeline.chains.declared import TIDY_TASK
from pipeline.ledger import lease
from pipeline.step import Record, StepKey


def key_of(run):
    return StepKey(run, TIDY_TASK, "tidy")


def is_tidied(settings, run):
    with access.brief(settings).asking() as warehouse:
        step = ledger.find_step(warehouse, key_of(run))
    return step is not None and step.done


def tidy(settings, run, show):
    with (
        access.for_step(settings) as databases,
        databases.asking() as beside,
        databases.warehouse() as warehouse,
        lease.attempted(beside, key_of(run), warehouse) as attempt,
    ):
        if run.startswith("2001"):
            raise ValueError("there was no tidying in that year")
        attempt.finish(warehouse, 1, Record())
        warehouse.commit()
    show(100, "tidied")
'''
TASKS = '''"""Tidying: TidyWarehouse."""

from pipeline import tidy
from tasks import events
from tasks.step import Done, RunParameter, Step, configured, today


class TidyWarehouse(Step):
    task_namespace = ""
    logical_date = RunParameter(default=today())

    def output(self):
        return Done("a tidy warehouse", lambda: tidy.is_tidied(configured(), self.logical_date))

    def run(self):
        tidy.tidy(configured(), self.logical_date, self.show)
'''
ENTRY = """
TIDY_TASK = "TidyWarehouse"
TIDY = Chain("tidy", "tasks.tidy", (Task(TIDY_TASK, None, concludes=True),), help="tidy the warehouse")
CHAINS = (*CHAINS, TIDY)
"""


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """The code of this project with one chain more; return where it is."""
    for name in ("pipeline", "tasks"):
        # With what Python has made of it, which it would make anew for each command.
        shutil.copytree(TOP / name, tmp_path / name)
    (tmp_path / "pipeline" / "tidy.py").write_text(ROOM)
    (tmp_path / "tasks" / "tidy.py").write_text(TASKS)
    with (tmp_path / "pipeline" / "chains" / "declared.py").open("a") as file:
        file.write(ENTRY)
    return tmp_path


def typed(extended: Path, environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    code = "import sys; from pipeline.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONPATH": str(extended)},
        stdin=subprocess.DEVNULL,
    )


def test_a_chain_that_was_declared_can_be_typed(extended: Path) -> None:
    told = typed(extended, dict(os.environ), "run", "--help")
    assert (told.returncode, "tidy the warehouse" in told.stdout) == (0, True), told.stderr


@pytest.mark.endurance
def test_a_chain_that_was_declared_runs_is_judged_and_told(night: Night, extended: Path) -> None:
    environment = night.platform.env
    for _ in range(2):
        done = typed(extended, environment, "run", "tidy", "--run", "2026-11-22")
        assert (done.returncode, done.stdout) == (0, "run 2026-11-22 of tidy: 1 step done\n"), done.stderr
    failed = typed(extended, environment, "run", "tidy", "--run", "2001-11-22")
    assert failed.returncode == 3
    assert "pipeline: TidyWarehouse tidy: there was no tidying in that year" in failed.stderr
    assert "pipeline:   next: pipeline run tidy --run 2001-11-22" in failed.stderr
    found = night.ask("warehouse", "SELECT run, task, state FROM ops.step ORDER BY run")
    assert found == [("2001-11-22", "TidyWarehouse", "failed"), ("2026-11-22", "TidyWarehouse", "done")]
    assert night.ask("warehouse", "SELECT name, state FROM ops.run ORDER BY run") == [
        ("tidy", "failed"),
        ("tidy", "done"),
    ]
    seen = typed(extended, environment, "status")
    assert (seen.returncode, seen.stdout.splitlines()[0]) == (3, "failed: 1 failure is open")
    assert "tidy: TidyWarehouse failed: there was no tidying in that year" in seen.stdout
    assert "  next: pipeline run tidy --run 2001-11-22" in seen.stdout
