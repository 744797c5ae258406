"""Short steps share few processes: each ends, fails and is killed by itself, as if it had one of its own."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import luigi
import luigi.scheduler
import psutil
import pytest
from luigi.task_status import DISABLED, DONE

from pipeline import access
from pipeline.cli.runs import supervise
from pipeline.errors import StoppedError
from pipeline.settings import Settings
from pipeline.system import process_tree
from tasks import step
from tasks.worker import pool, stop
from tasks.worker.assisting import Assistant
from tasks.worker.worker import Worker
from tests.support.night import Night, wait_until

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


class Asking(Note):
    """A step that asks the warehouse, and notes over which session."""

    settings: ClassVar[Settings | None] = None

    def run(self) -> None:
        assert self.settings is not None
        with access.brief(self.settings).asking() as warehouse:
            session = warehouse.info.backend_pid
        with self.output().open("w") as file:
            file.write(str(session))


class Notes(luigi.WrapperTask):
    folder = luigi.Parameter()
    names = luigi.ListParameter()

    def requires(self) -> list[Note]:
        return [Note(folder=self.folder, name=name) for name in self.names]  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def events_of(event: str, said: list[str]) -> Iterator[None]:
    """Gather what an event of a step says."""

    def add(_task: luigi.Task, message: str) -> None:
        said.append(message)

    Note.event_handler(event)(add)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        Note.remove_event_handler(event, add)  # type: ignore[no-untyped-call]


Do = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture(autouse=True)
def steps_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that keep their logs, and tell nobody."""
    settings = SimpleNamespace(logs=SimpleNamespace(folder=tmp_path / "logs"), alerts=None)
    monkeypatch.setattr("tasks.worker.log.configured", lambda: settings)
    monkeypatch.setattr("tasks.events._send_alert", lambda *_, **__: None)
    monkeypatch.setattr("pipeline.alerts.send_recovery", lambda *_, **__: None)
    monkeypatch.setattr("tasks.events.configured", lambda: settings)
    monkeypatch.setattr("tasks.step.catalog_files", tuple)
    monkeypatch.setattr("tasks.step.catalog_digest", str)


@pytest.fixture
def do(tmp_path: Path) -> Do:
    """Have steps of these names done by one worker; return the names of those that were, and were not."""

    def do(*names: str) -> tuple[list[str], list[str]]:
        before = set(psutil.Process().children())
        scheduler = luigi.scheduler.Scheduler(
            luigi.scheduler.scheduler(retry_count=1, record_task_history=False)
        )
        with Worker(
            scheduler=scheduler,
            worker_processes=1,
            force_multiprocessing=True,
            check_complete_on_run=True,
            no_install_shutdown_handler=True,
            keep_alive=True,
            wait_interval=0.1,
        ) as worker:
            assert worker.add(Notes(folder=str(tmp_path), names=names))  # type: ignore[no-untyped-call]
            worker.run()
        found = [
            [
                one["params"]["name"]
                for one in scheduler.task_list(status, "").values()
                if one["name"] == "Note"
            ]
            for status in (DONE, DISABLED)
        ]
        # Luigi's own process of a task has told that it is done just before it ends.
        left = [one for one in psutil.Process().children() if one not in before]
        assert psutil.wait_procs(left, timeout=60)[1] == []
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


@pytest.fixture
def at_hand(tmp_path: Path) -> Iterator[tuple[Worker, luigi.Task]]:
    """An assistant, and a step that was given to it and is under way."""
    with Assistant(scheduler=luigi.scheduler.Scheduler(), workers=2) as worker:
        task: luigi.Task = Note(folder=str(tmp_path), name="step")  # type: ignore[no-untyped-call]
        worker._get_work()
        assert worker.add(task)
        worker._run_task(task.task_id)
        yield worker, task


