"""What passes by itself is tried again, and nothing else: cut lines, servers that start, deadlocks."""

import contextlib
import logging
import signal
import threading

import pytest

from pipeline import postgres, retry
from pipeline.errors import ConflictError, LostError, PipelineError, StepError, UnreachableError
from pipeline.loading import extract, load, validate
from pipeline.loading.load import Loaded
from pipeline.retry import RetryPolicy
from pipeline.sandbox import lifecycle, provision
from pipeline.sandbox.servers import servers
from tests.support import proxies
from tests.support.marks import in_depth
from tests.support.night import Night, next_run, wait_until

SHOP = """
    CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 5000) AS n;
"""
DECLARED = "source: shop\ntables: {item: {}}\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As patient as ever, but for shorter waits."""
    monkeypatch.setattr(retry, "STEP", RetryPolicy(30.0, 0.05, 0.2))


@pytest.fixture
def shop(night: Night) -> Night:
    night.platform.source("shop", SHOP, DECLARED)
    return night


def steps(shop: Night, run: str) -> None:
    table = shop.table("shop", "item")
    extract.extract_table(shop.settings, table, run)
    validate.validate_extract(shop.settings, table, run)
    load.load_table(shop.settings, table, run)


@in_depth(
    ("name", "at", "answered"),
    [
        # As the rows begin to come, and as they are written.
        ("shop", b"COPY (SELECT", True),
        ("warehouse", b'COPY "staging"', True),
        ("warehouse", b"INSERT INTO ops.check_result", False),
        # A load that was not committed, and one that was, though nobody heard of it.
        ("warehouse", b"INSERT INTO ops.watermark", True),
        ("warehouse", b"ops.table_shape", False),
        ("warehouse", b"COMMIT", True),
    ],
    quick=2,
)
def test_a_line_that_is_cut_once_fails_no_step(
    shop: Night, name: str, at: bytes, *, answered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    run = next_run()
    # What was warned of in the minute before is at this level.
    caplog.set_level(logging.DEBUG, "pipeline")
    with proxies.before(shop.platform, name) as line, shop.snapshot("shop", run):
        line.cut_once(at, answered=answered)
        steps(shop, run)
        assert line.cuts == 1
    assert "trying again" in caplog.text
    assert shop.differing("shop") == []
    step = shop.step(run, "LoadTable", "shop.item")
    loaded = Loaded.of(step)
    assert loaded is not None
    assert loaded.inserted == 5000


@pytest.mark.parametrize("name", ["shop", "warehouse"])
def test_a_line_that_is_slow_fails_no_step_and_nothing_is_tried_again(
    shop: Night, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = next_run()
    caplog.set_level(logging.DEBUG)
    with proxies.before(shop.platform, name) as line, shop.snapshot("shop", run):
        line.be_slow(1024, 0.005)
        steps(shop, run)
    assert shop.differing("shop") == []
    assert line.slowed > 20
    assert "trying again" not in caplog.text


def test_a_load_of_which_nobody_heard_is_not_done_twice(shop: Night) -> None:
    run = next_run()
    with shop.snapshot("shop", run):
        table = shop.table("shop", "item")
        extract.extract_table(shop.settings, table, run)
        validate.validate_extract(shop.settings, table, run)
        with proxies.before(shop.platform, "warehouse") as line:
            line.cut_once(b"COMMIT", answered=True)
            assert load.load_table(shop.settings, table, run) is None
            assert line.cuts == 1
    assert shop.differing("shop") == []


def test_a_server_that_starts_is_waited_for(shop: Night) -> None:
    run = next_run()
    with shop.snapshot("shop", run), proxies.before(shop.platform, "warehouse") as line:
        line.start_slowly(3)
        steps(shop, run)
        assert line.connections > 3
    assert shop.differing("shop") == []


def test_a_standby_that_is_busy_replaying_is_asked_again(shop: Night) -> None:
    """It may cancel even the looks into its catalog that let somebody in."""
    says = proxies.refusal("40001", "canceling statement due to conflict with recovery")
    run = next_run()
    with shop.snapshot("shop", run), proxies.before(shop.platform, "shop") as line:
        line.start_slowly(2, says)
        steps(shop, run)
        assert line.connections > 2
    assert shop.differing("shop") == []


def test_a_port_at_which_nobody_listens_yet_is_tried_again(shop: Night) -> None:
    run = next_run()
    with shop.snapshot("shop", run), proxies.before(shop.platform, "warehouse", listening=False) as line:
        opening = threading.Timer(0.5, line.open)
        opening.start()
        steps(shop, run)
        opening.join()
    assert shop.differing("shop") == []


def test_what_stays_away_is_given_up(shop: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "STEP", RetryPolicy(0.5, 0.05, 0.2))
    run = next_run()
    with (
        shop.snapshot("shop", run),
        proxies.before(shop.platform, "warehouse", listening=False),
        pytest.raises(UnreachableError, match=r"the warehouse: no connection: .*refused"),
    ):
        steps(shop, run)


# What a person has to fix is told at once: nothing of it is tried twice.


def refused_once(shop: Night, run: str, kind: type[PipelineError], told: str) -> None:
    with proxies.before(shop.platform, "shop") as line, pytest.raises(kind, match=told) as raised:
        extract.extract_table(shop.settings, shop.table("shop", "item"), run)
    assert not isinstance(raised.value, retry.PASSING)
    assert line.connections == 1


def test_a_wrong_password_is_told_at_once(shop: Night) -> None:
    run = next_run()
    with shop.snapshot("shop", run):
        shop.ask("shop", f"ALTER ROLE {shop.platform.reader('shop')} PASSWORD 'another'")
        refused_once(shop, run, UnreachableError, "password authentication failed")


def test_a_table_that_is_not_there_is_told_at_once(shop: Night) -> None:
    run = next_run()
    shop.ask("shop", "ALTER TABLE item RENAME TO thing")
    with shop.snapshot("shop", run):
        refused_once(shop, run, PipelineError, "item")


def test_a_table_that_may_not_be_read_is_told_at_once(shop: Night) -> None:
    run = next_run()
    shop.ask("shop", f"REVOKE SELECT ON item FROM {shop.platform.reader('shop')}")
    with shop.snapshot("shop", run):
        refused_once(shop, run, StepError, "may not read")


def test_a_full_disk_is_told_at_once(shop: Night) -> None:
    tries = []

    def work() -> None:
        tries.append(1)
        with shop.platform.connect("shop") as connection, postgres.explained("shop.item"):
            postgres.rows(connection, "DO $$ BEGIN RAISE 'no space left' USING ERRCODE = 'disk_full'; END $$")

    with pytest.raises(StepError, match="no space left"):
        retry.call(work)
    assert len(tries) == 1


# What two transactions do to each other.


def opened(shop: Night) -> contextlib.AbstractContextManager[postgres.Connection]:
    entry = shop.platform.database("warehouse")
    uri = (shop.platform.sandbox.vault.read(entry) or {})["uri"]
    return postgres.connection(uri, "the warehouse")


def test_a_deadlock_is_tried_again(shop: Night) -> None:
    """Whichever of the two the server ends: in the end both have done their work."""
    shop.ask(
        "warehouse", "CREATE TABLE public.pair AS SELECT n AS id, 0 AS seen FROM generate_series(1, 2) AS n"
    )
    shop.ask("warehouse", "GRANT ALL ON public.pair TO PUBLIC")
    met, failures = threading.Barrier(2), []
    tries: list[int] = []

    def work(first: int) -> None:
        tries.append(first)
        with opened(shop) as connection:
            change = "UPDATE public.pair SET seen = seen + 1 WHERE id = %s"
            postgres.rows(connection, change, (first,))
            if tries.count(first) == 1:
                met.wait(30)
            postgres.rows(connection, change, (3 - first,))

    def persevering(first: int) -> None:
        try:
            retry.call(lambda: work(first))
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    both = [threading.Thread(target=persevering, args=(first,)) for first in (1, 2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert failures == []
    assert len(tries) == 3
    assert shop.ask("warehouse", "SELECT seen FROM public.pair") == [(2,), (2,)]


def test_a_serialization_failure_passes_and_is_told_as_one(shop: Night) -> None:
    shop.ask("warehouse", "CREATE TABLE public.one AS SELECT 1 AS id, 0 AS seen")
    shop.ask("warehouse", "GRANT ALL ON public.one TO PUBLIC")

    def work() -> None:
        with opened(shop) as connection:
            connection.set_session(isolation_level="REPEATABLE READ")
            postgres.rows(connection, "SELECT * FROM public.one")
            shop.ask("warehouse", "UPDATE public.one SET seen = 1")
            postgres.rows(connection, "UPDATE public.one SET seen = 2")

    with pytest.raises(ConflictError, match="the warehouse: could not serialize"):
        work()


@pytest.mark.parametrize("passing", [ConflictError("a"), LostError("b")])
def test_who_waits_is_told_of_each_try(passing: PipelineError) -> None:
    tries: list[str] = []

    def work() -> int:
        if len(tries) < 3:
            raise passing
        return len(tries)

    assert retry.call(work, tries.append) == 3
    assert tries == [f"{passing}; trying again"] * 3


# A whole run.


@pytest.mark.endurance
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_outlives_a_restart_of_the_warehouse(shop: Night, number: signal.Signals) -> None:
    """Stopped at once by its administrator, and killed, after which it has to recover."""
    run = next_run()
    home = shop.platform.sandbox.home
    with shop.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        started = shop.start_etl(run)
        query = "SELECT pid FROM ops.step WHERE run = %s AND task = 'ExtractTable' AND state = 'running'"
        wait_until(lambda: shop.ask("warehouse", query, (run,)), "the extraction has begun")
        (server,) = [one for one in servers.CLUSTERS if one.name == provision.WAREHOUSE]
        process = server.process(home)
        assert process is not None
        process.send_signal(number)
        wait_until(lambda: server.process(home) is None, "the warehouse has ended")
        said: list[str] = []
        lifecycle.up(home, said.append, samples=False)
    out, err = started.communicate(timeout=120)
    assert started.returncode == 0, out + err
    assert shop.differing("shop") == []
    assert shop.ask("warehouse", "SELECT state FROM ops.run WHERE run = %s", (run,)) == [("done",)]
