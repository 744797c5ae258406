"""A night with one source, and marts as a test declares them."""

from typing import Any

from pipeline import catalog
from pipeline.loading import load, validate
from pipeline.marts import build
from tests.support.night import Night, next_run

HR = """
    CREATE TABLE department (code text PRIMARY KEY, name text NOT NULL);
    CREATE TABLE employee (
        id int PRIMARY KEY, name text NOT NULL, department_code text NOT NULL, salary numeric, hired_on date);
    INSERT INTO department VALUES ('LIB', 'Library'), ('IT', 'Services');
    INSERT INTO employee VALUES (1, 'Ada', 'LIB', 10, '2020-01-01'), (2, 'Wei', 'IT', 20, '2021-01-01'),
        (3, 'Zoë', 'LIB', 30, '2022-01-01');
"""
DECLARED = "source: hr\ntables: {department: , employee: }\n"
STAFF = """\
-- Staff by department.
SELECT d.name AS department, count(*) AS heads
FROM hr.employee AS e JOIN hr.department AS d ON d.code = e.department_code
GROUP BY d.name
"""


def loaded(night: Night) -> str:
    """Make the source, load it, and return the run."""
    night.platform.source("hr", HR, DECLARED)
    return load_all(night)


def load_all(night: Night, run: str | None = None) -> str:
    """Load the source's tables in a run, and return it."""
    run = run or next_run()
    names = list(catalog.read(night.platform.analysts).source("hr").tables)
    night.extract("hr", run, *names)
    for name in names:
        table = night.table("hr", name)
        validate.validate_extract(night.settings, table, run)
        load.load_table(night.settings, table, run)
    return run


def declare(night: Night, **marts: str) -> None:
    """Write marts/NAME.sql for each."""
    folder = night.platform.analysts / "marts"
    folder.mkdir(exist_ok=True)
    for name, text in marts.items():
        (folder / f"{name}.sql").write_text(text)


def built(night: Night, name: str, run: str) -> build.Built | None:
    """Build a mart as it is declared at this moment."""
    return build.build_mart(night.settings, catalog.read(night.platform.analysts), name, run)


def shown(night: Night, name: str) -> list[tuple[Any, ...]]:
    """Return the rows of a mart, in order."""
    return night.ask("warehouse", f"SELECT * FROM mart.{name} ORDER BY 1")
