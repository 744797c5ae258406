"""Marts: a view or a table, built after what it reads, checked before anybody sees it."""

import threading

import psycopg2
import pytest

from pipeline import access, catalog
from pipeline.errors import CheckError, PipelineError, ProblemsError, StepError
from pipeline.marts import build
from tests.support.marks import in_depth
from tests.support.marts import DECLARED, HR, STAFF, built, declare, load_all, loaded, shown
from tests.support.night import Night, next_run

TABLE = STAFF.replace("-- Staff", "-- materialize: table\n-- indexes: [department]\n-- Staff").replace(
    "-- Staff by department.\n", ""
)
BOTH = [("Library", 2), ("Services", 1)]


@pytest.fixture
def run(night: Night) -> str:
    return loaded(night)


def as_analyst(night: Night, statement: str) -> None:
    """Do something as a person does who is an analyst."""
    group = f"{night.platform.database('warehouse')}_analyst"
    night.ask("warehouse", f"SET ROLE {group}; {statement}; RESET ROLE")


@pytest.mark.parametrize("text", [STAFF, TABLE], ids=["view", "table"])
def test_a_mart_gives_what_its_select_says_and_is_for_dashboards(night: Night, run: str, text: str) -> None:
    declare(night, staff=text)
    made = built(night, "staff", run)
    assert made is not None
    assert made.total == 2
    assert shown(night, "staff") == BOTH
    database = night.platform.database("warehouse")
    owner, kind, dashboards = night.ask(
        "warehouse",
        "SELECT relowner::regrole::text, relkind::text, has_table_privilege(%s, oid, 'SELECT')"
        " FROM pg_class WHERE oid = 'mart.staff'::regclass",
        (f"{database}_dashboards",),
    )[0]
    assert (owner, kind, dashboards) == (f"{database}_analyst", "r" if text is TABLE else "v", True)
    assert built(night, "staff", run) is None, "it was built before"


def test_an_index_and_a_description_are_made(night: Night, run: str) -> None:
    declare(night, staff=TABLE, seen=STAFF)
    for name in ("staff", "seen"):
        built(night, name, run)
    indexes = night.ask("warehouse", "SELECT indexdef FROM pg_indexes WHERE schemaname = 'mart'")
    assert [definition.partition(" USING ")[2] for (definition,) in indexes] == ["btree (department)"]
    described = night.value("warehouse", "SELECT obj_description('mart.seen'::regclass)")
    assert described == "Staff by department."


def test_a_table_shows_the_new_night_and_a_mart_is_not_done_before_what_it_reads(
    night: Night, run: str
) -> None:
    declare(night, staff=TABLE, wide="SELECT sum(heads) AS heads FROM mart.staff")
    declared = catalog.read(night.platform.analysts).marts
    built(night, "staff", run)
    built(night, "wide", run)
    assert build.are_built(night.settings, list(declared.values()), run)
    night.ask("hr", "INSERT INTO employee VALUES (4, 'Eve', 'IT', 1, '2023-01-01')")
    later = next_run()
    assert not build.is_built(night.settings, declared["staff"], later)
    load_all(night, later)
    assert not build.is_built(night.settings, declared["staff"], later)
    assert shown(night, "wide") == [(3,)]
    built(night, "staff", later)
    built(night, "wide", later)
    assert shown(night, "wide") == [(4,)]
    assert build.are_built(night.settings, list(declared.values()), later)


def test_a_mart_that_is_declared_otherwise_is_built_again_in_the_same_run(night: Night, run: str) -> None:
    declare(night, staff=STAFF)
    built(night, "staff", run)
    declare(night, staff=STAFF.replace("count(*)", "count(*) * 10"))
    assert built(night, "staff", run) is not None
    assert shown(night, "staff") == [("Library", 20), ("Services", 10)]


@in_depth(
    ("checks", "told"),
    [
        ("checks: [rows: {min: 3}]", "rows min: 2 rows, expected at least 3"),
        ("checks: [unique: heads, sql: 'select * from {table} where heads > 1']", "sql select * from"),
        ("columns: {heads: {range: {max: 1}}}", "heads max 1: 1 of 2 rows"),
        (
            "checks: [relationship: {columns: department, to: hr.department, to_columns: code}]",
            "relationship (department) to hr.department: 2 rows",
        ),
    ],
    quick=3,
)
@pytest.mark.parametrize("text", [STAFF, TABLE], ids=["view", "table"])
def test_a_mart_of_which_a_check_does_not_hold_keeps_its_last_good_content(
    night: Night, run: str, text: str, checks: str, told: str
) -> None:
    declare(night, staff=text)
    built(night, "staff", run)
    changed = text.replace("count(*)", "count(*) AS heads, 1").replace("AS heads\n", "AS one\n")
    prose, _, select = changed.rpartition("-- Staff by department.\n")
    declare(night, staff=f"{prose}-- {checks}\n{select}")
    with pytest.raises(CheckError) as caught:
        built(night, "staff", run)
    assert told in str(caught.value)
    assert str(caught.value).endswith("it stays as it was")
    assert shown(night, "staff") == BOTH
    results = night.ask(
        "warehouse", "SELECT passed FROM ops.check_result WHERE source = 'mart' AND table_name = 'staff'"
    )
    assert (False,) in results
    step = night.step(run, "BuildMart", "mart.staff")
    assert step is not None
    assert (step.state, step.exit_code) == ("failed", 4)


