"""Partitions by hash of an enum: a restore may put rows into another one, and one that is lost is told."""

from typing import Any

import pytest

from pipeline import postgres
from pipeline.backup.database import assertions
from pipeline.backup.drills import drill
from pipeline.backup.restoring import restore
from pipeline.backup.restoring.restoration import Order, Restored
from pipeline.backup.store.manifest import Table
from tests.support.restores import Restores

MONTH = "2026-11"
# So many that no other numbers for them put all of them where they were.
COLOURS = """
DO $$ BEGIN
    EXECUTE (
        SELECT format('CREATE TYPE colour AS ENUM (%s)', string_agg(quote_literal('c' || n), ', '))
        FROM generate_series(1, 60) AS n
    );
END $$;
"""
# One is made beforehand, with its columns in another order, and one is partitioned further.
BY_ENUM = f"""
{COLOURS}
CREATE TABLE paint (colour colour, id int) PARTITION BY HASH (colour);
CREATE TABLE paint_0 PARTITION OF paint FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE paint_1 (id int, gone int, colour colour);
ALTER TABLE paint_1 DROP COLUMN gone;
ALTER TABLE paint ATTACH PARTITION paint_1 FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE paint_2 PARTITION OF paint FOR VALUES WITH (MODULUS 3, REMAINDER 2) PARTITION BY RANGE (id);
CREATE TABLE paint_2_low PARTITION OF paint_2 FOR VALUES FROM (MINVALUE) TO (90);
CREATE TABLE paint_2_high PARTITION OF paint_2 FOR VALUES FROM (90) TO (MAXVALUE);
INSERT INTO paint
SELECT ('c' || n)::colour, 3 * n + m FROM generate_series(1, 60) AS n, generate_series(1, n) AS m;
"""
# And one below another that is partitioned otherwise, beside one whose rows stay where they are.
BELOW = """
CREATE TABLE stock (year int, colour colour) PARTITION BY LIST (year);
CREATE TABLE stock_2025 PARTITION OF stock FOR VALUES IN (2025);
CREATE TABLE stock_2026 PARTITION OF stock FOR VALUES IN (2026) PARTITION BY HASH (colour);
CREATE TABLE stock_2026_0 PARTITION OF stock_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE stock_2026_1 PARTITION OF stock_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO stock SELECT 2025 + n % 2, ('c' || n)::colour FROM generate_series(1, 60) AS n;
CREATE TABLE box (id int) PARTITION BY HASH (id);
CREATE TABLE box_0 PARTITION OF box FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE box_1 PARTITION OF box FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO box SELECT generate_series(1, 100);
"""
WHERE = "SELECT DISTINCT tableoid::regclass::text, colour::text FROM paint"


@pytest.fixture
def shop(restores: Restores) -> Restores:
    restores.source("shop", BY_ENUM + BELOW)
    restores.back_up("shop")
    return restores


def into_new(restores: Restores, table: str | None = None) -> Restored:
    """Restore into a new database by a call."""
    return restore.restore_into_new(
        restores.archive.settings, Order("shop", table=table), restores.name("new")
    )


def source(restores: Restores, query: str) -> list[tuple[Any, ...]]:
    """Run SQL in what was backed up."""
    with restores.archive.platform.connect("shop") as connection:
        return postgres.rows(connection, query)


@pytest.mark.endurance
def test_rows_that_lie_in_another_partition_after_a_restore_are_none_that_differ(shop: Restores) -> None:
    result = into_new(shop)
    assert [one for one in result.assertions if one.held is not True] == []
    before, now = source(shop, WHERE), shop.ask(result.target.database, WHERE)
    assert {colour for _, colour in before} == {colour for _, colour in now}
    assert set(before) != set(now), "this restore shows nothing: all rows lie where they lay"


@pytest.mark.endurance
def test_a_drill_proves_them_and_notices_a_row_that_is_missing(restores: Restores) -> None:
    """Also where no other table has a row that could be taken away."""
    restores.source("shop", BY_ENUM)
    restores.back_up("shop")
    result = drill.drill_database(restores.archive.settings, "shop", MONTH)
    assert (result.grade, result.failures) == ("A", ())
    control = next(one.detail for one in result.controls if one.name == "a missing row is noticed")
    assert control == "one row deleted: public.paint has 1,829 rows instead of 1,830"


def table(name: str, rows: int, checksum: str, owner: str = "o") -> Table:
    return Table(schema_name="public", name=name, owner=owner, columns=("id",), rows=rows, checksum=checksum)


ROOTS = {"public.paint_0": "public.paint", "public.paint_1": "public.paint"}
BOXES = (table("box_0", 3, "5"), table("box_1", 2, "6"))
BACKED_UP = (table("paint_0", 3, "-7"), table("paint_1", 2, "40"), *BOXES)


@pytest.mark.parametrize(
    ("restored", "problem"),
    [
        pytest.param((table("paint_0", 4, "21"), table("paint_1", 1, "12"), *BOXES), None, id="moved"),
        pytest.param(
            (table("paint_0", 4, "21"), table("paint_1", 0, "0"), *BOXES),
            "public.paint has 4 rows instead of 5",
            id="lost",
        ),
        pytest.param(
            (table("paint_0", 4, "21"), table("paint_1", 1, "13"), *BOXES),
            "public.paint has other rows: their checksum is 34 instead of 33",
            id="changed",
        ),
        pytest.param(
            (table("paint_0", 4, "21"), table("paint_1", 1, "12", "else"), *BOXES),
            "public.paint_1 belongs to else instead of o",
            id="owner",
        ),
        pytest.param(
            BACKED_UP[1:], "public.paint_0 is missing; public.paint has 2 rows instead of 5", id="missing"
        ),
        # Where every row has its place, it is asked for there.
        pytest.param(
            (*BACKED_UP[:2], table("box_0", 2, "5"), table("box_1", 3, "6")),
            "public.box_0 has 2 rows instead of 3; public.box_1 has 3 rows instead of 2",
            id="others",
        ),
    ],
)
def test_rows_count_together_only_where_they_may_lie_elsewhere(
    restored: tuple[Table, ...], problem: str | None
) -> None:
    result = assertions.tables_held(BACKED_UP, restored, ROOTS)
    assert (result.held, result.detail) == (
        (False, problem) if problem else (True, "4 tables, 10 rows: counts and checksums equal")
    )


@pytest.mark.endurance
@pytest.mark.parametrize("table", ["public.paint", "public.paint_0", "public.stock_2026"])
def test_one_table_of_them_is_compared_with_all_that_may_have_its_rows(shop: Restores, table: str) -> None:
    result = into_new(shop, table)
    assert [one for one in result.assertions if one.held is not True] == []
    of = table.removeprefix("public.")
    rows = f"SELECT count(*), count(DISTINCT colour) FROM {of.removesuffix('_0')}"
    assert shop.ask(result.target.database, rows) == source(shop, rows)
