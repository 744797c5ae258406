"""Sources of every kind: whatever rows can be selected from is loaded, and each change of it is found."""

from collections.abc import Iterator

import pytest

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.loading import extract
from tests.support.marks import in_depth
from tests.support.night import Night, counts, next_run
from tests.support.platforms import Connection

LOOPBACK = """
    CREATE EXTENSION postgres_fdw;
    CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw
        OPTIONS (host '{host}', port '{port}', dbname '{database}');
    CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'postgres', password_required 'false');
"""


def declared(tables: str) -> str:
    return f"source: shop\ntables: {tables}\n"


def loaded(night: Night, script: str, tables: str, *names: str) -> None:
    night.platform.source("shop", script, declared(tables))
    for name in names:
        night.load("shop", name)
    assert night.differing("shop", *names) == []


def read(night: Night, name: str) -> tuple[str, int]:
    """Load a table, hold it to its source, and return how it was read."""
    run = next_run()
    night.load("shop", name, run)
    assert night.differing("shop", name) == []
    return night.extraction(run, f"shop.{name}")


def test_tables_of_one_name_in_several_schemas_are_several_tables(night: Night) -> None:
    loaded(
        night,
        """
        CREATE SCHEMA annex; CREATE SCHEMA "Old Annex";
        CREATE TABLE item (id int PRIMARY KEY, name text);
        CREATE TABLE annex.item (id int PRIMARY KEY, name text);
        CREATE TABLE "Old Annex"."Item" ("Id" int PRIMARY KEY, "Full Name" text);
        INSERT INTO item VALUES (1, 'public'); INSERT INTO annex.item VALUES (1, 'annex'), (2, 'annex');
        INSERT INTO "Old Annex"."Item" VALUES (1, 'old');
        """,
        "{item: {}, annexed: {schema: annex, table: item}, old: {schema: Old Annex, table: Item}}",
        "item",
        "annexed",
        "old",
    )
    night.ask(
        "shop", 'UPDATE "Old Annex"."Item" SET "Full Name" = \'new\'; DELETE FROM annex.item WHERE id = 2'
    )
    assert read(night, "item") == ("increment", 0)
    assert read(night, "annexed") == ("increment", 0)
    assert read(night, "old") == ("increment", 1)


def test_a_view_is_read_whole_and_a_materialized_one_by_its_changes(night: Night) -> None:
    loaded(
        night,
        """
        CREATE TABLE item (id int PRIMARY KEY, name text);
        INSERT INTO item SELECT n, 'n' FROM generate_series(1, 50) AS n;
        CREATE VIEW shown AS SELECT id, upper(name) AS name FROM item;
        CREATE MATERIALIZED VIEW kept AS SELECT id, name FROM item;
        CREATE UNIQUE INDEX ON kept (id);
        """,
        "{shown: {key: [id]}, kept: {key: [id]}}",
        "shown",
        "kept",
    )
    night.ask("shop", "UPDATE item SET name = 'changed' WHERE id = 1; DELETE FROM item WHERE id = 2")
    assert read(night, "shown") == ("full", 49)
    assert read(night, "kept") == ("increment", 0)
    night.ask("shop", "REFRESH MATERIALIZED VIEW CONCURRENTLY kept")
    assert read(night, "kept") == ("increment", 1)
    night.ask("shop", "UPDATE item SET name = 'again' WHERE id = 3; DELETE FROM item WHERE id = 4")
    night.ask("shop", "REFRESH MATERIALIZED VIEW kept")
    assert read(night, "kept")[1] == 48


@pytest.mark.endurance
@pytest.mark.parametrize("by", ["PARTITION", "INHERITANCE"])
def test_rows_that_come_with_a_part_are_found(night: Night, by: str) -> None:
    """They were written long before they belonged to the table; as many go, so that no count tells."""
    partition = by == "PARTITION"
    low = "PARTITION OF item FOR VALUES FROM (1) TO (100)" if partition else "() INHERITS (item)"
    loaded(
        night,
        f"""
        CREATE TABLE item (id int PRIMARY KEY, name text) {"PARTITION BY RANGE (id)" if partition else ""};
        CREATE TABLE low {low};
        CREATE TABLE high (id int PRIMARY KEY, name text);
        INSERT INTO low SELECT n, 'low' FROM generate_series(1, 60) AS n;
        INSERT INTO high SELECT n, 'high' FROM generate_series(100, 109) AS n;
        """,
        "{item: {}}",
        "item",
    )
    attach, detach = (
        (
            "ALTER TABLE item ATTACH PARTITION high FOR VALUES FROM (100) TO (200)",
            "ALTER TABLE item DETACH PARTITION low",
        )
        if partition
        else ("ALTER TABLE high INHERIT item", "ALTER TABLE low NO INHERIT item")
    )
    night.ask("shop", f"{attach}; DELETE FROM low WHERE id <= 10")
    assert read(night, "item") == ("full", 60)
    night.ask("shop", "UPDATE high SET name = 'changed' WHERE id = 100")
    assert read(night, "item")[1] == 1
    night.platform.declare("shop", declared("{item: {max_deleted: 100%}}"))
    night.ask("shop", detach)
    assert read(night, "item") == ("full", 10)


