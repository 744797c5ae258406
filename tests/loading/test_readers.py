"""Readers: whoever reads while a table is loaded sees it whole, never waits for long, and gets no error.

How long a reader waits for a lock is measured by the server itself: with lock_timeout, a query that waits for
longer is an error. A machine that is merely busy with other things is not taken for a lock that way.
"""

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe

import psycopg2
import pytest

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.warehouse import locks
from tests.support.night import Night, next_run, wait_until
from tests.support.platforms import Platform

pytestmark = pytest.mark.endurance

LONGEST_WAIT = "200ms"
# Between two looks, so that readers leave the machine to the load.
PAUSE_SECONDS = 0.005
ROWS = 3000
# Amounts move from row to row, and rows go as others come: what all of them add up to stays the same.
ACCOUNTS = f"""
    CREATE TABLE account (id int PRIMARY KEY, owner varchar(40), amount int NOT NULL);
    INSERT INTO account SELECT n, 'owner ' || n, 100 FROM generate_series(1, {ROWS}) AS n;
"""
WHOLE = (ROWS, ROWS * 100)
MOVE = """
    UPDATE account SET amount = amount + CASE WHEN id % 2 = 0 THEN 1 ELSE -1 END
    WHERE id IN (SELECT id FROM account WHERE id % 2 = 0 ORDER BY random() LIMIT 50)
       OR id IN (SELECT id FROM account WHERE id % 2 = 1 ORDER BY random() LIMIT 50);
    WITH gone AS (DELETE FROM account WHERE id IN (SELECT min(id) FROM account) RETURNING id, owner, amount)
    INSERT INTO account SELECT id + 1000000, owner, amount FROM gone;
"""
TABLE = "SELECT count(*), sum(amount) FROM shop.account"
VIEW = "SELECT count(*), sum(amount) FROM mart.report"
VIEW_ON_VIEW = "SELECT accounts, amount FROM mart.total"


@dataclass
class Seen:
    """What one reader saw: how often it read, what was wrong with it, and its longest query in seconds."""

    reads: int = 0
    wrong: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0


def read(platform: Platform, queries: list[str], repeatable: bool, stop: Pipe) -> None:
    """Read until told to stop, in a process of its own; then send what was seen."""
    seen = Seen()
    with platform.connect("warehouse") as connection:
        postgres.rows(connection, f"SET lock_timeout = '{LONGEST_WAIT}'")
        if repeatable:
            connection.set_session(isolation_level="REPEATABLE READ", autocommit=False)
        stop.send("reading")
        while not stop.poll(PAUSE_SECONDS):
            try:
                for query in queries:
                    began = time.monotonic()
                    found = postgres.row(connection, query)
                    seen.longest_seconds = max(seen.longest_seconds, time.monotonic() - began)
                    seen.reads += 1
                    if found != WHOLE:
                        seen.wrong.append(f"{query}: {found}")
                connection.commit()
            except psycopg2.Error as error:
                seen.wrong.append(f"{query}: {error}")
                connection.rollback()
    stop.send(seen)


@dataclass
class Reading:
    """Readers at work; `seen` is filled once their block has ended."""

    seen: list[Seen] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        return [wrong for each in self.seen for wrong in each.wrong]


@contextlib.contextmanager
def readers(platform: Platform) -> Iterator[Reading]:
    """Read the table and the views on it all the time, over several connections."""
    reading = Reading()
    started = []
    for queries, repeatable in (
        ([TABLE], False),
        ([VIEW], False),
        ([VIEW_ON_VIEW, TABLE], False),
        ([TABLE, VIEW_ON_VIEW, VIEW], True),
    ):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(
            target=read, args=(platform, queries, repeatable, theirs)
        )
        process.start()
        started.append((process, ours))
    try:
        for _, pipe in started:
            assert pipe.recv() == "reading"
        yield reading
    finally:
        for _, pipe in started:
            pipe.send("stop")
        for process, pipe in started:
            reading.seen.append(pipe.recv())
            process.join()


@pytest.fixture
def shop(night: Night) -> Night:
    """A source with one table, loaded once, and views on it."""
    night.platform.source("shop", ACCOUNTS, "source: shop\ntables: {account: {}}\n")
    night.load("shop", "account")
    give_views(night)
    return night


def give_views(night: Night) -> None:
    role = night.value(
        "warehouse", "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'shop.account'::regclass"
    )
    for statement in (
        "CREATE VIEW mart.report AS SELECT id, owner, amount FROM shop.account",
        "CREATE VIEW mart.total AS SELECT count(*) AS accounts, sum(amount) AS amount FROM mart.report",
        f'ALTER VIEW mart.report OWNER TO "{role}"',
        f'ALTER VIEW mart.total OWNER TO "{role}"',
    ):
        night.ask("warehouse", statement)


def load_mode(night: Night) -> str:
    run = next_run()
    night.load("shop", "account", run)
    return night.extraction(run, "shop.account")[0]


