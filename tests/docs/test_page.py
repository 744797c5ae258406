"""The page of what is in the warehouse: whole by itself, true, and readable on a phone as well as a desk."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from pipeline import access, catalog, docs, postgres
from pipeline.errors import CheckError
from pipeline.sandbox.home import PROJECT
from tests.support.browsers import chromium
from tests.support.marts import STAFF, built, declare, load_all, loaded
from tests.support.night import Night

DECLARED = """\
source: hr
tables:
  department: {description: Where people work.}
  employee:
    description: "Everybody who works here & <worked> here."
    columns:
      name: {description: As in the passport., mask: hash}
      salary: {mask: exclude}
      hired_on: {range: {min: 1990-01-01}}
    checks:
      - rows: {min: 3}
      - rows: {max: 2}
        level: warn
"""


def page(night: Night) -> str:
    """Return the page as the warehouse is now."""
    with access.opened(night.settings) as databases:
        return docs.page(docs.gather(catalog.read_repository(night.platform.analysts), databases))


def article(text: str, name: str) -> str:
    """Return what the page tells of one thing."""
    found = re.search(rf'<article id="{re.escape(name)}">.*?</article>', text, re.DOTALL)
    assert found, name
    return found[0]


def nights(night: Night) -> str:
    """Load two nights of a source with a mart; return the page."""
    loaded(night)
    night.platform.declare("hr", DECLARED)
    declare(night, staff=STAFF)
    (night.platform.analysts / "dashboards").mkdir()
    card = "title: People\ncards:\n  - {title: Staff, chart: table, mart: staff}\n"
    (night.platform.analysts / "dashboards" / "people.yaml").write_text(card)
    for _ in range(2):
        built(night, "staff", load_all(night))
    return page(night)


def test_the_page_tells_what_is_declared_what_there_is_and_how_checks_came_out(night: Night) -> None:
    text = nights(night)
    employee = article(text, "hr.employee")
    assert "Everybody who works here &amp; &lt;worked&gt; here." in employee
    assert "3 rows" in employee
    assert ">fresh</span>" in employee
    assert '<code>name</code> <span class="mask">hashed</span></td><td>text' in employee
    assert "As in the passport." in employee
    assert '<code>salary</code> <span class="mask">not loaded</span>' in employee
    assert 'aria-label="held 2 of 2 times"' in employee
    assert re.search(r'<tr class="warn"><td>rows max <small>only warns</small></td><td>3 rows</td>', employee)
    assert 'aria-label="held 0 of 2 times"' in employee
    assert 'Used by <a href="#mart.staff">mart.staff</a>.' in employee
    staff = article(text, "mart.staff")
    assert "Staff by department." in staff
    assert '<a href="#hr.employee">hr.employee</a>: department_code' in staff
    assert 'Used by <a href="#dashboard-people">dashboard people</a>.' in staff
    assert "GROUP BY d.name" in staff


def test_what_nobody_has_loaded_yet_is_not_called_fresh(night: Night) -> None:
    loaded(night)
    declare(night, staff=STAFF)
    text = page(night)
    assert ">not there yet</span>" in article(text, "mart.staff")
    assert ">fresh</span>" in article(text, "hr.employee")


def test_a_check_that_is_declared_no_longer_is_on_the_page_no_longer_though_it_failed(night: Night) -> None:
    loaded(night)
    checked = "source: hr\ntables:\n  department: {{}}\n  employee: {{checks: [{0}]}}\n"
    both = "{unique: [name]}, {rows: {max: 2}, level: warn}"
    night.platform.declare("hr", checked.format(both))
    load_all(night)
    assert "rows max" in article(page(night), "hr.employee")
    night.platform.declare("hr", checked.format("{unique: [name]}"))
    load_all(night)
    shown = article(page(night), "hr.employee")
    assert "unique (name)" in shown
    assert "rows max" not in shown


def test_a_table_that_its_shape_stops_has_its_checks_on_the_page_all_the_same(night: Night) -> None:
    loaded(night)
    night.platform.declare("hr", "source: hr\ntables:\n  employee: {checks: [{unique: [name]}]}\n")
    load_all(night)
    with night.platform.connect("hr") as hr:
        postgres.rows(hr, "ALTER TABLE employee ALTER COLUMN salary TYPE int")
    with pytest.raises(CheckError, match="narrowed"):
        load_all(night)
    shown = article(page(night), "hr.employee")
    assert "drift narrowed" in shown
    assert "unique (name)" in shown


def test_without_a_server_it_tells_what_the_files_say_and_nothing_comes_from_elsewhere() -> None:
    repository = catalog.read_repository(PROJECT / "examples" / "analysts")
    facts = docs.gather(repository, None)
    text = docs.page(facts)
    assert "From the files alone" in text
    for thing in facts.relations:
        assert "not checked yet" in article(text, thing.name) or not thing.checks
    assert not re.search(r"(?:src|href)=[\"'](?!#)|@import|url\(", text.replace("www.w3.org", ""))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser."""
    program = chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.endurance
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_nothing_sticks_out_and_the_search_finds(
    night: Night, browser: Browser, tmp_path: Path, width: int
) -> None:
    (tmp_path / "index.html").write_text(nights(night))
    complaints: list[str] = []
    opened = browser.new_page(viewport={"width": width, "height": 900})
    opened.on("console", lambda message: complaints.append(message.text))
    opened.goto((tmp_path / "index.html").as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.locator("article").count() == 4
    opened.fill("#search", "passport")
    assert opened.locator("article:visible h2").all_inner_texts() == ["hr.employee"]
    assert opened.locator("nav li:visible").count() == 1
    opened.fill("#search", "")
    opened.get_by_text("Columns that it reads").click()
    assert opened.locator("article:visible").count() == 4
    assert not complaints
    opened.close()


def test_the_command_writes_a_page_for_its_owner_alone(night: Night, tmp_path: Path) -> None:
    night.platform.source(
        "hr", "CREATE TABLE employee (id int PRIMARY KEY)", "source: hr\ntables: {employee: }\n"
    )
    ended = night.run("docs", "--out", str(tmp_path / "out"))
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'out' / 'tables.html'}: 1 table\n"), ended.err
    assert (tmp_path / "out" / "tables.html").stat().st_mode & 0o077 == 0
