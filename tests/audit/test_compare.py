"""What an audit finds, and what it does not take for a fault: real servers, every row."""

import re
from dataclasses import dataclass

import pytest

from pipeline import access
from pipeline.audit import audit
from pipeline.audit.finding import Finding, Outcome
from tests.support.marks import in_depth
from tests.support.night import Night

ITEMS = """
    CREATE TABLE item (
        id int PRIMARY KEY, name text, price numeric(10, 2), phone text, touched_at timestamptz
    );
    INSERT INTO item
    SELECT n, 'item ' || n, n / 7.0, '0' || n, '2026-01-01'::timestamptz + n * interval '1 min'
    FROM generate_series(1, 100) AS n;
"""
KEY = "a key for these hashes that is long enough"
DECLARED = "source: shop\ntables: {item: {%s}}\n"


@dataclass
class Audits:
    """A night whose tables are audited."""

    night: Night

    def of(self, *names: str, source: str = "shop") -> dict[str, Finding]:
        """Look at these tables as a whole, and return what was seen."""
        tables = [self.night.table(source, name) for name in names]
        with (
            access.opened(self.night.settings) as databases,
            audit.auditor(databases, tables) as auditor,
        ):
            seen = {one.table.name: one.finding for one in auditor.everything()}
        return {name: found for name, found in seen.items() if found}

    def one(self, name: str = "item") -> Finding:
        return self.of(name)[name]

    def kept(self) -> list[tuple[str, dict[str, object]]]:
        query = "SELECT difference, key FROM quarantine.audit"
        return [(difference, key) for difference, key in self.night.ask("warehouse", query)]


@pytest.fixture
def audits(night: Night) -> Audits:
    return Audits(night)


def shop(audits: Audits, declared: str = "", script: str = ITEMS) -> Night:
    audits.night.platform.source("shop", script, DECLARED % declared)
    audits.night.load("shop", "item")
    return audits.night


def test_what_was_loaded_is_equal(audits: Audits) -> None:
    shop(audits)
    found = audits.one()
    assert (found.result, found.rows, found.newer) == (Outcome.EQUAL, 100, 0)


def test_a_row_changed_by_hand_in_the_warehouse_is_found_with_its_key(audits: Audits) -> None:
    night = shop(audits)
    night.ask("warehouse", "UPDATE shop.item SET price = 1.0 WHERE id = 17")
    found = audits.one()
    assert str(found) == "differs: 1 row is different"
    assert audits.kept() == [("altered", {"id": 17})]


def test_a_row_deleted_by_hand_in_the_warehouse_is_found_with_its_key(audits: Audits) -> None:
    night = shop(audits)
    night.ask("warehouse", "DELETE FROM shop.item WHERE id = 17")
    found = audits.one()
    assert str(found) == "differs: 1 row of the source is missing, 1 row fewer than the load left"
    assert audits.kept() == [("missing", {"id": 17})]


def test_a_row_added_by_hand_in_the_warehouse_is_found(audits: Audits) -> None:
    night = shop(audits)
    night.ask("warehouse", "INSERT INTO shop.item (id, _loaded_at) VALUES (1000, now())")
    assert str(audits.one()) == "differs: 1 row more than the load left"
    assert audits.kept() == [("surplus, or deleted since", {"id": 1000})]


def test_a_row_that_takes_the_place_of_another_is_found(audits: Audits) -> None:
    """As many rows as the load left, and yet not the same."""
    night = shop(audits)
    night.ask("warehouse", "UPDATE shop.item SET id = 1000 WHERE id = 17")
    assert str(audits.one()) == "differs: 1 row of the source is missing"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE shop.item AS a SET name = b.name FROM shop.item AS b"
        " WHERE (a.id, b.id) IN ((17, 18), (18, 17))",
        "UPDATE shop.item SET name = phone, phone = name WHERE id = 17",
        "UPDATE shop.item SET name = '' WHERE id = 18",
        "UPDATE shop.item SET small = small + CASE id WHEN 17 THEN 1 ELSE -1 END WHERE id IN (17, 18)",
        "UPDATE shop.item SET large = large + 4294967295 WHERE id = 17",
    ],
)
def test_values_that_change_places_are_found(audits: Audits, change: str) -> None:
    """Between rows and between columns, nothing for empty, and numbers whose sum stays as it was."""
    columns = "ALTER TABLE item ADD small int, ADD large bigint; UPDATE item SET small = id, large = 1;"
    night = shop(audits, script=ITEMS + columns + "UPDATE item SET name = NULL WHERE id = 18")
    assert audits.one().result == Outcome.EQUAL
    night.ask("warehouse", change)
    assert audits.one().altered == len({"17", "18"} & set(re.findall(r"\d\d", change)))


