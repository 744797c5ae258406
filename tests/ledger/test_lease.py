"""The lease: of several workers at one step, only the one that began last may write."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline import access, postgres
from pipeline.errors import TakenOverError, UnreachableError
from pipeline.ledger import lease
from pipeline.ledger.lease import Attempt
from pipeline.loading import validate
from pipeline.postgres import Connection
from pipeline.step import Record, StepKey
from tests.support.night import Night, next_run, wait_until
from tests.tasks.conftest import DECLARATION, SHOP


@dataclass(frozen=True)
class Mine(Record):
    mine: bool


def key() -> StepKey:
    return StepKey(next_run(), "OpenSnapshot", "shop")


@pytest.mark.parametrize("wakes_up", ["to finish", "to fail"])
def test_an_attempt_that_was_taken_over_neither_finishes_nor_fails_the_step(
    night: Night, wakes_up: str
) -> None:
    """A worker that was stopped for long wakes up: what the other one has done since stays."""
    step = key()

    def sleep(beside: Connection, warehouse: Connection) -> None:
        with lease.attempted(beside, step) as slept:
            with lease.attempted(beside, step) as other:
                other.finish(warehouse, 7, Mine(True))
                warehouse.commit()
            if wakes_up == "to fail":
                raise ValueError("the source has ended the connection")
            slept.finish(warehouse, 5, Mine(False))

    with (
        access.opened(night.settings) as databases,
        databases.warehouse(autocommit=True) as beside,
        databases.warehouse() as warehouse,
        pytest.raises(TakenOverError, match="another worker has taken over OpenSnapshot"),
    ):
        sleep(beside, warehouse)
    found = night.step(step.run, step.task, step.name)
    assert found is not None
    assert (found.state, found.rows, found.detail, found.error) == ("done", 7, {"mine": True}, None)


def test_an_attempt_at_a_step_that_was_forgotten_meanwhile_does_not_count(night: Night) -> None:
    """`rerun --from` clears a step: one that still goes must not bring it back, nor may its number."""
    step = key()
    with (
        access.opened(night.settings) as databases,
        databases.warehouse(autocommit=True) as beside,
        databases.warehouse() as warehouse,
    ):
        forgotten = Attempt(beside, step)
        night.ask("warehouse", "DELETE FROM ops.step")
        with pytest.raises(TakenOverError):
            forgotten.finish(warehouse, 5, Record())
        Attempt(beside, step)
        with pytest.raises(TakenOverError):
            forgotten.finish(warehouse, 5, Record())


def waiting_for_the_table(night: Night, lease_seconds: float) -> threading.Thread:
    """Have somebody else wait for the table, and return him once he does."""

    def wait() -> None:
        with access.opened(night.settings) as databases, databases.warehouse() as connection:
            lease.lock_table(connection, "shop", "item", lease_seconds=lease_seconds)

    waiting = threading.Thread(target=wait)
    waiting.start()
    waits = "SELECT 1 FROM pg_locks WHERE NOT granted"
    wait_until(lambda: not waiting.is_alive() or night.ask("warehouse", waits), "he waits")
    return waiting


@contextlib.contextmanager
def at_a_table(night: Night) -> Iterator[tuple[Attempt, Connection]]:
    """Be at a step of the table, with its lock."""
    step = StepKey(next_run(), "ExtractTable", "shop.item")
    with (
        access.opened(night.settings) as databases,
        databases.warehouse(autocommit=True) as beside,
        databases.warehouse() as warehouse,
    ):
        lease.lock_table(warehouse, "shop", "item")
        with lease.attempted(beside, step) as attempt:
            yield attempt, warehouse


def test_who_holds_a_table_and_is_silent_loses_it(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped would hold it for ever."""
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 3600.0)

    def be_silent() -> None:
        with at_a_table(night) as (attempt, warehouse):
            waiting = waiting_for_the_table(night, 1.5)
            waiting.join(60)
            assert not waiting.is_alive()
            attempt.finish(warehouse, 1, Record())

    with pytest.raises(UnreachableError, match="the connection was lost"):
        be_silent()


def test_who_holds_a_table_and_says_so_keeps_it(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes, as for a first row that comes only after a long query."""
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.1)
    held = "SELECT clock_timestamp() - xact_start > interval '3 seconds' FROM pg_stat_activity WHERE pid = %s"
    with at_a_table(night) as (attempt, warehouse):
        waiting = waiting_for_the_table(night, 1.5)
        pid = warehouse.info.backend_pid
        wait_until(lambda: night.value("warehouse", held, (pid,)), "held for long")
        assert waiting.is_alive()
        attempt.finish(warehouse, 1, Record())
        warehouse.commit()
        waiting.join(60)
        assert not waiting.is_alive()


def test_a_validation_that_comes_too_late_leaves_a_loaded_table_s_ledger_alone(night: Night) -> None:
    """It waits for the table, and finds it loaded: what was staged is not looked for any more."""
    night.platform.source("shop", SHOP, DECLARATION)
    run = next_run()
    night.extract("shop", run, "customer")
    table = night.table("shop", "customer")
    with access.opened(night.settings) as databases, databases.warehouse() as other:
        lease.lock_table(other, "shop", "customer")
        late = threading.Thread(target=lambda: validate.validate_extract(night.settings, table, run))
        late.start()
        wait_until(lambda: night.ask("warehouse", "SELECT 1 FROM pg_locks WHERE NOT granted"), "it waits")
        assert night.step(run, "ValidateExtract", "shop.customer") is None
        other.rollback()
        late.join(60)
    night.publish("shop", run, "customer")
    before = night.ask("warehouse", "SELECT * FROM ops.step ORDER BY task, name")
    validate.validate_extract(night.settings, table, run)
    assert night.ask("warehouse", "SELECT * FROM ops.step ORDER BY task, name") == before
    with night.warehouse() as warehouse:
        assert postgres.value(warehouse, "SELECT count(*) FROM ops.step WHERE state <> 'done'") == 0
