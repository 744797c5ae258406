"""A table of the warehouse that is not as its last load left it is filled again, and not added to."""

import pytest

from pipeline.errors import StepError
from tests.support.marks import in_depth
from tests.support.night import Night, next_run

ITEMS = """
    CREATE TYPE grade AS ENUM ('junior', 'senior');
    CREATE TABLE item (id int PRIMARY KEY, name varchar(20), price numeric(8,2), grade grade, seen timestamp);
    INSERT INTO item
    SELECT n, 'item ' || n, n / 4.0, 'junior', '2026-01-01 10:11:12.345' FROM generate_series(1, 100) AS n;
"""


def declared(text: str = "") -> str:
    return f"source: shop\ntables: {{item: {{{text}}}}}\n"


def first_load(night: Night, text: str = "") -> None:
    night.platform.source("shop", ITEMS, declared(text))
    night.load("shop", "item")


@in_depth(
    ("statement", "deletes", "reason"),
    [
        ("DROP COLUMN name", "hard", 'the warehouse\'s table lacks column "name"'),
        ("ALTER COLUMN price TYPE numeric(8,1)", "hard", 'the warehouse has column "price" as numeric(8,1)'),
        ("RENAME COLUMN name TO title", "soft", 'the warehouse\'s table lacks column "name"'),
        ("DROP COLUMN id", "hard", 'the warehouse\'s table lacks column "id"'),
        (
            "ALTER COLUMN seen TYPE date",
            "soft",
            'the warehouse has column "seen" as date',
        ),
        ("ALTER COLUMN grade TYPE text", "ignore", 'the warehouse has column "grade" as text'),
    ],
    quick=2,
)
def test_a_column_that_somebody_altered_in_the_warehouse_is_filled_again_in_every_row(
    night: Night, statement: str, deletes: str, reason: str
) -> None:
    """An increment would leave it empty in all rows but the changed ones, or cut off what does not fit."""
    first_load(night, f"deletes: {deletes}")
    night.ask("warehouse", f"ALTER TABLE shop.item {statement}")
    night.ask("shop", "UPDATE item SET price = 2.75, seen = '2026-02-03 04:05:06' WHERE id = 7")
    again = night.load("shop", "item")
    assert (again.mode, again.reason) == ("rebuild", reason)
    assert not night.differing("shop")
    # And that was once.
    assert night.load("shop", "item").mode == "increment"


def test_a_rename_that_is_taken_back_after_its_load_failed_leaves_no_column_empty(night: Night) -> None:
    """The warehouse's column is renamed before its load: what was accepted still has the old name."""
    first_load(night)
    night.ask("shop", "ALTER TABLE item RENAME COLUMN name TO title")
    night.platform.declare("shop", declared("columns: {title: {renamed_from: name}}"))
    run = next_run()
    night.extract("shop", run, "item")
    night.ask("warehouse", "CREATE TABLE analyst.kept AS SELECT * FROM shop.item WHERE id = 3")
    night.ask("warehouse", "DELETE FROM shop.item WHERE id = 3")
    with pytest.raises(StepError, match="nothing was published"):
        night.publish("shop", run, "item")
    night.ask("warehouse", "INSERT INTO shop.item SELECT * FROM analyst.kept")
    night.ask("shop", "ALTER TABLE item RENAME COLUMN title TO name")
    night.ask("shop", "UPDATE item SET price = 2.75 WHERE id = 7")
    night.platform.declare("shop", declared())
    assert night.load("shop", "item").mode == "rebuild"
    assert not night.differing("shop")


def test_a_key_that_nothing_keeps_unique_in_the_warehouse_is_reported_with_the_statement_to_type(
    night: Night,
) -> None:
    first_load(night)
    key = "SELECT conname FROM pg_constraint WHERE conrelid = 'shop.item'::regclass AND contype = 'p'"
    night.ask("warehouse", f'ALTER TABLE shop.item DROP CONSTRAINT "{night.value("warehouse", key)}"')
    night.ask("shop", "UPDATE item SET price = 2.75 WHERE id = 7")
    with pytest.raises(StepError) as raised:
        night.load("shop", "item")
    assert raised.value.fact == "shop.item: the warehouse's table has no unique index of its key (id)"
    statement = 'ALTER TABLE "shop"."item" ADD PRIMARY KEY ("id")'
    assert raised.value.hint == f"run '{statement}' in the warehouse"
    night.ask("warehouse", statement)
    night.load("shop", "item")
    assert not night.differing("shop")
