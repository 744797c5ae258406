"""Marts and the SQL of checks: exactly one SELECT each, of what there is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import catalog
from pipeline.catalog import Mart, queries
from pipeline.errors import ProblemsError

Write = Callable[..., Path]
SOURCE = "source: hr\ntables: {employee: {history: true}, department: }\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write marts beside a source hr with employee (and its history) and department; return the folder."""
    for folder in ("sources", "marts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sources" / "hr.yaml").write_text(SOURCE)

    def written(**files: str) -> Path:
        for stem, text in files.items():
            (tmp_path / "marts" / f"{stem}.sql").write_text(text)
        return tmp_path

    return written


def problems(directory: Path) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        catalog.read(directory)
    return list(caught.value.problems)


def test_what_a_mart_reads_is_found_in_its_sql(write: Write) -> None:
    """It becomes the dependency: one missed, and the mart is built before its table is loaded."""
    found = catalog.read(
        write(
            staff="""\
-- Everybody.
-- materialize: table
WITH recent AS (SELECT * FROM hr.employee WHERE hired_on > '2020-01-01'),
     gone AS (SELECT id FROM HR.Employee_History)
SELECT count(*), (SELECT max(name) FROM "hr".department)
FROM recent JOIN gone USING (id), LATERAL (SELECT * FROM mart.other) o, generate_series(1, 2) AS g (n);
""",
            other="select 1 as a",
        )
    ).marts
    staff = found["staff"]
    assert set(staff.reads) == {"hr.employee", "hr.department", "mart.other"}
    assert staff.materialize == "table"
    assert staff.sql.endswith("AS g (n)")
    assert staff.columns == {"hired_on", "id", "name", "*"}
    assert found["other"] == Mart(name="other", sql="select 1 as a", gives=("a",))


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("", "1: must be one SELECT"),
        ("-- only this", "1: must be one SELECT"),
        ("select 1; drop table hr.employee", "1: must be one SELECT and nothing after it"),
        ("delete from hr.employee", "1: must be one SELECT"),
        ("with x as (delete from hr.employee returning *) select * from x", "1: changes rows"),
        ("with x as (insert into hr.employee select 1 returning *) select * from x", "1: changes rows"),
        ("select * into hr.copy from hr.employee", "1: writes with INTO"),
        ("select * from hr.employee for update", "1: locks rows"),
        ("copy hr.employee to program 'sh'", "1: must be one SELECT"),
        ("create table x as select 1", "1: must be one SELECT"),
        ("do $$ begin end $$", "1: must be one SELECT"),
        ("call hr.f()", "1: must be one SELECT"),
        ("select *\nform hr.employee e e", "2: is not valid SQL near"),
        ("select 'a", "1: is not valid SQL"),
        ("select *\nfrom hr.employe", "2: hr.employe: no such table (did you mean employee?)"),
        ("select * from rh.employee", "1: rh.employee: no such source; known: hr, mart"),
        (
            "select * from employee",
            "1: employee: is named without a schema; write its source or mart before it",
        ),
        ("select * from hr.department_history", "1: hr.department_history: no history is kept"),
        ("select * from mart.nothing", "1: mart.nothing: no such mart; did you mean"),
        ("select * from pg_catalog.pg_authid", "1: pg_catalog.pg_authid: no such source"),
        ('select * from "HR".employee', "1: HR.employee: no such source; did you mean hr?"),
        ("-- materialise: table\nselect 1", "1: materialise: unknown key; did you mean materialize?"),
        ("-- materialize: tabel\nselect 1", "1: materialize: must be view or table"),
        ("select * from mart.thing", "1: reads itself; take"),
        ("select " + "(" * 3000 + "1" + ")" * 3000, "1: is nested too deeply"),
    ],
)
def test_what_is_no_mart_is_told_with_its_line(write: Write, sql: str, problem: str) -> None:
    told = problems(write(thing=sql))
    assert len(told) == 1, told
    assert told[0].startswith(f"marts/thing.sql:{problem}")


