"""dashboards/NAME.yaml: what is declared, what each card asks, and every mistake told with file and line."""

from pathlib import Path

import pytest

from pipeline import catalog
from pipeline.catalog import Past, Place, Reach
from pipeline.catalog.dashboard_files.board import PastUnit
from pipeline.errors import ProblemsError

BOARD = """\
title: Service desk
description: What is asked, and how long it takes.
filters:
  period: {kind: date, column: week, default: past 12 months}
  category: {kind: category}
  words: {kind: search, column: title, title: Search}
granted: [desk.category]
tabs:
  - title: Now
    cards:
      - title: Opened
        chart: number
        mart: times
        measures: sum(opened)
        format: {opened: {unit: tickets}}
      - {title: Week, chart: area, mart: times, dimensions: [week, category], measures: opened, stacked: true}
      - {text: Weeks begin on Monday., width: 12, height: 1, left: 12, top: 0}
      - title: Late
        chart: row
        mart: late
        dimensions: category
        measures: [avg(rate)]
        order: -rate
        limit: 5
        filters: {category: category}
  - title: All
    cards:
      - title: Tickets
        sql: |
          SELECT titles.title, week,
                 titles.category AS kind
          FROM mart.titles JOIN desk.category AS c ON c.name = titles.category
          WHERE {filters}
        dimensions: kind
        filters: {period: titles.week, words: title}
"""
MARTS = {
    "times": "SELECT week, category, count(*) AS opened, max(hours) FROM desk.ticket GROUP BY 1, 2",
    "late": "WITH x AS (SELECT 1) SELECT category, avg(a) rate, (b)::text FROM desk.ticket GROUP BY 1, 3",
    "titles": "SELECT * FROM mart.wide",
    "wide": "(SELECT title, week, category FROM desk.ticket)",
}


def read(folder: Path, board: str) -> catalog.Dashboard:
    for name in ("sources", "marts", "dashboards"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "sources" / "desk.yaml").write_text("source: desk\ntables: {ticket: , category: }\n")
    for name, text in MARTS.items():
        (folder / "marts" / f"{name}.sql").write_text(text + "\n")
    (folder / "dashboards" / "desk.yaml").write_text(board)
    return catalog.read_repository(folder).dashboards["desk"]


def problems(folder: Path, board: str) -> list[str]:
    with pytest.raises(ProblemsError) as raised:
        read(folder, board)
    return [problem.removeprefix("dashboards/desk.yaml:") for problem in raised.value.problems]


def test_a_dashboard_is_read_with_everything_filled_in(tmp_path: Path) -> None:
    found = read(tmp_path, BOARD)
    assert [tab.title for tab in found.tabs] == ["Now", "All"]
    assert [(each.title, each.column, each.default) for each in found.filters] == [
        ("Period", "week", Past(12, PastUnit.MONTH)),
        ("Category", "category", None),
        ("Search", "title", None),
    ]
    opened, weekly, text, late, tickets = found.cards
    assert opened.statement() == 'SELECT sum("opened") AS "opened"\nFROM mart.times\nWHERE true'
    assert opened.measures == ("opened",)
    assert (opened.format_of("opened").unit, opened.format_of("opened").title) == ("tickets", "Opened")
    assert weekly.statement("week > now()").endswith('WHERE (week > now())\nORDER BY "week", "category"')
    assert weekly.reach == (
        Reach("period", "week", "mart.times"),
        Reach("category", "category", "mart.times"),
    )
    assert (text.chart, text.reads) == ("text", ())
    assert late.statement().endswith('GROUP BY "category"\nORDER BY "rate" DESC NULLS LAST\nLIMIT 5')
    assert late.reach == (Reach("category", "category", "mart.late"),)
    assert tickets.reads == ("mart.titles", "desk.category")
    assert tickets.reach == (
        Reach("period", "titles.week", "mart.titles"),
        Reach("words", "title", "mart.titles"),
    )


def test_cards_without_a_place_flow_around_those_that_have_one(tmp_path: Path) -> None:
    opened, weekly, text, late, tickets = (card.place for card in read(tmp_path, BOARD).cards)
    assert (opened, text) == (Place(0, 0, 6, 3), Place(12, 0, 12, 1))
    assert weekly == Place(6, 1, 12, 6)
    assert late == Place(0, 7, 12, 6)
    assert tickets == Place(0, 0, 12, 9)


