"""What a source does to a table between the snapshot of a run and its reading: no row is taken for deleted.

The snapshot shows rows as they were. Which parts a table has, which file its rows are in and what a view asks
for is looked up when it is read.
"""

from collections.abc import Iterator

import pytest

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.loading import extract, snapshot_holder
from tests.support.marks import in_depth
from tests.support.night import Night, next_run
from tests.support.platforms import Connection

DECLARED = "source: shop\ntables: {item: {}}\n"
PARTITIONED = """
    CREATE TABLE item (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF item FOR VALUES FROM (1) TO (5);
    CREATE TABLE high PARTITION OF item FOR VALUES FROM (5) TO (100);
"""
INHERITED = """
    CREATE TABLE item (id int PRIMARY KEY, name text);
    CREATE TABLE low (PRIMARY KEY (id)) INHERITS (item);
    CREATE TABLE high (PRIMARY KEY (id)) INHERITS (item);
"""
ROWS = """
    INSERT INTO low SELECT n, 'low' FROM generate_series(1, 4) AS n;
    INSERT INTO high SELECT n, 'high' FROM generate_series(5, 40) AS n;
    CREATE TABLE more (LIKE item INCLUDING ALL);
    INSERT INTO more SELECT n, 'more' FROM generate_series(100, 103) AS n;
"""
COPIED = "CREATE TABLE anew (LIKE low INCLUDING ALL); INSERT INTO anew TABLE low"
# What pg_repack does as it ends: what was written since the copy, then each has the other's files.
SWAPPED = """
    LOCK TABLE item, twin;
    UPDATE twin SET name = 'new' WHERE id = 7;
    UPDATE pg_class AS c SET relfilenode = o.relfilenode FROM pg_class AS o
    WHERE (c.relname, o.relname) IN
        (('item', 'twin'), ('twin', 'item'), ('item_pkey', 'twin_pkey'), ('twin_pkey', 'item_pkey'));
"""


@pytest.fixture
def source(night: Night) -> Iterator[Connection]:
    """The source as its owner has it: for tests that have made it."""
    night.platform.source("shop")
    with night.platform.connect("shop") as connection:
        yield connection


def require_refused(night: Night, source: Connection, change: str, told: str) -> None:
    """Change the source under an open snapshot: nothing is read then, and the next try has every row."""
    before = night.ask("warehouse", "SELECT * FROM shop.item ORDER BY id")
    run = next_run()
    with night.snapshot("shop", run):
        postgres.rows(source, change)
        with pytest.raises(StepError, match=f"{told}.* in the source since the snapshot of this run"):
            extract.extract_table(night.settings, night.table("shop", "item"), run)
    assert night.ask("warehouse", "SELECT * FROM shop.item ORDER BY id") == before
    night.load("shop", "item", run)
    assert night.differing("shop") == []


def made(night: Night, source: Connection, script: str, declared: str = DECLARED) -> None:
    postgres.rows(source, script)
    night.platform.declare("shop", declared)
    night.load("shop", "item")


@in_depth(
    ("made_by", "change"),
    [
        (
            PARTITIONED,
            f"ALTER TABLE item DETACH PARTITION low; {COPIED};"
            "ALTER TABLE item ATTACH PARTITION anew FOR VALUES FROM (1) TO (5)",
        ),
        (INHERITED, f"ALTER TABLE low NO INHERIT item; {COPIED}; ALTER TABLE anew INHERIT item"),
        (PARTITIONED, "ALTER TABLE item DETACH PARTITION low"),
        (PARTITIONED, "ALTER TABLE item DETACH PARTITION low CONCURRENTLY"),
        (PARTITIONED, "DROP TABLE low"),
        (INHERITED, "ALTER TABLE low NO INHERIT item"),
        (INHERITED, "DROP TABLE low"),
    ],
    quick=2,
)
def test_rows_of_a_part_that_is_detached_under_the_snapshot_are_not_deleted(
    night: Night, source: Connection, made_by: str, change: str
) -> None:
    """They are a tenth, which no limit of deletes would stop."""
    made(night, source, made_by + ROWS)
    require_refused(night, source, change, r'"public"\."low" was detached from its table or dropped')


@pytest.mark.parametrize(
    ("made_by", "change"),
    [
        (PARTITIONED, "ALTER TABLE item ATTACH PARTITION more FOR VALUES FROM (100) TO (200)"),
        (INHERITED, "ALTER TABLE more INHERIT item"),
    ],
)
def test_rows_of_a_part_that_is_attached_under_the_snapshot_are_of_the_next_one(
    night: Night, source: Connection, made_by: str, change: str
) -> None:
    """They were there at that moment, and were not rows of the table."""
    made(night, source, made_by + ROWS)
    require_refused(night, source, change, r'"public"\."more" was attached to its table')


