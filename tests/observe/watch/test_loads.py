"""What watch thinks of loads: a run that never began, old tables, sources that were never loaded."""

from dataclasses import replace
from datetime import timedelta

from pipeline.observe.observed.observations import Failing, LedgerObservations, Observations
from pipeline.observe.watch import opened
from tests.observe.watch.samples import (
    DAY,
    HOUR,
    LAST_NIGHT,
    LONG_AGO,
    NOW,
    TABLES,
    judged,
    ledger,
    observations,
    only,
    run,
    settings,
    table,
    tables,
    told,
)

FAILING = Failing("ValidateExtract", "2026-11-24", "rows: 0, expected at least 1", 4, LAST_NIGHT - 2 * DAY, 3)


def loads_only(**changes: object) -> Observations:
    """Return facts of a platform whose bucket is another's business."""
    return observations(bucket=None, keys=(), **changes)


def test_a_good_night_needs_no_word() -> None:
    assert told(observations()) == {}
    found = judged(observations())
    assert {one.severity for one in found.values()} == {"ok"}
    assert {"watch/run/etl", "watch/source/hr", "watch/table/hr.employee"} <= found.keys()
    assert found["watch/source/hr"].summary == "source hr: 3 of 3 tables are within the limit of 26 h"


def test_the_limit_itself_is_in_time_and_a_minute_later_is_not() -> None:
    allowed = timedelta(hours=26)
    assert told(loads_only(), LAST_NIGHT + allowed) == {}
    assert "watch/run/etl" in told(loads_only(), LAST_NIGHT + allowed + timedelta(minutes=1))


def test_a_run_that_never_began_is_told_once_and_not_for_every_table() -> None:
    late = only(loads_only(), NOW + DAY)
    assert (late.key, late.severity, late.command) == ("watch/run/etl", "stale", "pipeline run etl")
    assert late.summary == "etl: the last run, 2026-11-24, began 35 h 45 min ago; the limit is 26 h"
    assert late.since == LAST_NIGHT + timedelta(hours=26)
    # Nor is it told that the tables are well: whoever was told of them must not be told that that is over.
    found = judged(loads_only(), NOW + DAY)
    assert not [key for key in found if key.startswith(("watch/table/", "watch/source/"))]


def test_a_table_that_fails_for_days_is_told_though_runs_begin() -> None:
    old = table(
        fresh_as_of=LAST_NIGHT - 3 * DAY,
        loaded_at=LAST_NIGHT - 3 * DAY + timedelta(minutes=5),
        failing=FAILING,
    )
    late = only(loads_only(ledger=ledger(tables=tables(employee=old))))
    assert (late.key, late.severity) == ("watch/table/hr.employee", "stale")
    assert late.text == (
        "hr.employee: shows the source of 2026-11-21 02:15 UTC, 3 days 11 h ago; the limit is 26 h: "
        "ValidateExtract failed in 3 runs since 2026-11-22 02:15 UTC: rows: 0, expected at least 1; "
        "next: fix the source, or sources/hr.yaml, then pipeline rerun --run 2026-11-24 --from extract "
        "hr.employee"
    )


def test_how_often_it_failed_is_told_from_the_second_time_on() -> None:
    def said(times: int) -> str | None:
        old = table(fresh_as_of=LAST_NIGHT - 2 * DAY, failing=replace(FAILING, runs=times))
        return only(loads_only(ledger=ledger(tables=tables(employee=old)))).error

    assert said(1) == "ValidateExtract failed: rows: 0, expected at least 1"
    assert "failed in 2 runs since 2026-11-22 02:15 UTC" in (said(2) or "")


def test_a_table_that_fails_is_told_beside_a_run_that_never_began() -> None:
    """The run explains tables that it would have loaded, and no other."""
    old = table(fresh_as_of=LAST_NIGHT - 3 * DAY, loaded_at=LAST_NIGHT - 3 * DAY, failing=FAILING)
    found = told(loads_only(ledger=ledger(tables=tables(employee=old))), NOW + DAY)
    assert found.keys() == {"watch/run/etl", "watch/table/hr.employee"}


