"""What a load publishes: a table that equals its source, all at once, and nothing touched in vain."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from psycopg2 import sql

from pipeline import access, catalog, postgres
from pipeline.errors import CheckError, LostError, StepError
from pipeline.loading import load, validate
from pipeline.loading.publishing import history, reshape
from pipeline.postgres import Connection
from pipeline.warehouse import views
from pipeline.warehouse.staging import Staged
from pipeline.warehouse.views import View
from tests.support.night import Night, counts, next_run

# Tables of every kind. Each has rows 1 to 60 at first.
ZOO = '''
    CREATE SCHEMA annex;
    CREATE TYPE mood AS ENUM ('calm', 'cross');
    CREATE DOMAIN grade AS numeric(4, 1) CHECK (VALUE >= 0);
    CREATE TABLE plain (id bigint PRIMARY KEY, what text);
    CREATE TABLE composite (b text, a int, what text, PRIMARY KEY (a, b));
    CREATE TABLE "Odd ""name""" ("Id" int PRIMARY KEY, "select" text, "a.b %s {0}" text, "ü" int);
    CREATE TABLE keyless (what text, n int);
    CREATE TABLE document (id int PRIMARY KEY, j json, b jsonb, p point);
    CREATE TABLE typed (
        id uuid PRIMARY KEY, m mood, ms mood[], g grade, f float8, n numeric, at timestamptz, day date,
        span interval, period tstzrange, raw bytea, ints int[],
        twice int GENERATED ALWAYS AS (2 * length(note)) STORED, note varchar(40)
    );
    CREATE TABLE annex.plain (id int PRIMARY KEY, what text);
    CREATE TABLE parted (id int, what text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (30);
    CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (30) TO (MAXVALUE);
    CREATE TABLE marked (id int PRIMARY KEY, what text);
    CREATE TABLE kept (id int PRIMARY KEY, what text);
    CREATE TABLE natural_key (code text NOT NULL, what text);
    CREATE VIEW summary AS SELECT id, upper(what) AS what FROM plain;

    INSERT INTO plain SELECT n, E'say "hi"\\n\\\\N\\t' || n FROM generate_series(1, 60) AS n;
    INSERT INTO composite SELECT 'b' || n % 4, n, NULL FROM generate_series(1, 60) AS n;
    INSERT INTO "Odd ""name""" SELECT n, 'select', 'x', n FROM generate_series(1, 60) AS n;
    INSERT INTO keyless SELECT 'same', n % 3 FROM generate_series(1, 60) AS n;
    INSERT INTO document SELECT n, '{"b": 1,  "a": 2}', '{"b": 1}', '(1,2)' FROM generate_series(1, 60) n;
    INSERT INTO typed (id, m, ms, g, f, n, at, day, span, period, raw, ints, note)
    SELECT md5(n::text)::uuid, 'calm', '{calm,cross}', 1.5, 'NaN', 'Infinity', 'infinity', '-infinity',
           '1 mon 2 d', '[2026-01-01,)', '\\x00ff', ARRAY[n, NULL], 'note'
    FROM generate_series(1, 60) AS n;
    INSERT INTO annex.plain SELECT n, 'annex' FROM generate_series(1, 60) AS n;
    INSERT INTO parted SELECT n, 'p' FROM generate_series(1, 60) AS n;
    INSERT INTO marked SELECT n, 'm' FROM generate_series(1, 60) AS n;
    INSERT INTO kept SELECT n, 'k' FROM generate_series(1, 60) AS n;
    INSERT INTO natural_key SELECT 'c' || n, 'n' FROM generate_series(1, 60) AS n;
'''
# In each: rows changed, one of them to a new key, rows gone, rows new.
NEXT_DAY = '''
    UPDATE plain SET what = 'changed' WHERE id <= 3;
    UPDATE plain SET id = 1000 WHERE id = 4;
    DELETE FROM plain WHERE id = 5;
    INSERT INTO plain VALUES (2000, 'new');
    UPDATE composite SET b = 'other' WHERE a = 1; DELETE FROM composite WHERE a = 2;
    UPDATE "Odd ""name""" SET "a.b %s {0}" = 'y' WHERE "Id" = 1; DELETE FROM "Odd ""name""" WHERE "Id" = 2;
    DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless WHERE n = 1);
    INSERT INTO keyless VALUES ('same', 2), (NULL, NULL), (NULL, NULL);
    UPDATE document SET j = '{"a": 2, "b": 1}' WHERE id = 1; UPDATE document SET p = '(2,1)' WHERE id = 2;
    UPDATE typed SET m = 'cross', n = 1.00, note = 'longer' WHERE id = md5('1')::uuid;
    INSERT INTO typed (id, note) VALUES (md5('new')::uuid, '');
    DELETE FROM annex.plain WHERE id = 1;
    UPDATE parted SET id = 45 + 1000 WHERE id = 20; DELETE FROM parted WHERE id = 21;
    DELETE FROM marked WHERE id = 1; UPDATE marked SET what = 'changed' WHERE id = 2;
    DELETE FROM kept WHERE id = 1; UPDATE kept SET what = 'changed' WHERE id = 2;
    UPDATE natural_key SET code = 'c1000' WHERE code = 'c1'; DELETE FROM natural_key WHERE code = 'c2';
