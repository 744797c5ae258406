"""What could not be read in the snapshot of a run says what to type, apart from what happened."""

import pytest

from pipeline.errors import StepError
from pipeline.loading import extract
from tests.support.night import Night, next_run

AGAIN = "let this run end, so that its next try takes another snapshot"
SHOP = """
    CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1), (2);
    CREATE VIEW odd AS SELECT id FROM item
    WHERE id > CASE WHEN current_query() LIKE 'COPY%' THEN 1 ELSE 0 END;
"""


@pytest.fixture
def shop(night: Night) -> Night:
    declared = "source: shop\ntables: {item: {}, odd: {changes: full}}\n"
    night.platform.source("shop", SHOP, declared)
    return night


def refused(shop: Night, run: str, name: str = "item") -> tuple[str, str]:
    with pytest.raises(StepError) as caught:
        extract.extract_table(shop.settings, shop.table("shop", name), run)
    assert caught.value.hint not in caught.value.fact
    return caught.value.fact, caught.value.hint


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ("TRUNCATE item", "was truncated or rewritten in the source"),
        (
            "ALTER TABLE item RENAME TO other; CREATE TABLE item (id int PRIMARY KEY)",
            "created again in the source",
        ),
    ],
)
def test_a_table_that_moved_under_the_snapshot_wants_another_one(shop: Night, change: str, fact: str) -> None:
    run = next_run()
    with shop.snapshot("shop", run):
        shop.ask("shop", change)
        said, hint = refused(shop, run)
    assert fact in said
    assert hint == AGAIN


def test_a_snapshot_that_is_gone_wants_another_one(shop: Night) -> None:
    run = next_run()
    with shop.snapshot("shop", run):
        pass
    said, hint = refused(shop, run)
    assert " is gone (" in said
    assert hint == AGAIN


def test_a_snapshot_that_is_older_than_what_is_loaded_may_be_left(shop: Night) -> None:
    early, late = next_run(), next_run()
    with shop.snapshot("shop", early):
        shop.load("shop", "item", late)
        said, hint = refused(shop, early)
    assert f"in run {late}" in said
    assert hint == f"leave it, because the loaded rows are newer, or {AGAIN}"


def test_a_view_that_shows_other_rows_to_each_query_is_told_as_that(shop: Night) -> None:
    run = next_run()
    with shop.snapshot("shop", run):
        said, hint = refused(shop, run, "odd")
    assert "1 of the 2 rows of the source arrived; nothing was staged" in said
    assert hint == (
        "if it is a view or foreign table whose rows differ between queries, load its base tables instead"
    )
