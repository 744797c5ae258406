"""The dry run tells what a load would do, and leaves everything as it is."""

import json

import pytest

from pipeline.errors import CheckError, StepError
from tests.support.marks import in_depth
from tests.support.night import Night

SHOP = """
    CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);
    INSERT INTO item SELECT n, 'item ' || n, n FROM generate_series(1, 20) AS n;
    CREATE TABLE tag (label text);
    CREATE VIEW cheap AS SELECT * FROM item WHERE price < 5;
"""
DECLARED = """
source: shop
tables:
  item: {columns: {name: {null_rate: 1%}}, checks: [{rows: {min: 1}, level: warn}]}
  tag:
  cheap: {key: [id]}
"""


def state(night: Night) -> list[object]:
    """Return what a load would change in the warehouse and what it would leave there."""
    queries = (
        "SELECT count(*), max(started_at)::text FROM ops.step",
        "SELECT * FROM ops.watermark ORDER BY 1, 2",
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT LIKE 'pg_%' ORDER BY 1, 2",
    )
    return [night.ask("warehouse", query) for query in queries]


def test_the_plan_names_mode_rows_reason_drift_and_checks(night: Night) -> None:
    night.platform.source("shop", SHOP, DECLARED)
    first = night.run("plan")
    assert first.code == 0, first.err
    assert "shop.item: first, 20 of 20 rows to read (never loaded before)" in first.out
    for name in ("item", "tag", "cheap"):
        night.load("shop", name)
    night.ask("shop", "UPDATE item SET price = 0 WHERE id IN (1, 2)")
    night.ask("shop", "ALTER TABLE item ADD COLUMN colour text")
    night.ask("shop", "ALTER TABLE tag ADD COLUMN since date DEFAULT '2026-01-01'")
    before = state(night)
    planned = night.run("plan", "shop")
    assert planned.code == 0, planned.err
    lines = planned.out.splitlines()
    assert any(line.startswith("shop.item: increment, 2 of 20 rows to read (changed since") for line in lines)
    assert '  drift: column "colour" (text) is new in the source -> evolve' in lines
    assert "  check: name null_rate (error)" in lines
    assert "  check: rows (warn)" in lines
    assert "shop.tag: full, 0 of 0 rows to read (it has no key)" in lines
    assert '  drift: column "since" (date) is new in the source -> refresh' in lines
    assert "shop.cheap: full, 4 of 4 rows to read (a view does not show which rows changed)" in lines
    assert state(night) == before


def test_a_table_that_would_be_held_back_is_told_with_the_way_out(night: Night) -> None:
    night.platform.source("shop", SHOP, DECLARED)
    night.load("shop", "item")
    night.ask("shop", "DROP VIEW cheap")
    night.ask("shop", "ALTER TABLE item RENAME COLUMN price TO cost")
    planned = night.run("plan")
    assert planned.code == 4
    assert "to accept it, write 'renamed_from: price' under cost in sources/shop.yaml -> block" in planned.out
    assert 'shop.cheap: there is no table or view "cheap"' in planned.out
    assert "shop.tag: first" in planned.out
    assert planned.errors == ["2 tables would be held back: shop.item, shop.cheap"]


def test_a_table_needs_its_source(night: Night) -> None:
    night.platform.source("shop", SHOP, DECLARED)
    assert night.run("plan", "--table", "item").code == 2
    wrong = night.run("plan", "shop", "--table", "itme")
    assert wrong.code == 2
    assert "did you mean item?" in wrong.errors[0]


CHECKED = """
source: shop
tables:
  item:
    columns: {name: {null_rate: 1%}, price: {range: {max: 15, level: warn}}}
    checks:
      - sql: select * from {table} where price > 18
      - rows: {min: 30}
      - unique: [name]
"""


def test_checks_are_held_to_what_is_loaded_without_loading(night: Night) -> None:
    """Those that are declared now, with rows that fail, told with file and line where a machine reads it."""
    night.platform.source("shop", SHOP, "source: shop\ntables: {item: {}, tag: {}}\n")
    night.load("shop", "item")
    marts = night.platform.analysts / "marts"
    marts.mkdir()
    (marts / "dear.sql").write_text("-- checks:\n--   - rows: {min: 99}\nSELECT id FROM shop.item")
    night.platform.declare("shop", CHECKED)
    # What is read of the source by now is none of its business.
    night.ask("shop", "DROP VIEW cheap; DROP TABLE item")
    before = state(night)
    ended = night.run("plan", "shop", "--check")
    assert ended.code == 4, ended.err
    assert ended.out.splitlines() == [
        "shop.item: 5 checks, 3 failing",
        "  warn: price max 15: 5 of 20 rows (25.00%), expected none; such as id=16, price=16; "
        "id=17, price=17; id=18, price=18",
        "  error: sql select * from {table} where price > 18: 2 rows, expected none; such as id=19; id=20",
        "  error: rows min: 20 rows, expected at least 30",
    ]
    assert ended.errors == ["checks do not hold for the loaded rows: shop.item"]
    marked = night.run("plan", "--check", "--format", "github")
    assert marked.code == 4
    assert (
        "::error file=sources/shop.yaml,line=4::shop.item: rows min: 20 rows, expected at least 30"
        in marked.out
    )
    assert "::warning file=sources/shop.yaml,line=4::shop.item: price max 15" in marked.out
    told = json.loads(night.run("plan", "--check", "--format", "json").out)
    assert [check["passed"] for check in told["tables"][0]["checks"]] == [True, False, False, False, True]
    assert state(night) == before
    night.platform.declare("shop", "source: shop\ntables: {item: {}}\n")
    assert night.run("plan", "--check").code == 0


