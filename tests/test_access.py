"""One login to Vault for a step, another for the short questions between steps."""

import contextlib
import gc
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

import pytest

from pipeline import access, postgres
from pipeline.access import Access, shared
from pipeline.access.databases import IDLE_SECONDS
from pipeline.catalog import Table
from pipeline.errors import LostError, Outage, StepError, UnreachableError
from pipeline.loading import extract
from pipeline.postgres import Connection
from pipeline.settings import DatabaseSettings, Settings
from pipeline.vault import Vault
from tests.support.night import Night, next_run, wait_until


def ask(settings: Settings, table: Table, run: str) -> None:
    extract.is_extracted(settings, table, run)
    # As a step that goes on for a while does by itself.
    gc.collect()


def test_a_forked_process_does_not_end_the_login_of_its_parent(night: Night) -> None:
    """Luigi forks for each task; the child's own questions must leave the parent's login as it is."""
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    question = (night.settings, night.table("shop", "item"), next_run())
    ask(*question)
    child = multiprocessing.get_context("fork").Process(target=ask, args=question)
    child.start()
    child.join()
    assert child.exitcode == 0
    # A secret that was not asked for before: only a login that still holds can read it.
    with access.brief(night.settings).source("shop") as connection:
        assert not connection.closed


def backend(databases: Access) -> int:
    with databases.asking() as warehouse:
        return warehouse.info.backend_pid


def test_a_step_goes_on_with_the_session_by_which_it_was_asked_whether_it_is_done(night: Night) -> None:
    asked = backend(access.brief(night.settings))
    with access.for_step(night.settings) as databases:
        assert backend(databases) == asked
    assert backend(access.brief(night.settings)) == asked


def test_the_next_try_of_a_step_that_failed_has_a_session_of_its_own(night: Night) -> None:
    """Whatever the failure left behind in the old one."""

    def fail() -> None:
        with access.for_step(night.settings) as databases, databases.asking() as warehouse:
            postgres.rows(warehouse, "SELECT set_config('lock_timeout', '2s', false)")
            raise StepError("it failed")

    before = backend(access.brief(night.settings))
    with pytest.raises(StepError):
        fail()
    with access.for_step(night.settings) as databases, databases.asking() as warehouse:
        assert warehouse.info.backend_pid != before
        assert postgres.value(warehouse, "SHOW lock_timeout") == "0"


def test_a_session_that_the_server_ended_meanwhile_is_opened_anew(night: Night) -> None:
    databases = access.brief(night.settings)
    before = backend(databases)
    night.ask("warehouse", f"SELECT pg_terminate_backend({before}, 5000)")
    databases._asked_at -= IDLE_SECONDS
    assert backend(databases) != before