def test_a_key_that_not_every_partition_has_is_not_believed(night: Night) -> None:
    """A second row of a key came and another row went: they are as many as before, and none is new."""
    loaded(
        night,
        """
        CREATE TABLE item (id int NOT NULL, name text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF item FOR VALUES FROM (1) TO (100);
        ALTER TABLE ONLY item ADD PRIMARY KEY (id);
        INSERT INTO item SELECT n, 'n' FROM generate_series(1, 50) AS n;
        """,
        "{item: {}}",
        "item",
    )
    night.ask("shop", "INSERT INTO item VALUES (1, 'again'); DELETE FROM item WHERE id = 2")
    assert read(night, "item") == ("full", 50)


def test_a_row_that_moves_to_another_partition_is_still_one_row(night: Night) -> None:
    loaded(
        night,
        """
        CREATE TABLE item (id int, state text, PRIMARY KEY (id, state)) PARTITION BY LIST (state);
        CREATE TABLE open PARTITION OF item FOR VALUES IN ('open');
        CREATE TABLE closed PARTITION OF item FOR VALUES IN ('closed');
        INSERT INTO item SELECT n, 'open' FROM generate_series(1, 30) AS n;
        """,
        "{item: {key: [id]}}",
        "item",
    )
    night.ask("shop", "UPDATE item SET state = 'closed' WHERE id <= 3")
    run = next_run()
    assert counts(night.load("shop", "item", run)) == (0, 3, 0, 30)
    assert night.differing("shop") == []


@pytest.mark.endurance
def test_foreign_tables_and_partitions_on_another_server_are_read_whole(night: Night) -> None:
    """They carry nothing that tells what changed, even where part of the table does."""
    night.platform.source(
        "other",
        """
        CREATE TABLE item (id int PRIMARY KEY, name text);
        INSERT INTO item SELECT n, 'other' FROM generate_series(1, 20) AS n;
        """,
    )
    night.platform.source("shop")
    home = night.platform.sandbox.home
    night.ask(
        "shop",
        LOOPBACK.format(
            host=home.state.socket_folder,
            port=home.state.ports["sources"],
            database=night.platform.database("other"),
        ),
    )
    night.ask(
        "shop",
        """
        CREATE FOREIGN TABLE away (id int NOT NULL, name text) SERVER elsewhere OPTIONS (table_name 'item');
        CREATE TABLE item (id int NOT NULL, name text) PARTITION BY RANGE (id);
        CREATE TABLE here PARTITION OF item FOR VALUES FROM (100) TO (200);
        CREATE FOREIGN TABLE there PARTITION OF item FOR VALUES FROM (1) TO (100)
            SERVER elsewhere OPTIONS (table_name 'item');
        INSERT INTO here SELECT n, 'here' FROM generate_series(100, 109) AS n;
        """,
    )
    reader = night.platform.reader("shop")
    for name in ("away", "item"):
        night.ask("shop", f'GRANT SELECT ON {name} TO "{reader}"')
    night.platform.declare("shop", declared("{away: {key: [id]}, item: {key: [id]}}"))
    for name in ("away", "item"):
        night.load("shop", name)
    night.ask("other", "UPDATE item SET name = 'changed' WHERE id = 1; DELETE FROM item WHERE id = 2")
    night.ask("shop", "UPDATE here SET name = 'changed' WHERE id = 100")
    assert read(night, "away") == ("full", 19)
    assert read(night, "item") == ("full", 29)


# While the snapshot is held.


@pytest.fixture
def late(night: Night) -> Iterator[tuple[Night, Connection]]:
    """A night whose table was loaded once, and a connection that changes it under an open snapshot."""
    night.platform.source(
        "shop",
        """
        CREATE TABLE item (id int PRIMARY KEY, name text);
        INSERT INTO item SELECT n, 'n' FROM generate_series(1, 40) AS n;
        """,
        declared("{item: {max_deleted: 100%}}"),
    )
    night.load("shop", "item")
    with night.platform.connect("shop") as connection:
        yield night, connection


@in_depth(
    "change",
    [
        "TRUNCATE item; INSERT INTO item VALUES (1, 'new')",
        "ALTER TABLE item ALTER COLUMN id TYPE bigint",
        "ALTER TABLE item ADD COLUMN made timestamptz DEFAULT clock_timestamp()",
    ],
    quick=1,
)
def test_a_table_that_is_truncated_or_rewritten_under_the_snapshot_is_not_taken_for_empty(
    late: tuple[Night, Connection], change: str
) -> None:
    """PostgreSQL shows it without any row to a snapshot that is older: nothing may be deleted for that."""
    night, connection = late
    run = next_run()
    with pytest.raises(StepError, match="was truncated or rewritten in the source since the snapshot"):  # noqa: PT012, SIM117
        with night.snapshot("shop", run):
            postgres.rows(connection, change)
            extract.extract_table(night.settings, night.table("shop", "item"), run)
    assert night.value("warehouse", "SELECT count(*) FROM shop.item") == 40
    night.load("shop", "item", run)
    assert night.differing("shop") == []


