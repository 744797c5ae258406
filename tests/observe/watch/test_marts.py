"""What watch thinks of marts: one that was not built for too long is told, once, with what to do."""

from dataclasses import replace

from pipeline.observe.observed.observations import Failing, Observations, TableObservations
from tests.observe.watch.samples import (
    DAY,
    HOUR,
    LAST_NIGHT,
    LONG_AGO,
    NOW,
    judged,
    ledger,
    observations,
    only,
    run,
    tables,
    told,
)

FAILING = Failing("BuildMart", "2026-11-24", "marts/staff.sql:2: column a does not exist", 3, LAST_NIGHT, 1)


def with_mart(mart: TableObservations, **changes: object) -> Observations:
    """Return facts of a platform with one mart, after a good night of all else."""
    known = ledger(tables={**tables(), "mart.staff": mart})
    return observations(ledger=known, marts={"staff": LONG_AGO}, **changes)


def test_a_mart_of_last_night_needs_no_word() -> None:
    found = with_mart(TableObservations(None, LAST_NIGHT, LAST_NIGHT))
    assert told(found) == {}
    assert judged(found)["watch/mart/staff"].severity == "ok"


def test_a_mart_that_fails_for_days_is_told_with_what_to_do() -> None:
    late = only(with_mart(TableObservations(None, NOW - 3 * DAY, LONG_AGO, FAILING)))
    assert (late.key, late.severity) == ("watch/mart/staff", "stale")
    assert "mart staff: was last built" in late.summary
    assert late.hint == "fix marts/staff.sql, or what it reads"
    assert late.command == "pipeline rerun --run 2026-11-24 mart.staff"


def test_a_mart_that_was_never_built_is_told_and_a_new_one_may_wait_for_its_night() -> None:
    never = with_mart(TableObservations())
    assert "was never built" in only(never).summary
    assert told(replace(never, marts={"staff": NOW - HOUR})) == {}


def test_where_no_run_began_that_alone_is_told() -> None:
    old = ledger(
        run=run(started_at=NOW - 5 * DAY), tables={"mart.staff": TableObservations(None, NOW - 5 * DAY)}
    )
    found = observations(ledger=old, marts={"staff": LONG_AGO}, declared={})
    assert "watch/mart/staff" not in told(found)
