"""Nights done by several workers, and through the scheduler's death: each table is loaded once, all are."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import luigi
import luigi.scheduler
import psutil
import pytest
from luigi.task_status import DISABLED, DONE, FAILED, PENDING

from pipeline import postgres
from pipeline.errors import LostError
from tasks import etl
from tasks.scheduler import assist
from tasks.worker import assisting, worker
from tests.support.crew import Crew
from tests.support.night import Night, next_run, wait_until
from tests.support.schedulers import served

TABLES = 60
# Enough of them that a night of them can be disturbed in its middle, and small.
MANY = "".join(
    f"CREATE TABLE t{n} (id int PRIMARY KEY, name text);"
    f" INSERT INTO t{n} SELECT n, 'row ' || n FROM generate_series(1, {10 + n}) AS n;"
    for n in range(TABLES)
)
DECLARED = f"source: shop\ntables: {{{', '.join(f't{n}: {{}}' for n in range(TABLES))}}}\n"
# So that a dead worker is missed, and a failed task tried again, before a test loses patience.
QUICK = {"worker_disconnect_delay": "10", "retry_delay": "1"}
LOADED = "SELECT count(*) FROM ops.step WHERE run = %s AND task = 'LoadTable' AND state = 'done'"


@pytest.fixture
def crew(night: Night, tmp_path: Path) -> Iterator[Crew]:
    """A night of 60 small tables, with a scheduler of its own that is not started yet."""
    night.platform.source("shop", MANY, DECLARED)
    with served(night.platform, tmp_path) as scheduler:
        made = Crew(night, scheduler, QUICK)
        yield made
        made.close()


@pytest.fixture
def small(shop: Night, tmp_path: Path) -> Iterator[Crew]:
    """A night of three tables, with a scheduler of its own that serves."""
    with served(shop.platform, tmp_path) as scheduler:
        made = Crew(shop, scheduler, QUICK)
        scheduler.start()
        yield made
        made.close()


def loaded(crew: Crew, run: str) -> int:
    found: int = crew.night.value("warehouse", LOADED, (run,))
    return found


def each_was_loaded_once(crew: Crew, run: str, tables: int = TABLES) -> None:
    """See that every table equals its source, and that nobody did any of it a second time."""
    assert crew.night.differing("shop") == []
    done = crew.night.ask(
        "warehouse",
        """
        SELECT name, (detail ->> 'inserted')::int, (detail ->> 'updated')::int FROM ops.step
        WHERE run = %s AND task = 'LoadTable' AND state = 'done'
        """,
        (run,),
    )
    assert len(done) == tables
    # What was merged a second time would say so.
    for name, inserted, updated in done:
        source = crew.night.value("shop", f"SELECT count(*) FROM {name.removeprefix('shop.')}")
        assert (inserted, updated) == (source, 0), name
        rows = f"SELECT count(*), count(DISTINCT _loaded_at) FROM {name}"
        assert crew.night.ask("warehouse", rows) == [(source, 1)], name
    assert crew.night.ask("warehouse", "SELECT 1 FROM pg_tables WHERE schemaname = 'staging'") == []


def ended_well(crew: Crew, run: "Any") -> None:
    assert run.wait(420) == 0, crew.logs()


# Several workers.


@pytest.mark.endurance
def test_two_workers_on_two_nodes_share_a_night_and_one_is_killed(crew: Crew) -> None:
    """Each on a network of its own; what the dead one had is done by the other, and nothing twice."""
    crew.served.start()
    first, second = crew.node("node-a"), crew.node("node-b")
    run = next_run()
    helper = crew.start("worker", "--workers", "2", node=second)
    going = crew.start("run", "etl", "--run", run, "--workers", "2", node=first)
    share = f"SELECT count(*) FROM ops.step WHERE run = %s AND host = '{second.name}' AND state = 'done'"
    wait_until(lambda: crew.night.value("warehouse", share, (run,)) >= 10, "both have a share", 240)
    crew.signal(helper, signal.SIGKILL)
    before = loaded(crew, run)
    assert before < TABLES, "it was killed in the middle of the night"
    ended_well(crew, going)
    each_was_loaded_once(crew, run)
    by_host = dict(
        crew.night.ask(
            "warehouse",
            "SELECT host, count(*) FROM ops.step WHERE run = %s AND task <> 'OpenSnapshot' GROUP BY host",
            (run,),
        )
    )
    assert by_host.keys() == {first.name, second.name}
    moments = "SELECT count(DISTINCT snapshot_at) FROM ops.watermark"
    assert crew.night.value("warehouse", moments) == 1, "the run itself held the moment of the source"
    told = "SELECT kind, key FROM ops.alert ORDER BY told_at"
    both = [("failed", "run/etl"), ("recovered", "run/etl")]
    wait_until(
        lambda: crew.night.ask("warehouse", told) == both, "the dead worker is told of, and that all is done"
    )


@pytest.mark.endurance
def test_the_worker_that_is_left_opens_the_snapshot_of_the_killed_one_anew(crew: Crew) -> None:
    """A run that is killed takes the moment of its source along; the worker ends its night all the same."""
    crew.served.start()
    run = next_run()
    crew.start("worker", "--workers", "2")
    going = crew.start("run", "etl", "--run", run)
    wait_until(lambda: loaded(crew, run) >= 5, "the middle of the night", 240)
    crew.signal(going, signal.SIGKILL)
    wait_until(lambda: loaded(crew, run) == TABLES, "the night is complete", 420)
    each_was_loaded_once(crew, run)
    assert crew.start("run", "etl", "--run", run).wait(60) == 0, "and the same command finds nothing to do"


@pytest.mark.endurance
def test_a_worker_that_was_stopped_for_long_writes_nothing_when_it_wakes_up(small: Crew) -> None:
    """It stands still in the middle of an extraction, and has the table; the night goes on without it."""
    night, run = small.night, next_run()
    with night.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE purchase IN ACCESS EXCLUSIVE MODE")
        stopped = small.start("run", "etl", "--run", run)
        at_work = "SELECT 1 FROM ops.step WHERE run = %s AND name = 'shop.purchase' AND state = 'running'"
        wait_until(lambda: night.ask("warehouse", at_work, (run,)), "it reads the table")
        small.signal(stopped, signal.SIGSTOP)
    helper = small.start("worker")
    # Its silence lasts for two minutes before anybody takes the table from it.
    wait_until(lambda: loaded(small, run) == 3, "the other one has loaded everything", 300)
    each_was_loaded_once(small, run, 3)
    before = night.ask("warehouse", "SELECT * FROM ops.step ORDER BY task, name")
    small.signal(stopped, signal.SIGCONT)
    ended_well(small, stopped)
    each_was_loaded_once(small, run, 3)
    assert night.ask("warehouse", "SELECT * FROM ops.step ORDER BY task, name") == before
    assert helper.poll() is None


@pytest.mark.endurance
def test_a_worker_that_is_told_to_stop_gives_its_steps_back(small: Crew) -> None:
    """It takes nothing new, gives back what it cannot finish in time, and leaves nobody behind."""
    night, run = small.night, next_run()
    with night.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE purchase IN ACCESS EXCLUSIVE MODE")
        going = small.start("run", "etl", "--run", run, "--workers", "1")
        helper = small.start("worker")
        at_work = (
            "SELECT host, pid FROM ops.step WHERE run = %s AND name = 'shop.purchase' AND state = 'running'"
        )
        wait_until(lambda: night.ask("warehouse", at_work, (run,)), "somebody reads the table")
        helper.terminate()
        assert helper.wait(60) == 143
    ended_well(small, going)
    each_was_loaded_once(small, run, 3)
    left = [psutil.Process(small.served.process.pid)] if small.served.process else []
    wait_until(lambda: night.ours() == left, "nobody is left")


@pytest.mark.endurance
def test_a_run_that_is_told_to_stop_says_so_and_nobody_goes_on_with_it(small: Crew) -> None:
    """The tables that it has not begun are no longer offered to a worker; the same command asks for them."""
    night, run, call = small.night, next_run(), small.served.door.call
    with night.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE customer, purchase, event IN ACCESS EXCLUSIVE MODE")
        going = small.start("run", "etl", "--run", run, "--workers", "1")
        at_work = "SELECT 1 FROM ops.step WHERE run = %s AND task = 'ExtractTable' AND state = 'running'"
        wait_until(lambda: night.ask("warehouse", at_work, (run,)), "it reads a table")
        (catalog,) = [worker["catalog"] for worker in call("worker_list")]
        going.terminate()
        assert going.wait(60) == 143
    call("add_worker", "worker", worker="probe", info=[["catalog", catalog], ["assistant", True]])
    assert small.tasks(PENDING, "etl.ExtractTable") != []
    assert call("get_work", "worker", worker="probe", host="there", assistant=True)["task_id"] is None
    assert small.start("run", "etl", "--run", run).wait(120) == 0, small.logs()
    each_was_loaded_once(small, run, 3)


# The scheduler.


@pytest.mark.endurance
def test_the_scheduler_is_killed_in_the_middle_of_a_night(crew: Crew) -> None:
    """What it had not saved, it is told again; the night ends complete."""
    crew.served.start()
    run = next_run()
    going = crew.start("run", "etl", "--run", run)
    wait_until(lambda: loaded(crew, run) >= 10, "the middle of the night", 240)
    crew.served.end(signal.SIGKILL)
    assert loaded(crew, run) < TABLES
    crew.served.start()
    ended_well(crew, going)
    each_was_loaded_once(crew, run)


@pytest.mark.endurance
def test_the_scheduler_forgets_everything_in_the_middle_of_a_night(crew: Crew) -> None:
    """Its disk is lost with it: it learns from those who work what there is to do."""
    crew.served.start()
    run = next_run()
    helper = crew.start("worker")
    going = crew.start("run", "etl", "--run", run)
    wait_until(lambda: loaded(crew, run) >= 10, "the middle of the night", 240)
    crew.served.end(signal.SIGKILL)
    crew.served.state.unlink()
    assert loaded(crew, run) < TABLES
    crew.served.start()
    ended_well(crew, going)
    each_was_loaded_once(crew, run)
    assert helper.poll() is None, "the worker waited for it"


@pytest.mark.endurance
def test_the_scheduler_is_started_only_after_the_night_began(crew: Crew) -> None:
    run = next_run()
    going = crew.start("run", "etl", "--run", run)
    wait_until(lambda: "does not answer; trying again" in crew.logs(), "it was looked for", 120)
    crew.served.start()
    ended_well(crew, going)
    each_was_loaded_once(crew, run)


class Undone(luigi.Task):
    """A root that is never done."""

    def complete(self) -> bool:
        return False


@pytest.mark.parametrize("lost", ["the worker", "the tasks"])
def test_a_run_notices_that_the_scheduler_has_lost_it(lost: str) -> None:
    """After a restart: of an older state, or one in which the worker had been silent for too long."""
    made: Any = scheduler()
    ours = worker.Worker(scheduler=made, worker_processes=1, keep_alive=True)
    root: luigi.Task = Undone()  # type: ignore[no-untyped-call]
    ours.add(root)
    assert not ours._is_unknown()
    if lost == "the worker":
        made._state.inactivate_workers([ours._id])
    else:
        made._state.inactivate_tasks(list(made._state._tasks))
    assert ours._is_unknown()
    ours.add(root)
    assert not ours._is_unknown()


def test_a_step_that_took_long_is_no_sign_of_a_scheduler_that_has_lost_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only what nobody has been at for a while is scheduled again: after a failure it waits to be tried."""
    clock = 0.0
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: clock))
    made: Any = scheduler()
    ours = worker.Worker(scheduler=made, worker_processes=1, keep_alive=True, wait_interval=0.1)
    failing = Undone()  # type: ignore[no-untyped-call]
    assert ours.add(failing)
    waits = ours.get_work()._replace(task_id=None, running_tasks=[], n_pending_tasks=1)
    clock = 10 * worker.UNKNOWN_SECONDS
    ours._run_task(failing.task_id)
    ours._handle_next_task()
    assert ours.stays(waits)
    assert ours._added_again == 0
    clock += 2 * worker.UNKNOWN_SECONDS
    assert ours.stays(waits)
    assert ours._added_again == 1