@pytest.mark.parametrize(
    "sql",
    [
        "select distinct on (a) * from hr.employee order by a, b desc",
        "select a ~* 'x', b @> '{1}', c->>'x', d #>> '{a,b}', e ?| array['a'], f && g, h <-> i from hr.x",
        "select percentile_cont(0.5) within group (order by a), count(*) filter (where b) from hr.employee",
        "select * from only hr.employee tablesample system (10) natural join hr.department",
        "select * from json_to_recordset('[]') as x (a int, b text)",
        "select extract(epoch from now() - interval '1 day'), a at time zone 'UTC', b::timestamptz(3)",
        "with recursive t (n) as (values (1) union all select n + 1 from t where n < 5) select * from t",
        "select $$abc$$, E'\\n', B'101', date '2020-01-01', x[1:2], (c).d from hr.employee x",
        "(select 1) union all (select 2) order by 1",
        "select grouping(a) from hr.employee group by grouping sets ((a), ()), cube (b)",
    ],
)
def test_the_sql_of_postgresql_is_understood(sql: str) -> None:
    """A query that PostgreSQL takes must not be refused, for nobody could load until it was changed."""
    queries.parse(sql)


def test_the_sources_alone_are_read_whatever_is_wrong_in_a_mart_or_a_check(write: Write) -> None:
    """An audit runs no SQL of the analysts: nothing that is wrong there is a reason not to look."""
    directory = write(broken="select from where")
    hr = directory / "sources" / "hr.yaml"
    hr.write_text("source: hr\ntables: {employee: , checked: {checks: [{sql: drop table x}]}}\n")
    with pytest.raises(ProblemsError):
        catalog.read(directory)
    assert {"employee", "checked"} <= catalog.read_sources(directory).source("hr").tables.keys()
    hr.write_text("source: hr\ntabels: {}\n")
    with pytest.raises(ProblemsError, match="did you mean tables"):
        catalog.read_sources(directory)


def test_a_circle_of_marts_is_told_once(write: Write) -> None:
    told = problems(
        write(
            a="select * from mart.b",
            b="select * from mart.c",
            c="select * from mart.a",
            d="select * from mart.a",
        )
    )
    assert told == [
        "marts/a.sql:1: reads itself by way of mart.b, mart.c; take one of these out of the other's SELECT"
    ]


def test_a_mart_needs_a_name_and_a_place(write: Write) -> None:
    directory = write(**{"Bad-Name": "select 1"})
    (directory / "marts" / "deep").mkdir()
    (directory / "marts" / "deep" / "x.sql").write_text("select 1")
    assert problems(directory) == [
        "marts/deep/x.sql:1: is in a subfolder, which is not read; move it to marts/",
        'marts/Bad-Name.sql:1: the name "Bad-Name" is not valid; use lowercase letters, digits and _, '
        "and begin with a letter",
    ]


def test_marts_of_a_source_that_cannot_be_read_are_not_told_as_well(write: Write) -> None:
    directory = write(thing="select * from hr.whatever")
    (directory / "sources" / "hr.yaml").write_text("source: hr\ntables: {a: {changes: x}}\n")
    assert len(problems(directory)) == 1


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("select 1", "does not read the table; write {table} where"),
        ("select '{table}'", "does not read the table; write {table} after FROM"),
        ("delete from {table}", "must be one SELECT"),
        ("select * from {table}; select 1", "must be one SELECT and nothing after it"),
        ("select * from {table} where", "is not valid SQL"),
        ("select * from {table} join department using (id)", "department: is named without a schema"),
        ("select * from {table} join hr.departmen using (id)", "hr.departmen: no such table (did you mean"),
        ("select * from {table} where note is null", "names note, of which mask: exclude leaves nothing"),
    ],
)
def test_a_check_that_is_no_query_of_its_table_is_told(tmp_path: Path, sql: str, problem: str) -> None:
    """It runs with the pipeline's own rights: it may only read."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "hr.yaml").write_text(
        "source: hr\ntables:\n  department:\n  employee:\n    columns: {note: {mask: exclude}}\n"
        f"    checks:\n    - sql: {sql!r}\n"
    )
    told = problems(tmp_path)
    assert len(told) == 1, told
    assert told[0].startswith("sources/hr.yaml:7: tables.employee.checks[0].sql: ")
    assert problem in told[0]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from {table} where left_on < hired_on",
        "select t.* from {table} t left join hr.department d on d.code = t.code where d.code is null;",
        "with x as (select * from {table}) select * from x where a = any('{1,2}')",
    ],
)
def test_a_check_may_read_other_tables(tmp_path: Path, sql: str) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "hr.yaml").write_text(
        f"source: hr\ntables:\n  department:\n  employee:\n    checks:\n    - sql: {sql!r}\n"
    )
    catalog.read(tmp_path)


DECLARED = ("-- materialize: table", "-- checks:", "--   - unique: [a]")


@pytest.mark.parametrize(
    "above",
    [
        "",
        "\n\n",
        # An editor of Windows begins a file so.
        "\ufeff",
        # A word processor ends lines within a sentence so.
        "-- Staff,\u2028one row each.\n",
        "-- Staff,\x0bone row each.\n-- Of today.\n",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n  "])
def test_what_a_mart_declares_is_read_however_its_comment_is_written(
    write: Write, above: str, end: str
) -> None:
    """A comment that is taken for another one takes the mart's checks with it, and nothing fails any more."""
    mart = catalog.read(write(thing=f"{above}{end.join(DECLARED)}\nSELECT 1 AS a")).marts["thing"]
    assert mart.materialize == "table"
    assert [check.columns for check in mart.checks] == [("a",)]
    assert "\ufeff" not in mart.sql


