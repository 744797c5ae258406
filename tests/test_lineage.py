"""Lineage: from a source's table to a dashboard, and back."""

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline import catalog
from pipeline.catalog import lineage
from pipeline.errors import UsageError
from tests.night import program

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
    line = [str(program("pipeline")), "lineage", "sla_breaches", "--svg", "--dir", str(EXAMPLE)]
    done = subprocess.run(line, capture_output=True, text=True, env={"PATH": "/usr/bin"}, check=True)
    top = ElementTree.fromstring(done.stdout)  # noqa: S314 - our own
    titles = sorted(str(one.text) for one in top.iter("{http://www.w3.org/2000/svg}title"))
    dashboard, *made = titles
    assert dashboard.startswith("dashboard ")
    assert made == ["mart.sla_breaches", "service_desk.category", "service_desk.ticket"]
