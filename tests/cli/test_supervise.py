"""The parent of every run: nothing that came of it is left, whatever it does to hide, and limits are kept."""

import contextlib
import io
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.cli.runs import supervise
from pipeline.cli.runs.supervise import Supervision
from pipeline.errors import PipelineError, StepError, StoppedError
from pipeline.settings import RunSettings
from pipeline.system import command, process_tree
from tests.support.marks import in_depth

# As Luigi does: a process for each step, which starts programs of its own.
LUIGI = """
import os, pathlib, signal, subprocess, sys, time

folder = pathlib.Path(sys.argv[1])

def work(name):
    (folder / name).write_text(str(os.getpid()))
    while True:
        time.sleep(60)

def step(name, *, deaf=False, stopped=False, hidden=False):
    pid = os.fork()
    if pid:
        return pid
    if hidden:
        os.setsid()
        if os.fork():
            os._exit(0)
        # Nothing of ours is in its environment any more, nor any of our descriptors open.
        os.closerange(0, 20)
        os.execve(sys.executable, [sys.executable, __file__, str(folder), name], {})
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if stopped:
        (folder / name).write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
    work(name)

if sys.argv[2:]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    work(sys.argv[2])
"""


@pytest.fixture(autouse=True)
def graces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(supervise, "LEAVE_SECONDS", 0.5)
    monkeypatch.setattr(supervise, "SHOW_SECONDS", 0.05)
    monkeypatch.setattr(supervise, "POLL_SECONDS", 0.05)


class Run:
    """A supervised program that does `body` after what LUIGI says."""

    def __init__(self, folder: Path, body: str) -> None:
        self.folder = folder
        self.failed: dict[int, PipelineError] = {}
        self.program = folder / "luigi.py"
        self.program.write_text(LUIGI + textwrap.dedent(body))

    def run(self, limits: RunSettings | None = None, stop_when: int | None = None) -> int:
        """Run it; be told to stop as soon as there are so many at work."""

        def look() -> tuple[float, str]:
            if stop_when is not None and len(self.pids()) >= stop_when:
                raise StoppedError("stopped by a signal")
            return 0.0, ""

        def fail(pid: int, error: PipelineError) -> None:
            self.failed[pid] = error

        supervision = Watched("luigi", 1, look, None, limits, fail)
        return supervision.run([sys.executable, str(self.program), str(self.folder)])[0]

    def pids(self) -> dict[str, int]:
        found = {}
        for path in self.folder.iterdir():
            if path.suffix != ".py" and (text := path.read_text()):
                found[path.name] = int(text)
        return found

    def alive(self) -> list[str]:
        return [name for name, pid in self.pids().items() if _lives(pid)]


class Watched(Supervision):
    """Looks also where there is no terminal."""

    def _show(self, bar: object, task: object) -> None:  # noqa: ARG002 - as the other one
        self._progress()


