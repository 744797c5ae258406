"""Drift: a source whose table changes its shape never breaks the warehouse without a word."""

import json
from typing import Any

import pytest

from pipeline.errors import CheckError, StepError
from pipeline.loading.extracted import Extracted
from tests.support.marks import in_depth
from tests.support.night import Night, next_run

ITEMS = """
    CREATE TYPE grade AS ENUM ('junior', 'senior');
    CREATE TABLE item (
        id int PRIMARY KEY, name varchar(20) NOT NULL, price numeric(8,2), grade grade, note text);
    INSERT INTO item
    SELECT n, 'item ' || n, n / 4.0, 'junior', 'note ' || n FROM generate_series(1, 100) AS n;
"""
PLAIN = "source: shop\ntables: {item: {}}\n"


def declared(text: str) -> str:
    return f"source: shop\ntables: {{item: {{{text}}}}}\n"


@pytest.fixture
def loaded(night: Night) -> Night:
    """A night whose table `item` has been loaded once, with a view that people read."""
    night.platform.source("shop", ITEMS, PLAIN)
    night.load("shop", "item")
    night.ask("warehouse", "CREATE ROLE reader" if not _has_reader(night) else "SELECT 1")
    night.ask("warehouse", "CREATE VIEW mart.cheap AS SELECT id, name, price FROM shop.item WHERE price < 10")
    night.ask("warehouse", "CREATE VIEW mart.cheapest AS SELECT min(price) AS price FROM mart.cheap")
    night.ask("warehouse", "CREATE MATERIALIZED VIEW mart.names AS SELECT name FROM shop.item")
    night.ask("warehouse", "CREATE UNIQUE INDEX names_name ON mart.names (name)")
    role = night.value(
        "warehouse", "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'shop.item'::regclass"
    )
    for statement in (
        "COMMENT ON VIEW mart.cheap IS 'what a student can buy'",
        "GRANT SELECT ON mart.cheap, shop.item TO reader",
        f'ALTER VIEW mart.cheap OWNER TO "{role}"',
        f'ALTER VIEW mart.cheapest OWNER TO "{role}"',
        f'ALTER MATERIALIZED VIEW mart.names OWNER TO "{role}"',
        "COMMENT ON COLUMN shop.item.price IS 'in euros'",
    ):
        night.ask("warehouse", statement)
    return night


def _has_reader(night: Night) -> bool:
    return bool(night.ask("warehouse", "SELECT 1 FROM pg_roles WHERE rolname = 'reader'"))


def change(night: Night, statement: str) -> None:
    night.ask("shop", statement)


def refused(night: Night) -> str:
    """Return why the table is not loaded; what was there before must still be."""
    before = content(night)
    with pytest.raises((CheckError, StepError)) as raised:
        night.load("shop", "item")
    assert content(night) == before
    return str(raised.value)


def content(night: Night) -> list[tuple[Any, ...]]:
    return night.ask("warehouse", "SELECT * FROM shop.item ORDER BY id")


def mode(night: Night) -> str:
    run = next_run()
    night.load("shop", "item", run)
    return night.extraction(run, "shop.item")[0]


def test_a_new_column_is_taken_in_without_reading_all_rows_again(loaded: Night) -> None:
    change(loaded, "ALTER TABLE item ADD COLUMN colour text")
    change(loaded, "UPDATE item SET colour = 'red' WHERE id = 7")
    assert mode(loaded) == "increment"
    assert not loaded.differing("shop")


def test_a_new_column_with_a_default_is_read_in_every_row(loaded: Night) -> None:
    """Its default changes no row's xmin: an increment would leave the old rows empty."""
    change(loaded, "ALTER TABLE item ADD COLUMN colour text DEFAULT 'grey'")
    assert mode(loaded) == "full"
    assert not loaded.differing("shop")


