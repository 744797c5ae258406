"""What of a filter can be chosen on the page: by links alone, each read from the warehouse like all else."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from pipeline.catalog import Card, Dashboard, Filter, Past, Place, Reach, Tab
from pipeline.catalog.dashboard_files.board import FILTERS, Chart, FilterKind, PastUnit
from pipeline.report import choices, write
from tests.support.browsers import QUIET, chromium
from tests.support.night import Night

THINGS = """
    CREATE TABLE mart.thing (kind text, day date, n int);
    INSERT INTO mart.thing VALUES
        ('Law & Tax', current_date, 1), ('Law & Tax', current_date - 100, 20), ('Art', current_date, 300),
        (NULL, current_date - 5000, 4000);
"""
SELECT = f"FROM mart.thing WHERE {FILTERS}"
FILTER = (
    Filter("kind", "Kind", FilterKind.CATEGORY, "kind"),
    Filter("day", "Day", FilterKind.DATE, "day", Past(3, PastUnit.MONTH)),
    Filter("words", "Words", FilterKind.SEARCH, "kind"),
)
REACH = tuple(Reach(each.name, each.column, "mart.thing") for each in FILTER)
TOTAL = Card(
    "Total", Chart.NUMBER, Place(0, 0, 6, 3), sql=f"SELECT sum(n) AS n {SELECT}", measures=("n",), reach=REACH
)
BARS = Card(
    "By kind",
    Chart.ROW,
    Place(0, 3, 12, 6),
    sql=f"SELECT kind, sum(n) AS n {SELECT} GROUP BY 1",
    dimensions=("kind",),
    measures=("n",),
    reach=REACH,
)
ALL = Card(
    "All", Chart.NUMBER, Place(6, 0, 6, 3), sql="SELECT count(*) AS n FROM mart.thing", measures=("n",)
)
BOARD = Dashboard("things", "Things", (Tab("", (TOTAL, ALL, BARS)),), filters=FILTER)


def written(night: Night, folder: Path) -> str:
    night.ask("warehouse", THINGS)
    night.ask("warehouse", f"GRANT SELECT ON mart.thing TO {night.platform.database('warehouse')}_dashboards")
    path, wrong = write.write(night.settings, {"things": BOARD}, folder)
    assert wrong == []
    return path.read_text()


def values(text: str) -> dict[str, list[str]]:
    """Return the numbers of each section: of each choice, and of the whole."""
    sections = re.findall(r'<section class="[^"]*" id="([^"]*)"(.*?)</section>', text, re.DOTALL)
    return {name: re.findall(r'<p class="value">(.*?)</p>', inside) for name, inside in sections}


def test_each_value_of_a_filter_can_be_chosen_and_the_others_stay_as_they_are(
    night: Night, tmp_path: Path
) -> None:
    text = written(night, tmp_path / "page")
    assert values(text) == {
        "things.kind.Art": ["300"],
        "things.kind.Law--26-Tax": ["1"],
        "things.day.all": ["4,321"],
        "things.day.past-30-days": ["301"],
        "things.day.past-12-months": ["321"],
        "things.day.past-3-years": ["321"],
        "things": ["301", "4"],
    }
    assert not re.search(r"https?:|<script|<link|<img|@import|url\(|\bon\w+=", text)
    inside = re.search(r'id="things.kind.Law--26-Tax".*?</section>', text, re.DOTALL)
    assert inside is not None
    assert "<b>Law &amp; Tax</b>" in inside[0]
    assert '<a href="#things.kind.Law--26-Tax" aria-current="true">Law &amp; Tax</a>' in inside[0]
    assert '<td class="n" style="--share:100.0%">1</td>' in inside[0]
    assert 'It does not apply to <a href="#things">the others</a>: All.' in inside[0]
    names = re.findall(r'id="([^"]*)"', text)
    assert len(set(names)) == len(names)
    assert set(re.findall(r'href="#([^"]*)"', text)) <= set(names)


def test_of_many_categories_the_most_frequent_can_be_chosen(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "MOST", 1)
    assert "things.kind.Law--26-Tax" in values(text := written(night, tmp_path / "page"))
    assert "things.kind.Art" not in text
    assert "Only its 1 most frequent values can be chosen here." in text


def test_cards_that_take_long_are_not_asked_for_each_choice(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choices, "SECONDS", 0.0)
    assert values(written(night, tmp_path / "page")) == {"things": ["301", "4"]}
    assert "dashboards/things.yaml: choices from filter kind on are left out" in caplog.text
    text = (tmp_path / "page" / "index.html").read_text()
    assert text.count(choices.TOO_LONG) == 2, "of kind and day, on the page too"
    assert text.count(choices.NOT_HERE) == 1, "a text to search for can be anything"


def test_no_value_is_taken_for_everything(night: Night, tmp_path: Path) -> None:
    """Nothing is a value as well, and so is what the page calls everything."""
    night.ask(
        "warehouse", THINGS + "INSERT INTO mart.thing VALUES ('', current_date, 7), ('all', current_date, 8);"
    )
    night.ask("warehouse", f"GRANT SELECT ON mart.thing TO {night.platform.database('warehouse')}_dashboards")
    path, _ = write.write(night.settings, {"things": BOARD}, tmp_path)
    text = path.read_text()
    assert (values(text)["things.kind.-28empty-29"], values(text)["things.kind.-22all-22"]) == (
        ["7"],
        ["8"],
    )
    assert ">(empty)</a>" in text
    assert ">&quot;all&quot;</a>" in text or ">&#34;all&#34;</a>" in text


def test_a_card_that_cannot_be_shown_for_a_choice_is_told_as_one_that_never_can(
    night: Night, tmp_path: Path
) -> None:
    """The page says so where somebody chooses it; the command and the night say it at once."""
    night.ask("warehouse", THINGS + "INSERT INTO mart.thing VALUES ('Nil', current_date, 0);")
    night.ask("warehouse", f"GRANT SELECT ON mart.thing TO {night.platform.database('warehouse')}_dashboards")
    share = Card(
        "Share",
        Chart.NUMBER,
        Place(0, 0, 6, 3),
        sql=f"SELECT 100 / sum(n) AS n {SELECT}",
        measures=("n",),
        reach=REACH[:1],
    )
    never = Card(
        "Never",
        Chart.NUMBER,
        Place(6, 0, 6, 3),
        sql=f"SELECT 1 / 0 AS n {SELECT}",
        measures=("n",),
        reach=REACH[:1],
    )
    board = Dashboard("things", "Things", (Tab("", (share, never)),), filters=FILTER[:1])
    _, wrong = write.write(night.settings, {"things": board}, tmp_path)
    assert wrong == [
        "dashboards/things.yaml: Never: division by zero",
        "dashboards/things.yaml: Share, with kind Nil: division by zero",
    ]


@pytest.mark.endurance
def test_a_link_shows_what_is_chosen_in_place_of_the_whole_without_script(
    night: Night, tmp_path: Path
) -> None:
    written(night, tmp_path / "page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto((tmp_path / "page" / "index.html").as_uri())
        whole, chosen = page.locator("#things"), page.locator('[id="things.kind.Art"]')
        expect(chosen).to_be_hidden()
        whole.locator("summary", has_text="Kind").click()
        whole.get_by_role("link", name="Art").click()
        expect(chosen).to_be_visible()
        expect(whole).to_be_hidden()
        chosen.locator("summary", has_text="Kind").click()
        chosen.get_by_role("link", name="all").click()
        expect(whole).to_be_visible()
        expect(chosen).to_be_hidden()
        browser.close()
