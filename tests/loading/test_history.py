"""History: every version of every row, from when to when it was so."""

from typing import Any

import pytest

from pipeline.errors import StepError
from tests.support.night import Night

ITEMS = """
    CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);
    INSERT INTO item VALUES (1, 'one', 1), (2, NULL, 2), (3, 'three', NULL);
"""
KEPT = "source: shop\ntables: {item: {history: true, max_deleted: 100%}}\n"


@pytest.fixture
def kept(night: Night) -> Night:
    night.platform.source("shop", ITEMS, KEPT)
    night.load("shop", "item")
    return night


def versions(night: Night, item: int) -> list[tuple[Any, ...]]:
    return night.ask(
        "warehouse",
        "SELECT name, price::text, _valid_to IS NULL FROM shop.item_history WHERE id = %s"
        " ORDER BY _valid_from",
        (item,),
    )


def test_a_change_closes_one_version_and_opens_another(kept: Night) -> None:
    kept.ask("shop", "UPDATE item SET price = 1.0 WHERE id = 1")
    kept.load("shop", "item")
    assert versions(kept, 1) == [("one", "1", False), ("one", "1.0", True)]
    touching = """
        SELECT count(*) FROM shop.item_history a JOIN shop.item_history b
        ON a.id = b.id AND a._valid_to = b._valid_from
        """
    assert kept.value("warehouse", touching) == 1


def test_nulls_and_repeats_make_no_version(kept: Night) -> None:
    kept.ask("shop", "UPDATE item SET name = name, price = price")
    kept.load("shop", "item")
    kept.load("shop", "item")
    assert kept.value("warehouse", "SELECT count(*) FROM shop.item_history") == 3


def test_a_null_that_comes_or_goes_makes_a_version(kept: Night) -> None:
    kept.ask("shop", "UPDATE item SET name = NULL WHERE id = 1")
    kept.ask("shop", "UPDATE item SET name = 'two' WHERE id = 2")
    kept.load("shop", "item")
    assert versions(kept, 1) == [("one", "1", False), (None, "1", True)]
    assert versions(kept, 2) == [(None, "2", False), ("two", "2", True)]


@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_a_deleted_row_is_closed_and_opened_again_when_it_returns(kept: Night, deletes: str) -> None:
    kept.platform.declare("shop", KEPT.replace("history", f"deletes: {deletes}, history"))
    kept.ask("shop", "DELETE FROM item WHERE id = 1")
    kept.load("shop", "item")
    assert versions(kept, 1) == [("one", "1", False)]
    kept.ask("shop", "INSERT INTO item VALUES (1, 'one', 1)")
    kept.load("shop", "item")
    assert versions(kept, 1) == [("one", "1", False), ("one", "1", True)]


def test_the_history_follows_the_table_s_shape(kept: Night) -> None:
    kept.ask("shop", "ALTER TABLE item ADD COLUMN colour text, ALTER COLUMN id TYPE bigint")
    kept.ask("shop", "UPDATE item SET colour = 'red' WHERE id = 1")
    kept.load("shop", "item")
    assert kept.value("warehouse", "SELECT count(*) FROM shop.item_history WHERE _valid_to IS NULL") == 3
    assert kept.ask(
        "warehouse", "SELECT colour FROM shop.item_history WHERE id = 1 ORDER BY _valid_from"
    ) == [(None,), ("red",)]


def test_history_without_a_key_is_refused(night: Night) -> None:
    night.platform.source("shop", "CREATE TABLE item (name text)", KEPT)
    with pytest.raises(StepError, match="history needs a key"):
        night.load("shop", "item")