def test_readers_notice_nothing_of_any_load(shop: Night) -> None:
    """Through increments, a full refresh, new columns and types: no error, no half result, no long wait."""
    with readers(shop.platform) as reading:
        for number in range(50):
            shop.ask("shop", MOVE)
            assert load_mode(shop) == "increment"
            if number == 10:
                shop.platform.declare("shop", "source: shop\ntables: {account: {changes: full}}\n")
                shop.ask("shop", MOVE)
                assert load_mode(shop) == "full"
                shop.platform.declare("shop", "source: shop\ntables: {account: {}}\n")
            if number == 20:
                shop.ask("shop", "ALTER TABLE account ALTER COLUMN id TYPE bigint")
                assert load_mode(shop) == "rebuild"
            if number == 30:
                shop.ask("shop", "ALTER TABLE account ADD COLUMN note text")
            if number == 40:
                shop.ask("shop", "ALTER TABLE account ALTER COLUMN owner TYPE text")
                assert load_mode(shop) == "rebuild"
    assert reading.wrong == []
    assert all(each.reads > 50 for each in reading.seen), reading.seen
    assert shop.differing("shop") == []


def test_a_table_without_a_key_never_has_a_gap(night: Night) -> None:
    """All of it is read every night, and only what differs is replaced."""
    night.platform.source(
        "shop", ACCOUNTS.replace(" PRIMARY KEY", ""), "source: shop\ntables: {account: {}}\n"
    )
    night.load("shop", "account")
    give_views(night)
    with readers(night.platform) as reading:
        for _ in range(8):
            night.ask("shop", MOVE)
            assert load_mode(night) == "full"
        night.ask("shop", "ALTER TABLE account ALTER COLUMN owner TYPE text")
        assert load_mode(night) == "rebuild"
    assert reading.wrong == []
    assert night.differing("shop") == []


def test_a_report_that_runs_for_long_makes_nobody_wait(shop: Night) -> None:
    """The load waits for the report, and lets all others pass while it does."""
    shop.ask("shop", "ALTER TABLE account ALTER COLUMN id TYPE bigint, ADD COLUMN note text")
    run = next_run()
    shop.extract("shop", run, "account")
    with shop.warehouse() as report:
        report.set_session(isolation_level="REPEATABLE READ", autocommit=False)
        assert postgres.row(report, VIEW) == WHOLE
        loading = threading.Thread(target=shop.publish, args=("shop", run, "account"))
        with readers(shop.platform) as reading:
            loading.start()
            # Several tries, so that one would be noticed that stays in the queue.
            tried = wait_until(lambda: tries(shop, wanted=4), "the load tries to get the table's lock")
            assert loading.is_alive()
            assert postgres.row(report, VIEW_ON_VIEW) == WHOLE
            report.rollback()
            loading.join()
    assert tried
    assert reading.wrong == []
    assert shop.differing("shop") == []


def test_a_materialized_view_is_filled_before_anybody_waits(shop: Night) -> None:
    """Whoever reads the table or a view meanwhile is not kept out for as long as its query takes."""
    role = shop.value(
        "warehouse", "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'shop.account'::regclass"
    )
    for statement in (
        # Twice the longest wait, and it reads a view as well as the table.
        "CREATE MATERIALIZED VIEW mart.slow AS SELECT a.id, account.owner, 'shop.account' AS about, "
        "(SELECT pg_sleep(0.4))::text AS slept FROM mart.report AS a JOIN shop.account ON account.id = a.id",
        "CREATE UNIQUE INDEX slow_id ON mart.slow (id)",
        "COMMENT ON MATERIALIZED VIEW mart.slow IS 'it takes its time'",
        f'ALTER MATERIALIZED VIEW mart.slow OWNER TO "{role}"',
    ):
        shop.ask("warehouse", statement)
    written = "SELECT pg_get_viewdef('mart.slow'::regclass), pg_get_indexdef('mart.slow_id'::regclass)"
    before = shop.ask("warehouse", written)
    shop.ask("shop", "ALTER TABLE account ALTER COLUMN id TYPE bigint")
    shop.ask("shop", "UPDATE account SET owner = 'another' WHERE id = 1")
    with readers(shop.platform) as reading:
        assert load_mode(shop) == "rebuild"
    assert reading.wrong == []
    assert shop.ask("warehouse", written) == before
    assert shop.value("warehouse", "SELECT obj_description('mart.slow'::regclass)") == "it takes its time"
    assert shop.ask("warehouse", "SELECT owner, about FROM mart.slow WHERE id = 1") == [
        ("another", "shop.account")
    ]
    assert shop.value("warehouse", "SELECT count(*) FROM mart.slow") == ROWS
    left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'shop.%'"
    assert shop.value("warehouse", left) == 0


def tries(night: Night, wanted: int) -> bool:
    """Whether the load has asked for its lock and gone away again, so many times."""
    seen, waiting = 0, False
    query = "SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted)"
    with night.warehouse() as warehouse:
        end = time.monotonic() + 20
        while seen < wanted and time.monotonic() < end:
            now = postgres.value(warehouse, query)
            seen += waiting and not now
            waiting = now
    return seen >= wanted


@pytest.mark.parametrize("change", ["ADD COLUMN note text", "ALTER COLUMN id TYPE bigint"])
def test_who_stands_in_the_way_for_ever_is_named(
    shop: Night, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCK_TRIES", 3)
    shop.ask("shop", f"ALTER TABLE account {change}")
    with shop.warehouse() as report:
        report.autocommit = False
        postgres.rows(report, VIEW)
        pid = report.info.backend_pid
        with pytest.raises(StepError, match="the table has been read without a break") as raised:
            shop.load("shop", "account")
        assert f"process {pid} (postgres; its start is visible only to" in str(raised.value)
    shop.load("shop", "account")
    assert shop.differing("shop") == []
