"""Whatever a role, a database or a server is set to: a night ends as ever, or says what is in its way.

The tests are made of a list of settings and the sides on which somebody may have set them.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg2 import sql

from pipeline import access, postgres, redact
from pipeline.backup.restoring import restore
from pipeline.backup.restoring.restoration import Order
from pipeline.errors import LostError, Outage, StepError
from pipeline.observe import preflight
from pipeline.postgres import Connection, snapshot
from tests.support import proxies
from tests.support.marks import in_depth
from tests.support.night import Night, next_run, wait_until
from tests.support.platforms import Platform
from tests.support.restores import Restores

# What each is set to by somebody else, and what our sessions then have: None where that is theirs to say.
SETTINGS: dict[str, tuple[str, str | None]] = {
    "statement_timeout": ("400ms", "0"),
    "lock_timeout": ("1ms", "0"),
    "idle_in_transaction_session_timeout": ("400ms", "0"),
    "idle_session_timeout": ("400ms", "0"),
    "transaction_timeout": ("400ms", "0"),
    "default_transaction_isolation": ("serializable", "read committed"),
    "default_transaction_deferrable": ("on", "off"),
    "DateStyle": ("SQL, DMY", "ISO, YMD"),
    "IntervalStyle": ("sql_standard", "postgres"),
    "extra_float_digits": ("-10", "3"),
    "bytea_output": ("escape", "hex"),
    "TimeZone": ("Asia/Kathmandu", "UTC"),
    "search_path": ("elsewhere, public", "pg_catalog"),
    "standard_conforming_strings": ("off", "on"),
    "xmloption": ("document", "content"),
    "row_security": ("on", "off"),
    "array_nulls": ("off", "on"),
    "transform_null_equals": ("on", "off"),
    "quote_all_identifiers": ("on", "off"),
    "gin_fuzzy_search_limit": ("1", "0"),
    "lc_monetary": ("C.UTF-8", "C"),
    "client_encoding": ("LATIN1", "UTF8"),
    "client_min_messages": ("error", None),
    "synchronous_commit": ("off", None),
    "default_tablespace": ("pg_default", None),
    "temp_tablespaces": ("pg_default", None),
    "work_mem": ("64kB", None),
    "enable_seqscan": ("off", None),
}
LIMITED = {"statement_timeout": "4h", "lock_timeout": "30s"}
SIDES = {
    "source": {
        **LIMITED,
        "idle_in_transaction_session_timeout": "6h",
        "default_transaction_read_only": "on",
    },
    "backup": {**LIMITED, "statement_timeout": "0", "default_transaction_read_only": "on"},
    "warehouse": {},
    "drill": {},
}
WHERE = ("role", "database", "both")
# What only a superuser can change, where we are none.
REFUSED = {"zero_damaged_pages": "on", "ignore_checksum_failure": "on", "session_replication_role": "replica"}

SHOP = """
CREATE SCHEMA elsewhere;
CREATE TABLE elsewhere.item (id text);
CREATE TABLE item (
    id int PRIMARY KEY, price numeric, weight float8, at timestamptz, lasts interval, raw bytea, words text[],
    doc xml
);
INSERT INTO item SELECT n, n / 3.0, sqrt(n), '2026-11-22 02:15+00'::timestamptz + n * interval '1 hour',
    '-1 mon +3 days', '\\x00ff'::bytea, ARRAY['a', NULL, 'NULL'], '<a/>text'
FROM generate_series(1, 300) AS n;
"""


@contextlib.contextmanager
def side(night: Night, name: str) -> Iterator[tuple[Connection, str, str]]:
    """Open one side as superuser; with its role, and its database."""
    platform: Platform = night.platform
    roles = {
        "source": platform.reader("shop"),
        "backup": f"backup_{platform.database('shop')}",
        "warehouse": f"{platform.prefix}_pipeline",
        "drill": "drill",
    }
    if name == "drill":
        with platform.sandbox.connect("drill") as connection:
            yield connection, roles[name], "postgres"
        return
    with platform.connect("warehouse" if name == "warehouse" else "shop") as connection:
        yield connection, roles[name], platform.database("warehouse" if name == "warehouse" else "shop")


@contextlib.contextmanager
def hostile(night: Night, name: str, settings: dict[str, str], where: str = "role") -> Iterator[None]:
    """Have one side's role, database, or role in its database, set so during the block."""
    with side(night, name) as (connection, role, database):
        who = {
            "role": sql.SQL("ROLE {}").format(sql.Identifier(role)),
            "database": sql.SQL("DATABASE {}").format(sql.Identifier(database)),
            "both": sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), sql.Identifier(database)),
        }[where]
        try:
            for setting, value in settings.items():
                # A list of names is more than one value.
                values = sql.SQL(", ").join(map(sql.Literal, value.split(", ")))
                change = sql.SQL("ALTER {} SET {} = {}").format(who, sql.Identifier(setting), values)
                postgres.rows(connection, change)
            yield
        finally:
            for setting in settings:
                # Not all of them: the role has some that it needs.
                postgres.rows(connection, sql.SQL("ALTER {} RESET {}").format(who, sql.Identifier(setting)))