class Ground(luigi.Task):
    """What is there as long as its file is."""

    file = luigi.Parameter()

    def complete(self) -> bool:
        return Path(str(self.file)).exists()


class Table(luigi.Task):
    """A step that requires what passes away."""

    requires_what_passes = True
    file = luigi.Parameter()
    number = luigi.IntParameter()

    def requires(self) -> Ground:
        return Ground(file=self.file)  # type: ignore[no-untyped-call]

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(f"{self.file} {self.number}")

    def run(self) -> None:
        Path(self.output().path).touch()


def test_what_a_step_failed_without_is_looked_for_again_before_the_next_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all that are handed out in the second after a snapshot's holder has died would fail."""
    monkeypatch.setattr(worker, "GROUND_SECONDS", 600.0)
    made = luigi.scheduler.Scheduler()
    ours = worker.Worker(scheduler=made, worker_processes=1, wait_interval=0.1)
    ground = tmp_path / "ground"
    ground.touch()
    tables = [Table(file=str(ground), number=number) for number in range(3)]  # type: ignore[no-untyped-call]
    for table in tables:
        assert ours.add(table)
    first, second, third = [table.task_id for table in tables]
    ours._run_task(first)
    ours._handle_next_task()
    ground.unlink()
    for task_id in (second, third):
        ours._run_task(task_id)
        ours._handle_next_task()
    failed = [task.task_id for task, status, _ in ours._add_task_history if status == FAILED]
    assert failed == [second], "the third is given back"
    assert made._state.get_task(first).status == DONE
    assert made._state.get_task(third).status == PENDING