def test_decimals_are_told_apart_by_sign_and_size_and_nothing_from_zero(audits: Audits) -> None:
    """The server's own hash of a decimal is that of its digits alone, and a plain number for some."""
    night = shop(
        audits,
        script="CREATE TABLE item (id int PRIMARY KEY, a numeric(9, 2), b numeric(9, 2), c numeric(9, 2),"
        " d numeric(9, 2)); INSERT INTO item SELECT n, 0, 0, 0, 0 FROM generate_series(11, 14) AS n;"
        "UPDATE item SET a = 5 WHERE id = 11; UPDATE item SET a = NULL WHERE id = 12;"
        "UPDATE item SET a = 1, b = 10000 WHERE id = 13;",
    )
    assert audits.one().result == Outcome.EQUAL
    night.ask("warehouse", "UPDATE shop.item SET a = -a WHERE id = 11")
    night.ask("warehouse", "UPDATE shop.item SET a = 'NaN' WHERE id = 12")
    night.ask("warehouse", "UPDATE shop.item SET a = b, b = a WHERE id = 13")
    night.ask("warehouse", "UPDATE shop.item SET b = NULL, d = NULL WHERE id = 14")
    assert audits.one().altered == 4


def test_a_cursor_table_that_missed_an_update_is_found(audits: Audits) -> None:
    night = shop(audits, "changes: cursor, cursor: touched_at")
    night.ask("shop", "UPDATE item SET price = 5 WHERE id = 3")  # and forgets to touch it
    night.load("shop", "item")
    found = audits.one()
    assert (found.result, found.altered, audits.kept()) == (Outcome.DIFFERS, 1, [("altered", {"id": 3})])


@in_depth("mask", ["hash", "'null'", "exclude"], quick=2)
def test_a_masked_column_in_clear_is_found(audits: Audits, mask: str) -> None:
    """Also in a row that the source changed since, which is not compared."""
    audits.night.platform.sandbox.vault.write("mask", {"key": KEY})
    night = shop(audits, f"columns: {{phone: {{mask: {mask}}}}}")
    assert audits.one().result == Outcome.EQUAL
    if mask == "exclude":
        night.ask("warehouse", "ALTER TABLE shop.item ADD phone text")
    night.ask("warehouse", "UPDATE shop.item SET phone = '0123456789' WHERE id = 17")
    night.ask("shop", "UPDATE item SET price = 0 WHERE id = 17")
    found = audits.one()
    assert (found.result, dict(found.clear)) == (Outcome.DIFFERS, {"phone": 1})
    assert 'column "phone" is masked, and 1 value is not the mask' in found.reason
    assert "0123456789" not in str(found)


def test_a_mask_that_is_another_values_hash_is_found(audits: Audits) -> None:
    audits.night.platform.sandbox.vault.write("mask", {"key": KEY})
    night = shop(audits, "columns: {phone: {mask: hash}}")
    night.ask(
        "warehouse", "UPDATE shop.item SET phone = (SELECT phone FROM shop.item WHERE id = 1) WHERE id = 2"
    )
    assert (audits.one().altered, dict(audits.one().clear)) == (1, {})


def test_what_the_source_does_since_the_load_is_no_fault(audits: Audits) -> None:
    """New rows, changed ones, changed keys, deleted ones, and a transaction that was open all the while."""
    night = shop(audits, script=ITEMS)
    with night.platform.connect("shop") as late:
        late.autocommit = False
        late.cursor().execute("UPDATE item SET name = 'late' WHERE id = 50")
        night.ask("shop", "INSERT INTO item (id) VALUES (0)")
        night.load("shop", "item")
        late.commit()
    night.ask("shop", "UPDATE item SET name = 'new' WHERE id < 10")
    night.ask("shop", "UPDATE item SET id = 2000 WHERE id = 20")
    night.ask("shop", "DELETE FROM item WHERE id IN (30, 31, 32)")
    night.ask("shop", "INSERT INTO item (id) VALUES (1001), (30)")
    found = audits.one()
    assert (found.result, found.missing, found.altered, found.surplus) == (Outcome.EQUAL, 0, 0, 0), found
    assert found.rows < 100
    night.ask("warehouse", "UPDATE shop.item SET name = 'by hand' WHERE id = 40")
    assert audits.one().altered == 1
    night.load("shop", "item")
    assert audits.one().altered == 1, "a load by xmin does not see it"


def test_deletes_that_are_soft_or_ignored_are_no_fault(audits: Audits) -> None:
    declared = "source: shop\ntables:\n  item: {deletes: soft}\n  kept: {deletes: ignore, table: other}\n"
    audits.night.platform.source(
        "shop", ITEMS + "CREATE TABLE other AS TABLE item;ALTER TABLE other ADD PRIMARY KEY (id)", declared
    )
    for _ in range(2):
        for name in ("item", "kept"):
            audits.night.load("shop", name)
        audits.night.ask("shop", "DELETE FROM item WHERE id < 5; DELETE FROM other WHERE id < 5")
    seen = audits.of("item", "kept")
    assert {name: str(found.result) for name, found in seen.items()} == {"item": "equal", "kept": "equal"}
    audits.night.ask("warehouse", "UPDATE shop.kept SET name = 'by hand' WHERE id = 50")
    audits.night.ask("warehouse", "UPDATE shop.item SET _deleted_at = now() WHERE id = 50")
    seen = audits.of("item", "kept")
    assert (seen["item"].missing, seen["kept"].altered) == (1, 1)


