"""Lineage: from a source's table to a dashboard, and back."""

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline import catalog
from pipeline.catalog import lineage, origins
from pipeline.errors import UsageError
from tests.support.night import Ended, program, typed

EXAMPLE = Path(__file__).parents[1] / "examples" / "analysts"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for folder in ("sources", "marts", "dashboards"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sources" / "hr.yaml").write_text("source: hr\ntables: {employee: , department: }\n")
    (tmp_path / "marts" / "staff.sql").write_text("SELECT 1 AS a FROM hr.employee, hr.department\n")
    (tmp_path / "marts" / "most.sql").write_text("SELECT max(a) AS a FROM mart.staff\n")
    (tmp_path / "dashboards" / "people.yaml").write_text(
        "title: People\ngranted: [hr.employee]\ncards:\n  - {title: A, mart: most}\n"
        "  - {title: B, sql: select 1 from hr.employee}\n"
    )
    return tmp_path


def known(folder: Path) -> lineage.Lineage:
    found = catalog.read_repository(folder)
    return lineage.of(found.catalog, found.dashboards)


def test_everything_is_shown_from_the_dashboards_down(repository: Path) -> None:
    assert lineage.tree(known(repository)) == [
        "dashboard people",
        "├── hr.employee",
        "└── mart.most",
        "    └── mart.staff",
        "        ├── hr.department",
        "        └── hr.employee",
    ]


def test_one_thing_is_shown_with_what_is_made_of_it(repository: Path) -> None:
    assert lineage.tree(known(repository), "staff")[-1] == "used by mart.most"
    assert lineage.tree(known(repository), "hr.employee") == [
        "hr.employee",
        "used by dashboard people",
        "used by mart.staff",
    ]
    with pytest.raises(UsageError, match=r"did you mean mart\.staff"):
        lineage.tree(known(repository), "mart.stff")


def test_the_diagram_has_each_thing_once_and_each_way(repository: Path) -> None:
    lines = lineage.mermaid(known(repository))
    assert lines[0] == "graph LR"
    assert sum("-->" in line for line in lines) == 5
    assert sum('["' in line for line in lines) == 5


def test_the_command_needs_no_server_and_no_settings() -> None:
    line = [str(program("pipeline")), "lineage", "sla_breaches", "--dir", str(EXAMPLE)]
    done = subprocess.run(line, capture_output=True, text=True, env={"PATH": "/usr/bin"}, check=True)
    assert done.stdout.splitlines() == [
        "mart.sla_breaches",
        "├── service_desk.category",
        "└── service_desk.ticket",
        "used by dashboard service_desk",
    ]


def test_a_picture_is_well_formed_and_has_what_belongs_to_the_name() -> None:
    done = typed(["lineage", "sla_breaches", "--svg", "--dir", str(EXAMPLE)], {"PATH": "/usr/bin"})
    assert done.code == 0, done.err
    top = ElementTree.fromstring(done.out)  # noqa: S314 - our own
    titles = sorted(str(one.text) for one in top.iter("{http://www.w3.org/2000/svg}title"))
    dashboard, *made = titles
    assert dashboard.startswith("dashboard ")
    assert made == ["mart.sla_breaches", "service_desk.category", "service_desk.ticket"]


def test_columns_are_followed_from_a_dashboard_to_the_source() -> None:
    found = catalog.read_repository(EXAMPLE)
    known = origins.of(found.catalog, found.dashboards)
    assert lineage.tree(known, "mart.leave_balance.taken") == [
        "mart.leave_balance.taken",
        "└── hr.leave_request.days",
        "used by dashboard staff: Annual leave, owed and taken",
        "used by dashboard staff: Leave left by department, this year",
    ]
    assert lineage.tree(known, "hr.leave_request.days")[1:] == [
        "used by mart.leave_balance.remaining",
        "used by mart.leave_balance.taken",
    ]
    # A mart, column by column; how many rows there are is computed of no column.
    assert origins.of_relations(known, "staff_by_grade") == origins.of_relations(known, "mart.staff_by_grade")
    assert origins.of_relations(known, "mart.staff_by_grade") == [
        f"mart.staff_by_grade.{name}" for name in ("department", "grade", "people", "fte")
    ]
    assert known["mart.staff_by_grade.people"] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "SELECT a.x + b.y AS z, 1 AS one, count(*) AS n FROM s.a JOIN s.b USING (id)",
            [("z", ["s.a.x", "s.b.y"]), ("one", []), ("n", [])],
        ),
        ('SELECT "Name" FROM s."T"', [("Name", ["s.T.Name"])]),
        ("WITH w AS (SELECT x AS y FROM s.a) SELECT max(y) AS y FROM w", [("y", ["s.a.x"])]),
        ("SELECT x AS y FROM s.a UNION SELECT z FROM s.b", [("y", ["s.a.x", "s.b.z"])]),
        ("SELECT row_to_json(a) AS r FROM s.a", [("r", ["s.a.*"])]),
        ("SELECT x FROM s.a, s.b", [("x", [origins.UNKNOWN])]),
        ("SELECT x FROM s.a NATURAL JOIN s.b", [("x", [origins.UNKNOWN])]),
        ("SELECT * FROM s.a", [("*", ["s.a.*"])]),
        ("SELECT a.x AS v, b.y AS v FROM s.a JOIN s.b USING (id)", [("v", ["s.a.x"]), ("v", ["s.b.y"])]),
        (
            "SELECT x AS v, y AS v FROM s.a UNION SELECT x, z FROM s.b ORDER BY 1",
            [("v", ["s.a.x", "s.b.x"]), ("v", ["s.a.y", "s.b.z"])],
        ),
        ("SELECT k.y FROM s.a AS k(x, y)", [("y", [origins.UNKNOWN])]),
        ("SELECT y FROM (SELECT x FROM s.a) AS k(y)", [("y", ["s.a.x"])]),
    ],
)
def test_where_the_sql_alone_does_not_tell_that_is_said(text: str, told: list[tuple[str, list[str]]]) -> None:
    assert origins.traced(text) == told