@in_depth(
    ("column", "drift"),
    [
        ("text DEFAULT 'grey'; ALTER TABLE item ALTER colour DROP DEFAULT", "{added: evolve}"),
        ("text DEFAULT 'grey'; ALTER TABLE item ALTER colour DROP DEFAULT", "{}"),
        ("shade", "{added: evolve}"),
    ],
    quick=1,
)
def test_a_new_column_whose_default_is_gone_is_read_in_every_row_also_where_drift_says_evolve(
    loaded: Night, column: str, drift: str
) -> None:
    """So do frameworks add columns, and so does a domain that has the default: it is in every old row."""
    loaded.platform.declare("shop", declared(f"drift: {drift}"))
    change(loaded, "CREATE DOMAIN shade AS text DEFAULT 'grey'")
    change(loaded, f"ALTER TABLE item ADD COLUMN colour {column}")
    assert mode(loaded) == "full"
    assert not loaded.differing("shop")


def test_a_column_dropped_and_made_anew_under_its_name_is_read_in_every_row(loaded: Night) -> None:
    change(loaded, "ALTER TABLE item DROP COLUMN note")
    change(loaded, "ALTER TABLE item ADD COLUMN note text DEFAULT 'none'")
    assert mode(loaded) == "full"
    assert not loaded.differing("shop")


def test_a_dropped_column_is_kept_for_the_rows_that_had_it_and_warned_of(loaded: Night) -> None:
    change(loaded, "ALTER TABLE item DROP COLUMN note")
    change(loaded, "INSERT INTO item VALUES (101, 'new', 1, 'senior')")
    loaded.load("shop", "item")
    assert loaded.ask("warehouse", "SELECT note FROM shop.item WHERE id IN (1, 101) ORDER BY id") == [
        ("note 1",),
        (None,),
    ]
    warned = "SELECT observed FROM ops.check_result WHERE level = 'warn' AND NOT passed"
    assert loaded.ask("warehouse", warned) == [
        ('column "note" (text) is gone from the source; it stays empty in new rows',)
    ]


def test_a_dropped_column_that_a_view_shows_blocks_the_table(loaded: Night) -> None:
    change(loaded, "ALTER TABLE item DROP COLUMN price")
    told = refused(loaded)
    assert 'column "price" (numeric(8,2)) is gone from the source' in told
    assert "'drift: {dropped: evolve}' under item in sources/shop.yaml" in told
    assert "mart.cheap shows it" in told
    loaded.platform.declare("shop", declared("drift: {dropped: evolve}"))
    loaded.load("shop", "item")


def test_a_renamed_column_blocks_until_the_line_that_it_asks_for_is_written(loaded: Night) -> None:
    change(loaded, "ALTER TABLE item RENAME COLUMN price TO cost")
    assert (
        'column "price" was renamed to "cost" in the source; its last good rows stay up; to accept it, '
        "write 'renamed_from: price' under cost in sources/shop.yaml"
    ) in refused(loaded)
    loaded.platform.declare("shop", declared("columns: {cost: {renamed_from: price}}"))
    assert mode(loaded) == "increment"
    assert not loaded.differing("shop")
    assert loaded.value("warehouse", "SELECT count(*) FROM mart.cheap") == 39


def test_what_accepts_a_change_stands_apart_from_what_changed_and_comes_before_the_command(
    loaded: Night,
) -> None:
    """For people in a hurry: the fact, then what to write, then what to type."""
    change(loaded, "ALTER TABLE item RENAME COLUMN price TO cost")
    with pytest.raises(CheckError) as caught:
        loaded.load("shop", "item")
    renamed = 'column "price" was renamed to "cost" in the source'
    line = "to accept it, write 'renamed_from: price' under cost in sources/shop.yaml"
    assert caught.value.fact == f"shop.item: {renamed}; its last good rows stay up"
    assert caught.value.hint == line
    (step,) = loaded.ask("warehouse", "SELECT error, hint FROM ops.step WHERE state = 'failed'")
    assert step == (caught.value.fact.removeprefix("shop.item: "), line)
    (found,) = loaded.ask("warehouse", "SELECT observed FROM ops.check_result WHERE NOT passed")
    assert found == (renamed,)