def test_a_table_that_the_last_runs_left_out_is_told() -> None:
    """Without a failed step as well: nobody tried, or what it waits for failed."""
    old = table(fresh_as_of=LAST_NIGHT - 2 * DAY, loaded_at=LAST_NIGHT - 2 * DAY)
    late = only(loads_only(ledger=ledger(tables=tables(employee=old))))
    assert (late.key, late.error, late.step) == ("watch/table/hr.employee", None, None)
    assert late.since == LAST_NIGHT - 2 * DAY + timedelta(hours=26)
    assert judged(loads_only(ledger=ledger(tables=tables(employee=old))))["watch/source/hr"].summary == (
        "source hr: 2 of 3 tables are within the limit of 26 h"
    )
    assert late.command == "pipeline run etl --source hr --table employee"


def test_tables_that_a_standby_keeps_old_are_told_with_that_as_the_reason() -> None:
    """Each night ends well there: to load once more would give the same rows again."""
    old = table(fresh_as_of=LAST_NIGHT - 2 * DAY)
    standby = {"hr": "a standby that has stopped its replay, and shows it as of 2026-11-22 02:15 UTC"}
    seen = ledger(tables=tables(department=old, employee=old, leave_request=old), behind=standby)
    late = only(loads_only(ledger=seen))
    assert (late.key, late.severity) == ("watch/source/hr", "stale")
    assert late.error == f"it was read from {standby['hr']}"
    assert late.next_step == (
        "resume its replication: see its log, or call pg_wal_replay_resume(), then "
        "pipeline run etl --source hr"
    )
    one = only(loads_only(ledger=ledger(tables=tables(employee=old), behind=standby)))
    assert (one.key, one.error) == ("watch/table/hr.employee", late.error)
    # What was not loaded of late, or failed, is so for another reason.
    left_out = replace(old, loaded_at=LAST_NIGHT - 2 * DAY)
    assert only(loads_only(ledger=ledger(tables=tables(employee=left_out), behind=standby))).error is None
    failed = replace(old, failing=FAILING)
    reason = only(loads_only(ledger=ledger(tables=tables(employee=failed), behind=standby))).error
    assert reason is not None
    assert reason.startswith("ValidateExtract failed")


def test_a_source_whose_tables_are_all_late_is_told_once() -> None:
    old = table(fresh_as_of=LAST_NIGHT - 3 * DAY, loaded_at=LAST_NIGHT - 3 * DAY)
    newer = table(fresh_as_of=LAST_NIGHT - 2 * DAY, loaded_at=LAST_NIGHT - 2 * DAY)
    cut = replace(
        FAILING, task="OpenSnapshot", error="source hr: no connection: refused", exit_code=5, runs=1
    )
    source = {"hr": replace(table(fresh_as_of=None, loaded_at=LAST_NIGHT - 2 * DAY), failing=cut)}
    found = ledger(tables={**tables(department=old, employee=newer, leave_request=old), **source})
    late = only(loads_only(ledger=found))
    assert (late.key, late.command) == ("watch/source/hr", "pipeline rerun --run 2026-11-24 hr")
    assert late.summary == (
        "source hr: all 3 tables are late; the newest, hr.employee, shows the source of "
        "2026-11-22 02:15 UTC, 2 days 11 h ago; the limit is 26 h"
    )
    assert late.error == "OpenSnapshot failed: source hr: no connection: refused"
    assert late.since == LAST_NIGHT - 2 * DAY + timedelta(hours=26)


def test_of_two_tables_that_are_both_late_their_source_is_told_and_of_one_the_table() -> None:
    old = table(fresh_as_of=LAST_NIGHT - 2 * DAY, loaded_at=LAST_NIGHT - 2 * DAY)
    for names, told_of in ((("a", "b"), "watch/source/hr"), (("a",), "watch/table/hr.a")):
        declared = {"hr": dict.fromkeys(names, LONG_AGO)}
        found = ledger(tables=dict.fromkeys((f"hr.{name}" for name in names), old))
        assert only(loads_only(declared=declared, ledger=found)).key == told_of


def test_a_source_may_have_a_limit_of_its_own() -> None:
    weekly = settings(sources={"hr": {"secret": "source/hr", "table_hours": 170}})
    assert told(loads_only(), NOW + 5 * DAY, weekly) == {}
    late = only(loads_only(), NOW + 7 * DAY, weekly)
    assert "the limit is 170 h" in late.summary


