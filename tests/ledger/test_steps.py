"""The ledger: what is written of a step agrees with what became of its work."""

import threading
from typing import Any

import pytest

from pipeline import access, ledger, postgres
from pipeline.errors import CheckError, LostError, Outage, UnreachableError
from pipeline.ledger import lease, runs
from pipeline.ledger.runs import Published
from pipeline.step import Record, StepKey
from tests.support.night import Night, next_run


def key() -> StepKey:
    return StepKey(next_run(), "ExtractTable", "shop.item")


def test_a_step_that_fails_leaves_its_error_and_none_of_its_work(night: Night) -> None:
    step = key()

    def work() -> None:
        with (
            access.opened(night.settings) as databases,
            databases.warehouse(autocommit=True) as beside,
            databases.warehouse() as warehouse,
            lease.attempted(beside, step),
        ):
            postgres.rows(warehouse, "CREATE TABLE staging.mine (id int)")
            raise CheckError("it does not hold")

    with pytest.raises(CheckError):
        work()
    found = night.step(step.run, step.task, step.name)
    assert found is not None
    assert (found.state, found.error, found.exit_code, found.rows) == ("failed", "it does not hold", 4, None)
    assert night.ask("warehouse", "SELECT to_regclass('staging.mine')") == [(None,)]


def test_a_step_that_lacked_a_server_says_so_until_it_is_begun_again(night: Night) -> None:
    """What failed for want of one server is one failure, by what the ledger has of it, not by its words."""
    step = key()
    lacking = Outage("source shop", "db:5432")

    def work(failure: UnreachableError) -> None:
        with (
            access.opened(night.settings) as databases,
            databases.warehouse(autocommit=True) as beside,
            lease.attempted(beside, step),
        ):
            raise failure

    with pytest.raises(UnreachableError):
        work(LostError("no connection", outage=lacking))
    found = night.step(step.run, step.task, step.name)
    assert found is not None
    assert found.outage == lacking
    # Its words name one, as those of a table may.
    with pytest.raises(UnreachableError):
        work(UnreachableError("source shop: no connection: refused"))
    found = night.step(step.run, step.task, step.name)
    assert found is not None
    assert (found.error, found.outage) == ("source shop: no connection: refused", None)


def test_a_step_that_is_stopped_just_before_its_commit_does_not_wait_for_itself(night: Night) -> None:
    """Its transaction holds the row in which its failure is to be written: the stop must go through."""
    step = key()

    def work() -> None:
        with (
            access.opened(night.settings) as databases,
            databases.warehouse(autocommit=True) as beside,
            databases.warehouse() as warehouse,
            lease.attempted(beside, step) as attempt,
        ):
            attempt.finish(warehouse, 5, Record())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    found = night.step(step.run, step.task, step.name)
    assert found is not None
    assert not found.done


def test_a_step_is_done_only_when_its_work_is_committed(night: Night) -> None:
    step = key()
    with access.opened(night.settings) as databases, databases.warehouse() as warehouse:
        ledger.finish_step(warehouse, step, 5, Published(mode="first", total=5))
        assert night.step(step.run, step.task, step.name) is None
        warehouse.commit()
    found = night.step(step.run, step.task, step.name)
    assert found is not None
    assert (found.done, found.rows, Published.of(found)) == (True, 5, Published(mode="first", total=5))


def test_a_run_that_died_is_not_said_to_be_running(night: Night) -> None:
    """Its state in the table is the last that it wrote; its lock tells whether it lives."""
    run = next_run()
    with access.opened(night.settings) as databases:
        with databases.warehouse(autocommit=True) as holding, runs.running(holding, run, "etl") as ours:
            assert ours
            with night.warehouse() as warehouse:
                found = runs.find(warehouse, "etl")
                assert found is not None
                assert (found.run, found.actual_state, found.alive) == (run, "running", True)
            with (
                databases.warehouse(autocommit=True) as second,
                runs.running(second, next_run(), "etl") as too,
            ):
                assert not too
            with databases.warehouse(autocommit=True) as third, runs.running(third, run, "backup") as other:
                assert other, "another name is another run"
        night.ask("warehouse", "UPDATE ops.run SET state = 'running' WHERE name = 'etl'")
        with night.warehouse() as warehouse:
            found = runs.find(warehouse, "etl", run)
    assert found is not None
    assert (found.state, found.actual_state, found.alive) == ("running", "failed", False)


def test_whoever_works_on_a_table_keeps_others_off_it(night: Night) -> None:
    order: list[str] = []
    with access.opened(night.settings) as databases, databases.warehouse() as first:
        lease.lock_table(first, "shop", "item")

        def second() -> None:
            with databases.warehouse() as connection:
                lease.lock_table(connection, "shop", "other")
                order.append("another table")
                lease.lock_table(connection, "shop", "item")
                order.append("second")

        waiting = threading.Thread(target=second)
        waiting.start()
        while not night.value("warehouse", "SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert waiting.is_alive()
        order.append("first")
        first.commit()
        waiting.join()
    assert order == ["another table", "first", "second"]


def test_a_run_that_was_killed_is_not_alive_by_the_lock_of_the_next(night: Night) -> None:
    killed, following = next_run(), next_run()
    with access.opened(night.settings) as databases:
        with databases.warehouse(autocommit=True) as first, runs.running(first, killed, "etl"):
            pass
        for name in ("etl", "drill"):
            night.ask(
                "warehouse",
                "INSERT INTO ops.run (run, name, state, host, pid) VALUES (%s, %s, 'running', 'here', 1)"
                " ON CONFLICT (run, name) DO UPDATE SET state = 'running', finished_at = NULL",
                (killed, name),
            )
        with databases.warehouse(autocommit=True) as second, runs.running(second, following, "etl") as ours:
            assert ours
            with night.warehouse() as warehouse:
                found = runs.find(warehouse, "etl", killed)
                assert found is not None
                assert (found.alive, found.state, found.error) == (False, "failed", "its process was killed")
                assert found.finished_at is not None
                alive = runs.find(warehouse, "etl", following)
                assert alive is not None
                assert (alive.alive, alive.state) == (True, "running")
    other = night.value("warehouse", "SELECT state FROM ops.run WHERE name = 'drill'")
    assert other == "running", "another name has a lock of its own"


def test_a_shape_is_recorded_again_only_when_it_is_another(night: Night) -> None:
    """It comes back from the ledger with lists where it had tuples."""
    shape: dict[str, Any] = {"columns": [{"name": "state", "labels": ("open", "closed"), "oid": 7}]}
    with access.opened(night.settings) as databases, databases.warehouse() as warehouse:
        for _ in range(3):
            ledger.accept_shape(warehouse, "shop", "item", next_run(), shape)
            warehouse.commit()
        shape["columns"][0]["labels"] = ("open",)
        ledger.accept_shape(warehouse, "shop", "item", next_run(), shape)
    assert night.value("warehouse", "SELECT count(*) FROM ops.table_shape") == 2