@in_depth(
    ("check", "told"),
    [
        ("select * from {table} where pg_export_snapshot() is null", "can do more than compute"),
        ("select heads, heads from {table} where false", 'column "heads" specified more than once'),
        ("select 1 / (heads - heads) from {table}", "division by zero"),
        ("select null::int as f from {table}", "2 rows, expected none"),
    ],
    quick=3,
)
@pytest.mark.parametrize("text", [STAFF, TABLE], ids=["view", "table"])
def test_an_sql_check_of_a_mart_is_one_that_only_computes_and_is_computed_whole(
    night: Night, run: str, text: str, check: str, told: str
) -> None:
    """The same as of a table: what cannot be computed does not hold."""
    prose, _, select = text.rpartition("-- Staff by department.\n")
    declare(night, staff=f"{prose}-- checks: [sql: '{check}']\n{select}")
    with pytest.raises((StepError, CheckError)) as caught:
        built(night, "staff", run)
    assert told in str(caught.value)


@pytest.mark.parametrize(("before", "after"), [(STAFF, TABLE), (TABLE, STAFF)], ids=["to table", "to view"])
def test_a_view_becomes_a_table_and_back_with_what_hangs_on_it(
    night: Night, run: str, before: str, after: str
) -> None:
    declare(night, staff=before)
    built(night, "staff", run)
    as_analyst(night, "CREATE VIEW analyst.theirs AS SELECT department FROM mart.staff")
    night.ask("warehouse", "CREATE ROLE staff_reader_of_tests")
    try:
        night.ask("warehouse", "GRANT SELECT ON mart.staff TO staff_reader_of_tests")
        declare(night, staff=after)
        built(night, "staff", run)
        assert shown(night, "staff") == BOTH
        assert night.ask("warehouse", "SELECT * FROM analyst.theirs ORDER BY 1") == [
            ("Library",),
            ("Services",),
        ]
        query = "SELECT has_table_privilege('staff_reader_of_tests', 'mart.staff', 'SELECT')"
        assert night.value("warehouse", query) is True
    finally:
        night.ask("warehouse", "DROP OWNED BY staff_reader_of_tests; DROP ROLE staff_reader_of_tests")


@pytest.mark.parametrize("text", [STAFF, TABLE], ids=["view", "table"])
def test_a_view_of_other_people_that_no_longer_fits_is_named_and_nothing_is_lost(
    night: Night, run: str, text: str
) -> None:
    declare(night, staff=text)
    built(night, "staff", run)
    as_analyst(night, "CREATE VIEW analyst.theirs AS SELECT heads FROM mart.staff")
    declare(night, staff=text.replace("AS heads", "AS people"))
    with pytest.raises(StepError, match=r'view "analyst"\."theirs" does not fit'):
        built(night, "staff", run)
    assert shown(night, "staff") == BOTH
    assert night.ask("warehouse", "SELECT * FROM analyst.theirs ORDER BY 1") == [(1,), (2,)]


def test_marts_on_each_other_change_their_columns_in_order(night: Night, run: str) -> None:
    """The first takes the second along only where that is about to be built anew by another declaration."""
    declare(night, staff=STAFF, most="SELECT max(heads) AS most FROM mart.staff")
    built(night, "staff", run)
    built(night, "most", run)
    declare(night, staff=STAFF.replace("AS heads", "AS people"))
    with pytest.raises(StepError, match=r'view "mart"\."most" does not fit'):
        built(night, "staff", run)
    assert shown(night, "most") == [(2,)]
    declare(night, most="SELECT max(people) AS most FROM mart.staff")
    built(night, "staff", run)
    built(night, "most", run)
    assert shown(night, "most") == [(2,)]


