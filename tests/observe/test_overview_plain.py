"""What `status` says of a chain that has neither a command nor a view of its own."""

import contextlib

import pytest

from pipeline import chains, ledger, postgres
from pipeline.alerts import hints
from pipeline.chains import Chain, Task
from pipeline.errors import StepError
from pipeline.ledger import runs
from pipeline.observe.observed import plain
from pipeline.step import Record, StepKey
from tests.support.night import Night

TIDY = Chain("tidy", "tasks.tidy", (Task("TidyWarehouse", None, concludes=True),), help="tidy the warehouse")


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one chain more."""
    monkeypatch.setattr(chains, "CHAINS", (*chains.CHAINS, TIDY))
    monkeypatch.setitem(chains._BY_TASK, "TidyWarehouse", TIDY)
    monkeypatch.setitem(chains._BY_NAME, "tidy", TIDY)


def attempt(night: Night, run: str, error: str | None = None, *, state: str | None = None) -> None:
    """Do a run, whose step ends in that state, if it began."""
    with night.warehouse() as warehouse, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(StepError))
        stack.enter_context(runs.running(warehouse, run, "tidy"))
        if state:
            ledger.finish_step(warehouse, StepKey(run, "TidyWarehouse", "tidy"), 1, Record())
            update = "UPDATE ops.step SET state = %s, error = %s WHERE run = %s"
            postgres.rows(warehouse, update, (state, error, run))
        if error:
            raise StepError(error)


def seen(night: Night, run: str | None = None) -> list[tuple[str, str, str | None, str]]:
    """Return task, state, error and what is to be typed, of each step that is shown."""
    with night.warehouse() as warehouse:
        found = list(plain.observe(warehouse, run))
    return [(one.key.task, one.state, one.error, hints.of_step(one).command) for one in found]


def test_a_failed_step_is_open_until_an_attempt_ends_well(night: Night) -> None:
    assert seen(night) == []
    attempt(night, "2026-11-22", state="done")
    assert seen(night) == []
    attempt(night, "2001-11-22", "no such year", state="failed")
    open_now = [("TidyWarehouse", "failed", "no such year", "pipeline run tidy --run 2001-11-22")]
    assert seen(night) == open_now
    attempt(night, "2026-11-23", state="done")
    assert seen(night) == []
    assert seen(night, "2001-11-22") == open_now


def test_a_run_that_failed_before_any_step_began_is_named(night: Night) -> None:
    attempt(night, "2026-11-22", "its lines\nLuigi ended with 40")
    (found,) = seen(night)
    assert found == ("TidyWarehouse", "failed", "Luigi ended with 40", "pipeline run tidy --run 2026-11-22")
    assert hints.of_run("2026-11-22", "tidy").command == "pipeline run tidy --run 2026-11-22"


def test_a_run_that_was_killed_has_failed(night: Night) -> None:
    attempt(night, "2026-11-22")
    night.ask("warehouse", "UPDATE ops.run SET state = 'running', finished_at = NULL RETURNING 1")
    assert seen(night) == [
        ("TidyWarehouse", "failed", "its process was killed", "pipeline run tidy --run 2026-11-22"),
    ]
