"""The last good version of a row that fails stays up, also on the night that makes its table again."""

from typing import Any

import pytest

from pipeline.loading.load import Loaded
from tests.support.marks import in_depth
from tests.support.night import Night

ITEMS = """
    CREATE TABLE item (id int PRIMARY KEY, state text, price numeric(8,2), email text, note text);
    INSERT INTO item SELECT n, 'open', n, n || '@example.org', 'note ' || n FROM generate_series(1, 40) AS n;
"""
STATE = "state: {accepted: [open, closed]}"


def declared(more: str = "", columns: str = "") -> str:
    listed = ", ".join(filter(None, (STATE, columns)))
    return f"source: shop\ntables: {{item: {{quarantine: rows, columns: {{{listed}}}, {more}}}}}\n"


def first_load(night: Night, more: str = "") -> None:
    night.platform.source("shop", ITEMS, declared(more))
    night.load("shop", "item")


def rebuilt(night: Night) -> Loaded:
    loaded = night.load("shop", "item")
    assert loaded.mode == "rebuild"
    return loaded


def one(night: Night, columns: str, number: int = 3) -> list[tuple[Any, ...]]:
    return night.ask("warehouse", f"SELECT {columns} FROM shop.item WHERE id = {number}")


@in_depth("deletes", ["soft", "hard", "ignore"], quick=2)
def test_the_last_good_version_of_a_row_stays_up_when_a_type_is_widened(night: Night, deletes: str) -> None:
    """And it is not marked as deleted: its row is in the source."""
    first_load(night, f"deletes: {deletes}, history: true")
    loaded_at = one(night, "_loaded_at")
    night.ask("shop", "ALTER TABLE item DROP COLUMN note")
    night.load("shop", "item")
    night.ask("shop", "UPDATE item SET state = 'lost', price = 0 WHERE id = 3")
    night.ask("shop", "INSERT INTO item VALUES (41, 'lost', 1, 'new')")
    night.ask("shop", "DELETE FROM item WHERE id = 4")
    night.ask("shop", "ALTER TABLE item ALTER id TYPE bigint, ALTER price TYPE numeric(12,4)")
    loaded = rebuilt(night)
    kept = deletes == "ignore"
    assert (loaded.total, loaded.quarantined) == (39 + kept, 2)
    assert one(night, "id, state, price::text, email, note, _loaded_at") == [
        (3, "open", "3.0000", "3@example.org", "note 3", *loaded_at[0])
    ]
    marked = [(4,)] if deletes == "soft" else []
    if deletes == "soft":
        assert night.ask("warehouse", "SELECT id FROM shop.item WHERE _deleted_at IS NOT NULL") == marked
    open_versions = "SELECT state FROM shop.item_history WHERE id = 3 AND _valid_to IS NULL"
    assert night.ask("warehouse", open_versions) == [("open",)]
    assert one(night, "1", 41) == []
    # It is read again until it is good.
    night.ask("shop", "UPDATE item SET state = 'closed' WHERE id IN (3, 41)")
    assert night.load("shop", "item").quarantined == 0
    assert one(night, "state, price") == [("closed", 0)]


@pytest.mark.parametrize("mask", ["'null'", "exclude"])
def test_of_a_last_good_version_nothing_stays_that_is_masked_from_now_on(night: Night, mask: str) -> None:
    first_load(night)
    night.ask("shop", "UPDATE item SET state = 'lost' WHERE id = 3")
    night.platform.declare("shop", declared(columns=f"email: {{mask: {mask}}}"))
    loaded = rebuilt(night)
    assert (loaded.total, loaded.quarantined) == (40, 1)
    shown = "state, note" if mask == "exclude" else "state, note, email"
    assert one(night, shown) == [("open", "note 3", *([] if mask == "exclude" else [None]))]
    everywhere = "SELECT t::text FROM shop.item t UNION ALL SELECT content::text FROM quarantine.shop_item"
    assert "@example" not in str(night.ask("warehouse", everywhere))


def test_a_last_good_version_that_is_no_longer_good_does_not_stay_in_a_table_that_is_made_again(
    night: Night,
) -> None:
    """By a rule that came since, or since another row has its value by now; nor is it marked as deleted."""
    first_load(night, "deletes: soft, checks: [{unique: [email]}]")
    night.ask("shop", "UPDATE item SET state = 'lost', email = 'new' WHERE id = 3")
    night.ask("shop", "UPDATE item SET email = '3@example.org' WHERE id = 5")
    night.ask("shop", "UPDATE item SET state = 'lost' WHERE id = 6")
    night.ask("shop", "ALTER TABLE item ALTER id TYPE bigint")
    night.platform.declare(
        "shop", declared("deletes: soft, checks: [{unique: [email]}]", "price: {range: {max: 5}}")
    )
    loaded = rebuilt(night)
    assert (loaded.total, loaded.quarantined) == (4, 36)
    assert night.ask("warehouse", "SELECT id, _deleted_at FROM shop.item ORDER BY id") == [
        (1, None),
        (2, None),
        (4, None),
        (5, None),
    ]


@in_depth(
    ("change", "drift"),
    [
        ("ALTER price TYPE numeric(6,1)", "{narrowed: refresh}"),
        ("ALTER note TYPE bytea USING note::bytea", "{type: refresh}"),
        ("DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (email)", "{key: refresh}"),
    ],
    quick=1,
)
@pytest.mark.parametrize("deletes", ["soft", "ignore"])
def test_a_row_whose_last_good_version_may_not_fit_is_quarantined_and_not_marked_as_deleted(
    night: Night, change: str, drift: str, deletes: str
) -> None:
    first_load(night, f"deletes: {deletes}")
    night.ask("shop", "UPDATE item SET state = 'lost' WHERE id = 3; DELETE FROM item WHERE id = 4")
    night.ask("shop", f"ALTER TABLE item {change}")
    night.platform.declare("shop", declared(f"deletes: {deletes}, drift: {drift}"))
    loaded = rebuilt(night)
    assert (loaded.total, loaded.quarantined) == (38 + (deletes == "ignore"), 1)
    assert one(night, "state") == []
    # What is gone from the source is kept as ever.
    assert one(night, "state", 4) == [("open",)]
    night.ask("shop", "UPDATE item SET state = 'closed' WHERE id = 3")
    night.load("shop", "item")
    assert one(night, "state") == [("closed",)]


@in_depth("changes", ["xmin", "full"])
def test_a_last_good_version_stays_up_beside_a_new_column_of_any_type(night: Night, changes: str) -> None:
    """It is empty in the version that stays, whatever its type."""
    first_load(night, f"changes: {changes}")
    night.ask("shop", "ALTER TABLE item ADD weight int, ADD size numeric(8,2)")
    night.ask("shop", "UPDATE item SET weight = 1, size = 2, state = 'lost' WHERE id = 3")
    loaded = night.load("shop", "item")
    assert (loaded.total, loaded.quarantined) == (40, 1)
    assert one(night, "state, weight, size") == [("open", None, None)]


@pytest.mark.endurance
def test_a_last_good_version_has_nothing_of_a_column_that_had_the_name_of_a_new_one(night: Night) -> None:
    first_load(night)
    night.ask("shop", "ALTER TABLE item DROP COLUMN note")
    night.load("shop", "item")
    night.ask("shop", "ALTER TABLE item ADD note int; UPDATE item SET state = 'lost', note = 1 WHERE id = 3")
    loaded = rebuilt(night)
    assert (loaded.total, loaded.quarantined) == (40, 1)
    assert one(night, "state, note") == [("open", None)]
