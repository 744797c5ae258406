"""A server that is out of reach while its tables are read: one failure, whatever it takes with it."""

import contextlib
import multiprocessing
import uuid
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

import pytest

from pipeline import outage, postgres
from pipeline.errors import Outage
from tests.cli.test_refusals import DECLARATION, SHOP, spoil_uri
from tests.support.hooks import Hook
from tests.support.night import Night, next_run, wait_until

# Each takes seconds.
pytestmark = pytest.mark.endurance

TABLES = ("customer", "event", "purchase")


def entry_of(shop: Night, source: str) -> str:
    """Return where Vault has a source's URI."""
    return f"source/{shop.platform.database(source)}"


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


@contextlib.contextmanager
def branches(shop: Night) -> Iterator[tuple[str, ...]]:
    """Give the body two more sources, on the server of the first."""
    names = ("annex", "branch")
    for name in names:
        shop.platform.source(name, SHOP, DECLARATION.replace("shop", name))
    yield ("annex", "branch", "shop")


def moved_away(shop: Night, *names: str) -> None:
    """Let Vault say that these sources are where no server is."""
    for name in names:
        spoil_uri(shop, name, r":\d+/", ":1/")


def test_a_dead_server_of_several_sources_is_one_failure_that_names_them_all(hook: Hook, shop: Night) -> None:
    run = next_run()
    shop.platform.give_up_soon()
    with branches(shop) as sources:
        before = {name: shop.platform.sandbox.vault.read(entry_of(shop, name)) or {} for name in sources}
        moved_away(shop, *sources)
        ended = shop.etl(run)
        assert ended.code == 5, ended.err
        (alert,) = hook.alerts()
        assert (alert.kind, alert.run, alert.command) == ("failed", run, f"pipeline rerun --run {run}")
        assert alert.summary == (
            "sources annex, branch, shop, all on 127.0.0.1:1: out of reach; because of that, 7 tables are "
            "not loaded: annex.item, annex.other, branch.item and 4 more"
        )
        failed = [line for line in ended.out.splitlines() if " failed: " in line]
        assert len(failed) == 1, ended.out
        assert failed[0].startswith("annex, branch, shop: OpenSnapshot failed: no connection: connection to ")
        assert ended.out.count(f" of Vault, then pipeline rerun --run {run}\n") == 1
        warned = [line for line in ended.err.splitlines() if "Connection refused" in line]
        moments = [datetime.fromisoformat(" ".join(line.split()[:2])) for line in warned]
        apart = [(after - before).total_seconds() for before, after in pairwise(moments)]
        assert warned
        assert all(seconds >= outage.NEWS_SECONDS - 1 for seconds in apart), warned
        status = shop.run("status").out
        assert status.count("Connection refused") == 1, status
        for name, values in before.items():
            shop.platform.sandbox.vault.write(entry_of(shop, name), values)
        assert shop.etl(run).code == 0
        assert hook.received() == [("failed", alert.key), ("recovered", alert.key)]


def test_a_server_that_dies_while_tables_of_several_sources_are_read_is_told_once(
    hook: Hook, shop: Night
) -> None:
    """What one source had read by then is loaded, and not among what waits."""
    run = next_run()
    shop.platform.give_up_soon()
    readers = [shop.platform.reader(name) for name in ("annex", "shop")]
    waiting = "SELECT pid FROM pg_stat_activity WHERE usename = ANY(%s) AND wait_event_type = 'Lock'"
    loaded = "SELECT count(*) FROM ops.step WHERE run = %s AND task = 'LoadTable' AND state = 'done'"
    with branches(shop) as sources, locked(shop), shop.platform.connect("annex") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE item, other IN ACCESS EXCLUSIVE MODE")
        process = shop.start_etl(run, "--workers", "6")
        wait_until(lambda: shop.value("warehouse", loaded, (run,)) == 2, "the branch is loaded")
        both = waiting.replace("pid", "DISTINCT usename")
        wait_until(lambda: len(shop.ask("shop", both, (readers,))) == 2, "tables of both are being read")
        moved_away(shop, *sources)
        ended = f"SELECT pg_terminate_backend(pid) FROM ({waiting}) AS reading"
        shop.ask("shop", ended, (readers,))
        out, err = process.communicate(timeout=280)
    assert process.returncode == 5, out + err
    assert "Traceback" not in err, err
    (alert,) = hook.alerts()
    assert alert.summary.startswith(
        "sources annex, shop, all on 127.0.0.1:1: out of reach; because of that, 5 tables are not loaded: "
    )
    assert "branch" not in alert.summary
    assert out.count(" failed: no connection: ") == 1, out


def test_one_server_is_warned_of_once_a_minute_by_all_processes_of_a_run() -> None:
    name = f"s{uuid.uuid4().hex}"
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        told = [(f"hr.t{number}: no connection", Outage.of_source(name)) for number in range(20)]
        news = pool.starmap(outage.is_news, told)
    assert sum(news) == 1
    assert not outage.is_news(*told[0])
    assert outage.is_news("no connection", Outage.of_source(f"{name}2"))
    assert outage.is_news("no connection", Outage(f"source {name}3", f"{name}:5432"))
    assert not outage.is_news("no connection", Outage(f"source {name}4", f"{name}:5432"))
    # Where no server is known, its words count.
    assert outage.is_news(f"{name}: too slow")
    assert not outage.is_news(f"{name}: too slow")
