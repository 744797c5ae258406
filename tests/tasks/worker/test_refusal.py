"""Plain Luigi refuses what `pipeline run` refuses: before anything is scheduled, in one line, with code 2."""

import subprocess

import pytest
from luigi.task_register import load_task

from pipeline.errors import UsageError
from tasks import drill, etl
from tests.support.marks import in_depth
from tests.support.night import Night, program

LOADS = [
    (
        ["LoadWarehouse", "--run", "yesterday"],
        '"yesterday" is not a valid run; write a date such as 2026-11-22',
    ),
    (["LoadWarehouse", "--run", "2026-13-45"], '"2026-13-45" is not a valid run'),
    (["etl.LoadTable", "--run", "2026-11-22", "--source", "shop", "--table", "evnt"], "did you mean event?"),
    (["etl.LoadSource", "--run", "2026-11-22", "--source", "shpo"], "source shpo: not in luigi.cfg"),
]
BACKUPS = [
    ("tasks.backup", ["BackupDatabase", "--database", "shpo"], "database shpo: not in luigi.cfg"),
    ("tasks.backup", ["BackupDatabase", "--database", "shop", "--run", "2026-02-30"], "is not a valid run"),
    (
        "tasks.drill",
        ["DrillEverything", "--month", "2026-13"],
        "2026-13 is not a valid month; write a month such as 2026-11",
    ),
    ("tasks.drill", ["DrillEverything", "--databases", '["shpo"]'], "did you mean shop?"),
]


@in_depth(("module", "arguments", "told"), [*(("tasks.etl", *one) for one in LOADS), *BACKUPS], quick=1)
def test_what_pipeline_run_refuses_plain_luigi_refuses_as_well(
    shop: Night, module: str, arguments: list[str], told: str
) -> None:
    done = subprocess.run(
        [program("luigi"), "--module", module, *arguments],
        capture_output=True,
        text=True,
        env=shop.platform.env,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert told in done.stderr.splitlines()[-1]
    assert shop.ask("warehouse", "SELECT name FROM ops.step") == []


@pytest.mark.parametrize("text", ["yesterday", "2026-11-31", "", "2026-11-22T2460", "\u0662026-11-22"])
def test_no_step_of_another_run_can_be_made_anywhere(text: str) -> None:
    """As a worker makes one from what the scheduler says."""
    with pytest.raises(UsageError):
        etl.LoadSource(source="shop", run=text)
    with pytest.raises(UsageError):
        load_task("tasks.etl", "etl.LoadSource", {"source": "shop", "run": text})


@pytest.mark.parametrize("text", ["november", "2026-13", "", "2026-1", "2026-11-again and again"])
def test_no_drill_of_another_month_can_be_made_anywhere(text: str) -> None:
    with pytest.raises(UsageError):
        drill.RestoreDrill(database="shop", month=text)
    with pytest.raises(UsageError):
        load_task("tasks.drill", "DrillEverything", {"month": text})
