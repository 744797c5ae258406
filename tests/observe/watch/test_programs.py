"""What watch thinks of the analysts' own tasks: files that nobody runs now, and a run that was killed."""

from pathlib import Path
from typing import Any

from pipeline import alerts
from pipeline.alerts import Alert, Kind
from pipeline.chains import PROGRAM_TASK
from pipeline.observe.observed.observations import Observations, Program
from pipeline.observe.watch import sending
from pipeline.observe.watch.finding import Finding
from pipeline.settings import Settings
from pipeline.step import State, Step, StepKey
from tests.observe.watch.samples import DAY, HOUR, LAST_NIGHT, LONG_AGO, NOW, observations, settings
from tests.observe.watch.samples import judged as judged_by
from tests.observe.watch.samples import told as told_by

RECORDS = Path("/srv/analysts.runs")


def configured(**watch: int) -> Settings:
    """Return settings with a checkout of the analysts."""
    return settings(analysts={"checkout": "/srv/analysts"}, watch=watch)


def program(name: str = "headcount", **changes: Any) -> Program:
    """Return a file of tasks that was done last night, on this machine."""
    known = {"run": "2026-11-24", "done_at": LAST_NIGHT, "records": RECORDS, **changes}
    return Program(name, LONG_AGO, **known)


def with_programs(*programs: Program) -> Observations:
    return observations(programs=programs)


def told(*programs: Program, **watch: int) -> dict[str, Finding]:
    return told_by(with_programs(*programs), configured=configured(**watch))


def judged(*programs: Program) -> dict[str, Finding]:
    return judged_by(with_programs(*programs), configured=configured())


def step(state: State = State.FAILED, **changes: Any) -> Step:
    """Return how the tasks of the file failed last night."""
    known = {
        "started_at": LAST_NIGHT,
        "finished_at": None,
        "rows": None,
        "error": "tasks/headcount.py:8: One: ValueError: no such intake",
        "exit_code": 3,
        **changes,
    }
    return Step(StepKey("2026-11-24", PROGRAM_TASK, "headcount"), state, **known)


def test_files_of_last_night_need_no_word() -> None:
    found = judged(program(), program("other"))
    assert {key: one.severity for key, one in found.items() if "analysts" in key} == {
        "watch/going/analysts": "ok",
        "watch/analysts": "ok",
        "watch/analysts/headcount": "ok",
        "watch/analysts/other": "ok",
    }
    assert told(program(), program("other")) == {}


def test_a_file_that_nobody_runs_any_more_is_told_with_what_to_do() -> None:
    """Its tables grow old; it did not fail, so nobody else tells of it."""
    (late,) = told(program(done_at=NOW - 3 * DAY)).values()
    assert (late.key, late.severity) == ("watch/analysts/headcount", "stale")
    assert late.summary == (
        "tasks/headcount.py: last done 2026-11-21 14:00 UTC, 3 days 0 h ago; the limit is 26 h"
    )
    assert (late.command, late.since) == ("pipeline run analysts headcount", NOW - 3 * DAY + 26 * HOUR)
    assert late.hint.startswith("check the line in the crontab, the timer or the job")
    assert "remove /srv/analysts.runs here" in late.hint
    assert told(program(done_at=NOW - 3 * DAY), task_hours=80) == {}


def test_that_no_run_begins_is_told_once_and_not_for_every_file() -> None:
    (late,) = told(program(done_at=NOW - 3 * DAY), program("other", done_at=NOW - 2 * DAY)).values()
    assert (late.key, late.severity, late.command) == ("watch/analysts", "stale", "pipeline run analysts")
    assert late.summary == (
        "the analysts' own tasks: none of 2 files was done within 26 h; the newest, tasks/other.py: "
        "last done 2026-11-22 14:00 UTC, 2 days 0 h ago"
    )
    assert told(program(done_at=NOW - 3 * DAY), program("other")).keys() == {"watch/analysts/headcount"}