@pytest.mark.parametrize(
    ("sql", "lines"),
    [
        ("-- Staff.\n\n-- materialize: table\n-- checks: [unique: a]\nSELECT 1 AS a", (3, 4)),
        ("-- materialize: table\n\n-- checks: [unique: a]\nSELECT 1 AS a", (3,)),
        ("/* Staff.\nmaterialize: table\n * checks:\n */\nSELECT 1 AS a", (2, 3)),
        ("SELECT 1 AS a\n-- checks:\n--   - unique: a\n", (2,)),
        ("--\tmaterialize: table\n---  checks: [unique: a]\nSELECT 1 AS a", (1, 2)),
        ("-- Staff.\n-- materialize = table\n-- checks\n--   - unique: a\nSELECT 1 AS a", (2, 3)),
    ],
)
def test_a_declaration_that_is_not_read_is_told(write: Write, sql: str, lines: tuple[int, ...]) -> None:
    """Unread it is a check that always holds."""
    told = [problem for problem in problems(write(thing=sql)) if "is read only as YAML" in problem]
    assert [int(problem.split(":")[1]) for problem in told] == list(lines)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS checks,\n  checks::int AS b -- checks: none\nFROM (SELECT 2 AS checks) AS c",
        "-- Checks and columns of staff; tables too.\nSELECT\n  columns\nFROM (SELECT 1 AS columns) AS c",
        "-- Staff.\n\n-- Notes: none.\nSELECT 1 AS a",
        "-- Staff.\nSELECT\n  -- columns\n  1 AS a\n-- checks\n",
    ],
)
def test_sql_and_other_comments_are_not_taken_for_declarations(write: Write, sql: str) -> None:
    assert catalog.read(write(thing=sql)).marts["thing"].checks == ()


@pytest.mark.parametrize(
    ("stray", "told"),
    [
        ("marts/n.SQL", "marts/n.SQL:1: must end in .sql; rename it"),
        ("sources/shop.YAML", "sources/shop.YAML:1: must end in .yaml; rename it"),
        ("sources/old/shop.yaml", "sources/old/shop.yaml:1: is in a subfolder"),
        ("dashboards/old/n.yaml", "dashboards/old/n.yaml:1: is in a subfolder"),
        ("Tasks/n.py", "Tasks:1: is not read; rename it to tasks"),
        ("marts/README.md", None),
        ("tasks/lib/n.py", None),
        ("sources/.schema/source.yaml", None),
    ],
)
def test_a_file_that_nobody_reads_is_told(write: Write, stray: str, told: str | None) -> None:
    """Else its tables are gone from the night, and the night is green."""
    directory = write(staff="SELECT 1 AS a")
    path = directory / stray
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    if told is None:
        catalog.read_repository(directory)
        return
    with pytest.raises(ProblemsError) as caught:
        catalog.read_repository(directory)
    assert [problem for problem in caught.value.problems if problem.startswith(told)] != []