def test_who_reads_a_table_while_it_is_swapped_sees_the_old_one_or_the_new_one(
    night: Night, run: str
) -> None:
    declare(night, staff=TABLE)
    built(night, "staff", run)
    seen: set[int] = set()
    failed: list[psycopg2.Error] = []
    ended = threading.Event()

    def read() -> None:
        with night.warehouse() as connection, connection.cursor() as cursor:
            while not ended.is_set():
                try:
                    cursor.execute("SELECT count(*) FROM mart.staff")
                    seen.update(found for (found,) in cursor.fetchall())
                except psycopg2.Error as error:
                    failed.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(3):
            declare(night, staff=TABLE + f"HAVING count(*) > 0 AND {number} = {number}\n")
            built(night, "staff", run)
    finally:
        ended.set()
        reader.join()
    assert not failed
    assert seen == {2}


def test_two_who_build_a_mart_at_once_do_it_once(night: Night, run: str) -> None:
    declare(night, staff=TABLE)
    ended: list[object] = []

    def work() -> None:
        try:
            ended.append(built(night, "staff", run))
        except PipelineError as error:
            ended.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    access.end_brief()
    assert sorted(str(type(one).__name__) for one in ended) == ["Built", "NoneType"]


def test_a_view_of_somebody_whom_the_pipeline_cannot_stand_in_for_is_named(night: Night, run: str) -> None:
    declare(night, staff=TABLE)
    built(night, "staff", run)
    night.ask("warehouse", "CREATE VIEW public.theirs AS SELECT heads FROM mart.staff")
    declare(night, staff=TABLE + "HAVING true")
    with pytest.raises(StepError, match=r'view "public"\."theirs" .*ALTER ... OWNER TO'):
        built(night, "staff", run)
    assert night.ask("warehouse", "SELECT * FROM public.theirs ORDER BY 1") == [(1,), (2,)]


@in_depth(
    ("check", "told"),
    [
        (
            "with candidate as (select 1 as heads where false) select * from {table} where heads > 1",
            "1 rows, expected",
        ),
        ("select {table}.heads from {table} join hr.candidate on candidate.id < {table}.heads", "1 rows"),
        (
            "with recursive pipeline_table as (select 1 where false) select * from {table}",
            "write {table} after FROM or JOIN",
        ),
    ],
    quick=3,
)
def test_a_check_asks_the_mart_whatever_else_it_names(night: Night, check: str, told: str) -> None:
    """A query that asks something else in the mart's place finds nothing wrong with it."""
    more = "; CREATE TABLE candidate (id int PRIMARY KEY); INSERT INTO candidate VALUES (1)"
    night.platform.source("hr", HR.rstrip().rstrip(";") + more, DECLARED.replace("}", ", candidate: }"))
    run = load_all(night)
    declare(night, staff=f"-- checks: [sql: '{check}']\n{STAFF.partition(chr(10))[2]}")
    with pytest.raises((CheckError, ProblemsError)) as caught:
        built(night, "staff", run)
    assert told in str(caught.value)


@pytest.mark.parametrize("kind", ["numeric", "float8", "analyst.amount"])
def test_what_is_not_a_number_is_outside_of_every_range(night: Night, run: str, kind: str) -> None:
    """To the server it is the greatest of all."""
    as_analyst(night, "CREATE DOMAIN analyst.amount AS numeric(10, 2)")
    head = "-- columns: {{a: {{range: {{{bounds}}}}}}}\n"
    values = f"SELECT v::{kind} AS a FROM (VALUES ('1'), ('NaN'), (NULL)) AS v (v)"
    for bounds in ("min: 0", "max: 5", "min: 0, max: 5"):
        declare(night, thing=head.format(bounds=bounds) + values)
        with pytest.raises(CheckError, match=r"1 of 3 rows \(33\.33%\), expected none"):
            built(night, "thing", run)
    declare(
        night,
        thing="-- columns: {a: {range: {min: 0}}}\nSELECT 'infinity'::date AS a".replace("0", "2000-01-01"),
    )
    assert built(night, "thing", run) is not None


def test_a_mart_that_another_run_has_built_otherwise_since_is_not_done(night: Night, run: str) -> None:
    """An extra run tried another SELECT, which was taken back: people still see what it gave."""
    declare(night, staff=STAFF)
    built(night, "staff", run)
    declare(night, staff=STAFF.replace("count(*)", "count(*) * 10"))
    extra = load_all(night)
    built(night, "staff", extra)
    declare(night, staff=STAFF)
    declared = catalog.read(night.platform.analysts).mart("staff")
    assert not build.is_built(night.settings, declared, run)
    assert built(night, "staff", run) is not None
    assert shown(night, "staff") == BOTH
    assert build.is_built(night.settings, declared, run)