def test_a_login_that_nobody_asks_over_any_more_is_ended_once_it_has_served(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when the next question comes: an assistant may wait for that for days."""
    before = backend(access.brief(night.settings))
    access.end_idle()
    assert backend(access.brief(night.settings)) == before, "it serves for a while"
    monkeypatch.setattr(shared._brief, "_until", 0.0)
    access.end_idle()
    left = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: not night.ask("warehouse", left, (before,)), "it has ended", 20)


def test_the_next_step_has_the_session_of_the_last_one_and_nothing_that_it_left_there(night: Night) -> None:
    """To open one takes longer than a table that has not changed."""
    left = """
        CREATE TEMPORARY TABLE left_behind (n int);
        SET statement_timeout = '7s';
        PREPARE left_plan AS SELECT 1;
        SELECT pg_advisory_lock(14);
    """
    look = """
        SELECT to_regclass('pg_temp.left_behind'), current_setting('statement_timeout'),
               (SELECT count(*) FROM pg_prepared_statements),
               (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
               current_setting('search_path'), current_setting('transaction_isolation')
    """
    with access.for_step(night.settings) as databases, databases.warehouse() as warehouse:
        warehouse.set_session(isolation_level="REPEATABLE READ")
        postgres.rows(warehouse, left)
        first = warehouse.info.backend_pid
    with access.for_step(night.settings) as databases, databases.warehouse() as warehouse:
        assert warehouse.info.backend_pid == first
        assert postgres.rows(warehouse, look) == [(None, "0", 0, 0, "pg_catalog", "read committed")]
        # One that asks for more has one of its own, and so has a second one at the same time.
        with databases.warehouse() as second, databases.warehouse(session={"work_mem": "1MB"}) as third:
            pids = {one.info.backend_pid for one in (warehouse, second, third)}
            assert len(pids) == 3

    def fail() -> None:
        with access.for_step(night.settings) as databases, databases.warehouse() as warehouse:
            failed.append(warehouse)
            raise StepError("it failed")

    failed: list[postgres.Connection] = []
    with pytest.raises(StepError):
        fail()
    assert failed[0].closed


def session_of(databases: Access, *, keep: bool = False) -> int:
    with databases.source("shop", keep=keep) as source:
        assert postgres.value(source, "SELECT 1") == 1
        return source.info.backend_pid


def test_a_step_reads_its_source_over_the_session_by_which_it_was_asked_whether_it_can(night: Night) -> None:
    """To log in and to learn the catalog anew takes longer than to read a table that has not changed."""
    night.platform.source("shop")
    gone = "SELECT NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = %s)"
    with access.one_step():
        asked = session_of(access.brief(night.settings), keep=True)
        with access.for_step(night.settings) as databases:
            assert session_of(databases) == asked, "it goes on with it"
            assert session_of(databases) != asked, "once"
            # What another worker has done meanwhile needs no source: its session ends with the step.
            left = session_of(databases, keep=True)
        wait_until(lambda: night.ask("shop", gone, (left,))[0][0], "it ends with the step", 20)
        unused = session_of(access.brief(night.settings), keep=True)
    wait_until(lambda: night.ask("shop", gone, (unused,))[0][0], "it ends without one", 20)


def test_a_session_of_a_source_that_ended_before_its_step_began_is_opened_anew(night: Night) -> None:
    night.platform.source("shop")
    with access.one_step():
        asked = session_of(access.brief(night.settings), keep=True)
        night.ask("shop", f"SELECT pg_terminate_backend({asked}, 5000)")
        with access.for_step(night.settings) as databases:
            assert session_of(databases) != asked


def test_who_is_at_no_step_keeps_no_session_of_a_source(night: Night) -> None:
    """A source has agreed to so many sessions: who looks after a run must not take the place of a step."""
    night.platform.source("shop")
    databases = access.brief(night.settings)
    assert session_of(databases, keep=True) != session_of(databases)


def test_who_was_logged_in_before_a_password_was_replaced_goes_on_with_the_new_one(night: Night) -> None:
    """As what waits for a whole run, and looks at its end whether all is done."""
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: }\n"
    )
    vault = night.platform.sandbox.vault
    with access.opened(night.settings) as databases:
        ways: list[tuple[str, str, Callable[[], AbstractContextManager[Connection]]]] = [
            ("warehouse", night.platform.database("warehouse"), databases.warehouse),
            ("shop", f"source/{night.platform.database('shop')}", lambda: databases.source("shop")),
        ]
        for name, entry, open_it in ways:
            with open_it():
                pass
            known = vault.read(entry) or {}
            address = urlsplit(known["uri"])
            with night.platform.connect(name) as connection:
                postgres.rows(connection, f"ALTER ROLE {address.username} PASSWORD 'password-2'")
            # Nobody has told Vault yet: the message is that of the server.
            with pytest.raises(UnreachableError, match=f"password authentication failed.*entry {entry}"):
                open_it().__enter__()
            netloc = address.netloc.replace(f":{address.password}@", ":password-2@")
            vault.write(entry, {**known, "uri": address._replace(netloc=netloc).geturl()})
            with open_it() as connection:
                assert postgres.value(connection, "SELECT 1") == 1


def test_of_several_connections_that_are_refused_at_once_each_goes_on_with_the_new_password(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those that count the tables of a database while it is dumped."""
    vault, entry = night.platform.sandbox.vault, night.platform.database("warehouse")
    known = vault.read(entry) or {}
    with access.opened(night.settings) as databases:
        wrong = known["uri"].replace("@", "-of-before@", 1)
        warehouse = night.settings.require_warehouse()
        databases._uris[(warehouse.secret, warehouse.address)] = wrong
        both, opening = threading.Barrier(2), postgres.open_session

        def open_session(uri: str, *arguments: Any, **more: Any) -> Any:
            try:
                return opening(uri, *arguments, **more)
            finally:
                if uri == wrong:
                    both.wait(10)

        def ask() -> Any:
            with databases.warehouse() as connection:
                return postgres.value(connection, "SELECT 1")

        monkeypatch.setattr(postgres, "open_session", open_session)
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(ask) for _ in range(2)]
            assert [one.result() for one in asked] == [1, 1]


def test_an_entry_that_holds_no_address_is_told_and_is_no_bug(night: Night) -> None:
    """Nobody has been refused yet: there is nothing to ask for again."""
    vault, entry = night.platform.sandbox.vault, night.platform.database("warehouse")
    kept = vault.read(entry) or {}
    for value in ("no address", "postgresql://u:p/w@h/x"):
        vault.write(entry, {"uri": value})
        try:
            with (
                access.opened(night.settings) as databases,
                pytest.raises(UnreachableError, match=entry),
                databases.warehouse(),
            ):
                pass
        finally:
            vault.write(entry, kept)


def test_an_error_of_a_connection_knows_its_server_and_whether_that_answers(night: Night) -> None:
    """Whatever the server's words are: who is refused by one that answers shares nothing with its others."""
    with night.warehouse() as warehouse:
        port = warehouse.info.port
    refused = {
        1: Outage("source hr", "127.0.0.1:1"),
        port: Outage("source hr"),
    }
    for at, outage in refused.items():
        with pytest.raises(UnreachableError) as caught:
            postgres.open_session(f"postgresql://nobody_of_that_name@127.0.0.1:{at}/any", "source hr")
        assert caught.value.outage == outage
        assert caught.value.named("hr.employee").outage == outage
    # A login that has its own limit is one of many there.
    night.platform.source("shop")
    reader = night.platform.reader("shop")
    uri = (night.platform.sandbox.vault.read(f"source/{night.platform.database('shop')}") or {})["uri"]
    night.ask("shop", f"ALTER ROLE {reader} CONNECTION LIMIT 0")
    with pytest.raises(LostError, match="too many connections for role") as caught:
        postgres.open_session(uri, "source shop")
    assert caught.value.outage == Outage("source shop")
    with pytest.raises(UnreachableError) as caught:
        postgres.open_session("mysql://127.0.0.1/any", "source hr")
    assert caught.value.outage == Outage("source hr")


@pytest.mark.parametrize("answers", [True, False])
def test_where_vault_can_make_no_login_a_server_that_does_not_answer_is_what_is_told(
    night: Night, answers: bool
) -> None:
    """Else one dead server is two failures: of logins that are kept, and of logins that are made."""
    with night.warehouse() as warehouse:
        port = warehouse.info.port if answers else 1
    database = DatabaseSettings(secret="database/creds/reader", address=f"127.0.0.1:{port}/any")

    class Refusing:
        def database_uri(self, _database: DatabaseSettings) -> NoReturn:
            raise UnreachableError("Vault at http://vault: no login could be made")

    with contextlib.ExitStack() as stack:
        databases = Access(night.settings, cast("Vault", Refusing()), stack)
        with pytest.raises(UnreachableError) as caught, databases._connected(database, "source hr", {}):
            pass
    found = caught.value.outage
    assert (found and found.place) == (None if answers else "127.0.0.1:1")
    assert ("no login could be made" in str(caught.value)) == answers