def test_the_most_impatient_source_decides_when_a_run_is_missing() -> None:
    two = {"hr": {"secret": "source/hr", "table_hours": 170}, "shop": {"secret": "source/shop"}}
    declared = {"hr": dict.fromkeys(TABLES, LONG_AGO), "shop": {"item": LONG_AGO}}
    found = ledger(tables={**tables(), "shop.item": table()})
    late = only(loads_only(declared=declared, ledger=found), NOW + DAY, settings(sources=two))
    assert (late.key, "the limit is 26 h" in late.summary) == ("watch/run/etl", True)


def test_a_new_table_has_until_the_next_night() -> None:
    declared = {"hr": {**dict.fromkeys(TABLES, LONG_AGO), "contract": NOW - HOUR}}
    assert told(loads_only(declared=declared)) == {}
    # Runs begin, and it is in none of them.
    later = NOW + 2 * DAY
    fresh = tables(**{name: table(fresh_as_of=later - HOUR) for name in TABLES})
    found = ledger(run=run(started_at=later - HOUR), tables=fresh)
    late = only(loads_only(declared=declared, ledger=found), later)
    assert late.summary == ("hr.contract: was never loaded, first possible 2 days 1 h ago; the limit is 26 h")
    assert late.command == "pipeline run etl --source hr --table contract"


def test_a_table_that_was_tried_from_the_beginning_and_never_loaded_is_told() -> None:
    """Its file may be newer than its first failure: it was fixed in vain."""
    declared = {"hr": {**dict.fromkeys(TABLES, LONG_AGO), "contract": NOW - HOUR}}
    never = table(fresh_as_of=None, loaded_at=None, first_tried_at=NOW - 3 * DAY, failing=FAILING)
    late = only(loads_only(declared=declared, ledger=ledger(tables={**tables(), "hr.contract": never})))
    assert "hr.contract: was never loaded, first possible 3 days 0 h ago" in late.text
    assert "ValidateExtract failed in 3 runs" in late.text


def test_a_source_that_was_never_loaded_is_told() -> None:
    never = dict.fromkeys((f"hr.{name}" for name in TABLES), table(fresh_as_of=None, loaded_at=None))
    late = only(loads_only(ledger=ledger(tables=never)))
    assert (late.key, late.severity) == ("watch/source/hr", "stale")
    assert "all 3 tables are late; the newest, hr.department, was never loaded" in late.summary
    assert "the limit is 26 h" in late.summary


def test_nothing_was_ever_run() -> None:
    late = only(loads_only(ledger=LedgerObservations()))
    assert (late.key, late.severity, late.command) == ("watch/run/etl", "stale", "pipeline run etl")
    assert late.summary == "etl: no run has ever started, first possible 200 days 0 h ago; the limit is 26 h"
    assert late.since == LONG_AGO + timedelta(hours=26)
    # What waits longest counts.
    declared = {"hr": {"department": LONG_AGO, "employee": NOW - HOUR}}
    assert only(loads_only(declared=declared, ledger=LedgerObservations())).summary == late.summary
    # On the day of the installation that is as it should be.
    declared = {"hr": dict.fromkeys(TABLES, NOW - HOUR)}
    assert told(loads_only(declared=declared, ledger=LedgerObservations())) == {}


def test_a_source_that_stands_in_one_of_two_places_is_never_loaded() -> None:
    only_settings = only(loads_only(declared={}))
    assert (only_settings.key, only_settings.severity) == ("watch/source/hr", "warning")
    assert "there is no sources/hr.yaml" in only_settings.summary
    assert only_settings.command == "pipeline init hr"
    declared = {"hr": dict.fromkeys(TABLES, LONG_AGO), "shop": {"item": LONG_AGO}}
    only_declared = only(loads_only(declared=declared))
    assert (only_declared.key, only_declared.command) == ("watch/source/shop", "pipeline check")
    assert "luigi.cfg has no [source.shop]" in only_declared.summary
    assert only_declared.next_step == (
        "write [source.shop] with secret = PATH_IN_VAULT there, or remove sources/shop.yaml, then pipeline "
        "check"
    )