def test_a_process_that_nobody_needs_ends_also_if_no_step_follows(
    at_hand: tuple[Worker, luigi.Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An assistant waits for days between two nights."""
    worker, task = at_hand
    (member,) = worker._pool.members
    wait_until(task.complete, "the step is done", 30)
    worker._handle_next_task()
    worker._get_work()
    assert worker._pool.members == [member], "it is kept for a while"
    monkeypatch.setattr(pool, "LIFE_SECONDS", 0.0)

    def is_gone() -> bool:
        worker._get_work()
        return worker._pool.members == []

    wait_until(is_gone, "it has ended", 30)
    assert member.process.exitcode == 0


def test_a_process_that_waits_for_long_keeps_no_login_and_goes_on_with_the_next_step(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Asking, "settings", night.settings)
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.1)
    with Assistant(scheduler=luigi.scheduler.Scheduler(), workers=2) as worker:
        for name in ("first", "second"):
            task = Asking(folder=str(tmp_path), name=name)  # type: ignore[no-untyped-call]
            assert worker.add(task)
            worker._run_task(task.task_id)
            (member,) = worker._pool.members
            wait_until(task.complete, "it has asked", 30)
            worker._handle_next_task()
            left = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
            session = task.file.read_text()
            wait_until(lambda: not night.ask("warehouse", left, (session,)), "its session has ended", 20)  # noqa: B023
            assert member.process.is_alive()


def test_a_step_that_was_done_has_not_failed_because_its_process_ended_well_before_that_was_read(
    at_hand: tuple[Worker, luigi.Task],
) -> None:
    """As one does that is told to make room for a new one."""
    worker, task = at_hand
    said: list[str] = []
    with events_of(luigi.Event.PROCESS_FAILURE, said):
        worker._pool.renew()
        process = worker._running_tasks[task.task_id]
        process.join(30)
        assert not process.is_alive()
        worker._handle_next_task()
    assert said == []
    assert worker._running_tasks == {}
    assert worker._scheduler.task_list(DONE, "").keys() == {task.task_id}


def test_processes_that_wait_for_steps_end_with_the_worker_that_is_killed(tmp_path: Path) -> None:
    program = """
        import multiprocessing, signal, sys, time
        from tasks.worker import pool
        from tasks.worker.results import Results
        made = pool.Pool(None, {}, Results())
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
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
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


def stopped_while_it_forks(do: Do, when: str, given: Path) -> None:
    """Be a worker that is told to stop at a moment at which what a handler raises is lost.

    `given` is made if a step is handed out.
    """
    told: list[int] = []

    def give(member: pool.Member, task: luigi.Task) -> None:
        given.touch()
        raise AssertionError(f"{task} was given to {member}")

    def end() -> None:
        stop.request()
        sys.exit(StoppedError.exit_code)

    def once() -> None:
        if not told:
            told.append(os.getpid())
            signal.raise_signal(signal.SIGTERM)

    # This process is another one than that of the test.
    setattr(pool.Member, "give", give)  # noqa: B010 - mypy lets no method be replaced
    os.register_at_fork(**{when: once})
    stop.handle(end)
    do("first", "second")


@pytest.mark.parametrize("when", ["before", "after_in_parent"])
def test_a_worker_that_is_told_to_stop_while_it_forks_begins_no_step_any_more(
    do: Do, tmp_path: Path, when: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """And prints no traceback of that."""
    given = tmp_path / "given"
    worker = multiprocessing.get_context("fork").Process(
        target=stopped_while_it_forks, args=(do, when, given)
    )
    worker.start()
    worker.join()
    said = capfd.readouterr().err
    assert "Exception ignored" not in said
    assert worker.exitcode == StoppedError.exit_code, said
    assert not given.exists()
    assert not (tmp_path / NOTES).exists()
    assert "AssertionError" not in said


def stopped_as_it_was_forked(folder: Path) -> None:
    """Fork a process that is told to stop before it knows that it is another one; end as that did."""
    os.register_at_fork(after_in_child=lambda: signal.raise_signal(signal.SIGTERM))
    stop.handle((folder / "handler").touch)
    pid = os.fork()
    if not pid:
        (folder / "went on").touch()
        os._exit(0)
    os._exit(os.WTERMSIG(os.waitpid(pid, 0)[1]))


def test_a_step_that_is_stopped_as_its_process_is_forked_ends_and_is_not_its_worker(tmp_path: Path) -> None:
    """What the worker does at SIGTERM, such as to send an alert, is not done by the process of a step."""
    worker = multiprocessing.get_context("fork").Process(target=stopped_as_it_was_forked, args=(tmp_path,))
    worker.start()
    worker.join()
    assert list(tmp_path.iterdir()) == []
    assert worker.exitcode == signal.SIGTERM


def stopped_as_fork_returns(folder: Path) -> None:
    """Be told to stop when there is a new process that is not remembered yet."""
    stop.handle(lambda: (folder / "known").write_text(str(known)))
    known = False
    with stop.deferred():
        signal.raise_signal(signal.SIGTERM)
        known = True


def test_what_is_to_be_done_at_sigterm_waits_until_a_new_process_is_known(tmp_path: Path) -> None:
    worker = multiprocessing.get_context("fork").Process(target=stopped_as_fork_returns, args=(tmp_path,))
    worker.start()
    worker.join()
    assert (tmp_path / "known").read_text() == "True"


def test_a_process_that_could_not_be_forked_is_none_that_is_waited_for(
    do: Do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise BlockingIOError("no process is left")

    monkeypatch.setattr(os, "fork", fail)
    with pytest.raises(BlockingIOError):
        do("first")
    assert not (tmp_path / NOTES).exists()