@in_depth(
    ("statement", "old", "new"),
    [
        ("ALTER COLUMN price TYPE numeric(6,1)", "numeric(8,2)", "numeric(6,1)"),
        ("ALTER COLUMN name TYPE varchar(10)", "character varying(20)", "character varying(10)"),
        ("ALTER COLUMN note TYPE jsonb USING to_jsonb(note)", "text", "jsonb"),
    ],
    quick=1,
)
def test_a_type_that_can_lose_values_blocks_and_can_be_accepted(
    loaded: Night, statement: str, old: str, new: str
) -> None:
    change(loaded, f"ALTER TABLE item {statement}")
    told = refused(loaded)
    assert f"changed from {old} to {new}; its last good rows stay up; to accept it" in told
    kind = "type" if new == "jsonb" else "narrowed"
    loaded.platform.declare("shop", declared(f"drift: {{{kind}: refresh}}"))
    assert mode(loaded) == "rebuild"
    assert not loaded.differing("shop")


@pytest.mark.endurance
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER COLUMN price TYPE numeric(12,4)",
        "ALTER COLUMN name TYPE text",
        "ALTER COLUMN name TYPE varchar(60)",
        "ALTER COLUMN id TYPE bigint",
    ],
)
def test_a_wider_type_is_taken_in_with_views_grants_and_comments_in_place(
    loaded: Night, statement: str
) -> None:
    change(loaded, f"ALTER TABLE item {statement}")
    change(loaded, "UPDATE item SET price = 0.25 WHERE id = 99")
    assert mode(loaded) == "rebuild"
    assert not loaded.differing("shop")
    assert loaded.value("warehouse", "SELECT count(*) FROM mart.cheap") == 40
    assert loaded.value("warehouse", "SELECT price::float FROM mart.cheapest") == 0.25
    assert (
        loaded.value("warehouse", "SELECT obj_description('mart.cheap'::regclass)")
        == "what a student can buy"
    )
    assert loaded.value("warehouse", "SELECT has_table_privilege('reader', 'mart.cheap', 'SELECT')")
    assert loaded.value("warehouse", "SELECT has_table_privilege('reader', 'shop.item', 'SELECT')")
    assert loaded.value("warehouse", "SELECT count(*) FROM pg_indexes WHERE indexname = 'names_name'") == 1
    column = "(SELECT attnum FROM pg_attribute WHERE attrelid = 'shop.item'::regclass AND attname = 'price')"
    assert loaded.value("warehouse", f"SELECT col_description('shop.item'::regclass, {column})") == "in euros"


@pytest.mark.endurance
def test_another_key_blocks_and_can_be_accepted(loaded: Night) -> None:
    change(loaded, "ALTER TABLE item DROP CONSTRAINT item_pkey")
    change(loaded, "ALTER TABLE item ADD PRIMARY KEY (name)")
    told = refused(loaded)
    assert "its key changed from (id) to (name); its last good rows stay up" in told
    assert "to accept it, write 'drift: {key: refresh}'" in told
    loaded.platform.declare("shop", declared("drift: {key: refresh}"))
    assert mode(loaded) == "rebuild"
    change(loaded, "DELETE FROM item WHERE id = 3")
    loaded.load("shop", "item")
    assert not loaded.differing("shop")


def test_an_enum_that_grows_is_followed_and_one_that_shrinks_is_not(loaded: Night) -> None:
    change(loaded, "ALTER TYPE grade ADD VALUE 'principal' BEFORE 'senior'")
    change(loaded, "UPDATE item SET grade = 'principal' WHERE id = 5")
    loaded.load("shop", "item")
    assert not loaded.differing("shop")
    labels = "SELECT enum_range(NULL::shop.grade)::text"
    assert loaded.value("warehouse", labels) == "{junior,principal,senior}"
    change(loaded, "ALTER TYPE grade RENAME VALUE 'junior' TO 'beginner'")
    assert 'column "grade" changed from' in refused(loaded)


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("type_", "again"),
    [
        ("grade", "; ALTER TYPE grade ADD VALUE 'junior' BEFORE 'senior'"),
        ("grade[]", ""),
        ("rung", ""),
        ("step", "; ALTER TYPE grade ADD VALUE 'junior' BEFORE 'senior'"),
    ],
)
def test_a_renamed_label_is_noticed_wherever_it_is(night: Night, type_: str, again: str) -> None:
    """Not one row is written by it, and all of them change: also where the old label comes back."""
    value = {"grade[]": "'{junior}'", "step": "ROW('junior', 1)::step"}.get(type_, "'junior'")
    night.platform.source(
        "shop",
        f"""
        CREATE TYPE grade AS ENUM ('junior', 'senior');
        CREATE DOMAIN rung AS grade;
        CREATE TYPE step AS (grade grade, number int);
        CREATE TABLE item (id int PRIMARY KEY, grade {type_});
        INSERT INTO item SELECT n, {value} FROM generate_series(1, 10) AS n;
        """,
        PLAIN,
    )
    night.load("shop", "item")
    change(night, "ALTER TYPE grade ADD VALUE 'principal'")
    assert mode(night) == "increment"
    for statement in f"ALTER TYPE grade RENAME VALUE 'junior' TO 'beginner'{again}".split(";"):
        change(night, statement)
    told = refused(night)
    assert 'column "grade" changed from' in told
    assert "(junior, senior, principal) to" in told
    assert f"(beginner, {'junior, ' if again else ''}senior, principal)" in told
    assert "write 'drift: {type: refresh}' under item in sources/shop.yaml" in told
    night.platform.declare("shop", declared("drift: {type: refresh}"))
    night.load("shop", "item")
    assert not night.differing("shop")