def test_a_table_without_a_key_is_compared_by_what_is_in_it(audits: Audits) -> None:
    """With rows that are there several times."""
    script = "CREATE TABLE item (what text); INSERT INTO item SELECT 'a' FROM generate_series(1, 5)"
    night = shop(audits, "changes: full", script=script)
    assert audits.one().result == Outcome.EQUAL
    night.ask("shop", "INSERT INTO item VALUES ('b'), ('a')")
    assert (audits.one().result, audits.one().newer) == (Outcome.EQUAL, 2)
    night.ask("warehouse", "UPDATE shop.item SET what = 'b' WHERE ctid = '(0,1)'")
    assert (audits.one().result, audits.one().missing) == (Outcome.DIFFERS, 1)


def test_a_view_is_equal_or_not_comparable_and_never_a_false_alarm(audits: Audits) -> None:
    night = shop(
        audits,
        "key: [id], changes: full, table: shown",
        ITEMS + "CREATE VIEW shown AS SELECT id, name FROM item",
    )
    assert audits.one().result == Outcome.EQUAL
    night.ask("shop", "UPDATE item SET name = 'changed' WHERE id = 1")
    found = audits.one()
    assert str(found) == (
        "not comparable: a view does not show which rows changed; each load reads it in full"
    )
    night.ask("warehouse", "DELETE FROM shop.item WHERE id = 17")
    assert audits.one().result == Outcome.DIFFERS


@in_depth(
    ("change", "reason"),
    [
        ("ALTER TABLE item ADD note text DEFAULT 'x'", 'column "note" (text) is new in the source'),
        ("ALTER TABLE item ALTER price TYPE numeric(12, 3)", 'column "price" changed from numeric(10,2) to'),
        ("DROP TABLE item", 'there is no table or view "item"'),
        ("ALTER TABLE item RENAME name TO title", 'column "name" was renamed'),
    ],
    quick=2,
)
def test_a_source_that_changed_its_shape_is_not_comparable(audits: Audits, change: str, reason: str) -> None:
    night = shop(audits)
    night.ask("shop", change)
    found = audits.one()
    assert found.result == Outcome.INCOMPARABLE
    assert found.reason.startswith(reason)


def test_rows_that_are_set_aside_make_a_table_not_comparable(audits: Audits) -> None:
    shop(audits, "quarantine: rows, columns: {price: {range: {max: 14}}}")
    found = audits.one()
    assert found.result == Outcome.INCOMPARABLE
    assert "rows are in quarantine" in found.reason


def test_a_column_that_the_warehouse_keeps_as_another_type_is_not_comparable(audits: Audits) -> None:
    night = shop(audits)
    night.ask("warehouse", "ALTER TABLE shop.item ALTER price TYPE numeric(10, 3)")
    assert str(audits.one()) == (
        'not comparable: the warehouse has its column "price" as numeric(10,3), expected numeric(10,2)'
    )


def test_a_table_that_is_gone_from_the_warehouse_differs(audits: Audits) -> None:
    night = shop(audits)
    night.ask("warehouse", "DROP TABLE shop.item")
    assert str(audits.one()) == "differs: its table is gone from the warehouse"


def test_a_column_that_is_gone_from_the_warehouse_differs(audits: Audits) -> None:
    night = shop(audits)
    night.ask("warehouse", "ALTER TABLE shop.item DROP price")
    assert audits.one().result == Outcome.DIFFERS


def test_only_keys_are_kept_of_what_differs_and_no_longer_than_it_does(audits: Audits) -> None:
    night = shop(audits)
    night.ask("warehouse", "UPDATE shop.item SET name = 'by hand'")
    audits.one()
    assert len(audits.kept()) == 100
    assert {tuple(key) for _, key in audits.kept()} == {("id",)}
    night.ask("warehouse", "UPDATE ops.watermark SET in_full = 'asked for'")
    night.load("shop", "item")
    assert audits.one().result == Outcome.EQUAL
    assert audits.kept() == []


def test_what_an_audit_sees_is_in_the_ledger(audits: Audits) -> None:
    night = shop(audits)
    night.ask("warehouse", "DELETE FROM shop.item WHERE id = 17")
    audits.one()
    (found,) = night.ask(
        "warehouse",
        "SELECT source, table_name, part, parts, result, reason, rows, missing, surplus FROM ops.audit",
    )
    reason = "1 row of the source is missing, 1 row fewer than the load left"
    assert found == ("shop", "item", 1, 1, "differs", reason, 100, 1, -1)