# What stands in BOARD, what stands there instead, and how what is told of it begins.
MISTAKES = [
    ("kind: search", "kind: serach", "6: filters.words.kind: must be date, category or search; did you mean"),
    ("past 12 months", "last year", "4: filters.period: its default is not a range; write 'past 12 months'"),
    ("column: title,", "column: titel,", None),
    (
        "[desk.category]",
        "[desk.categry]",
        "7: granted[0]: desk.categry: no such table (did you mean category",
    ),
    (
        "granted: [desk.category]\n",
        "",
        "31: tabs[1].cards[0].sql: desk.category: is not a mart, and dashboards",
    ),
    (
        "mart.titles JOIN",
        "mart.title JOIN",
        "32: tabs[1].cards[0].sql: mart.title: no such mart; did you mean ti",
    ),
    ("SELECT titles.title,", "DELETE titles.title,", "30: tabs[1].cards[0].sql: must be one SELECT"),
    (
        "WHERE {filters}",
        "",
        "35: tabs[1].cards[0].filters: period: the SELECT has no place for it; write {fi",
    ),
    (
        "sum(opened)",
        "sum(opend)",
        "14: tabs[0].cards[0].measures: opend: no such column; did you mean opened",
    ),
    ("dimensions: kind", "dimensions: kin", "34: tabs[1].cards[0].dimensions: kin: no such column; did you"),
    ("dimensions: [week, category],", "", "16: tabs[0].cards[1]: its chart needs dimensions; write"),
    ("[week, category]", "[week, category, week2]", "16: tabs[0].cards[1].dimensions: are 3, and its chart"),
    ("{opened: {unit", "{opend: {unit", "15: tabs[0].cards[0].format.opend: opend: no such column; did you"),
    ("{unit: tickets}", "{units: tickets}", "15: tabs[0].cards[0].format.opened.units: unknown key; did"),
    ("left: 12, top: 0", "left: 12", "17: tabs[0].cards[2]: has only one of left and top; write both"),
    ("left: 12, top: 0", "left: 13, top: 0", "17: tabs[0].cards[2]: reaches beyond the 24 columns; lower"),
    ("order: -rate", "order: -rat", "23: tabs[0].cards[3].order: rat: no such column; did you mean rate?"),
    ("title: Late", "title: Opened", "18: tabs[0].cards[3].title: Opened is on line 11 already"),
    ("{category: category}", "[categry]", "25: tabs[0].cards[3].filters: categry: no such filter; did"),
    (
        "[avg(rate)]",
        "[median(rate)]",
        "22: tabs[0].cards[3].measures: median(rate) is not a valid measure; write",
    ),
    ("mart: late", "mart: lat", "20: tabs[0].cards[3].mart: no such mart; did you mean late?"),
]


@pytest.mark.parametrize(("right", "wrong", "told"), MISTAKES, ids=[wrong for _, wrong, _ in MISTAKES])
def test_a_mistake_is_told_with_its_line(tmp_path: Path, right: str, wrong: str, told: str | None) -> None:
    assert right in BOARD
    board = BOARD.replace(right, wrong, 1)
    if told is None:  # no card goes by it
        read(tmp_path, board)
        return
    found = problems(tmp_path, board)
    assert found[0].startswith(told), found
    # Nothing that only follows from it is told as well.
    follows = 2 if told.startswith(("7:", "16: tabs[0].cards[1].d", "35:")) else 1
    assert len(found) == follows, found


def test_a_filter_that_reaches_no_card_is_told(tmp_path: Path) -> None:
    board = "title: T\nfilters:\n  city: {kind: category}\ncards: [{title: A, mart: times}]\n"
    assert problems(tmp_path, board) == [
        "3: filters.city: reaches no card: none has a column city; correct its column, or remove it"
    ]


def test_cards_that_overlap_and_columns_that_no_relation_has_are_told(tmp_path: Path) -> None:
    board = """\
title: T
cards:
- {title: A, mart: times, left: 0, top: 0}
- {title: B, mart: times, left: 11, top: 8}
- {title: C, chart: number, sql: select max(t.weak) as n from mart.times t where weeks > 1}
- {title: D, chart: number, sql: select count(*) from mart.times where week > now()}
"""
    assert problems(tmp_path, board) == [
        "4: cards[1].left: overlaps with A (line 3); move one of them",
        "5: cards[2].sql: weak: no such column; did you mean week?",
        "5: cards[2].sql: weeks: no such column; did you mean week?",
    ]


JOINED = """\
title: T
filters: {period: {kind: date, column: week}, words: {kind: search, column: title}}
cards:
- title: A
  sql: |
    SELECT 1 AS n FROM mart.times AS a
    JOIN mart.titles USING (category) WHERE {filters}
  filters: {period: a.week, words: titles.title}
"""


def test_a_filter_of_a_table_with_an_alias_is_told_with_what_to_write(tmp_path: Path) -> None:
    """Metabase writes "mart"."times"."week", which nothing is called where the table has an alias."""
    assert problems(tmp_path, JOINED) == [
        "6: cards[0].sql: mart.times has an alias, and filter period needs its own name; write FROM "
        "mart.times without an alias"
    ]
    alone = "title: T\nfilters: {week: {kind: date}}\ncards:\n"
    alone += "- {title: A, sql: 'SELECT 1 AS n FROM mart.times t WHERE {filters}'}\n"
    assert problems(tmp_path, alone)[0].startswith(
        "4: cards[0].sql: mart.times has an alias, and filter week"
    )


def test_a_search_may_look_at_a_column_of_an_alias(tmp_path: Path) -> None:
    board = JOINED.replace("AS a", "").replace("a.week", "times.week")
    board = board.replace("mart.titles USING", "mart.titles AS t USING").replace("titles.title", "t.title")
    (card,) = read(tmp_path, board).cards
    assert card.reach == (
        Reach("period", "times.week", "mart.times"),
        Reach("words", "t.title", "mart.titles"),
    )


def test_a_column_that_several_tables_have_is_told_with_what_to_write(tmp_path: Path) -> None:
    board = JOINED.replace("AS a", "").replace("a.week", "week")
    assert problems(tmp_path, board) == [
        "8: cards[0].filters: period: week is in mart.times and mart.titles; write which, such as filters: "
        "{period: times.week}"
    ]
    (told,) = problems(tmp_path, board.replace("period: week", "period: times.weak"))
    assert told == "8: cards[0].filters: period: times.weak: no such column; did you mean week?"


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    board = BOARD.replace("chart: row", "chart: rwo").replace("-rate", "-rat")
    assert len(problems(tmp_path, board)) == 2