# What is made beside the type, the type of the column, and its value; the type itself, or the table.
ATTRIBUTES = {
    "itself": ("TYPE", "", "address", "ROW('street', 'zip')::address"),
    "as the row of a table": ("TABLE", "", "address", "ROW('street', 'zip')::address"),
    "in an array": ("TYPE", "", "address[]", "ARRAY[ROW('street', 'zip')::address]"),
    "in a domain": ("TYPE", "CREATE DOMAIN place AS address;", "place", "ROW('street', 'zip')::address"),
    "in another": (
        "TYPE",
        "CREATE TYPE person AS (name text, home address);",
        "person",
        "ROW('name', ROW('street', 'zip')::address)::person",
    ),
}


@in_depth("inside", ATTRIBUTES, quick=2)
def test_an_attribute_dropped_and_made_anew_under_its_name_is_read_in_every_row(
    night: Night, inside: str
) -> None:
    """It is empty in all of them by then, and not one was written."""
    kind, beside, type_, value = ATTRIBUTES[inside]
    made = "CREATE TYPE address AS" if kind == "TYPE" else "CREATE TABLE address"
    night.platform.source(
        "shop",
        f"""
        {made} (street text, zip text); {beside}
        CREATE TABLE item (id int PRIMARY KEY, home {type_});
        INSERT INTO item SELECT n, {value} FROM generate_series(1, 10) AS n;
        """,
        PLAIN,
    )
    night.load("shop", "item")
    assert mode(night) == "increment"
    part = "ATTRIBUTE" if kind == "TYPE" else "COLUMN"
    change(night, f"ALTER {kind} address DROP {part} zip, ADD {part} zip text")
    run = next_run()
    night.load("shop", "item", run)
    read = Extracted.of(night.step(run, "ExtractTable", "shop.item"))
    assert read is not None
    assert (read.mode, read.reason) == (
        "full",
        'column "home" has an attribute that was dropped and created again in the source: '
        '"zip" of public.address',
    )
    assert not night.differing("shop")
    assert mode(night) == "increment"


def test_an_attribute_of_which_no_number_was_kept_is_taken_for_the_same(night: Night) -> None:
    """As in a shape that an older version accepted; from the next load on it is known."""
    night.platform.source(
        "shop", "CREATE TYPE pair AS (a int, b int); CREATE TABLE item (id int PRIMARY KEY, pair pair)", PLAIN
    )
    night.load("shop", "item")
    kept = night.value("warehouse", "SELECT shape FROM ops.table_shape")
    for attribute in kept["columns"][1]["user_type"]["attributes"]:
        del attribute["attnum"]
    night.ask("warehouse", "UPDATE ops.table_shape SET shape = %s", (json.dumps(kept),))
    assert mode(night) == "increment"
    change(night, "ALTER TYPE pair DROP ATTRIBUTE b, ADD ATTRIBUTE b int")
    assert mode(night) == "full"


def test_a_scale_below_zero_is_compared_as_any(night: Night) -> None:
    night.platform.source("shop", "CREATE TABLE item (id int PRIMARY KEY, n numeric(3,-2))", PLAIN)
    change(night, "INSERT INTO item VALUES (1, 1200)")
    night.load("shop", "item")
    change(night, "ALTER TABLE item ALTER n TYPE numeric(5,-2)")
    assert mode(night) == "rebuild"
    change(night, "ALTER TABLE item ALTER n TYPE numeric(5,-3)")
    assert 'column "n" changed from numeric(5,-2) to numeric(5,-3)' in refused(night)


