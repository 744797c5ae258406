"""The fixtures that other tests stand on."""

import contextlib
import signal

import psycopg2
import pytest
from psycopg2 import errors

from pipeline import postgres, settings
from pipeline.sandbox import provision
from pipeline.sandbox.servers import clusters
from tests.conftest import signals_as_before
from tests.support.platforms import Connection, Platform, Sandbox


@pytest.fixture(params=["first", "second"])
def again(request: pytest.FixtureRequest) -> object:
    """Makes a test run twice."""
    return request.param


@pytest.mark.usefixtures("again")
def test_each_test_has_an_empty_warehouse_and_sources_of_its_own(platform: Platform) -> None:
    platform.source("shop", "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1)")
    read = settings.read([platform.settings_file])
    assert list(read.sources) == ["shop"]
    with platform.connect("shop", platform.reader("shop")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM item")
        assert cursor.fetchone() == (1,)
        with pytest.raises(errors.InsufficientPrivilege):
            cursor.execute("INSERT INTO item VALUES (2)")
    with platform.connect("warehouse") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE mine (n int)")


def test_the_reader_of_one_source_cannot_enter_another(platform: Platform) -> None:
    platform.source("shop")
    platform.source("other")
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        platform.connect("other", platform.reader("shop")).__enter__()


def test_a_test_leaves_no_handler_of_signals_to_the_next(request: pytest.FixtureRequest) -> None:
    """What is forked later would have it: a pool once waited for ever for those that it had told to end."""
    before = signal.getsignal(signal.SIGTERM)
    fixture = signals_as_before.__wrapped__()  # type: ignore[attr-defined] # as pytest calls it
    next(fixture)
    signal.signal(signal.SIGTERM, lambda *_: None)
    next(fixture, None)
    assert signal.getsignal(signal.SIGTERM) is before
    assert "signals_as_before" in request.fixturenames


def test_a_session_that_was_lent_is_given_on_as_new_and_never_to_two(sandbox: Sandbox) -> None:
    """What was asked last of one that nobody has is not to be seen; one that met an error is ended."""

    def lent() -> contextlib.AbstractContextManager[Connection]:
        return clusters.connection(sandbox.home, provision.WAREHOUSE, "postgres")

    def fail() -> None:
        with lent() as harmed:
            numbers.append(harmed.info.backend_pid)
            postgres.rows(harmed, "SELECT 1/0")

    with lent() as first:
        numbers = [first.info.backend_pid]
        first.autocommit = False
        postgres.rows(first, "CREATE TABLE public.of_nobody (id int)")
        postgres.rows(first, "SET SESSION search_path = pg_catalog")
    with lent() as second, lent() as third:
        assert second.info.backend_pid == numbers[0] != third.info.backend_pid
        assert second.autocommit
        assert postgres.value(second, "SHOW search_path") == '"$user", public'
        assert postgres.value(second, "SELECT to_regclass('public.of_nobody')") is None
        numbers.append(third.info.backend_pid)
    with lent() as fourth:
        shown = "SELECT query FROM pg_stat_activity WHERE pid = ANY(%s) AND pid <> pg_backend_pid()"
        assert postgres.rows(fourth, shown, (numbers,)) == [("DISCARD ALL",)]
    with pytest.raises(psycopg2.errors.DivisionByZero):
        fail()
    with lent() as fifth, lent() as sixth:
        assert numbers[-1] not in (fifth.info.backend_pid, sixth.info.backend_pid)
