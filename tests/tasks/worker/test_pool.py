"""Short steps share few processes: each ends, fails and is killed by itself, as if it had one of its own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import luigi
import luigi.scheduler
import psutil
import pytest
from luigi.task_status import DISABLED, DONE

from pipeline.cli.runs import supervise
from pipeline.system import process_tree
from tasks import step
from tasks.worker import pool
from tasks.worker.worker import Worker
from tests.night import wait_until

NOTES = "notes"


class Note(step.Shown):
    """A step that notes in which process it was done, or ends in another way."""

    shares_its_process = True
    folder = luigi.Parameter()
    name = luigi.Parameter()
    month = "2026-11"

    @property
    def file(self) -> Path:
        return Path(str(self.folder), str(self.name))

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(str(self.file))

    def run(self) -> None:
        called = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
        with Path(self.folder, NOTES).open("a") as notes:
            notes.write(json.dumps([self.name, os.getpid(), called]) + "\n")
        if self.name.startswith("raises"):
            raise ValueError("it failed")
        if self.name.startswith("is killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.name.startswith("leaves"):
            os._exit(0)
        self.file.touch()


class Night(luigi.WrapperTask):
    folder = luigi.Parameter()
    names = luigi.ListParameter()

    def requires(self) -> list[Note]:
        return [Note(folder=self.folder, name=name) for name in self.names]  # type: ignore[no-untyped-call]


Do = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture
def do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Do:
    """Have steps of these names done by one worker; return the names of those that were, and were not."""
    settings = SimpleNamespace(logs=SimpleNamespace(folder=tmp_path / "logs"), alerts=None)
    monkeypatch.setattr("tasks.worker.log.configured", lambda: settings)
    monkeypatch.setattr("tasks.events._tell", lambda *_, **__: None)
    monkeypatch.setattr("pipeline.alerts.recovered", lambda *_, **__: None)
    monkeypatch.setattr("tasks.events.configured", lambda: settings)

    def do(*names: str) -> tuple[list[str], list[str]]:
        before = set(psutil.Process().children())
        scheduler = luigi.scheduler.Scheduler(
            luigi.scheduler.scheduler(retry_count=1, record_task_history=False)
        )
        with Worker(
            scheduler=scheduler, worker_processes=1, force_multiprocessing=True,
            check_complete_on_run=True, no_install_shutdown_handler=True, keep_alive=True, wait_interval=0.1,
        ) as worker:  # fmt: skip
            assert worker.add(Night(folder=str(tmp_path), names=names))  # type: ignore[no-untyped-call]
            worker.run()
        found = [
            [
                one["params"]["name"]
                for one in scheduler.task_list(status, "").values()
                if one["name"] == "Note"
            ]
            for status in (DONE, DISABLED)
        ]
        assert not [
            one for one in psutil.Process().children() if process_tree.lives(one) and one not in before
        ]
        return sorted(found[0]), sorted(found[1])

    return do


def notes(folder: Path) -> list[tuple[str, int, str]]:
    """Return what was done by which process, and what that was called, in order."""
    return [tuple(json.loads(line)) for line in (folder / NOTES).read_text().splitlines()]


def test_short_steps_are_done_by_one_process_that_is_called_by_the_step_it_is_at(
    do: Do, tmp_path: Path
) -> None:
    names = [f"step {number}" for number in range(5)]
    assert do(*names) == (names, [])
    found = notes(tmp_path)
    assert len({pid for _, pid, _ in found}) == 1
    assert [called for *_, called in found] == [f"step {number + 1}" for number in range(5)]


@pytest.mark.parametrize("how", ["raises", "is killed", "leaves"])
def test_a_step_that_fails_takes_no_other_along_and_what_follows_has_a_new_process(
    do: Do, tmp_path: Path, how: str
) -> None:
    """Also one whose process ends as if all were well, which Luigi by itself would wait for for ever."""
    names = [f"{before} {number}" for number in range(3) for before in (how, "step")]
    well, failed = do(*names)
    assert well == [f"step {number}" for number in range(3)]
    assert failed == [f"{how} {number}" for number in range(3)]
    done = [(name, pid) for name, pid, _ in notes(tmp_path)]
    for place, (name, pid) in enumerate(done):
        if name in failed:
            assert pid not in [later for _, later in done[place + 1 :]]


def test_a_process_that_is_old_is_followed_by_a_new_one(
    do: Do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its login to Vault lives no longer than that."""
    monkeypatch.setattr(pool, "LIFE_SECONDS", 0.0)
    assert do("a", "b", "c") == (["a", "b", "c"], [])
    assert len({pid for _, pid, _ in notes(tmp_path)}) == 3


def test_processes_that_wait_for_steps_end_with_the_worker_that_is_killed(tmp_path: Path) -> None:
    program = """
        import multiprocessing, signal, sys, time
        from tasks.worker import pool
        made = pool.Pool(None, {})
        found = [pool.Member(made) for _ in range(3)]
        print(*[member.process.pid for member in found], flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as worker:
        assert worker.stdout is not None
        members = [psutil.Process(int(pid)) for pid in worker.stdout.readline().split()]
        assert len(members) == 3
        worker.kill()
        worker.wait()
        wait_until(lambda: not any(map(process_tree.lives, members)), "they end by themselves", 30)


def test_the_limit_of_a_step_is_that_of_each_step_and_not_of_its_process(tmp_path: Path) -> None:
    """By the name of the process; one that waits for a step is at none, and is never over a limit."""
    program = """
        import sys
        from tasks.worker.pool import _call_this
        for line in sys.stdin:
            _call_this(line.strip())
            print("called", flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        seen = []
        for name in ("idle", "step 1", "idle", "step 2"):
            print(name, file=process.stdin, flush=True)
            process.stdout.readline()
            steps = [one for one in supervise._steps(os.getpid()) if one.pid == process.pid]
            seen.append(list(map(supervise._name, steps)))
        process.stdin.close()
    assert seen == [[], ["step 1"], [], ["step 2"]]
