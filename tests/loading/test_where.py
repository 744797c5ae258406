"""Only rows that meet `where:` are loaded, however the table is read; who ceases to meet it is gone."""

import pytest

from pipeline import access
from pipeline.audit import audit
from pipeline.errors import CheckError, StepError
from tests.support.marks import in_depth
from tests.support.night import Night, counts, next_run

ITEMS = """
    CREATE TABLE item (
        id int PRIMARY KEY, state text NOT NULL, phone text, day date DEFAULT current_date,
        changed_at timestamptz DEFAULT now()
    );
    INSERT INTO item SELECT n, CASE WHEN n <= 60 THEN 'open' ELSE 'draft' END, '0' || n
    FROM generate_series(1, 100) AS n;
"""
READ = {"xmin": "changes: xmin", "cursor": "changes: cursor, cursor: changed_at", "full": "changes: full"}
OPEN = "where: state = 'open'"


def declared(*said: str) -> str:
    return f"source: shop\ntables:\n  item: {{{', '.join(said)}}}\n"


def shop(night: Night, *said: str, script: str = ITEMS) -> Night:
    night.platform.source("shop", script, declared(*said))
    return night


def load(night: Night) -> tuple[str, tuple[int, int, int, int]]:
    run = next_run()
    loaded = night.load("shop", "item", run)
    return night.extraction(run, "shop.item")[0], counts(loaded)


def ids(night: Night, which: str = "true") -> list[int]:
    return [id_ for (id_,) in night.ask("warehouse", f"SELECT id FROM shop.item WHERE {which} ORDER BY 1")]


def wanted(night: Night, condition: str = "state = 'open'") -> list[int]:
    return [id_ for (id_,) in night.ask("shop", f"SELECT id FROM item WHERE {condition} ORDER BY 1")]


def seen(night: Night) -> str:
    """Return what an audit says of the table."""
    with (
        access.opened(night.settings) as databases,
        audit.auditor(databases, [night.table("shop", "item")]) as auditor,
    ):
        return str(next(iter(auditor.everything())).finding)


@pytest.mark.parametrize(
    "changes", ["xmin", *(pytest.param(how, marks=pytest.mark.endurance) for how in ("cursor", "full"))]
)
def test_a_row_that_leaves_the_filter_is_deleted_and_one_that_enters_it_is_loaded(
    night: Night, changes: str
) -> None:
    """As many leave as enter, so that no count tells of it."""
    shop(night, READ[changes], OPEN)
    assert load(night) == ("first", (60, 0, 0, 60))
    night.ask("shop", "UPDATE item SET state = 'draft', changed_at = now() WHERE id <= 5")
    night.ask("shop", "UPDATE item SET state = 'open', changed_at = now() WHERE id > 95")
    night.ask("shop", "UPDATE item SET phone = 'new', changed_at = now() WHERE id IN (10, 90)")
    mode, (inserted, updated, deleted, total) = load(night)
    assert mode == ("full" if changes == "full" else "increment")
    assert (inserted, updated, deleted, total) == (5, 1, 5, 60)
    assert ids(night) == wanted(night)
    assert load(night)[1] == (0, 0, 0, 60)


@pytest.mark.endurance
@pytest.mark.parametrize(("deletes", "there", "live"), [("soft", 60, 55), ("ignore", 60, 60)])
def test_what_left_the_filter_is_treated_as_what_is_gone(
    night: Night, deletes: str, there: int, live: int
) -> None:
    shop(night, f"deletes: {deletes}", OPEN)
    load(night)
    night.ask("shop", "UPDATE item SET state = 'draft' WHERE id <= 5")
    assert load(night)[1][3] == live
    assert len(ids(night)) == there
    night.ask("shop", "UPDATE item SET state = 'open' WHERE id <= 5")
    load(night)
    live_now = "_deleted_at IS NULL" if deletes == "soft" else "true"
    assert ids(night, live_now) == wanted(night)


