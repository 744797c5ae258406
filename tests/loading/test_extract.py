"""What an extraction reads: every row that the last load did not have, whenever its transaction ended."""

import contextlib
import threading
from collections.abc import Iterator

import pytest

from pipeline import postgres, retry
from pipeline.errors import StepError, UnreachableError
from pipeline.loading import extract, load, validate
from pipeline.retry import RetryPolicy
from pipeline.warehouse import staging
from tests.support.marks import in_depth
from tests.support.night import Night, counts, next_run, wait_until
from tests.support.platforms import Connection

ITEMS = """
    CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, changed_at timestamptz);
    INSERT INTO item SELECT n, 'item ' || n, '2026-11-20 10:00Z' FROM generate_series(1, 100) AS n;
"""
BY_XMIN = "source: shop\ntables: {item: {}}\n"
BY_CURSOR = "source: shop\ntables: {item: {changes: cursor, cursor: changed_at, lookback: 1 hour}}\n"
# Enough that a COPY of it is still under way when a test looks.
MANY = """
    CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO item SELECT n, repeat('x', 500) FROM generate_series(1, 60000) AS n;
"""
CIRCLE = 2**32


@contextlib.contextmanager
def writer(night: Night, *statements: str) -> Iterator[Connection]:
    """A transaction on the source that is open until the test commits it."""
    with night.platform.connect("shop") as connection:
        connection.autocommit = False
        for statement in statements:
            postgres.rows(connection, statement)
        yield connection


def loaded_once(night: Night, declaration: str = BY_XMIN) -> None:
    night.platform.source("shop", ITEMS, declaration)
    night.load("shop", "item")


def next_transaction(night: Night) -> int:
    found: int = night.value("shop", "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    return found


def set_horizon(night: Night, horizon: int) -> None:
    night.ask("warehouse", "UPDATE ops.watermark SET horizon = %s", (horizon,))


def test_rows_of_transactions_that_commit_late_are_in_the_next_load(night: Night) -> None:
    """Three writers are open across an extraction; what they wrote must not be skipped for ever."""
    loaded_once(night)
    run, following = next_run(), next_run()
    with (
        writer(night, "INSERT INTO item VALUES (201, 'late')") as inserting,
        writer(
            night,
            "UPDATE item SET name = 'late' WHERE id = 2",
            "DELETE FROM item WHERE id = 3",
        ) as changing,
        writer(
            night,
            "SAVEPOINT a",
            "INSERT INTO item VALUES (202, 'late, in a savepoint')",
            "RELEASE a",
            "SAVEPOINT b",
            "UPDATE item SET name = 'undone' WHERE id = 4",
            "ROLLBACK TO b",
        ) as nested,
    ):
        # Another begins after them and ends before: the newest id that is seen is beyond the late ones.
        night.ask("shop", "UPDATE item SET name = 'early' WHERE id = 1")
        night.extract("shop", run, "item")
        for late in (inserting, changing, nested):
            late.commit()
    night.publish("shop", run, "item")
    assert night.value("warehouse", "SELECT count(*) FROM shop.item WHERE name LIKE 'late%%'") == 0

    loaded = night.load("shop", "item", following)

    assert night.differing("shop") == []
    assert night.extraction(following, "shop.item")[0] == "increment"
    assert counts(loaded) == (2, 1, 1, 101)


def test_all_tables_of_a_run_are_read_at_one_moment(night: Night) -> None:
    """What commits between two tables of a run is in neither: half of a transaction never shows."""
    night.platform.source(
        "shop",
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);",
        "source: shop\ntables: {a: {}, b: {}}\n",
    )
    run = next_run()
    with night.snapshot("shop", run):
        extract.extract_table(night.settings, night.table("shop", "a"), run)
        night.ask("shop", "INSERT INTO a VALUES (1)")
        night.ask("shop", "INSERT INTO b VALUES (1)")
        extract.extract_table(night.settings, night.table("shop", "b"), run)
    assert [counts(night.publish("shop", run, name)) for name in "ab"] == [(0, 0, 0, 0)] * 2