def test_a_file_that_was_never_done_is_told_and_a_new_one_may_wait_for_its_night() -> None:
    (late,) = told(program(run=None, done_at=None)).values()
    assert late.summary.startswith("tasks/headcount.py: never done, first possible 200 days 0 h ago")
    new = Program("new", NOW - HOUR, records=RECORDS)
    assert told(program(), new) == {}
    assert "watch/analysts/new" not in judged(program(), new)


def test_a_file_that_fails_for_days_is_told_with_its_error() -> None:
    (late,) = told(program(done_at=NOW - 3 * DAY, step=step(hint="correct that, and push it"))).values()
    assert late.error == "RunProgram failed: tasks/headcount.py:8: One: ValueError: no such intake"
    assert late.next_step == (
        "correct that, and push it, then pipeline run analysts headcount --run 2026-11-24"
    )


def test_a_file_that_is_at_work_is_not_late_yet_and_one_that_hangs_is_told() -> None:
    late = program(done_at=NOW - 27 * HOUR, step=step(State.RUNNING, started_at=NOW - HOUR))
    assert told(late) == {}
    assert "watch/analysts/headcount" not in judged(late)
    (hangs,) = told(program(step=step(State.RUNNING, started_at=NOW - 13 * HOUR))).values()
    assert (hangs.key, hangs.severity) == ("watch/going/analysts", "warning")
    assert "at tasks/headcount.py, began 13 h 00 min ago; the limit is 12 h 00 min" in hangs.summary


def test_a_run_that_was_killed_with_all_who_would_tell_is_told_at_once() -> None:
    """The machine lost its power: there is nothing but the record that the file was at work."""
    (dead,) = told(program(step=step(error="it was killed"), was_killed=True)).values()
    assert (dead.key, dead.severity) == ("run/analysts", "failed")
    began = "analysts: run 2026-11-24, at tasks/headcount.py, was killed 11 h 45 min ago"
    assert dead.summary.startswith(began)
    assert dead.command == "pipeline run analysts --run 2026-11-24"
    # Whoever saw it has told.
    assert told(program(step=step(error="it was killed"))) == {}
    both = told(program(done_at=NOW - 3 * DAY, step=step(error="it was killed"), was_killed=True))
    assert both["watch/analysts/headcount"].next_step == "pipeline run analysts headcount --run 2026-11-24"


def test_a_machine_that_never_ran_any_tells_nobody_for_another_one_may() -> None:
    elsewhere = program(run=None, done_at=None, records=None)
    assert told(elsewhere) == {}
    found = judged(elsewhere)
    assert found["watch/tasks"].severity == "info"
    assert found["watch/tasks"].summary.startswith("tasks/headcount.py: never run on this machine")
    assert not [key for key in found if "analysts" in key]
    # Of who has no checkout here, nothing is known.
    assert "watch/tasks" not in judged_by(observations())


def test_a_file_that_is_no_longer_there_is_told_to_be_over(tmp_path: Path) -> None:
    shown = settings(
        alerts={"secret": "alerts", "spool": str(tmp_path / "spool")}, analysts={"checkout": "/srv/analysts"}
    )
    kept = ["analysts/headcount", "run/analysts", "watch/analysts", "watch/analysts/headcount"]
    kept.append("watch/going/analysts")
    gone = ["analysts/old", "watch/analysts/old"]
    for key in [*kept, *gone]:
        alert = Alert(key=key, kind=Kind.FAILED, summary=f"{key} failed")
        alerts.keep(shown, alert, grace_seconds=60)

    def still_open(found: Observations, configured: Settings = shown) -> set[str]:
        sending.send_undeclared(configured, found, ())
        return {alert.key for alert in alerts.open_alerts(shown)}

    # Without the checkout nothing is known to be gone.
    assert still_open(observations(programs=None)) == {*kept, *gone}
    assert still_open(with_programs(program())) == set(kept)
    # Another machine runs them now, or nobody.
    assert still_open(with_programs(program(records=None))) == {"run/analysts"}
    for key in kept:
        alert = Alert(key=key, kind=Kind.FAILED, summary=f"{key} failed")
        alerts.keep(shown, alert, grace_seconds=60)
    without = shown.model_copy(update={"analysts": None})
    assert still_open(observations(programs=None), without) == {"run/analysts"}
