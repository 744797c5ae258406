"""What is known of the analysts' own tasks: that a file is at work, was killed, or was never run here."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline import settings
from pipeline.observe.observed import programs as overview
from pipeline.observe.observed.observations import Program
from pipeline.programs import run as programs
from pipeline.settings import Settings
from pipeline.system import beside
from tests.support.night import next_run, wait_until


@pytest.fixture
def configured(tmp_path: Path) -> Settings:
    """Settings with a checkout that has one file of tasks, for what needs no server."""
    file = tmp_path / "luigi.cfg"
    file.write_text(
        f"[vault]\nurl = http://127.0.0.1:9\nauth = token\n[analysts]\ncheckout = {tmp_path / 'analysts'}\n"
    )
    (tmp_path / "analysts" / "tasks").mkdir(parents=True)
    (tmp_path / "analysts" / "tasks" / "report.py").write_text("")
    return settings.read([file])


@pytest.fixture
def ended() -> Iterator[int]:
    """Return the number of a process that has ended, and whose exit code nobody has asked for."""
    process = subprocess.Popen(["/bin/true"])
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "it ends")
    yield process.pid
    process.wait()


def state(configured: Settings, pid: object, at: float) -> str:
    """Return the state of the file of tasks that process `pid` wrote at that moment it was at."""
    run = next_run()
    record = programs._record(configured, "report", run)
    beside.write(record, {"pid": pid, "ok": False, "error": "it was killed", "exit_code": 3})
    os.utime(record, (at, at))
    (found,) = overview.observe(configured, run)
    assert found.step is not None
    return found.step.state


def test_tasks_whose_process_is_a_zombie_have_failed(configured: Settings, ended: int) -> None:
    assert state(configured, ended, time.time()) == "failed"
    assert state(configured, None, time.time()) == "failed"


def test_tasks_whose_process_goes_on_are_running_though_the_file_has_another_clock(
    configured: Settings,
) -> None:
    """A disk of the network stamps its files by its own; a number that came round is another process."""
    ours = psutil.Process().create_time()
    assert state(configured, os.getpid(), ours - 20) == "running"
    assert state(configured, os.getpid(), ours - 365 * 86400) == "failed"


def known(configured: Settings) -> Program:
    """Return what is known of the one file."""
    (found,) = overview.observe(configured, None)
    return found


def test_a_machine_knows_whether_it_runs_tasks_and_since_when_a_file_is_there(configured: Settings) -> None:
    """One that only fetches them, as a node of workers does, never ran any."""
    file = configured.require_analysts().checkout / "tasks" / "report.py"
    os.utime(file, (86400, 86400))
    assert (known(configured).records, known(configured).done_at) == (None, None)
    assert known(configured).declared_at.isoformat() == "1970-01-02T00:00:00+00:00"
    with programs.running(configured):
        pass
    assert known(configured).records == file.parents[1].with_name("analysts.runs")


def test_what_was_killed_is_known_unless_somebody_is_there_who_tells(
    configured: Settings, ended: int
) -> None:
    run = next_run()
    record = {"pid": ended, "ok": False, "error": programs.KILLED, "exit_code": 3}
    beside.write(programs._record(configured, "report", run), record)
    with programs.running(configured):
        assert not known(configured).was_killed
    assert known(configured).was_killed
    # Its parent has told of it.
    programs.fail_killed(configured, ["report"], run)
    assert not known(configured).was_killed
    step = known(configured).step
    assert step is not None
    assert (step.state, step.error, step.exit_code) == ("failed", programs.KILLED, 3)