def test_a_table_made_anew_is_read_in_full(loaded: Night) -> None:
    """A restore of an older copy gives old rows, which no watermark would find."""
    change(loaded, "CREATE TABLE copy AS SELECT * FROM item WHERE id <= 90")
    change(loaded, "DROP TABLE item")
    change(loaded, "ALTER TABLE copy RENAME TO item")
    change(loaded, "ALTER TABLE item ADD PRIMARY KEY (id), ALTER COLUMN name SET NOT NULL")
    change(loaded, f'GRANT SELECT ON item TO "{loaded.platform.reader("shop")}"')
    assert mode(loaded) == "full"
    assert not loaded.differing("shop")


def test_a_table_that_is_gone_or_closed_keeps_its_last_good_rows(loaded: Night) -> None:
    change(loaded, f'REVOKE SELECT ON item FROM "{loaded.platform.reader("shop")}"')
    assert "may not read" in refused(loaded)
    change(loaded, "DROP TABLE item")
    assert 'there is no table or view "item" in schema "public"' in refused(loaded)


def test_an_emptied_table_is_held_back_until_a_person_agrees(loaded: Night) -> None:
    """The success for an empty table that other loaders report."""
    change(loaded, "TRUNCATE item")
    told = refused(loaded)
    assert "100 of 100 rows (100%) are gone from the source" in told
    assert "'max_deleted: 100%' under item in sources/shop.yaml" in told
    loaded.platform.declare("shop", declared("max_deleted: 100%"))
    assert loaded.load("shop", "item").total == 0


@pytest.mark.endurance
def test_a_partition_that_is_attached_brings_its_old_rows(night: Night) -> None:
    night.platform.source(
        "shop",
        """
        CREATE TABLE item (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
        CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM (1) TO (100);
        CREATE TABLE item_2 (id int PRIMARY KEY, name text);
        INSERT INTO item SELECT n, 'n' FROM generate_series(1, 50) AS n;
        INSERT INTO item_2 SELECT n, 'n' FROM generate_series(100, 110) AS n;
        """,
        PLAIN,
    )
    night.load("shop", "item")
    change(night, "ALTER TABLE item ATTACH PARTITION item_2 FOR VALUES FROM (100) TO (200)")
    # As many rows go as come, so that the counts alone would not tell.
    change(night, "DELETE FROM item WHERE id <= 11")
    night.platform.declare("shop", declared("max_deleted: 50%"))
    night.load("shop", "item")
    assert not night.differing("shop")


def test_what_is_ignored_stays_out(loaded: Night) -> None:
    loaded.platform.declare("shop", declared("drift: {added: ignore}"))
    change(loaded, "ALTER TABLE item ADD COLUMN colour text")
    for _ in range(2):
        loaded.load("shop", "item")
    columns = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'colour'"
    assert loaded.value("warehouse", columns) == 0


def test_a_misspelt_column_in_the_yaml_is_told_with_those_that_there_are(night: Night) -> None:
    """A mask on a column that does not exist would protect nothing."""
    night.platform.source("shop", ITEMS, declared("columns: {nmae: {mask: 'null'}}"))
    with pytest.raises(StepError, match='its columns name "nmae", which the source does not have'):
        night.load("shop", "item")


@pytest.mark.endurance
def test_soft_deleted_rows_survive_a_rebuild(night: Night) -> None:
    night.platform.source("shop", ITEMS, declared("deletes: soft"))
    night.load("shop", "item")
    change(night, "DELETE FROM item WHERE id = 1")
    night.load("shop", "item")
    change(night, "DELETE FROM item WHERE id = 2")
    change(night, "ALTER TABLE item ALTER COLUMN id TYPE bigint")
    night.load("shop", "item")
    marked = "SELECT id FROM shop.item WHERE _deleted_at IS NOT NULL ORDER BY id"
    assert night.ask("warehouse", marked) == [(1,), (2,)]
    assert not night.differing("shop")