def test_only_what_changed_is_read(night: Night) -> None:
    """An increment reads the rows since the watermark, wherever on the 32-bit circle it stands."""
    loaded_once(night)
    for circles in (0, 1, 5):
        set_horizon(night, CIRCLE * circles + next_transaction(night))
        night.ask("shop", f"UPDATE item SET name = 'new {circles}' WHERE id <= 7")
        run = next_run()
        night.load("shop", "item", run, circles=circles)
        assert night.extraction(run, "shop.item") == ("increment", 7)
        assert night.differing("shop") == []


def test_new_rows_are_found_when_the_transaction_ids_have_gone_around(night: Night) -> None:
    """Ids just above zero are newer, not older, than a watermark that is just below 2^32."""
    loaded_once(night)
    assert next_transaction(night) < 2**30, "this server is too old for the test"
    night.ask("shop", "UPDATE item SET name = 'new' WHERE id <= 5")
    set_horizon(night, CIRCLE - 1000)
    run = next_run()
    loaded = night.load("shop", "item", run, circles=1)
    assert night.extraction(run, "shop.item") == ("increment", 100)
    assert loaded.updated == 5
    assert night.differing("shop") == []


@in_depth(
    ("behind", "mode"),
    [(-1, "full"), (2**31, "full"), (2**31 - 1, "increment")],
    ids=["in the future", "half a circle behind", "just within half a circle"],
    quick=1,
)
def test_a_watermark_that_cannot_tell_means_a_full_refresh(night: Night, behind: int, mode: str) -> None:
    loaded_once(night)
    night.ask("shop", "UPDATE item SET name = 'new' WHERE id <= 5")
    run = next_run()
    with night.snapshot("shop", run) as taken:
        set_horizon(night, taken.next_transaction - behind)
        extract.extract_table(night.settings, night.table("shop", "item"), run)
    night.publish("shop", run, "item")
    assert night.extraction(run, "shop.item")[0] == mode
    # Whatever was read, nothing was lost: with half a circle between, no row is taken for an old one.
    assert night.differing("shop") == [] or mode == "increment"


@pytest.mark.parametrize("change", ["system_identifier = '1'", "timeline = timeline + 1"])
def test_a_source_that_was_restored_or_failed_over_is_read_whole(night: Night, change: str) -> None:
    loaded_once(night)
    night.ask("shop", "UPDATE item SET name = 'new' WHERE id = 5")
    # A watermark of another history that would hide the change.
    set_horizon(night, next_transaction(night))
    night.ask("warehouse", f"UPDATE ops.watermark SET {change}")
    run = next_run()
    night.load("shop", "item", run)
    assert night.extraction(run, "shop.item")[0] == "full"
    assert night.differing("shop") == []


def test_by_cursor_a_change_within_the_lookback_is_found_without_a_full_read(night: Night) -> None:
    loaded_once(night, BY_CURSOR)
    night.ask("shop", "UPDATE item SET changed_at = '2026-11-20 12:00Z' WHERE id = 1")
    night.load("shop", "item")
    # It was begun before the newest that was seen, and was committed after.
    night.ask("shop", "UPDATE item SET name = 'late', changed_at = '2026-11-20 11:30Z' WHERE id = 2")
    run = next_run()
    night.load("shop", "item", run)
    assert night.extraction(run, "shop.item") == ("increment", 2)
    assert night.differing("shop") == []


def test_by_cursor_a_row_beyond_the_lookback_is_missed_only_until_it_is_counted(night: Night) -> None:
    """The proof finds that a row is lacking, and the table is read whole in the same step."""
    loaded_once(night, BY_CURSOR)
    night.ask("shop", "INSERT INTO item VALUES (201, 'new', '2026-11-20 12:00Z')")
    night.ask("shop", "INSERT INTO item VALUES (202, 'late', '2026-11-19 10:00Z')")
    # A row that is gone makes up for it in number: the keys themselves have to be compared.
    night.ask("shop", "DELETE FROM item WHERE id = 3")
    run = next_run()
    loaded = night.load("shop", "item", run)
    assert night.extraction(run, "shop.item") == ("full", 101)
    assert counts(loaded) == (2, 0, 1, 101)
    assert night.differing("shop") == []