'''
DECLARATION = """
source: zoo
tables:
  plain: {}
  composite: {}
  odd: {table: 'Odd "name"'}
  keyless: {}
  document: {}
  typed: {}
  annexed: {schema: annex, table: plain}
  parted: {}
  marked: {deletes: soft}
  kept: {deletes: ignore}
  natural_key: {key: [code]}
  summary: {key: [id]}
"""


def load_all(night: Night, source: str = "zoo") -> dict[str, load.Loaded]:
    run = next_run()
    names = list(catalog.read(night.platform.analysts).source(source).tables)
    night.extract(source, run, *names)
    done = {name: night.publish(source, run, name) for name in names}
    return {name: loaded for name, loaded in done.items() if loaded is not None}


@pytest.mark.endurance
def test_tables_of_every_kind_equal_their_source_night_after_night(night: Night) -> None:
    """Compared by a checksum over all columns after the first load, after changes, and after nothing."""
    night.platform.source("zoo", ZOO, DECLARATION)
    assert {loaded.inserted for loaded in load_all(night).values()} == {60}
    assert night.differing("zoo") == []

    night.ask("zoo", NEXT_DAY)
    done = load_all(night)
    kept = night.value("warehouse", "SELECT count(*) FROM zoo.kept WHERE id = 1 AND what = 'k'")
    assert kept == 1, "deletes: ignore"
    assert [told for told in night.differing("zoo") if not told.startswith("kept:")] == []
    assert night.ask("warehouse", "SELECT id FROM zoo.marked WHERE _deleted_at IS NOT NULL") == [(1,)]
    assert counts(done["plain"]) == (2, 3, 2, 60)
    assert counts(done["composite"]) == (1, 0, 2, 59)
    assert counts(done["keyless"]) == (3, 0, 1, 62)

    before = touched(night)
    assert not any(loaded.changed for loaded in load_all(night).values())
    assert touched(night) == before


def touched(night: Night) -> dict[str, Any]:
    tables = list(catalog.read(night.platform.analysts).source("zoo").tables)
    query = "SELECT max(_loaded_at), sum(hashtext(ctid::text || xmin::text)) FROM zoo."
    return {name: night.ask("warehouse", query + name) for name in tables}


def test_a_row_that_comes_back_is_no_longer_marked_as_deleted(night: Night) -> None:
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item SELECT generate_series(1, 10);",
        "source: shop\ntables: {item: {deletes: soft}}\n",
    )
    night.load("shop", "item")
    night.ask("shop", "DELETE FROM item WHERE id = 1")
    assert counts(night.load("shop", "item")) == (0, 0, 1, 9)
    assert counts(night.load("shop", "item")) == (0, 0, 0, 9)
    night.ask("shop", "INSERT INTO item VALUES (1)")
    assert night.load("shop", "item").changed
    assert night.value("warehouse", "SELECT count(*) FROM shop.item WHERE _deleted_at IS NULL") == 10
    assert night.differing("shop") == []


ITEMS = """
    CREATE TABLE item (id int PRIMARY KEY, name text);
    INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 200) AS n;
"""
SHOP = "source: shop\ntables: {item: {}}\n"


def test_only_what_changed_gets_a_new_time_of_loading(night: Night) -> None:
    night.platform.source("shop", ITEMS, SHOP)
    night.load("shop", "item")
    (first,) = night.ask("warehouse", "SELECT DISTINCT _loaded_at FROM shop.item")[0]
    # One is really changed; the other is only written again, as an application does that saves everything.
    night.ask("shop", "UPDATE item SET name = CASE id WHEN 1 THEN 'changed' ELSE name END WHERE id <= 2")
    assert counts(night.load("shop", "item")) == (0, 1, 0, 200)
    assert night.ask("warehouse", "SELECT id FROM shop.item WHERE _loaded_at > %s", (first,)) == [(1,)]


def test_a_load_is_done_once(night: Night) -> None:
    night.platform.source("shop", ITEMS, SHOP)
    run = next_run()
    night.load("shop", "item", run)
    assert night.publish("shop", run, "item") is None
    night.extract("shop", run, "item")
    assert night.value("warehouse", "SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'") == 0


def test_two_who_load_the_same_table_at_once_do_it_once(night: Night) -> None:
    night.platform.source("shop", ITEMS, SHOP)
    run = next_run()
    night.extract("shop", run, "item")
    table = night.table("shop", "item")
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(load.load_table(night.settings, table, run))
        except Exception as error:  # noqa: BLE001 - told by the test
            results.append(error)

    validate.validate_extract(night.settings, table, run)
    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    (done,) = [result for result in results if result is not None]
    assert counts(done) == (200, 0, 0, 200)
    assert night.differing("shop") == []


def test_a_table_that_was_dropped_from_the_warehouse_is_not_loaded_and_comes_back_whole(night: Night) -> None:
    night.platform.source("shop", ITEMS, SHOP)
    run = next_run()
    night.load("shop", "item", run)
    table = night.table("shop", "item")
    assert load.is_loaded(night.settings, table, run)
    night.ask("warehouse", "DROP TABLE shop.item")
    assert not load.is_loaded(night.settings, table, run)
    night.load("shop", "item")
    assert night.differing("shop") == []


def test_rows_that_were_not_validated_are_not_loaded(night: Night) -> None:
    """A validation of earlier staged rows does not count for those that are staged now."""
    night.platform.source("shop", ITEMS, SHOP)
    run, table = next_run(), night.table("shop", "item")
    night.extract("shop", run, "item")
    with pytest.raises(StepError, match="not validated"):
        load.load_table(night.settings, table, run)
    validate.validate_extract(night.settings, table, run)
    assert validate.is_validated(night.settings, table, run)
    (name,) = night.ask("warehouse", "SELECT tablename FROM pg_tables WHERE schemaname = 'staging'")[0]
    night.ask("warehouse", f'DROP TABLE staging."{name}"')
    night.extract("shop", run, "item")
    assert not validate.is_validated(night.settings, table, run)
    with pytest.raises(StepError, match="not validated"):
        load.load_table(night.settings, table, run)
    assert counts(night.publish("shop", run, "item")) == (200, 0, 0, 200)


def test_a_warehouse_that_somebody_changed_is_not_said_to_equal_its_source(night: Night) -> None:
    """The proof: the rows of the target are counted against the source's snapshot before publication."""
    night.platform.source("shop", ITEMS, SHOP)
    night.load("shop", "item")
    run = next_run()
    night.ask("shop", "INSERT INTO item VALUES (1000, 'new')")
    night.extract("shop", run, "item")
    night.ask("warehouse", "DELETE FROM shop.item WHERE id = 7")
    with pytest.raises(StepError, match=r"200 rows.* 201; nothing was published"):
        night.publish("shop", run, "item")
    assert night.value("warehouse", "SELECT count(*) FROM shop.item") == 199
    # The next one finds that a row is lacking, and reads the whole table.
    following = next_run()
    night.load("shop", "item", following)
    assert night.extraction(following, "shop.item")[0] == "full"
    assert night.differing("shop") == []


def test_views_grants_and_readers_keep_what_they_have(night: Night) -> None:
    """A load never swaps the table under a view, and an open reader sees the table as it was."""
    night.platform.source("shop", ITEMS, SHOP)
    night.load("shop", "item")
    night.ask(
        "warehouse",
        "CREATE VIEW public.report AS SELECT count(*) AS items, max(name) FROM shop.item",
    )
    night.ask("warehouse", "GRANT SELECT ON shop.item TO PUBLIC")
    night.ask("shop", "UPDATE item SET name = 'zzz' WHERE id = 1; DELETE FROM item WHERE id > 190")
    with night.warehouse() as reader:
        reader.set_session(isolation_level="REPEATABLE READ", autocommit=False)
        assert postgres.rows(reader, "SELECT items FROM public.report") == [(200,)]
        night.load("shop", "item")
        assert postgres.rows(reader, "SELECT items FROM public.report") == [(200,)]
    assert night.ask("warehouse", "SELECT * FROM public.report") == [(190, "zzz")]
    grants = "SELECT relacl::text FROM pg_class WHERE oid = 'shop.item'::regclass"
    assert "=r/" in night.value("warehouse", grants)


def test_a_suspicious_share_of_deletes_is_not_loaded(night: Night) -> None:
    """An emptied source must not empty the warehouse; the sentence says how to let it."""
    night.platform.source("shop", ITEMS, SHOP)
    night.load("shop", "item")
    night.ask("shop", "DELETE FROM item WHERE id > 100")
    with pytest.raises(CheckError, match=r"100 of 200 rows \(50%\) are gone from the source") as raised:
        night.load("shop", "item")
    assert "max_deleted" in str(raised.value)
    assert night.value("warehouse", "SELECT count(*) FROM shop.item") == 200
    night.platform.declare("shop", "source: shop\ntables: {item: {max_deleted: 60%}}\n")
    assert counts(night.load("shop", "item")) == (0, 0, 100, 100)


def test_descriptions_are_comments_in_the_warehouse_and_stay_through_a_refresh(night: Night) -> None:
    declared = (
        "source: shop\ntables:\n  item:\n    description: {}\n"
        '    columns: {{name: {{description: "What\'s written on it"}}}}\n'
    )
    night.platform.source("shop", "CREATE TABLE item (id int PRIMARY KEY, name text)", declared.format("One"))
    night.ask("shop", "COMMENT ON COLUMN item.id IS 'of the source'")
    said = "SELECT obj_description('shop.item'::regclass), col_description('shop.item'::regclass, 2)"
    night.load("shop", "item")
    assert night.ask("warehouse", said) == [("One", "What's written on it")]
    night.platform.declare("shop", declared.format("Another"))
    night.load("shop", "item")
    assert night.ask("warehouse", said) == [("Another", "What's written on it")]


def test_all_tables_are_asked_for_at_once_and_one_that_is_not_there_is_missed(night: Night) -> None:
    night.platform.source(
        "shop",
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);",
        "source: shop\ntables: {a: {}, b: {}}\n",
    )
    run, tables = next_run(), [night.table("shop", name) for name in "ab"]
    night.load("shop", "a", run)
    assert not load.are_loaded(night.settings, tables, run)
    night.load("shop", "b", run)
    assert load.are_loaded(night.settings, tables, run)
    assert load.are_loaded(night.settings, [], run)
    assert not load.are_loaded(night.settings, tables, next_run())
    night.ask("warehouse", "DROP TABLE shop.b")
    assert not load.are_loaded(night.settings, tables, run)


ENDING = "(pg_terminate_backend(pg_backend_pid()) AND pg_sleep(60) IS NULL)"


def copied(warehouse: Connection, staged: Staged) -> None:
    view = sql.SQL("CREATE VIEW {} AS SELECT 1 AS id, " + ENDING + "::text AS name").format(staged.history)
    postgres.rows(warehouse, view)
    history._copy(warehouse, staged, {"id": "bigint", "name": "text"}, {"id": "integer", "name": "text"})


def kept(warehouse: Connection, staged: Staged) -> None:
    table = sql.SQL("CREATE TABLE {} (id int, _loaded_at timestamptz)").format(staged.rows)
    postgres.rows(warehouse, table)
    value = sql.SQL("CASE WHEN " + ENDING + " THEN 1 END")
    reshape._keep_rows(warehouse, staged, ["id"], [value], sql.SQL("true"))


def shown(warehouse: Connection, _: Staged) -> None:
    shown = View(
        oid=0,
        schema="shop",
        name="shown",
        materialized=False,
        populated=False,
        owner="postgres",
        definition=f"SELECT {ENDING}",
        indexes=(),
        rights=(),
    )
    views.create(warehouse, [shown])


def dropped(warehouse: Connection, _: Staged) -> None:
    views._drop(warehouse, sql.SQL(f"SELECT {ENDING}"), "the table")


@pytest.mark.parametrize("step", [copied, kept, shown, dropped])
def test_a_connection_that_is_lost_under_another_shape_is_not_taken_for_values_that_do_not_fit(
    night: Night, step: Callable[[Connection, Staged], None]
) -> None:
    """What does not fit is for a person; a server that restarts is for another try."""
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY, name text); INSERT INTO item VALUES (1, 'one')",
        "source: shop\ntables: {item: {}}\n",
    )
    night.load("shop", "item")
    staged = Staged(night.table("shop", "item"), next_run())
    with (
        access.opened(night.settings) as databases,
        databases.warehouse() as warehouse,
        pytest.raises(LostError) as told,
    ):
        step(warehouse, staged)
    assert told.value.retryable


# Views of the source: what they give has no key that the source itself would hold them to.
LOOSE = """
    CREATE TABLE basis (a int, b text, p json);
    INSERT INTO basis VALUES (1, 'x', '1'), (2, NULL, '2'), (3, NULL, '2'), (3, 'z', '3');
    CREATE VIEW twice AS SELECT a, b FROM basis WHERE b IS NOT NULL OR a = 3;
    CREATE VIEW nulls AS SELECT a, b FROM basis WHERE a < 3;
    CREATE VIEW empty AS SELECT NULL::int AS a, b FROM basis;
    CREATE VIEW right_one AS SELECT DISTINCT a, 'n' AS b FROM basis;
    CREATE VIEW long AS
    SELECT a, (SELECT string_agg(md5((a * n)::text), '') FROM generate_series(1, 400) AS n) AS b
    FROM basis WHERE b IS NOT NULL;
"""


@pytest.mark.parametrize(
    ("relation", "key", "told"),
    [
        ("twice", "a", "key (a) is unique: 1 duplicated values"),
        ("nulls", "b", "key (b) is not null: 1 rows without a key"),
        ("empty", "a", "key (a) is unique: 1 duplicated values"),
        ("empty", "a", "key (a) is not null: 4 rows without a key"),
        ("basis", "p", "its key (p) cannot be evaluated"),
        ("right_one", "a", None),
        ("right_one", "b, a", None),
    ],
)
def test_the_key_of_a_new_table_is_unique_and_filled(
    night: Night, relation: str, key: str, told: str | None
) -> None:
    """The index that proves it is the one of the table's primary key: there is no other one."""
    night.platform.source("loose", LOOSE, f"source: loose\ntables:\n  {relation}: {{key: [{key}]}}\n")
    if told is not None:
        with pytest.raises((CheckError, StepError)) as caught:
            night.load("loose", relation)
        assert told in str(caught.value)
        return
    night.load("loose", relation)
    keys = "SELECT indexdef, indisprimary FROM pg_indexes JOIN pg_index ON indexrelid = "
    keys += "(quote_ident(schemaname) || '.' || quote_ident(indexname))::regclass WHERE schemaname = 'loose'"
    ((definition, is_primary),) = night.ask("warehouse", keys)
    assert (definition.endswith(f"({key})"), is_primary) == (True, True), definition
    night.ask("loose", "INSERT INTO basis VALUES (7, 'new', '7')")
    assert counts(night.load("loose", relation))[0] == 1
    assert night.differing("loose") == []


def test_a_key_that_no_index_takes_is_counted_and_its_table_refused_with_the_servers_words(
    night: Night,
) -> None:
    night.platform.source("loose", LOOSE, "source: loose\ntables:\n  long: {key: [b]}\n")
    with pytest.raises(StepError, match="index row"):
        night.load("loose", "long")


def test_a_full_disk_while_the_key_is_looked_at_is_no_fault_of_the_key(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server tells of itself is raised: to count instead would need as much room."""
    asked = postgres.rows

    def rows(connection: Connection, query: Any, parameters: Any = None) -> Any:
        if "CREATE UNIQUE INDEX" in (
            query.as_string(connection) if isinstance(query, sql.Composable) else query
        ):
            query = "DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$"
        return asked(connection, query, parameters)

    night.platform.source("loose", LOOSE, "source: loose\ntables:\n  right_one: {key: [a]}\n")
    monkeypatch.setattr(postgres, "rows", rows)
    with pytest.raises(StepError, match="no room"):
        night.load("loose", "right_one")
