"""How old what a mart shows is, and what is left of one that nobody declares any more."""

from datetime import UTC, datetime

import pytest

from pipeline.loading import load, validate
from pipeline.observe.overview import loads
from tests.support.marts import DECLARED, STAFF, built, declare, load_all, loaded, shown
from tests.support.night import Night, next_run

SELECT = STAFF.partition("\n")[2]


@pytest.fixture
def run(night: Night) -> str:
    return loaded(night)


def observed(night: Night) -> loads.Loads:
    with night.warehouse() as warehouse:
        return loads.observe(night.settings, warehouse, datetime.now(UTC))


def moments(night: Night) -> dict[str, datetime]:
    return {table.name: table.as_of for table in observed(night).tables if table.as_of}


@pytest.mark.usefixtures("run")
def test_a_mart_is_as_old_as_the_oldest_table_in_it(night: Night) -> None:
    """Built just now of one table of tonight and one of last week it shows last week."""
    declare(
        night,
        staff=f"-- materialize: table\n{SELECT}",
        top="SELECT max(heads) AS heads FROM mart.staff",
        one="SELECT 1 AS a",
    )
    later = next_run()
    night.extract("hr", later, "department")
    department = night.table("hr", "department")
    validate.validate_extract(night.settings, department, later)
    load.load_table(night.settings, department, later)
    for name in ("staff", "top", "one"):
        built(night, name, later)
    seen = moments(night)
    assert seen["hr.employee"] < seen["hr.department"]
    assert seen["mart.staff"] == seen["mart.top"] == seen["hr.employee"]
    # It is of no table's moment, but of its own.
    assert seen["mart.one"] > seen["hr.department"]
    # What is loaded later is not in a table until that is built again.
    load_all(night)
    assert moments(night)["mart.staff"] == seen["hr.employee"]


@pytest.mark.parametrize(("head", "what"), [("", "VIEW"), ("-- materialize: table\n", "TABLE")])
def test_a_mart_that_is_no_longer_declared_and_still_there_is_told(
    night: Night, run: str, head: str, what: str
) -> None:
    """Nobody builds it any more, and who reads it is not told: what it shows stays for ever."""
    declare(night, staff=head + SELECT, kept=STAFF)
    for name in ("staff", "kept"):
        built(night, name, run)
    assert observed(night).remarks == []
    (night.platform.analysts / "marts" / "staff.sql").unlink()
    (remark,) = observed(night).remarks
    assert remark.startswith(
        "mart.staff: is no longer declared, and analysts can still read it, last built 20"
    )
    assert f'DROP {what} "mart"."staff" in the warehouse, or write marts/staff.sql again' in remark
    assert len(shown(night, "staff")) == 2
    night.ask("warehouse", f"DROP {what} mart.staff")
    assert observed(night).remarks == []


@pytest.mark.usefixtures("run")
def test_a_table_that_is_no_longer_declared_and_still_there_is_told(night: Night) -> None:
    """A line that was lost takes the table from every night, and each is green."""
    assert observed(night).remarks == []
    night.platform.declare("hr", DECLARED.replace(", employee: ", ""))
    (remark,) = observed(night).remarks
    assert remark.startswith(
        "hr.employee: no longer declared, and analysts can still read their rows, last loaded 20"
    )
    assert remark.endswith("or write it into sources/hr.yaml again, under tables or leave")
    night.platform.declare("hr", DECLARED.replace(", employee: ", "") + "leave: [employee]\n")
    assert observed(night).remarks == []
    night.platform.declare("hr", DECLARED.replace(", employee: ", ""))
    night.ask("warehouse", "DROP TABLE hr.employee")
    assert observed(night).remarks == []