@in_depth(
    ("check", "told"),
    [
        ("select * from {table} where pg_export_snapshot() is null", "can do more than compute"),
        ("select id, id from {table} where id < 0", 'column "id" specified more than once'),
        ("select 1 / (id - 1) from {table}", "division by zero"),
        ("select null::int as f from {table}", "sql select null::int as f from {table}: 20 rows"),
    ],
    quick=1,
)
def test_an_sql_check_that_holds_a_load_back_does_not_pass_when_it_is_tried(
    night: Night, check: str, told: str
) -> None:
    """A load goes by whole rows of a view that does nothing but compute, and so does who tries a check."""
    night.platform.source("shop", SHOP, f"source: shop\ntables: {{item: {{checks: [{{sql: '{check}'}}]}}}}\n")
    with pytest.raises((StepError, CheckError)) as raised:
        night.load("shop", "item")
    assert told in str(raised.value)
    night.platform.declare("shop", "source: shop\ntables: {item: {}}\n")
    night.load("shop", "item")
    night.platform.declare("shop", f"source: shop\ntables: {{item: {{checks: [{{sql: '{check}'}}]}}}}\n")
    ended = night.run("plan", "shop", "--check")
    assert ended.code == 4
    assert told in ended.out


@pytest.mark.endurance
def test_what_no_check_was_tried_of_is_said_to_machines_as_well(night: Night) -> None:
    """Else nothing at all would read as all being well."""
    broken = "{checks: [{sql: 'select 1 / (id - id) from {table}'}]}"
    night.platform.source("shop", SHOP, "source: shop\ntables:\n  item:\n  tag:\n")
    night.load("shop", "item")
    night.platform.declare("shop", f"source: shop\ntables:\n  item: {broken}\n  tag:\n")
    asked = ("plan", "shop", "--check", "--format", "json", "--table")
    unloaded = night.run(*asked, "tag")
    assert unloaded.code == 0, unloaded.err
    told = json.loads(unloaded.out)
    assert told["tables"] == [{"name": "shop.tag", "loaded": False, "error": None, "checks": []}]
    (problem,) = told["problems"]
    assert (problem["file"], problem["line"], problem["level"]) == ("sources/shop.yaml", 4, "warning")
    assert problem["message"] == "shop.tag: is not loaded yet, so no check was tried"
    failed = night.run(*asked, "item")
    assert failed.code == 4
    (entry,) = json.loads(failed.out)["tables"]
    assert (entry["name"], entry["loaded"], entry["checks"]) == ("shop.item", True, [])
    assert "division by zero" in entry["error"]


def test_the_plan_is_told_for_machines_with_file_and_line(night: Night) -> None:
    night.platform.source("shop", SHOP, DECLARED)
    night.load("shop", "item")
    night.ask(
        "shop", "UPDATE item SET price = 0 WHERE id = 1; DROP VIEW cheap; ALTER TABLE tag RENAME TO tags"
    )
    marked = night.run("plan", "--format", "github")
    assert marked.code == 4
    assert marked.out.startswith("::error file=sources/shop.yaml,line=5::shop.tag: there is no table or view")
    told = json.loads(night.run("plan", "--format", "json", "--table", "item", "shop").out)
    (item,) = told["tables"]
    assert (item["name"], item["mode"], item["rows"], item["of"]) == ("shop.item", "increment", 1, 20)
    assert told["problems"] == []


def test_a_source_that_luigi_cfg_lacks_hides_no_other(night: Night) -> None:
    """As in a night, where it fails alone; by itself it is refused at once."""
    night.platform.source("shop", SHOP, DECLARED)
    night.platform.declare("new", "source: new\ntables: {a: , b: }\n")
    planned = night.run("plan")
    assert planned.code == 4, planned.err
    lines = planned.out.splitlines()
    lacking = "source new: not in luigi.cfg (known: shop); to add it, write [source.new] with secret = "
    assert any(line.startswith(lacking) for line in lines)
    assert "shop.item: first, 20 of 20 rows to read (never loaded before)" in lines
    assert planned.errors == ["2 tables would be held back: new.a, new.b"]
    marked = night.run("plan", "--format", "github")
    assert f"::error file=sources/new.yaml,line=2::{lacking.strip()}"[:60] in marked.out
    alone = night.run("plan", "new")
    assert (alone.code, alone.errors[0].startswith(lacking)) == (2, True)