@pytest.mark.parametrize(
    ("made_by", "change", "undone"),
    [
        (
            PARTITIONED,
            "CREATE TABLE later PARTITION OF item FOR VALUES FROM (200) TO (300);"
            "INSERT INTO item VALUES (200, 'later')",
            "BEGIN; ALTER TABLE item DETACH PARTITION low; ROLLBACK",
        ),
        (
            INHERITED,
            "CREATE TABLE later () INHERITS (item); INSERT INTO later VALUES (200, 'later')",
            "BEGIN; ALTER TABLE low NO INHERIT item; ROLLBACK",
        ),
    ],
)
def test_a_new_part_and_a_change_that_was_rolled_back_are_no_matter(
    night: Night, source: Connection, made_by: str, change: str, undone: str
) -> None:
    """A table that gets a partition each night is read as any other."""
    made(night, source, made_by + ROWS)
    postgres.rows(source, undone)
    run = next_run()
    with night.snapshot("shop", run):
        postgres.rows(source, undone)
        postgres.rows(source, change)
        extract.extract_table(night.settings, night.table("shop", "item"), run)
    night.publish("shop", run, "item")
    assert night.value("warehouse", "SELECT count(*) FROM shop.item") == 40
    night.load("shop", "item")
    assert night.differing("shop") == []


def test_a_partition_that_is_rewritten_and_granted_by_its_table_alone_is_told_as_such(
    night: Night, source: Connection
) -> None:
    reader = night.platform.reader("shop")
    made(night, source, PARTITIONED + ROWS)
    postgres.rows(source, f"REVOKE SELECT ON low FROM {reader}; REVOKE pg_read_all_data FROM {reader}")
    postgres.rows(source, f"GRANT SELECT ON item TO {reader}")
    require_refused(night, source, "VACUUM FULL low", r'"public"\."low" was truncated or rewritten')


@in_depth(
    "change",
    [
        "CREATE OR REPLACE VIEW item AS SELECT id, name FROM fresh",
        "CREATE OR REPLACE VIEW inner_view AS SELECT id, name FROM fresh",
        "CREATE OR REPLACE VIEW item AS SELECT id, name FROM inner_view JOIN fresh USING (id, name)",
    ],
    quick=1,
)
def test_a_view_that_is_replaced_under_the_snapshot_is_not_taken_for_empty(
    night: Night, source: Connection, change: str
) -> None:
    """What it reads now was made since, and has no row to show."""
    made(
        night,
        source,
        """
        CREATE TABLE base (id int PRIMARY KEY, name text);
        INSERT INTO base SELECT n, 'n' FROM generate_series(1, 40) AS n;
        CREATE VIEW inner_view AS SELECT id, name FROM base;
        CREATE VIEW item AS SELECT id, name FROM inner_view;
        """,
        "source: shop\ntables: {item: {changes: full, key: [id], max_deleted: 100%}}\n",
    )
    copied = "CREATE TABLE fresh (LIKE base INCLUDING ALL); INSERT INTO fresh TABLE base"
    require_refused(night, source, f"{copied}; {change}", r'"public"\."\w+" was given another query')


def test_a_view_is_read_whatever_of_its_tables_it_leaves_out(night: Night, source: Connection) -> None:
    """Partitions that its condition excludes are not even locked as it is read."""
    query = "SELECT id, name, pg_relation_size('more'::regclass) AS size FROM item WHERE id > 10"
    postgres.rows(source, f"{PARTITIONED}{ROWS}; CREATE VIEW shown AS {query}")
    postgres.rows(source, f"BEGIN; CREATE OR REPLACE VIEW shown AS {query} AND id > 20; ROLLBACK")
    night.platform.declare("shop", "source: shop\ntables: {shown: {key: [id]}}\n")
    for _ in range(2):
        night.load("shop", "shown")
    assert night.value("warehouse", "SELECT count(*) FROM shop.shown") == 30


def test_a_table_that_is_swapped_for_an_older_copy_under_the_snapshot_is_not_read_as_it_was_copied(
    night: Night, source: Connection
) -> None:
    """As pg_repack does it: what was written after its copy, and before the snapshot, is in no file then."""
    made(
        night,
        source,
        """
        CREATE TABLE item (id int PRIMARY KEY, name text);
        INSERT INTO item SELECT n, 'n' FROM generate_series(1, 40) AS n;
        """,
    )
    postgres.rows(source, "CREATE TABLE twin (LIKE item INCLUDING ALL); INSERT INTO twin TABLE item")
    postgres.rows(source, "UPDATE item SET name = 'new' WHERE id = 7")
    told = r'"public"\."item" got the file of another table, as by pg_repack,'
    require_refused(night, source, SWAPPED, told)
    assert night.value("warehouse", "SELECT name FROM shop.item WHERE id = 7") == "new"


def test_a_snapshot_that_does_not_show_a_table_any_more_is_not_held_for_its_next_try(
    night: Night, source: Connection
) -> None:
    """As long as it were, the second try would read at it and fail likewise."""
    made(night, source, PARTITIONED + ROWS)
    run, table = next_run(), night.table("shop", "item")
    with night.snapshot("shop", run):
        assert snapshot_holder.held(night.settings, "shop", run)
        postgres.rows(source, "TRUNCATE low; INSERT INTO low VALUES (1, 'new')")
        with pytest.raises(StepError, match="was truncated or rewritten"):
            extract.extract_table(night.settings, table, run)
        assert not snapshot_holder.held(night.settings, "shop", run)
    with night.snapshot("shop", run) as taken:
        assert not taken.void
        assert snapshot_holder.held(night.settings, "shop", run)
        extract.extract_table(night.settings, table, run)
        assert snapshot_holder.held(night.settings, "shop", run)
    night.publish("shop", run, "item")
    assert night.differing("shop") == []