@pytest.mark.endurance
def test_a_row_that_a_cursor_misses_is_found_as_it_enters_the_filter(night: Night) -> None:
    shop(night, READ["cursor"], OPEN)
    load(night)
    night.ask("shop", "UPDATE item SET state = 'open', changed_at = '2020-01-01' WHERE id > 95")
    assert load(night)[0] == "full"
    assert ids(night) == wanted(night)


@pytest.mark.endurance
def test_a_table_without_a_key_is_filtered_too(night: Night) -> None:
    shop(night, OPEN, script=ITEMS.replace(" PRIMARY KEY", ""))
    load(night)
    night.ask("shop", "UPDATE item SET state = 'draft' WHERE id <= 5")
    assert load(night) == ("full", (0, 0, 5, 55))
    assert ids(night) == wanted(night)


def test_a_changed_filter_leads_to_a_full_refresh(night: Night) -> None:
    """Rows that nobody touched enter and leave by it, and many at once."""
    shop(night, OPEN)
    load(night)
    night.platform.declare("shop", declared("where: state = 'draft' AND id > 61"))
    assert "its where changed: it was" in night.run("plan").out
    assert load(night) == ("full", (39, 0, 60, 39))
    assert ids(night) == wanted(night, "state = 'draft' AND id > 61")
    assert load(night)[0] == "increment"
    night.platform.declare("shop", declared())
    assert load(night) == ("full", (61, 0, 0, 100))
    # Nobody wants a table without a row.
    night.platform.declare("shop", declared("where: state = 'opne'"))
    with pytest.raises(CheckError, match=r"100 of 100 rows \(100%\) are gone from the source"):
        night.load("shop", "item")
    assert len(ids(night)) == 100


@pytest.mark.endurance
def test_another_column_under_the_name_in_the_filter_leads_to_a_full_refresh(night: Night) -> None:
    """No row is written anew by it: only the column's number tells."""
    shop(night, OPEN, "drift: {added_with_default: ignore}")
    load(night)
    night.ask("shop", "ALTER TABLE item DROP COLUMN state")
    night.ask("shop", "ALTER TABLE item ADD COLUMN state text DEFAULT 'open'")
    assert load(night) == ("full", (40, 0, 0, 100))


@pytest.mark.endurance
def test_a_source_that_makes_the_filters_column_anew_is_held_to_max_deleted(night: Night) -> None:
    """Nobody declared that other rows are wanted: it may be a mistake over there."""
    shop(night, OPEN)
    load(night)
    night.ask("shop", "ALTER TABLE item DROP COLUMN state")
    night.ask("shop", "ALTER TABLE item ADD COLUMN state text DEFAULT 'draft'")
    night.ask("shop", "UPDATE item SET state = 'open' WHERE id = 1")
    planned = night.run("plan").out
    with pytest.raises(CheckError, match=r"59 of 60 rows \(98%\) are gone from the source"):
        load(night)
    assert len(ids(night)) == 60
    assert "a column of its where was created again in the source" in planned
    assert "declared otherwise" not in planned


@in_depth("deletes", ["hard", "ignore"], quick=1)
def test_rows_that_enter_and_leave_by_time_alone_are_found(night: Night, deletes: str) -> None:
    """Nobody writes them, and as many enter as leave: neither their marks nor their number tells."""
    today = "current_setting('shop.today')::int"
    shop(night, f"deletes: {deletes}", f"where: id > {today} - 30 AND id <= {today}")
    for day, there in ((40, range(11, 41)), (45, range(16, 46)), (45, range(16, 46))):
        night.ask("shop", f"ALTER DATABASE {night.platform.database('shop')} SET shop.today = {day}")
        load(night)
        assert ids(night, f"id > {day} - 30") == list(there)
    assert (min(ids(night)) == 11) == (deletes == "ignore")
    assert "depends on the time" in seen(night)


