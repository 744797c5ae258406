"""How a run of a chain without a command of its own is judged, and what of it is told."""

import pytest

from pipeline import access, alerts, chains, ledger, postgres
from pipeline.alerts import Alert, Kind
from pipeline.chains import Chain, Part, Task
from pipeline.cli.runs import plain
from pipeline.errors import StepError
from pipeline.step import Record, StepKey
from tests.support.hooks import Hook
from tests.support.night import Night

ROOM = Part(("room",), "room {name}", "pipeline run {chain} --run {run}")
TIDY = Chain("tidy", "tasks.tidy", (Task("TidyRoom", ROOM, concludes=True),), help="tidy every room")
RUN = "2026-11-22"


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one chain more."""
    monkeypatch.setitem(chains._BY_TASK, "TidyRoom", TIDY)


def judge(night: Night, state: str, returncode: int = 0) -> None:
    with access.opened(night.settings) as databases, night.warehouse() as warehouse:
        ledger.finish_step(warehouse, StepKey(RUN, "TidyRoom", "hall"), 1, Record())
        postgres.rows(warehouse, "UPDATE ops.step SET state = %s, error = 'dust', exit_code = 3", (state,))
        plain._judge(databases, warehouse, TIDY, RUN, returncode, [])


def test_what_was_told_of_a_part_is_over_once_the_whole_run_is_done(hook: Hook, night: Night) -> None:
    """By whichever worker: that of another machine takes back only what is in the spool there."""
    with pytest.raises(StepError, match="TidyRoom hall: dust\n  next: pipeline run tidy --run 2026-11-22"):
        judge(night, "failed", 1)
    assert hook.received() == [("failed", "tidy/hall")]
    assert hook.alerts()[0].command == "pipeline run tidy --run 2026-11-22"
    judge(night, "done")
    assert hook.received()[1:] == [("recovered", "tidy/hall")]


def test_what_a_part_warns_of_is_not_over_with_a_whole_run(hook: Hook, night: Night) -> None:
    """As of a check of it that does not hold: its step knows whether it does."""
    warning = Alert(key="tidy/hall/dust", kind=Kind.WARNING, summary="hall: there is dust", run=RUN)
    alerts.keep(night.settings, warning, grace_seconds=60)
    judge(night, "done")
    assert [alert.key for alert in alerts.open_alerts(night.settings)] == ["tidy/hall/dust"]
    assert hook.requests() == []


def test_a_luigi_that_ends_badly_between_two_steps_is_not_said_to_have_begun_none(night: Night) -> None:
    with pytest.raises(StepError, match="Luigi ended with 40 though every step that began is done"):
        judge(night, "done", 40)