def _lives(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process_tree.lives(psutil.Process(pid))
    return False


@pytest.fixture(autouse=True)
def children(tmp_path: Path) -> Iterator[None]:
    """See that no child of this process is left, not even one that only waits to be asked for its code."""
    before = set(psutil.Process().children())
    yield
    left = [child for child in psutil.Process().children() if child not in before]
    # What a test that fails leaves behind is not to be left.
    command.kill_started_with(tmp_path)
    assert left == []


ALL = """
step("plain"), step("deaf", deaf=True), step("stopped", stopped=True), step("hidden", hidden=True)
"""


def test_told_to_stop_everyone_is_ended(tmp_path: Path) -> None:
    """Also who does not listen, who is stopped, and who has left for a session of its own."""
    run = Run(tmp_path, ALL + "work('itself')")
    with pytest.raises(StoppedError):
        run.run(stop_when=5)
    assert run.pids().keys() == {"plain", "deaf", "stopped", "hidden", "itself"}
    assert run.alive() == []
    steps = {run.pids()[name] for name in ("plain", "deaf", "stopped")}
    assert run.failed.keys() == steps


def test_who_was_idle_as_all_were_told_to_stop_may_have_begun_a_step_and_is_recorded_as_well(
    tmp_path: Path,
) -> None:
    """Between the look at who is at work and the end of everyone, the next step can be given out."""
    body = """
        def idle():
            pathlib.Path("/proc/self/comm").write_text("idle")
            signal.signal(signal.SIGTERM, begin)
            work("idle")

        def begin(*_):
            pathlib.Path("/proc/self/comm").write_text("step 1")
            time.sleep(0.3)
            os._exit(0)

        if not os.fork():
            idle()
        step("plain")
        work("itself")
        """
    run = Run(tmp_path, body)
    with pytest.raises(StoppedError):
        run.run(stop_when=3)
    assert run.failed.keys() == {run.pids()[name] for name in ("plain", "idle")}


def test_who_is_left_behind_by_one_that_ends_is_ended(tmp_path: Path) -> None:
    body = """
        step("deaf", deaf=True), step("hidden", hidden=True)
        while not all((folder / name).exists() for name in ("deaf", "hidden")):
            time.sleep(0.01)
        os._exit(7)
        """
    run = Run(tmp_path, body)
    assert run.run() == 7
    assert run.pids().keys() == {"deaf", "hidden"}
    assert run.alive() == []


@pytest.mark.endurance
def test_a_run_over_its_limit_fails_and_leaves_nobody(tmp_path: Path) -> None:
    run = Run(tmp_path, ALL + "work('itself')")
    with pytest.raises(
        StepError, match=r"luigi: over its limit of 0\.05 minutes \(\[run\] run_minutes\)"
    ) as raised:
        run.run(RunSettings(run_minutes=0.05))
    assert raised.value.exit_code == 3
    assert run.alive() == []
    assert all(error is raised.value for error in run.failed.values())
    assert run.failed.keys() <= set(run.pids().values())


@in_depth("how", ["deaf=True", "stopped=True", ""], quick=1)
def test_a_step_over_its_limit_is_ended_with_what_it_started_and_the_others_go_on(
    tmp_path: Path, how: str
) -> None:
    body = f"""
        slow = step("slow", {how})
        _, status = os.waitpid(slow, 0)
        quick = os.fork()
        if not quick:
            time.sleep(0.5)
            os._exit(0)
        os._exit(5 if os.waitpid(quick, 0)[1] == 0 else 1)
        """
    run = Run(tmp_path, body)
    assert run.run(RunSettings(step_minutes=0.05)) == 5
    (pid,) = run.pids().values()
    assert run.alive() == []
    ((failed, error),) = run.failed.items()
    assert failed == pid
    assert str(error).startswith("over its limit of 0.05 minutes ([run] step_minutes), so it was stopped")


def test_who_was_there_before_is_nobody_of_ours(tmp_path: Path) -> None:
    """The demo and the tests have children of their own."""
    with subprocess.Popen(["/bin/sleep", "600"]) as other:
        assert Run(tmp_path, "os._exit(0)").run() == 0
        assert _lives(other.pid)
        other.kill()


def test_luigi_s_own_lines_go_to_the_log_of_the_run_and_ours_to_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no terminal: its housekeeping is no help to anybody who reads mail from cron."""
    ours = "2026-11-22 02:15:07 INFO [2026-11-22] 3 rows (all) read in 0.1 s"
    its = "2026-11-22 02:15:07 DEBUG Informed scheduler that task has status DONE"
    run = Run(tmp_path, f"print({ours!r}); print({its!r})")
    kept = io.StringIO()
    words = [sys.executable, str(run.program), str(tmp_path)]
    Supervision("luigi", 1, lambda: (0.0, ""), supervise.LogFile(kept, asked=False)).run(words)
    assert kept.getvalue().splitlines() == [ours, its]
    assert capsys.readouterr().err.splitlines() == [ours]
