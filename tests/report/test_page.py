"""The page: whole by itself, honest about what it cannot show, and read by a login that may only read."""

import re
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright
from psycopg2 import sql

from pipeline.catalog import Card, Dashboard, Filter, Format, Past, Place, Reach, Tab
from pipeline.catalog.dashboard_files.board import Chart, FilterKind, PastUnit
from pipeline.errors import UsageError
from pipeline.report import rows, write
from pipeline.report.drawn import Pencil
from pipeline.report.page import Shown, page
from pipeline.report.rows import Answer
from tests.support.browsers import QUIET, chromium
from tests.support.night import Night

NOW = datetime(2026, 11, 28, 4, 0, tzinfo=UTC)
FOUND = Filter("term", "Term", FilterKind.SEARCH, "name", ("50%",))


def shown(*pairs: tuple[Card, Answer]) -> Shown:
    board = Dashboard("b", "A <board>", (Tab("", tuple(card for card, _ in pairs)),), filters=(FOUND,))
    return Shown(board, [answer for _, answer in pairs], {})


def made(*pairs: tuple[Card, Answer]) -> str:
    return page([shown(*pairs)], Pencil(), NOW.date(), NOW)


def test_a_page_is_whole_by_itself_and_each_chart_has_its_data_beside_it() -> None:
    card = Card(
        "Fees & more",
        Chart.BAR,
        Place(0, 0, 12, 6),
        dimensions=("name",),
        measures=("fees",),
        formats={"fees": Format(prefix="€", decimals=0)},
    )
    text = made((card, Answer(("name", "fees"), (("<b>x</b>", 1234.5),))))
    assert not re.search(r"https?:|<script|<link|<img|@import|url\(|\bon\w+=", text)
    assert "<b>x</b>" not in text
    assert "A &lt;board&gt;" in text
    assert 'aria-label="Fees &amp; more."' in text
    assert re.search(r'<details class="data"><summary>Data</summary>.*€1,23[45]</td>', text, re.DOTALL)
    assert "Term: <b>50%</b>" in text


def test_numbers_texts_and_tables_need_no_picture() -> None:
    place = Place(0, 0, 6, 3)
    number = Card("N", Chart.NUMBER, place, measures=("n",), formats={"n": Format(unit="rows")})
    text = made(
        (number, Answer(("n",), ((1234567,),))),
        (Card("", "text", place, text="# Head\n\n- **a** <i>\n- b"), Answer()),
        (Card("T", Chart.TABLE, place, sql="x"), Answer(("a", "b"), ((None, True), (date(2026, 1, 2), "z")))),
        (Card("Nothing", Chart.TABLE, place), Answer(("a",), ())),
    )
    assert '1,234,567 <span class="unit">rows</span>' in text
    assert "<h3>Head</h3><ul><li><b>a</b> &lt;i&gt;</li><li>b</li></ul>" in text
    assert "<td>2 Jan 2026</td>" in text
    assert "There is nothing to show." in text


def test_what_was_chosen_becomes_a_condition_whatever_is_in_it() -> None:
    day = Filter("d", "D", FilterKind.DATE, "x")
    assert rows.between(Past(2, PastUnit.QUARTER), date(2026, 2, 3)) == (date(2025, 10, 1), date(2026, 2, 3))
    assert rows.between(Past(2, PastUnit.WEEK), date(2026, 11, 28))[0] == date(2026, 11, 16)
    assert isinstance(rows.condition(day, "t.x", ("2026-01-01", "2026-02-01"), NOW.date()), sql.Composable)


def board(*cards: Card) -> dict[str, Dashboard]:
    filters = (FOUND, Filter("kind", "Kind", FilterKind.CATEGORY, "name", ("it's 50%", "it's")))
    return {"b": Dashboard("b", "B", (Tab("", cards),), filters=filters)}


def ask(text: str, *reach: Reach) -> Card:
    return Card("C", Chart.TABLE, Place(0, 0, 12, 6), sql=text, reach=reach)