class Checked(Table):
    """A step that needs what stays as a rule, and goes with what the step fails of."""

    requires_what_passes = False

    def run(self) -> None:
        Path(str(self.file)).unlink()
        raise LostError("the warehouse: the connection was lost")


def test_the_second_try_of_a_step_is_not_spent_on_what_went_with_the_first(tmp_path: Path) -> None:
    """Staged rows go with a warehouse that crashes: they are read again, and the check has its second try."""
    made = luigi.scheduler.Scheduler()
    ours = worker.Worker(scheduler=made, worker_processes=1, wait_interval=0.1)
    ground = tmp_path / "ground"
    ground.touch()
    checked = Checked(file=str(ground), number=1)  # type: ignore[no-untyped-call]
    assert ours.add(checked)
    for _ in range(2):
        ours._run_task(checked.task_id)
        ours._handle_next_task()
    failed = [task.task_id for task, status, _ in ours._add_task_history if status == FAILED]
    assert failed == [checked.task_id], "the second time it is given back"


def test_an_assistant_without_work_remembers_nothing_of_the_snapshots_it_saw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It lives for weeks."""
    monkeypatch.setattr("tasks.step.catalog_files", tuple)
    monkeypatch.setattr("tasks.step.catalog_digest", str)
    helper = assisting.Assistant(luigi.scheduler.Scheduler(), 2)
    helper._ground_seen["etl.OpenSnapshot"] = 1.0
    helper._get_work()
    assert helper._ground_seen == {}


# The buttons.


@pytest.mark.endurance
def test_a_failed_task_that_is_re_enabled_runs_and_so_do_its_parents(small: Crew) -> None:
    """What "Re-enable" does in the visualizer; nobody types anything."""
    night, run = small.night, next_run()
    reader = night.platform.reader("shop")
    night.ask("shop", f"REVOKE SELECT ON purchase FROM {reader}")
    helper = small.start("worker")
    assert small.start("run", "etl", "--run", run).wait(120) == 3, small.logs()
    (failed,) = small.tasks(DISABLED, "etl.ExtractTable")
    assert loaded(small, run) == 2
    night.ask("shop", f"GRANT SELECT ON purchase TO {reader}")
    small.served.door.call("re_enable_task", task_id=failed)
    wait_until(
        lambda: small.tasks(DONE, "LoadWarehouse"), "the task and all that waited for it are done", 120
    )
    each_was_loaded_once(small, run, 3)
    assert night.run("status", "--run", run).code == 0
    helper.terminate()
    assert helper.wait(60) == 143


# What an assistant may not do.

EVIL = "tests.evil"


def scheduler() -> assist.Scheduler:
    made = assist.Scheduler(luigi.scheduler.scheduler(prune_on_get_work=False, record_task_history=False))
    made.add_worker("helper", [("catalog", "1"), ("assistant", True)])
    return made


def add(made: assist.Scheduler, task_id: str, module: str, family: str, worker: str = "run") -> None:
    made.add_task(worker=worker, task_id=task_id, module=module, family=family, params={}, status=PENDING)


def offered(made: assist.Scheduler) -> str | None:
    found: str | None = made.get_work(worker="helper", host="there", assistant=True)["task_id"]
    return found


def test_the_scheduler_gives_an_assistant_nothing_that_another_machine_could_not_do() -> None:
    made = scheduler()
    add(made, "evil", EVIL, "Evil")
    add(made, "encrypt", "tasks.backup", "backup.EncryptDump")
    assert offered(made) is None
    assert made.get_work(worker="run", host="here")["task_id"] is not None, "its own worker may"
    made.add_worker("run", [("catalog", "1")])
    add(made, "load", "tasks.etl", "etl.LoadTable")
    assert offered(made) == "load"


def test_the_scheduler_leaves_the_snapshot_to_the_run_while_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends with the worker that opened it: an assistant may be stopped at any time."""
    made = scheduler()
    made.add_worker("run", [("catalog", "1")])
    add(made, "open", "tasks.etl", "etl.OpenSnapshot")
    assert offered(made) is None
    monkeypatch.setattr(assist, "GONE_SECONDS", -1.0)
    assert offered(made) == "open", "the run is gone"