def test_a_column_behind_a_star_is_followed_or_said_not_to_be(tmp_path: Path) -> None:
    """No column of a mart is made of nothing because no SELECT has its name."""
    for folder in ("sources", "marts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sources" / "hr.yaml").write_text("source: hr\ntables: {employee: , department: }\n")
    for name, text in {
        "all_of_one": "SELECT * FROM hr.employee",
        "all_of_two": "SELECT * FROM hr.employee CROSS JOIN hr.department",
        "named": "SELECT 1 AS a, pay AS b FROM hr.employee",
        "reader": "SELECT o.secret AS s, t.city AS c FROM mart.all_of_one o, mart.all_of_two t",
        "again": "SELECT * FROM mart.named",
    }.items():
        (tmp_path / "marts" / f"{name}.sql").write_text(f"{text}\n")
    found = catalog.read_repository(tmp_path)
    seen = origins.of(found.catalog, {})
    assert seen["mart.reader.s"] == ["mart.all_of_one.secret"]
    assert seen["mart.all_of_one.secret"] == ["hr.employee.secret"]
    assert seen["mart.reader.c"] == ["mart.all_of_two.city"]
    assert seen["mart.all_of_two.city"] == [origins.UNKNOWN]
    assert seen["hr.employee.secret"] == ()
    assert "used by mart.all_of_one.secret" in lineage.tree(seen, "hr.employee.secret")
    assert seen["mart.again.*"] == ["mart.named.*"]
    assert seen["mart.named.*"] == ["mart.named.a", "mart.named.b"]


def test_the_command_shows_columns() -> None:
    def run(*arguments: str) -> Ended:
        return typed(["lineage", "--dir", str(EXAMPLE), "--columns", *arguments], os.environ)

    shown = run("mart.leave_balance")
    assert shown.code == 0, shown.err
    assert "mart.leave_balance.taken\n└── hr.leave_request.days\n" in shown.out
    wrong = run("mart.leave_balance.takn")
    assert wrong.code == 2
    assert "did you mean mart.leave_balance.taken" in wrong.err