@contextlib.contextmanager
def opened(night: Night, name: str) -> Iterator[Connection]:
    with access.opened(night.settings) as databases:
        ways = {
            "source": databases.source("shop"),
            "backup": databases.database("shop"),
            "warehouse": databases.warehouse(),
            "drill": postgres.connection(databases.drill_uri(), "the drill server"),
        }
        with ways[name] as connection:
            yield connection


@pytest.fixture
def shop(restores: Restores) -> Night:
    night = Night(restores.archive.platform)
    restores.source("shop", SHOP)
    night.platform.declare("shop", "source: shop\ntables: {item: {}}\n")
    restores.archive.write_sections()
    night.migrate()
    return night


@in_depth("name", SIDES, quick=2)
def test_a_session_has_what_it_relies_on_whatever_its_role_or_database_is_set_to(
    shop: Night, name: str
) -> None:
    theirs = {setting: value for setting, (value, _) in SETTINGS.items()}
    wanted = {setting: ours for setting, (_, ours) in SETTINGS.items() if ours is not None} | SIDES[name]
    for where in WHERE:
        with hostile(shop, name, theirs, where), opened(shop, name) as connection:
            found = {setting: postgres.value(connection, f"SHOW {setting}") for setting in wanted}
            assert found == wanted, where
            # As the server took it, so does the driver.
            assert connection.encoding == "UTF8"


@in_depth("name", ["source", "backup"], quick=1)
def test_what_reads_at_a_moment_has_what_it_relies_on_behind_a_pooler_too(shop: Night, name: str) -> None:
    """There each transaction may have another session than the one that was told as it was opened."""
    theirs = {setting: value for setting, (value, _) in SETTINGS.items() if "timeout" not in setting}
    wanted = {setting: ours for setting, (_, ours) in SETTINGS.items() if ours is not None} | SIDES[name]
    with hostile(shop, name, theirs), opened(shop, name) as first, opened(shop, name) as second:
        for session in (first, second):
            postgres.rows(session, "RESET ALL")
            session.commit()
        taken = snapshot.take(first)
        snapshot.read_at(second, taken)
        for session in (first, second):
            assert {setting: postgres.value(session, f"SHOW {setting}") for setting in wanted} == wanted
            session.rollback()
            assert postgres.value(session, "SHOW row_security") == theirs["row_security"]