def test_rows_without_a_cursor_value_are_read_every_time(night: Night) -> None:
    loaded_once(night, BY_CURSOR)
    night.ask("shop", "UPDATE item SET changed_at = NULL WHERE id IN (1, 2)")
    night.ask("shop", "UPDATE item SET changed_at = '2026-11-21 10:00Z' WHERE id = 3")
    night.load("shop", "item")
    night.ask("shop", "UPDATE item SET name = 'changed in silence' WHERE id = 1")
    run = next_run()
    night.load("shop", "item", run)
    mode, rows = night.extraction(run, "shop.item")
    assert (mode, night.differing("shop")) == ("full", []) or (mode, rows) == ("increment", 3)
    assert night.value("warehouse", "SELECT name FROM shop.item WHERE id = 1") == "changed in silence"


def test_a_table_whose_cursor_is_empty_throughout_is_read_whole(night: Night) -> None:
    night.platform.source("shop", ITEMS + "UPDATE item SET changed_at = NULL;", BY_CURSOR)
    night.load("shop", "item")
    night.ask("shop", "INSERT INTO item VALUES (201, 'new', '2020-01-01')")
    night.load("shop", "item")
    assert night.differing("shop") == []


# What is staged is whole, or is not there.


def staged_tables(night: Night) -> list[str]:
    return [
        name
        for (name,) in night.ask("warehouse", "SELECT tablename FROM pg_tables WHERE schemaname = 'staging'")
    ]


