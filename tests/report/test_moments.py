"""As of when what is drawn is: a mart that was not built stays as it was, and its card says so."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import catalog
from pipeline.catalog import Card, Dashboard, Place, Tab
from pipeline.catalog.dashboard_files.board import Chart
from pipeline.errors import StepError
from pipeline.report import moments, write
from pipeline.report.moments import Ages
from tests.support.marts import STAFF, built, declare, load_all, loaded
from tests.support.night import Night, next_run

TABLE = "-- materialize: table\n" + STAFF.partition("\n")[2]
EVENING, NIGHT = datetime(2026, 11, 27, 1, tzinfo=UTC), datetime(2026, 11, 28, 1, 30, tzinfo=UTC)
BOARD = """
title: People
cards:
  - {title: Table, chart: number, mart: staff, measures: sum(heads)}
  - {title: View, chart: number, mart: seen, measures: sum(heads)}
  - {title: View of the table, chart: number, mart: top, measures: sum(heads)}
  - {title: Tables, chart: number, sql: SELECT count(*) AS n FROM platform.tables}
"""


def card(*reads: str) -> Card:
    return Card("C", Chart.TABLE, Place(0, 0, 12, 6), reads=reads)


def test_what_is_said_of_a_dashboard_holds_for_each_card_that_does_not_say_otherwise() -> None:
    known = {"mart.a": NIGHT, "mart.b": NIGHT - timedelta(hours=2), "mart.c": EVENING}
    board = Dashboard("b", "B", (Tab("", (card("mart.a"), card("mart.b"), card("mart.a", "mart.c"))),))
    ages = moments.of(board, known)
    assert ages == Ages(NIGHT - timedelta(hours=2), {"mart.c": EVENING})
    assert ages.sentence == "As of 27 November 2026, 23:30 UTC, except where a card says otherwise."
    said = [ages.sentence_of(one) for one in board.cards]
    assert said == ["", "", "As of 27 November 2026, 01:00 UTC."]


def test_a_dashboard_of_which_all_is_old_says_so_and_one_of_nothing_loaded_says_nothing() -> None:
    old = Dashboard("b", "B", (Tab("", (card("mart.c"), card("mart.by_hand"))),))
    assert (
        moments.of(old, {"mart.a": NIGHT, "mart.c": EVENING}).sentence == "As of 27 November 2026, 01:00 UTC."
    )
    assert moments.of(old, {}).sentence == ""


def test_a_mart_that_is_a_table_is_as_old_as_it_was_built_and_a_view_as_what_it_reads(
    night: Night, tmp_path: Path
) -> None:
    """The page of a night in which one mart failed: its rows are of another night than all others."""
    run = loaded(night)
    declare(night, staff=TABLE, seen=STAFF, top="SELECT sum(heads) AS heads FROM mart.staff")
    for name in ("staff", "seen", "top"):
        built(night, name, run)
    # As after a night two days ago, and one in which the tables were loaded and no mart was built.
    night.ask(
        "warehouse",
        """
        UPDATE ops.step SET detail = jsonb_set(
            detail, '{fresh_as_of}', to_jsonb((detail ->> 'fresh_as_of')::timestamptz - interval '2 days'))
        WHERE task = 'BuildMart'
        """,
    )
    load_all(night, next_run())
    ages = dict(night.ask("warehouse", "SELECT name, round(age_hours)::int FROM platform.marts"))
    assert ages == {"mart.staff": 48, "mart.seen": 0, "mart.top": 48}
    folder = night.platform.analysts / "dashboards"
    folder.mkdir(exist_ok=True)
    (folder / "people.yaml").write_text(BOARD)
    path, wrong = write.write(
        night.settings, catalog.read_repository(night.platform.analysts).dashboards, tmp_path
    )
    assert wrong == []
    page = path.read_text()
    cards = re.findall(r"<h3[^>]*>(.*?)</h3>(?:<p class=\"old\">(.*?)</p>)?", page.replace("\n", ""))
    before = night.value("warehouse", "SELECT as_of FROM platform.marts WHERE name = 'mart.staff'")
    assert [(title, f"As of {before.astimezone(UTC):%-d %B %Y}" in said) for title, said in cards] == [
        ("Table", True),
        ("View", False),
        ("View of the table", True),
        ("Tables", False),
    ]
    assert re.search(r'<p class="as-of">As of .* UTC, except where a card says otherwise.</p>', page)


def test_a_warehouse_that_is_to_be_migrated_first_is_an_error_that_says_so(
    night: Night, tmp_path: Path
) -> None:
    night.ask("warehouse", "DROP VIEW platform.marts")
    board = Dashboard("b", "B", (Tab("", (card("mart.a"),)),))
    with pytest.raises(StepError, match="of an earlier version; run 'pipeline migrate' once"):
        write.write(night.settings, {"b": board}, tmp_path)


def test_a_mart_that_is_gone_is_not_among_them(night: Night) -> None:
    run = loaded(night)
    declare(night, staff=TABLE)
    built(night, "staff", run)
    night.ask("warehouse", "DROP TABLE mart.staff")
    assert night.ask("warehouse", "SELECT name FROM platform.marts") == []