def test_nobody_goes_on_with_a_run_that_was_told_to_stop() -> None:
    """Who ends a load means to end it; the next run asks for its tasks again."""
    made = scheduler()
    made.add_worker("run", [("catalog", "1")])
    add(made, "load", "tasks.etl", "etl.LoadTable")
    made.add_worker("run", [(assist.STOPPED, True)])
    assert offered(made) is None
    made.add_worker("another", [("catalog", "1")])
    add(made, "load", "tasks.etl", "etl.LoadTable", "another")
    assert offered(made) == "load"


def test_nobody_helps_a_run_that_goes_by_another_catalog() -> None:
    """Its checkout of the analysts' repository is older or newer: what it staged would not count."""
    made = scheduler()
    made.add_worker("run", [("catalog", "2")])
    add(made, "load", "tasks.etl", "etl.LoadTable")
    assert offered(made) is None
    made.add_worker("helper", [("catalog", "2")])
    assert offered(made) == "load"


@pytest.mark.parametrize(
    ("module", "family", "task_id"),
    [
        (EVIL, "Evil", "x"),
        ("tasks.etl", "ExternalTask", "ExternalTask__99914b932b"),
        ("tasks.etl", "LoadWarehouse", "etl.LoadTable_another"),
    ],
)
def test_an_assistant_itself_imports_and_runs_only_what_is_ours(
    module: str, family: str, task_id: str
) -> None:
    """Whatever the scheduler was made to say."""
    params = {"run": "2026-11-22"} if family == "LoadWarehouse" else {}
    work = {"task_id": task_id, "task_module": module, "task_family": family, "task_params": params}
    with pytest.raises(ValueError, match=r"runs no task of|is not a task of|does not match its parameters"):
        assisting._load(work)
    assert EVIL not in sys.modules


def test_an_assistant_takes_what_is_ours() -> None:
    task = etl.LoadTable(source="shop", table="item", run="2026-11-22")
    work = {"task_id": task.task_id, "task_module": "tasks.etl", "task_family": task.task_family}
    assert assisting._load({**work, "task_params": task.to_str_params()}) == task