@in_depth(
    ("change", "told"),
    [
        ("ALTER TABLE item RENAME TO old; ALTER TABLE other RENAME TO item", "was renamed, dropped"),
        ("DROP TABLE item; ALTER TABLE other RENAME TO item", "was dropped or created again"),
        ("DROP TABLE item", "was dropped or created again"),
        # Each column is there, and is another one.
        (
            "ALTER TABLE item RENAME a TO c; ALTER TABLE item RENAME b TO a; ALTER TABLE item RENAME c TO b",
            "was renamed, dropped",
        ),
        ("ALTER TABLE item RENAME name TO called", "was renamed, dropped"),
        # In binary form the days of a date pass for a number.
        ("ALTER TABLE item DROP a; ALTER TABLE item ADD a date DEFAULT '2020-01-01'", "was renamed, dropped"),
    ],
    quick=2,
)
def test_another_table_or_column_under_the_old_name_is_not_read_for_it(
    night: Night, change: str, told: str
) -> None:
    """The snapshot shows names as they were, and a query of it reads what they stand for now."""
    night.platform.source(
        "shop",
        """
        CREATE TABLE item (id int PRIMARY KEY, name text, a int DEFAULT 1, b int DEFAULT 2);
        CREATE TABLE other (LIKE item INCLUDING ALL);
        INSERT INTO item SELECT n, 'n' FROM generate_series(1, 40) AS n;
        INSERT INTO other SELECT id, 'other' FROM item;
        """,
        declared("{item: {}}"),
    )
    night.load("shop", "item")
    before = night.ask("warehouse", "SELECT * FROM shop.item ORDER BY id")
    run = next_run()
    with night.snapshot("shop", run), night.platform.connect("shop") as connection:
        postgres.rows(connection, change)
        with pytest.raises(StepError, match=f"{told}.* in the source since the snapshot of this run"):
            extract.extract_table(night.settings, night.table("shop", "item"), run)
    assert night.ask("warehouse", "SELECT * FROM shop.item ORDER BY id") == before


def test_a_view_of_a_table_that_is_rewritten_under_the_snapshot_is_not_taken_for_empty(night: Night) -> None:
    """Its role may read the view alone, and a view of a view is one as well."""
    night.platform.source(
        "shop",
        """
        CREATE TABLE item (id int PRIMARY KEY, name varchar(9));
        INSERT INTO item SELECT n, 'n' FROM generate_series(1, 40) AS n;
        CREATE VIEW inner_view AS SELECT * FROM item;
        CREATE VIEW seen AS SELECT * FROM inner_view;
        """,
        declared("{seen: {changes: full, key: [id], max_deleted: 100%}}"),
    )
    night.load("shop", "seen")
    with night.platform.connect("shop") as connection:
        postgres.rows(connection, f"REVOKE SELECT ON item, inner_view FROM {night.platform.reader('shop')}")
        postgres.rows(connection, f"REVOKE pg_read_all_data FROM {night.platform.reader('shop')}")
        run = next_run()
        with night.snapshot("shop", run):
            postgres.rows(connection, "TRUNCATE item; INSERT INTO item SELECT generate_series(1, 40), 'n'")
            with pytest.raises(StepError, match="was truncated or rewritten in the source"):
                extract.extract_table(night.settings, night.table("shop", "seen"), run)
    assert night.value("warehouse", "SELECT count(*) FROM shop.seen") == 40
    night.load("shop", "seen", run)
    assert night.value("warehouse", "SELECT count(*) FROM shop.seen") == 40


def test_a_materialized_view_that_is_refreshed_under_the_snapshot_is_not_taken_for_empty(
    night: Night,
) -> None:
    """PostgreSQL shows its new rows to every snapshot, older ones too."""
    night.platform.source(
        "shop",
        """
        CREATE TABLE item (id int PRIMARY KEY);
        INSERT INTO item SELECT generate_series(1, 40);
        CREATE MATERIALIZED VIEW counted AS SELECT id FROM item;
        """,
        declared("{counted: {key: [id], max_deleted: 100%}}"),
    )
    night.load("shop", "counted")
    run = next_run()
    with night.platform.connect("shop") as connection, night.snapshot("shop", run):
        postgres.rows(connection, "INSERT INTO item VALUES (41); REFRESH MATERIALIZED VIEW counted")
        extract.extract_table(night.settings, night.table("shop", "counted"), run)
    night.publish("shop", run, "counted")
    assert night.value("warehouse", "SELECT count(*) FROM shop.counted") == 41
    assert night.differing("shop") == []


def test_what_only_moves_rows_under_the_snapshot_is_no_matter(late: tuple[Night, Connection]) -> None:
    night, connection = late
    run = next_run()
    postgres.rows(connection, "UPDATE item SET name = 'changed' WHERE id = 1")
    with night.snapshot("shop", run):
        postgres.rows(connection, "VACUUM FULL item")
        extract.extract_table(night.settings, night.table("shop", "item"), run)
    night.publish("shop", run, "item")
    assert night.differing("shop") == []