def test_a_source_that_luigi_cfg_lacks_is_told_by_the_first_night_that_lacks_it_and_not_again() -> None:
    """As any source that fails: watch only says that it is still so."""
    declared = {"hr": dict.fromkeys(TABLES, LONG_AGO), "shop": {"item": LONG_AGO}}
    lacking = Failing("OpenSnapshot", "2026-11-24", "source shop: not in luigi.cfg", 2, LAST_NIGHT, 1)
    failed = table(fresh_as_of=None, loaded_at=None, failing=lacking)
    found = loads_only(declared=declared, ledger=ledger(tables={**tables(), "shop": failed}))
    assert told(found) == {}
    (still,) = opened.judge(found, [], list(judged(found).values()))
    assert (still.key, still.severity, still.command) == (
        "open/etl/shop",
        "open",
        "pipeline rerun --run 2026-11-24 shop",
    )


def test_where_the_catalog_cannot_be_read_the_ledger_is_believed() -> None:
    assert told(loads_only(declared=None)) == {}
    old = table(fresh_as_of=LAST_NIGHT - 3 * DAY, loaded_at=LAST_NIGHT - 3 * DAY, failing=FAILING)
    found = ledger(tables=tables(employee=old))
    assert only(loads_only(declared=None, ledger=found)).key == "watch/table/hr.employee"


def test_a_table_that_is_no_longer_declared_may_be_as_old_as_it_likes() -> None:
    old = table(fresh_as_of=LONG_AGO, loaded_at=LONG_AGO)
    assert told(loads_only(ledger=ledger(tables={**tables(), "hr.gone": old}))) == {}


def test_a_moment_ahead_of_our_clock_is_not_believed() -> None:
    """A source whose clock was a month ahead would hide for a month that nothing is loaded."""
    ahead = table(fresh_as_of=NOW + 30 * DAY)
    late = only(loads_only(ledger=ledger(tables=tables(employee=ahead))))
    assert "30 days 0 h ahead of this machine's clock" in late.summary
    near = table(fresh_as_of=NOW + timedelta(minutes=30))
    assert told(loads_only(ledger=ledger(tables=tables(employee=near)))) == {}


def test_a_run_that_was_killed_is_told_with_the_command_that_goes_on() -> None:
    dead = run(state="running", finished_at=None, started_at=NOW - 2 * HOUR)
    late = only(loads_only(ledger=ledger(run=dead)))
    # As everybody tells it who may notice as well.
    assert (late.key, late.severity) == ("run/etl", "failed")
    assert late.summary == (
        "etl: run 2026-11-24, on node1, process 4711, was killed 2 h 00 min ago or later, and does not "
        "continue by itself"
    )
    assert late.command == "pipeline run etl --run 2026-11-24"


def test_a_run_that_goes_on_much_longer_than_usual_is_told() -> None:
    """Twenty minutes are usual here."""
    going = run(state="running", finished_at=None, alive=True, started_at=NOW - HOUR)
    assert told(loads_only(ledger=ledger(run=going))) == {}
    late = only(loads_only(ledger=ledger(run=going)), NOW + timedelta(minutes=1))
    assert late.key == "watch/going/etl"
    assert "began 1 h 01 min ago; the limit is 1 h 00 min, it usually takes 20 min" in late.summary
    slow = ledger(run=going, seconds={"etl": (3600.0,) * 14})
    assert told(loads_only(ledger=slow), NOW + HOUR) == {}
    assert "the limit is 3 h 00 min" in only(loads_only(ledger=slow), NOW + 3 * HOUR).summary
    # Three are a measure; of a first load nobody knows what is usual.
    assert told(loads_only(ledger=ledger(run=going, seconds={"etl": (1200.0,) * 3})), NOW + HOUR) != {}
    assert told(loads_only(ledger=ledger(run=going, seconds={"etl": (1200.0,) * 2})), NOW + HOUR) == {}
    first = ledger(run=going, seconds={})
    assert told(loads_only(ledger=first), NOW + 10 * HOUR) == {}
    assert "the limit is 12 h 00 min" in only(loads_only(ledger=first), NOW + 12 * HOUR).summary


def test_a_run_that_goes_on_is_not_one_that_never_began() -> None:
    going = run(state="running", finished_at=None, alive=True, started_at=LAST_NIGHT - 2 * DAY)
    assert "watch/run/etl" not in told(loads_only(ledger=ledger(run=going)))


def test_nothing_is_said_of_what_could_not_be_looked_at() -> None:
    found = judged(loads_only(ledger=None))
    assert not [key for key in found if key.startswith(("watch/run", "watch/source", "watch/table"))]
