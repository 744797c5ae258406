"""What is not a pure read is refused with file and line, and the server has the last word."""

import pytest

from pipeline import access, catalog
from pipeline.catalog import Catalog, Mart, queries
from pipeline.errors import ProblemsError, StepError
from pipeline.marts import build
from tests.support.marks import in_depth
from tests.support.marts import STAFF, built, declare, loaded, shown
from tests.support.night import Night


@pytest.fixture
def run(night: Night) -> str:
    return loaded(night)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the parser let through whatever it could not tell: the server alone decides."""
    monkeypatch.setattr(queries, "parse", lambda _text: queries.Query((), frozenset()))


def refused(night: Night, run: str, text: str) -> str:
    """Return why a mart is not built; nothing of it is there."""
    declare(night, thing=text)
    with pytest.raises(StepError) as caught:
        built(night, "thing", run)
    query = "SELECT to_regclass('mart.thing')"
    assert night.value("warehouse", query) is None
    return str(caught.value)


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SELECT 1 AS a;\nDROP TABLE hr.employee", "must be owner of table employee"),
        ("SELECT 1 AS a; RESET ROLE; DROP SCHEMA ops CASCADE", "must be owner of schema ops"),
        ("SELECT * FROM ops.run", "thing.sql:1: permission denied for schema ops"),
        ("SELECT *\nFROM quarantine.hr_employee", "thing.sql:2: permission denied for schema quarantine"),
        ("WITH x AS (DELETE FROM mart.staff RETURNING *) SELECT * FROM x", "must not contain data-modifying"),
        ("SELECT * INTO mart.other FROM hr.employee", "must not contain SELECT INTO"),
        ("SELECT count(*) FROM pg_catalog.pg_sleep(1000)", "pg_catalog.pg_sleep can do more than compute"),
        ("SELECT set_config('role', 'none', false)", "pg_catalog.set_config can do more than compute"),
        ("SELECT query_to_xml('SELECT * FROM ops.run', true, true, '')", "query_to_xml can do more"),
        ("SELECT lo_from_bytea(0, 'x')", "lo_from_bytea can do more"),
        ("SELECT * FROM hr.employee", "thing.sql:1: reads hr.employee, which its SQL does not name"),
        ("SELECT 'hr.employee'::regclass::text AS a", "reads hr.employee, which its SQL does not name"),
        ("SELECT 1 / 0 AS a", "thing.sql:1: division by zero"),
        ("SELECT a\nFROM (VALUES (1)) AS v (b)", "thing.sql:1: column"),
    ],
)
@pytest.mark.usefixtures("blind")
def test_the_server_refuses_what_is_no_pure_read(night: Night, run: str, text: str, told: str) -> None:
    night.ask("warehouse", "CREATE TABLE mart.staff AS SELECT 1 AS a")
    group = f"{night.platform.database('warehouse')}_analyst"
    night.ask("warehouse", f"ALTER TABLE mart.staff OWNER TO {group}")
    assert told in refused(night, run, text)
    assert night.value("warehouse", "SELECT count(*) FROM mart.staff") == 1
    assert night.value("warehouse", "SELECT count(*) FROM hr.employee") == 3


def test_a_mart_that_locks_rows_is_refused_by_the_server(night: Night, run: str) -> None:
    mart = Mart(name="thing", sql="SELECT * FROM hr.employee FOR UPDATE", relations=("hr.employee",))
    with pytest.raises(StepError, match="FOR UPDATE in a read-only transaction: a mart may only read"):
        build.build_mart(night.settings, Catalog(sources={}, marts={"thing": mart}), "thing", run)


def test_a_function_of_an_analyst_cannot_write_in_the_name_of_the_pipeline(night: Night, run: str) -> None:
    """What it does is not to be seen in the mart's SQL; who reads the mart would run it."""
    group = f"{night.platform.database('warehouse')}_analyst"
    night.ask(
        "warehouse",
        f"""
        SET ROLE {group};
        CREATE FUNCTION analyst.count_it() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
        BEGIN CREATE TABLE mart.written (a int); RETURN 1; END $$;
        RESET ROLE
        """,
    )
    assert ("analyst.count_it is not built in") in refused(night, run, "SELECT analyst.count_it() AS a")
    assert night.value("warehouse", "SELECT to_regclass('mart.written')") is None


def test_a_mart_that_takes_too_long_is_ended_by_the_server(
    night: Night, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(access.ANALYST_SESSION, "statement_timeout", "300ms")
    text = "SELECT count(*) AS n FROM generate_series(1, 1000000000) AS a"
    assert "thing.sql:1: takes longer than the limit for a mart" in refused(night, run, text)


def test_a_mart_that_is_refused_keeps_its_last_good_content(night: Night, run: str) -> None:
    declare(night, staff=STAFF)
    built(night, "staff", run)
    declare(night, staff=STAFF.replace("d.name", "d.nam"))
    with pytest.raises(StepError, match=r"marts/staff\.sql:2: column d\.nam does not exist"):
        built(night, "staff", run)
    assert len(shown(night, "staff")) == 2


@in_depth(
    ("text", "told"),
    [
        ("-- checks: [rows: {min: 1}]\n-- indexes: [a]\nSELECT 1 AS a", "2: indexes: only a table has"),
        ("-- checks:\n--   - rows: {mni: 1}\nSELECT 1", "2: checks[0].rows.mni: unknown key; did you mean"),
        ("-- columns: {a: {mask: hash}}\nSELECT 1 AS a", "1: columns.a.mask: is for columns that come from"),
        ("-- checks: [unique: a, quarantine: rows]\nSELECT 1", "1: checks"),
        (
            "-- checks:\n--   - sql: select * from {table}, hr.nothing\nSELECT 1 AS a",
            "2: hr.nothing: no such table",
        ),
        ("SELECT pg_sleep(3)", "1: pg_sleep only waits"),
    ],
    quick=3,
)
def test_what_is_wrong_in_a_marts_comment_is_told_with_its_line(night: Night, text: str, told: str) -> None:
    night.platform.source("hr", "", "source: hr\ntables: {employee: }\n")
    declare(night, thing=text)
    with pytest.raises(ProblemsError) as caught:
        catalog.read(night.platform.analysts)
    assert any(problem.startswith(f"marts/thing.sql:{told}") for problem in caught.value.problems), (
        caught.value.problems
    )