@pytest.mark.endurance
@pytest.mark.parametrize("name", ["shop", "warehouse"])
def test_nothing_is_staged_when_a_server_ends_the_connection_midway(
    night: Night, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An early end of the source must not look like a complete one; the same command then does it all."""
    night.platform.source("shop", MANY, BY_XMIN)
    # To try again is another thing (tests/test_retry.py).
    monkeypatch.setattr(retry, "STEP", RetryPolicy(0))
    run, stop = next_run(), threading.Event()
    cutting = threading.Thread(target=cut, args=(night, name, stop))
    with night.snapshot("shop", run):
        cutting.start()
        with pytest.raises((StepError, UnreachableError), match=r"shop\.item: ") as raised:
            extract.extract_table(night.settings, night.table("shop", "item"), run)
        stop.set()
        cutting.join()
    assert "terminat" in str(raised.value) or "lost" in str(raised.value)
    assert staged_tables(night) == []
    step = night.step(run, "ExtractTable", "shop.item")
    assert step is not None
    # The connection that records failures may be the one that was cut; it is never said to be done.
    assert step.state in ("failed", "running")
    night.load("shop", "item", run)
    assert night.differing("shop") == []


def cut(night: Night, name: str, stop: threading.Event) -> None:
    """End the backend that is in the middle of a COPY, once some of it went through."""
    with night.platform.connect(name) as connection:
        query = """
            SELECT pg_terminate_backend(pid) FROM pg_stat_progress_copy
            WHERE datname = current_database() AND tuples_processed > 1000
            """
        while not stop.is_set() and not postgres.rows(connection, query):
            pass


def test_staged_rows_that_a_crash_of_the_server_emptied_are_not_taken_for_extracted(night: Night) -> None:
    """An UNLOGGED table is empty after a crash: what was extracted is then no more."""
    loaded_once(night)
    night.ask("shop", "UPDATE item SET name = 'new' WHERE id <= 5")
    run = next_run()
    night.extract("shop", run, "item")
    table = night.table("shop", "item")
    assert extract.is_extracted(night.settings, table, run)
    (name,) = staged_tables(night)
    night.ask("warehouse", f'TRUNCATE staging."{name}"')
    assert not extract.is_extracted(night.settings, table, run)
    with pytest.raises(StepError, match="staged rows are gone"):
        night.publish("shop", run, "item")
    night.load("shop", "item", run)
    assert night.differing("shop") == []


def test_the_steps_count_very_many_staged_rows_though_the_target_does_not(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash takes all or none of them, which is seen without counting."""
    loaded_once(night)
    night.ask("shop", "UPDATE item SET name = 'new' WHERE id <= 5")
    run, table = next_run(), night.table("shop", "item")
    monkeypatch.setattr(extract, "QUICKLY_COUNTED", 2)
    night.extract("shop", run, "item")
    (name,) = staged_tables(night)
    night.ask("warehouse", f'DELETE FROM staging."{name}" WHERE id = 1')
    assert extract.is_extracted(night.settings, table, run)
    with pytest.raises(StepError, match="5 of its rows were staged, but 4 are there now") as caught:
        night.publish("shop", run, "item")
    assert caught.value.again == "extract"
    night.ask("warehouse", f'TRUNCATE staging."{name}"')
    assert not extract.is_extracted(night.settings, table, run)
    night.load("shop", "item", run)
    assert night.differing("shop") == []


def test_a_first_load_counts_very_many_staged_rows_as_it_publishes_them(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They become the table themselves: what it proves of that it proves of them."""
    night.platform.source("shop", ITEMS, BY_XMIN)
    monkeypatch.setattr(extract, "QUICKLY_COUNTED", 2)
    run, table = next_run(), night.table("shop", "item")
    night.extract("shop", run, "item")
    validate.validate_extract(night.settings, table, run)
    (name,) = staged_tables(night)
    night.ask("warehouse", f'DELETE FROM staging."{name}" WHERE id = 1')
    with pytest.raises(StepError, match="would have 99 rows, but the source's snapshot has 100") as caught:
        load.load_table(night.settings, table, run)
    assert caught.value.again == "extract"
    assert night.value("warehouse", "SELECT to_regclass('shop.item')") is None
    night.ask("warehouse", f'TRUNCATE staging."{name}"')
    night.load("shop", "item", run)
    assert night.differing("shop") == []


def test_only_a_key_that_the_source_keeps_from_being_null_is_staged_so(night: Night) -> None:
    """Said of an empty table it costs nothing. What the source lets be null is for the checks to find."""
    night.platform.source(
        "shop",
        ITEMS
        + """
        CREATE TABLE child () INHERITS (item);
        CREATE TABLE loose (id int, name text NOT NULL);
        INSERT INTO loose VALUES (NULL, 'none');
        CREATE TABLE own (id int PRIMARY KEY, name text NOT NULL);
        """,
        "source: shop\ntables: {item: {}, loose: {key: [id]}, own: {columns: {name: {mask: hash}}}}\n",
    )
    night.extract("shop", next_run(), "item", "loose", "own")
    query = """
        SELECT split_part(c.relname, '@', 1), array_agg(a.attname::text ORDER BY a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'staging'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND a.attnotnull
        GROUP BY 1
        """
    assert dict(night.ask("warehouse", query)) == {
        "shop.item": ["_loaded_at"],
        "shop.loose": ["_loaded_at"],
        "shop.own": ["id", "_loaded_at"],
    }


def test_an_extraction_that_was_overtaken_by_another_run_is_done_again(night: Night) -> None:
    """Its increment is the difference from a state that is no more."""
    loaded_once(night)
    old, new = next_run(), next_run()
    night.ask("shop", "UPDATE item SET name = 'old' WHERE id = 1")
    night.extract("shop", old, "item")
    night.ask("shop", "UPDATE item SET name = 'new' WHERE id = 1")
    night.load("shop", "item", new)
    assert not extract.is_extracted(night.settings, night.table("shop", "item"), old)
    with pytest.raises(StepError, match="superseded by another load"):
        night.publish("shop", old, "item")
    night.load("shop", "item", old)
    assert night.differing("shop") == []


def test_staged_rows_count_only_upon_the_load_that_they_were_compared_with(night: Night) -> None:
    loaded_once(night)
    run, table = next_run(), night.table("shop", "item")
    night.extract("shop", run, "item")
    assert extract.is_extracted(night.settings, table, run)
    night.ask("warehouse", "UPDATE ops.watermark SET run = '2029-12-31'")
    assert not extract.is_extracted(night.settings, table, run)


def test_two_who_extract_the_same_table_at_once_do_it_once(night: Night) -> None:
    night.platform.source("shop", MANY, BY_XMIN)
    run = next_run()
    table = night.table("shop", "item")
    failures: list[BaseException] = []

    def work() -> None:
        try:
            extract.extract_table(night.settings, table, run)
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    with night.snapshot("shop", run):
        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        # The second waits for the first; if it began anew, it would have to drop what is staged.
        first = wait_until(lambda: night.step(run, "ExtractTable", "shop.item"), "the first has begun")
        for worker in workers:
            worker.join()
    assert failures == []
    step = night.step(run, "ExtractTable", "shop.item")
    assert step is not None
    assert (step.state, step.started_at) == ("done", first.started_at)
    assert staging.SCHEMA == "staging"
    assert len(staged_tables(night)) == 1


@in_depth(
    ("declaration", "told"),
    [
        ("{nothing: {}}", 'there is no table or view "nothing" in schema "public"'),
        ("{item: {schema: elsewhere}}", 'there is no table or view "item" in schema "elsewhere"'),
        ("{item: {key: [number]}}", 'its key names column "number", which the source does not have'),
        ("{item: {changes: cursor, cursor: changed}}", 'its cursor names column "changed"'),
        ("{item: {changes: cursor, cursor: name}}", 'its cursor "name" is of type text'),
        ("{item: {checks: [{unique: number}]}}", 'its unique check names column "number"'),
        ("{secret: {}}", 'the source\'s role may not read "public"."secret"; GRANT SELECT ON'),
    ],
    quick=3,
)
def test_what_the_source_does_not_have_is_told_and_nothing_is_left(
    night: Night, declaration: str, told: str
) -> None:
    night.platform.source("shop", ITEMS, f"source: shop\ntables: {declaration}\n")
    reader = night.platform.reader("shop")
    night.ask("shop", f"CREATE TABLE secret (id int PRIMARY KEY); REVOKE ALL ON secret FROM {reader}")
    run, name = next_run(), declaration[1:].partition(":")[0]
    with pytest.raises(StepError) as raised:
        night.extract("shop", run, name)
    assert str(raised.value).startswith(f"shop.{name}: {told}")
    step = night.step(run, "ExtractTable", f"shop.{name}")
    assert step is not None
    assert (step.state, step.exit_code) == ("failed", 3)
    assert step.error
    # The hint is kept beside the error.
    assert f"{step.error}; {step.hint}".startswith(told)
    assert staged_tables(night) == []


def test_without_a_snapshot_nothing_is_read(night: Night) -> None:
    night.platform.source("shop", ITEMS, BY_XMIN)
    run = next_run()
    with pytest.raises(StepError, match="no snapshot of source shop was taken for run"):
        extract.extract_table(night.settings, night.table("shop", "item"), run)
    with night.snapshot("shop", run):
        pass
    with pytest.raises(StepError, match=r"the snapshot of .* is gone"):
        extract.extract_table(night.settings, night.table("shop", "item"), run)


@in_depth(
    ("type_", "value"),
    [
        ("timestamptz", "'infinity'"),
        ("timestamp", "'9999-12-31'"),
        ("timestamp", "now() + interval '20 hours'"),
        ("moment", "now() + interval '20 hours'"),
    ],
    quick=2,
)
def test_a_cursor_in_the_future_hides_no_later_change(night: Night, type_: str, value: str) -> None:
    """Of a clock that is fast, or of who writes 9999-12-31: later changes must not be measured by it."""
    night.platform.source("shop", ITEMS, BY_CURSOR)
    night.ask("shop", "CREATE DOMAIN moment AS timestamptz")
    night.ask("shop", f"ALTER TABLE item ALTER changed_at TYPE {type_}")
    night.load("shop", "item")
    night.ask("shop", f"UPDATE item SET changed_at = {value} WHERE id = 1")
    night.load("shop", "item")
    # Written in the westernmost zone that there is.
    now = "now() AT TIME ZONE 'UTC' - interval '12 hours'" if type_ == "timestamp" else "now()"
    night.ask("shop", f"UPDATE item SET name = 'changed', changed_at = {now} WHERE id = 2")
    assert night.load("shop", "item").updated == 1
    assert not night.differing("shop")


def test_a_lookback_goes_back_from_a_domain_over_a_moment_too(night: Night) -> None:
    night.platform.source("shop", ITEMS, BY_CURSOR)
    night.ask("shop", "CREATE DOMAIN moment AS timestamptz")
    night.ask("shop", "ALTER TABLE item ALTER changed_at TYPE moment")
    night.load("shop", "item")
    night.ask("shop", "UPDATE item SET changed_at = '2026-11-20 12:00Z' WHERE id = 1")
    night.load("shop", "item")
    night.ask("shop", "UPDATE item SET name = 'late', changed_at = '2026-11-20 11:30Z' WHERE id = 2")
    night.load("shop", "item")
    assert not night.differing("shop")


@in_depth(
    ("type_", "beyond", "later"),
    [
        ("numeric", "'NaN'", "500"),
        ("bigint", "9223372036854775807", "500"),
        ("smallint", "32767", "500"),
        ("numeric(9,2)", "'NaN'", "500"),
        ("double precision", "'Infinity'", "500"),
        ("real", "'-Infinity'", "500"),
        ("timestamp", "'infinity'", "now()::timestamp"),
        ("date", "'-infinity'", "now()"),
    ],
    quick=2,
)
def test_a_cursor_that_is_endless_hides_no_later_change_and_is_read_again(
    night: Night, type_: str, beyond: str, later: str
) -> None:
    """NaN and Infinity are greater than whatever comes, and -Infinity is below all that is read.

    Of whole numbers the greatest that there is stands for that.
    """
    filled = "now() - n * interval '2 days'" if type_ in ("timestamp", "date") else "n"
    night.platform.source(
        "shop",
        f"CREATE TABLE item (id int PRIMARY KEY, name text, at {type_});"
        f"INSERT INTO item SELECT n, 'old', {filled} FROM generate_series(1, 9) AS n;"
        f"UPDATE item SET at = {beyond} WHERE id = 1",
        "source: shop\ntables: {item: {changes: cursor, cursor: at, lookback: 1 day}}\n",
    )
    night.load("shop", "item")
    # As many rows as before: only the cursor tells.
    night.ask("shop", f"UPDATE item SET name = 'new', at = {later} WHERE id = 5")
    night.ask("shop", f"UPDATE item SET name = 'new', at = {beyond} WHERE id = 1")
    run = next_run()
    night.load("shop", "item", run)
    assert night.extraction(run, "shop.item")[0] == "increment"
    assert not night.differing("shop")


def test_a_cursor_that_no_row_has_yet_does_not_begin_where_another_one_ended(night: Night) -> None:
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY, at int, version int);"
        "INSERT INTO item SELECT n, 500 + n, NULL FROM generate_series(1, 9) AS n",
        "source: shop\ntables: {item: {changes: cursor, cursor: at}}\n",
    )
    night.load("shop", "item")
    night.platform.declare("shop", "source: shop\ntables: {item: {changes: cursor, cursor: version}}\n")
    night.load("shop", "item")
    night.ask("shop", "UPDATE item SET version = 7, at = at + 1 WHERE id = 5")
    night.load("shop", "item")
    # As many rows as before: only the cursor tells, and it is below what the other one came to.
    night.ask("shop", "UPDATE item SET version = 8, at = at + 1 WHERE id = 5")
    night.load("shop", "item")
    assert not night.differing("shop")


def test_a_watermark_that_an_earlier_version_left_at_nan_is_not_gone_on_from(night: Night) -> None:
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY, at numeric); INSERT INTO item VALUES (1, 'NaN'), (2, 7)",
        "source: shop\ntables: {item: {changes: cursor, cursor: at}}\n",
    )
    night.load("shop", "item")
    night.ask("warehouse", "UPDATE ops.watermark SET cursor_value = 'NaN'")
    night.ask("shop", "UPDATE item SET at = 8 WHERE id = 2")
    night.load("shop", "item")
    assert not night.differing("shop")
    assert night.value("warehouse", "SELECT cursor_value FROM ops.watermark") == "8"