def test_a_card_that_the_warehouse_refuses_is_named_and_the_others_are_shown(
    night: Night, tmp_path: Path
) -> None:
    """It sees marts, and no table of a source; and nothing of it can write."""
    night.platform.source(
        "hr",
        "CREATE TABLE department (id int PRIMARY KEY, name text)",
        "source: hr\ntables: {department: }\n",
    )
    night.load("hr", "department")
    night.ask("warehouse", "CREATE TABLE mart.thing AS VALUES ('a 50%', 1), ('it''s 50%', 2), ('it''s', 3)")
    night.ask("warehouse", "ALTER TABLE mart.thing RENAME column1 TO name")
    group = f"{night.platform.database('warehouse')}_dashboards"
    night.ask("warehouse", f"GRANT SELECT ON mart.thing TO {group}")
    reach = (Reach("term", "name"), Reach("kind", "name"))
    path, wrong = write.write(
        night.settings,
        board(
            ask("SELECT name AS it FROM mart.thing -- all\nWHERE {filters}", *reach),
            ask("SELECT name FROM hr.department"),
            ask("SELECT 1/0 AS n"),
            ask("SELECT count(*)::text || ' tables' AS n FROM platform.tables"),
        ),
        tmp_path / "new" / "report",
    )
    text = path.read_text()
    assert wrong == [
        "dashboards/b.yaml: C: permission denied for schema hr; grant it to the role of the dashboards",
        "dashboards/b.yaml: C: division by zero",
    ]
    assert re.findall(r"<td>(.*?)</td>", text[text.index('id="b"') :]) == ["it&#x27;s 50%", "1 tables"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["index.html"]


def test_a_card_that_cannot_be_drawn_takes_no_other_with_it(night: Night, tmp_path: Path) -> None:
    """What a chart draws are numbers, of columns that are there; and some values Python has not."""
    place = Place(0, 0, 12, 6)

    def card(chart: Any, text: str) -> Card:
        return Card(
            chart, chart, place, sql=text, dimensions=("x",) if chart != "number" else (), measures=("y",)
        )

    path, wrong = write.write(
        night.settings,
        board(
            card("bar", "SELECT 1 AS x, interval '1 day' AS y"),
            card("line", "SELECT 1 AS x, 'many' AS y"),
            card("pie", "SELECT 'a' AS x, 'NaN'::numeric AS y"),
            card("bar", "SELECT 1 AS x, 'Infinity'::float AS y"),
            card("row", "SELECT 'a' AS x, 1 AS n"),
            card("number", "SELECT 1 AS n"),
            card("scatter", "SELECT date '0044-03-15 BC' AS x, 1 AS y"),
            card("number", "SELECT interval '1 day' AS y"),
            card("table", "SELECT 'NaN'::numeric AS n, 'Infinity'::float AS m"),
            card("area", "SELECT 1 AS x, 1.5 AS y UNION ALL SELECT 2, NULL"),
        ),
        tmp_path,
    )
    assert [each.partition(": ")[2] for each in wrong] == [
        "bar: y is not a number: 1 day, 0:00:00",
        "line: y is not a number: many",
        "pie: y is not a number: NaN",
        "bar: y is not a number: inf",
        "row: its SELECT returns no column y",
        "number: its SELECT returns no column y",
        "scatter: a value cannot be read: year -44 is out of range",
    ]
    text = path.read_text()
    assert '<p class="value">1 day, 0:00:00</p>' in text
    assert '<td class="n">NaN</td>' in text
    assert '<td class="n">1.5</td>' in text


@pytest.mark.endurance
@pytest.mark.parametrize("width", [24, 12])
def test_each_chart_is_on_paper_once(night: Night, tmp_path: Path, width: int) -> None:
    """A page of A4 is narrower than what counts as a telephone, of which each chart has a picture too."""
    card = Card(
        "C", Chart.BAR, Place(0, 0, width, 6), sql="SELECT 1 AS x, 2 AS y", dimensions=("x",), measures=("y",)
    )
    write.write(night.settings, board(card), tmp_path)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        for where, (wide, high) in {"screen": (1280, 900), "phone": (390, 900), "paper": (703, 1032)}.items():
            shown_page = browser.new_page(viewport={"width": wide, "height": high})
            shown_page.emulate_media(media="print" if where == "paper" else "screen")
            shown_page.goto((tmp_path / "index.html").as_uri())
            shown = shown_page.locator(".picture").locator("visible=true")
            assert shown.count() == 1, where
            assert where in (shown.get_attribute("class") or "").split()
        browser.close()


def test_what_draws_is_asked_for_by_name_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(UsageError, match=r"pip install 'school-nightly-pipeline\[report\]'"):
        Pencil()
