"""Marts in a night: after what they read, and one that fails stops only what depends on it."""

import pytest

from tests.support.hooks import Hook
from tests.support.marts import DECLARED, HR, STAFF, declare, shown
from tests.support.night import Night, next_run

# Each takes seconds.
pytestmark = pytest.mark.endurance

GOOD = {
    "staff": STAFF,
    "most": "-- materialize: table\nSELECT max(heads) AS most FROM mart.staff",
    "paid": "SELECT sum(salary) AS paid FROM hr.employee",
}


@pytest.fixture
def school(night: Night) -> Night:
    night.platform.source("hr", HR, DECLARED)
    declare(night, **GOOD)
    return night


def test_a_run_loads_and_builds_everything_and_says_so(school: Night) -> None:
    run = next_run()
    ended = school.etl(run)
    assert (ended.code, ended.errors) == (0, []), ended.err
    assert "2 tables" in ended.out
    assert "3 marts built" in ended.out
    assert shown(school, "most") == [(2,)]
    again = school.etl(run)
    assert "is complete already" in again.out


def test_a_mart_that_fails_is_told_once_and_stops_only_what_reads_it(school: Night, hook: Hook) -> None:
    school.platform.write_settings()
    declare(school, staff=STAFF.replace("SELECT", "-- checks: [rows: {min: 9}]\nSELECT", 1))
    run = next_run()
    ended = school.etl(run)
    assert ended.code == 4, ended.err
    assert "mart.staff: BuildMart failed: rows min: 2 rows" in ended.out + ended.err
    assert shown(school, "paid") == [(60,)]
    assert school.value("warehouse", "SELECT to_regclass('mart.most')") is None
    told = hook.alerts("mart/staff")
    assert [(alert.kind, alert.task) for alert in told] == [("failed", "BuildMart")]
    assert told[0].command == f"pipeline rerun --run {run} mart.staff"
    status = school.run("status", "--run", run)
    assert "mart.staff" in status.out
    assert "not loaded: mart.most" in status.out
    declare(school, staff=STAFF)
    again = school.run("rerun", "--run", run, "mart.staff")
    assert again.code == 0, again.err
    assert len(shown(school, "staff")) == 2
    assert [alert.kind for alert in hook.alerts("mart/staff")] == ["failed", "recovered"]
    assert school.run("rerun", "--run", run).code == 0
    assert shown(school, "most") == [(2,)]


def test_a_check_of_a_mart_that_only_warns_is_open_until_it_holds(school: Night, hook: Hook) -> None:
    """A command that builds the mart is done all the same, and so is one that has nothing to do."""
    school.platform.write_settings()
    warned = "-- columns: {heads: {range: {max: 1, level: warn}}}\nSELECT"
    declare(school, staff=STAFF.replace("SELECT", warned, 1))
    run = next_run()
    ended = school.run("run", "mart", "staff", "--run", run)
    assert ended.code == 0, ended.err
    ((kind, key),) = hook.received()
    assert (kind, key.startswith("mart/staff/")) == ("warning", True)
    again = school.run("rerun", "--run", run, "mart.staff")
    assert (again.code, "is complete already" in again.out) == (0, True), again.err
    assert hook.received() == [("warning", key)]
    declare(school, staff=STAFF)
    mended = school.run("rerun", "--run", run, "mart.staff")
    assert mended.code == 0, mended.err
    assert hook.received() == [("warning", key), ("recovered", key)]


@pytest.mark.endurance
def test_a_table_that_is_loaded_again_takes_its_marts_along(school: Night) -> None:
    run = next_run()
    assert school.etl(run).code == 0
    school.ask("hr", "UPDATE employee SET salary = 100 WHERE id = 1")
    school.ask("hr", "INSERT INTO employee VALUES (4, 'Eve', 'LIB', 1, '2024-01-01')")
    ended = school.run("rerun", "--run", run, "--from", "extract")
    assert ended.code == 0, ended.err
    assert shown(school, "most") == [(3,)]
    assert shown(school, "paid") == [(151,)]


@pytest.mark.endurance
def test_one_mart_alone_is_built_after_what_it_reads(school: Night) -> None:
    run = next_run()
    ended = school.run("run", "mart", "most", "--run", run)
    assert ended.code == 0, ended.err
    assert shown(school, "most") == [(2,)]
    assert school.value("warehouse", "SELECT to_regclass('mart.paid')") is None
    unknown = school.run("run", "mart", "mots")
    assert (unknown.code, "did you mean most?" in unknown.err) == (2, True)


def test_a_login_that_is_no_analyst_is_found_before_the_night(school: Night) -> None:
    assert "marts: ok" in school.run("check").out
    database = school.platform.database("warehouse")
    school.ask("warehouse", f"REVOKE {database}_analyst FROM {database}_marts")
    barred = school.run("check")
    assert barred.code == 4
    assert "the warehouse, as analyst: no connection" in barred.out + barred.err
    school.ask("warehouse", f"GRANT CONNECT ON DATABASE {database} TO {database}_marts")
    checked = school.run("check")
    told = f'the login "{database}_marts" is not a member of "{database}_analyst"; GRANT "{database}_analyst"'
    assert told in checked.out + checked.err
