"""A server that is out of reach while its tables are read: one failure, whatever it takes with it."""

import contextlib
import multiprocessing
import uuid
from collections.abc import Iterator

import pytest

from pipeline import outage, postgres
from tests.cli.test_refusals import spoil_uri
from tests.support.hooks import Hook
from tests.support.night import Night, next_run, wait_until

# Each takes seconds.
pytestmark = pytest.mark.endurance

TABLES = ("customer", "event", "purchase")


@contextlib.contextmanager
def locked(shop: Night) -> Iterator[None]:
    """Keep every table of the source locked."""
    with shop.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_source_that_dies_while_its_tables_are_read_is_told_once(hook: Hook, shop: Night) -> None:
    """One loses its connection, and finds as the snapshot does that the source lets nobody in any more."""
    run, reader = next_run(), shop.platform.reader("shop")
    entry = f"source/{shop.platform.database('shop')}"
    uri = (shop.platform.sandbox.vault.read(entry) or {})["uri"]
    waiting = "SELECT pid FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'"
    with locked(shop):
        process = shop.start_etl(run, "--workers", "3")
        wait_until(lambda: shop.ask("shop", waiting, (reader,)), "a table is being read")
        spoil_uri(shop, "shop", r"://(\w+):[^@]*@", r"://\1:mistaken@")
        shop.ask("shop", f"SELECT pg_terminate_backend(pid) FROM ({waiting}) AS reading", (reader,))
        out, err = process.communicate(timeout=120)
    assert process.returncode == 5, out + err
    assert len(hook.alerts()) == 1, [(one.key, one.summary, one.error) for one in hook.alerts()] + [out, err]
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key, alert.run) == ("failed", "etl/shop", run)
    assert alert.summary.startswith("source shop: out of reach; because of that, 3 tables are not loaded: ")
    assert all(f"shop.{table}" in alert.summary for table in TABLES)
    assert (alert.error or "").startswith("source shop: no connection: ")
    assert (alert.command, "mistaken" in out + err) == (f"pipeline rerun --run {run} shop", False)
    failed = [line for line in out.splitlines() if " failed: " in line]
    assert len(failed) == 1, out
    assert failed[0].count("password authentication failed") == 1
    assert failed[0].startswith("shop")
    assert out.count("  next: ") == 1
    status = shop.run("status").out
    assert status.count("password authentication failed") == 1, status
    shop.platform.sandbox.vault.write(entry, {"uri": uri})
    for _ in range(2):
        assert shop.etl(run).code == 0
    assert hook.received() == [("failed", "etl/shop"), ("recovered", "etl/shop")]


def test_one_server_is_warned_of_once_a_minute_by_all_processes_of_a_run() -> None:
    name = f"s{uuid.uuid4().hex}"
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        told = [f"hr.t{number}: source {name}: no connection: refused" for number in range(20)]
        news = pool.map(outage.is_news, told)
    assert sum(news) == 1
    assert not outage.is_news(told[0])
    assert outage.is_news(f"source {name}2: no connection: refused")