@pytest.mark.endurance
def test_an_audit_holds_the_table_to_the_rows_that_are_wanted(night: Night) -> None:
    shop(night, OPEN)
    load(night)
    assert seen(night) == "equal, 60 rows"
    night.ask("shop", "UPDATE item SET state = 'draft' WHERE id <= 5")
    night.ask("shop", "UPDATE item SET state = 'open' WHERE id > 97")
    assert seen(night) == "equal, 55 rows, 8 written since it was loaded"
    night.ask("warehouse", "UPDATE shop.item SET phone = 'x' WHERE id = 30")
    night.ask("warehouse", "DELETE FROM shop.item WHERE id = 31")
    assert seen(night) == (
        "differs: 1 row of the source is missing, 1 row is different, 1 row fewer than the load left"
    )
    night.platform.declare("shop", declared("where: id > 3"))
    assert "its next load handles that" in seen(night)


@pytest.mark.endurance
def test_the_plan_counts_what_is_wanted(night: Night) -> None:
    shop(night, OPEN)
    assert "shop.item: first, 60 of 60 rows to read" in night.run("plan").out
    load(night)
    night.ask("shop", "UPDATE item SET phone = 'x' WHERE id IN (1, 99)")
    assert "shop.item: increment, 1 of 60 rows to read" in night.run("plan").out


@in_depth(
    ("where", "told"),
    [
        ("id + 1", "is rejected by the source: argument of WHERE must be type boolean"),
        ("state > 3", "is rejected by the source: operator does not exist: text > integer"),
        ("nofunc(id) = 1", "is rejected by the source: function nofunc(integer) does not exist"),
        ("secret_of(id) = 1", "is rejected by the source: function secret_of(integer) does not exist"),
        ("length(pg_export_snapshot()) > id", "calls pg_export_snapshot, which does more than compute"),
        (r"length(\"pg_export_snapshot\"()) > id", "calls pg_export_snapshot, which does more than compute"),
        ("generate_series(1, 2) = id", "set-returning functions are not allowed in WHERE"),
    ],
    quick=3,
)
def test_what_the_source_does_not_take_is_told_with_file_and_line(
    night: Night, where: str, told: str
) -> None:
    function = "CREATE FUNCTION secret_of(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';"
    shop(night, f'where: "{where}"', script=ITEMS + function)
    with pytest.raises(StepError) as raised:
        night.load("shop", "item")
    assert told in str(raised.value)
    assert str(raised.value).endswith("correct sources/shop.yaml:3 (tables.item.where)")
    assert not raised.value.retryable


def test_a_column_that_is_not_there_is_told_with_the_one_that_was_meant(night: Night) -> None:
    shop(night, "where: stat = 'open'")
    with pytest.raises(StepError, match=r'its where names column "stat".*did you mean state\?'):
        night.load("shop", "item")
    # Nor is a system column one of the table's own.
    night.platform.declare("shop", declared("where: ctid IS NOT NULL"))
    with pytest.raises(StepError, match='its where names column "ctid"'):
        night.load("shop", "item")


def test_a_masked_column_filters_only_once_somebody_looked(night: Night) -> None:
    """Also where the mask is one that the column had before, under whichever name."""
    shop(night, "columns: {phone: {mask: 'null'}}")
    load(night)
    night.ask("shop", "ALTER TABLE item RENAME COLUMN phone TO mobile")
    night.platform.declare("shop", declared("where: mobile < '05'", "drift: {renamed: evolve}"))
    with pytest.raises(CheckError, match=r'its where names column "mobile", which is left empty'):
        night.load("shop", "item")
    looked = "columns: {mobile: {mask: 'null', unmasked: reviewed, renamed_from: phone}}"
    night.platform.declare("shop", declared("where: mobile < '05'", looked))
    load(night)
    assert ids(night) == wanted(night, "mobile < '05'")
    assert night.value("warehouse", "SELECT count(mobile) FROM shop.item") == 0