@in_depth("name", SIDES, quick=1)
def test_the_limits_of_its_role_do_not_end_a_session_that_is_just_asking_for_others(
    shop: Night, name: str
) -> None:
    """As on a busy server, where that alone takes longer; here it waits for somebody's lock."""
    limits = dict.fromkeys(("statement_timeout", "lock_timeout", "transaction_timeout"), "200ms")
    waits = """
        SELECT bool_or(clock_timestamp() - query_start > '500 ms') FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND query LIKE '%set_config%'
        """
    with side(shop, name) as (guard, _, _), side(shop, name) as (seen, _, _), hostile(shop, name, limits):
        postgres.rows(guard, "BEGIN; LOCK TABLE pg_catalog.pg_settings IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor(1) as other, contextlib.ExitStack() as stack:
            opening = other.submit(lambda: stack.enter_context(opened(shop, name)))
            try:
                wait_until(lambda: opening.done() or postgres.value(seen, waits), "the session to wait")
            finally:
                postgres.rows(guard, "ROLLBACK")
            assert postgres.value(opening.result(), "SELECT 1") == 1


@pytest.mark.endurance
def test_a_night_a_backup_and_a_restore_end_as_ever_though_every_setting_is_against_them(
    shop: Night, restores: Restores
) -> None:
    theirs = {setting: value for setting, (value, _) in SETTINGS.items()}
    run = next_run()
    with contextlib.ExitStack() as stack:
        for name in SIDES:
            stack.enter_context(hostile(shop, name, theirs))
        assert shop.run("migrate").code == 0
        ended = shop.etl(run)
        assert ended.code == 0, ended.err
        shop.ask("shop", "UPDATE item SET price = 0 WHERE id < 10; DELETE FROM item WHERE id = 300")
        again = shop.etl(next_run())
        assert again.code == 0, again.err
        restores.back_up("shop")
        restored = restore.restore_into_new(
            restores.archive.settings, Order("shop", jobs=2), restores.name("new")
        )
    assert shop.differing("shop") == []
    assert shop.value("warehouse", "SELECT count(*) FROM shop.item") == 299
    assert restored.held, restored.assertions
    words = restores.ask(restores.name("new"), "SELECT DISTINCT words FROM public.item")
    assert words == [(["a", None, "NULL"],)]


@pytest.mark.parametrize("setting", REFUSED)
def test_what_a_session_may_not_change_is_one_line_with_server_role_setting_and_statement(
    shop: Night, setting: str
) -> None:
    with side(shop, "warehouse") as (_, role, database):
        statements = {
            "role": f'ALTER ROLE "{role}" RESET {setting}',
            "database": f'ALTER DATABASE "{database}" RESET {setting}',
            "both": f'ALTER ROLE "{role}" IN DATABASE "{database}" RESET {setting}',
        }
    value = REFUSED[setting]
    for where, statement in statements.items():
        with hostile(shop, "warehouse", {setting: value}, where), pytest.raises(StepError) as caught:
            opened(shop, "warehouse").__enter__()
        assert str(caught.value) == (
            f"the warehouse: sessions of its role {role} have {setting} = {value}; {statement}"
        )


@pytest.mark.endurance
@pytest.mark.parametrize("where", ["role", pytest.param("database", marks=pytest.mark.endurance)])
def test_a_warehouse_that_is_read_only_is_told_by_check_and_by_the_run_in_one_line(
    shop: Night, where: str
) -> None:
    with hostile(shop, "warehouse", {"default_transaction_read_only": "on"}, where):
        ended = shop.etl(next_run())
        found = {
            one.subject: one.problems for one in preflight.everything(shop.settings, "http://127.0.0.1:9")
        }
        migrated = shop.run("migrate")
        # What only reads goes on.
        # Its database has no backup yet, which is told; but it is looked at.
        assert shop.run("status", "--json").code == 4
    role = f"{shop.platform.prefix}_pipeline"
    assert "Traceback" not in ended.err + migrated.err
    assert ended.code == 3, ended.err
    assert migrated.code == 3, migrated.err
    line = f"sessions of its role {role} have default_transaction_read_only = on; ALTER {where.upper()}"
    assert f"the warehouse: {line}" in ended.err
    assert f"pipeline: the warehouse: {line}" in migrated.err
    assert found["warehouse"][0].startswith(line)


@pytest.mark.parametrize(
    ("lost", "name", "inner"),
    [("the warehouse", "warehouse", "source"), ("source shop", "source", "warehouse")],
)
def test_a_connection_that_is_lost_is_told_as_that_of_its_server(
    shop: Night, lost: str, name: str, inner: str
) -> None:
    """Of two, the one is ended that was not opened last."""

    def work() -> None:
        with (
            opened(shop, name) as outer,
            postgres.explained("shop.item"),
            opened(shop, inner) as inside,
        ):
            postgres.rows(inside, "SELECT 1")
            with side(shop, name) as (superuser, _, _):
                postgres.rows(superuser, "SELECT pg_terminate_backend(%s, 20000)", (outer.info.backend_pid,))
            postgres.rows(outer, "SELECT 1")

    with pytest.raises(LostError) as caught:
        work()
    assert str(caught.value) == (
        f"shop.item: {lost}: the connection was lost: terminating connection due to administrator command"
    )
    assert caught.value.outage == Outage(lost)


ENDS = {
    "statement_timeout": ("canceling statement due to statement timeout", "4h"),
    "transaction_timeout": ("terminating connection due to transaction timeout", "0"),
    "idle_in_transaction_session_timeout": (
        "terminating connection due to idle-in-transaction timeout",
        "6h",
    ),
    "idle_session_timeout": ("terminating connection due to idle-session timeout", "0"),
}


@in_depth("setting", ENDS, quick=2)
def test_a_limit_that_the_host_imposes_is_one_line_with_server_role_and_setting(
    shop: Night, setting: str
) -> None:
    """As behind a pooler, whose sessions are not what they were set to. It is not a lost connection."""
    said, asked_for = ENDS[setting]

    def run(line: proxies.Line) -> None:
        line.ignore(setting)
        with opened(shop, "source") as session, postgres.explained("shop.item"):
            session.autocommit = setting == "idle_session_timeout"
            postgres.rows(session, "SELECT 1")
            if "idle" in setting:
                mine = f"SELECT pid FROM pg_stat_activity WHERE pid = {session.info.backend_pid}"
                wait_until(lambda: not shop.ask("shop", mine), "the server ends the session")
                postgres.rows(session, "SELECT 1")
            else:
                postgres.rows(session, "SELECT pg_sleep(30)")

    role = f"pipeline_{shop.platform.database('shop')}"
    with (
        hostile(shop, "source", {setting: "300ms"}),
        proxies.before(shop.platform, "shop") as line,
        pytest.raises(StepError) as caught,
    ):
        run(line)
    assert str(caught.value) == (
        f"shop.item: source shop: {said}: "
        f"its role {role} has {setting} = 300ms, though the session asked for "
        f"{asked_for}; ask the administrator of that server, or of the pooler before it, for sessions "
        "without that limit"
    )
    assert not caught.value.retryable


def test_limits_that_the_host_imposes_are_told_by_check_beforehand(shop: Night) -> None:
    role = f"pipeline_{shop.platform.database('shop')}"
    for setting in ENDS:
        with hostile(shop, "source", {setting: "20s"}), proxies.before(shop.platform, "shop") as line:
            line.ignore(setting)
            every = preflight.everything(shop.settings, "http://127.0.0.1:9")
            found = {one.subject: one.problems for one in every}
        (problem,) = found["source shop"]
        assert problem.startswith(f"its role {role} has {setting} = 20000ms, though the session asked for ")


@pytest.mark.endurance
def test_rows_that_a_server_quotes_as_it_ends_a_copy_are_shown_nowhere(
    shop: Night, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver itself prints them; the server says them beside why it ended the session."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    redact.install()

    def run() -> None:
        with opened(shop, "source") as source, opened(shop, "warehouse") as warehouse:
            postgres.rows(warehouse, "CREATE TEMP TABLE taken (text text)")
            postgres.rows(warehouse, "SET transaction_timeout = '300ms'")
            warehouse.commit()
            query = "COPY (SELECT repeat('PERSONAL', 90) FROM generate_series(1, 100000000)) TO STDOUT"
            postgres.copy(source, sql.SQL(query), warehouse, sql.SQL("COPY taken FROM STDIN"))

    with pytest.raises(LostError, match="due to transaction timeout") as caught:
        run()
    told = capfd.readouterr()
    assert "PERSONAL" not in str(caught.value) + told.out + told.err
    assert "Traceback" not in told.err


def test_a_statement_that_somebody_ends_is_not_said_to_be_over_a_limit(shop: Night) -> None:
    with opened(shop, "source") as session:
        end = threading.Timer(0.1, session.cancel)
        end.start()
        with pytest.raises(StepError) as caught, postgres.explained("shop.item"):
            postgres.rows(session, "SELECT pg_sleep(30)")
        end.join()
    assert "statement_timeout" not in str(caught.value)
    assert caught.value.retryable


def test_a_session_that_a_limit_of_ours_ended_is_a_lost_one_that_is_tried_again(
    shop: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a step that was stopped for hours, and goes on: nobody imposed it."""
    monkeypatch.setitem(access.SOURCE_SESSION, "idle_in_transaction_session_timeout", "300ms")

    def run() -> None:
        with opened(shop, "source") as session, postgres.explained("shop.item"):
            postgres.rows(session, "SELECT 1")
            mine = f"SELECT pid FROM pg_stat_activity WHERE pid = {session.info.backend_pid}"
            wait_until(lambda: not shop.ask("shop", mine), "the server ends the session")
            postgres.rows(session, "SELECT 1")

    with pytest.raises(LostError) as caught:
        run()
    assert str(caught.value) == (
        "shop.item: source shop: the connection was lost: "
        "terminating connection due to idle-in-transaction timeout"
    )
