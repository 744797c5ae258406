"""A hot standby as a source: nothing is missed there, and what it ends for its replay is tried again."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import access, postgres, retry
from pipeline.errors import ConflictError
from pipeline.loading import extract
from pipeline.observe import watch
from pipeline.postgres import snapshot
from pipeline.retry import RetryPolicy
from tests.support import standbys
from tests.support.night import Night, next_run, wait_until
from tests.support.platforms import Sandbox
from tests.support.standbys import Server, Standby

pytestmark = pytest.mark.endurance

# Reading the view takes long enough for something to happen meanwhile.
ITEMS = """
    CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 150) AS n;
    CREATE VIEW slowly AS SELECT id, name FROM item WHERE pg_sleep(0.02) IS NOT NULL;
"""
DECLARED = "source: shop\ntables: {item: {}, slowly: {key: [id], changes: full}}\n"


@pytest.fixture(scope="module")
def server(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A standby of all sources, for tests that leave it one."""
    with standbys.following(sandbox, tmp_path_factory.mktemp("standby") / "home") as made:
        yield made


@pytest.fixture
def standby(night: Night, server: Server) -> Standby:
    """A standby that the pipeline reads the source "shop" from."""
    return read_from(night, server)


def read_from(night: Night, server: Server) -> Standby:
    night.platform.source("shop", ITEMS, DECLARED)
    standby = Standby(night.platform, server)
    standby.become("shop")
    standby.catch_up("shop")
    return standby


def test_rows_of_transactions_that_commit_late_are_found_on_a_standby(night: Night, standby: Standby) -> None:
    """The horizon of a standby is that of the primary's transactions, as far as it knows of them."""
    with standby.connect("shop") as here:
        assert postgres.value(here, "SELECT pg_is_in_recovery()")
    night.load("shop", "item")
    run, following = next_run(), next_run()
    with night.platform.connect("shop") as late, night.platform.connect("shop") as nested:
        for connection in (late, nested):
            connection.autocommit = False
        postgres.rows(late, "INSERT INTO item VALUES (201, 'late')")
        postgres.rows(nested, "SAVEPOINT a; UPDATE item SET name = 'late' WHERE id = 2; RELEASE a")
        night.ask("shop", "UPDATE item SET name = 'early' WHERE id = 1")
        standby.catch_up("shop")
        night.extract("shop", run, "item")
        late.commit()
        nested.commit()
    night.publish("shop", run, "item")
    assert night.value("warehouse", "SELECT count(*) FROM shop.item WHERE name = 'early'") == 1
    assert night.value("warehouse", "SELECT count(*) FROM shop.item WHERE name = 'late'") == 0
    standby.catch_up("shop")
    night.load("shop", "item", following)
    assert night.extraction(following, "shop.item")[0] == "increment"
    assert night.differing("shop", "item") == []


# Its last transaction is then seconds ago, and is to be told of as if that were hours.
AT_ONCE = 0
AFTERWARDS = "INSERT INTO item VALUES (999, 'after it stopped') RETURNING id"


def test_a_standby_that_does_not_follow_is_told_of(
    night: Night, standby: Standby, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its snapshot is of one moment, but an old one; to follow is fine, and so is to wait for a while."""

    def take() -> snapshot.Snapshot:
        with access.opened(night.settings) as databases, databases.source("shop") as source:
            return snapshot.take(source)

    assert (current := take()).as_of == current.taken_at
    with standby.stopped("shop", AFTERWARDS) as since:
        assert (current := take()).as_of == current.taken_at
        assert "standby" not in caplog.text
        monkeypatch.setattr(snapshot, "LAG_HOURS", AT_ONCE)
        taken = take()
    assert taken.as_of <= since < taken.taken_at
    shown = f"has stopped its replay, and shows it as of {taken.as_of:%Y-%m-%d %H:%M} UTC"
    assert f"the source is a standby that {shown}" in caplog.text
    kept = snapshot.Snapshot.from_json(json.loads(json.dumps(taken.to_json())))
    assert kept is not None
    assert (kept.as_of, kept.behind) == (taken.as_of, taken.behind)


def test_a_table_of_a_standby_that_stopped_is_as_old_as_what_it_shows(
    night: Night, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each night ended well, and said that its tables are of tonight: nothing could ever be too old."""
    monkeypatch.setattr(snapshot, "LAG_HOURS", AT_ONCE)
    with standby.stopped("shop", AFTERWARDS) as since:
        night.load("shop", "item")
    found = watch.observe(night.settings, since)
    assert found.ledger is not None
    shown_as_of = found.ledger.tables["shop.item"].fresh_as_of
    assert shown_as_of is not None
    assert shown_as_of <= since
    assert found.ledger.behind["shop"].startswith("a standby that has stopped its replay, and shows it as of")
    shown = " ".join(night.run("status").out.split())
    assert "shop: was read from a standby that has stopped its replay, and shows it as of" in shown
    # And of a later night, when it follows again, the tables are of that.
    standby.catch_up("shop")
    night.load("shop", "item")
    found = watch.observe(night.settings, since)
    assert found.ledger is not None
    assert found.ledger.behind == {}
    shown_as_of = found.ledger.tables["shop.item"].fresh_as_of
    assert shown_as_of is not None
    assert shown_as_of > since
    assert night.differing("shop", "item") == []


def in_the_middle(standby: Standby) -> None:
    query = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY (SELECT%'"
    with standby.connect("shop") as here:
        wait_until(lambda: postgres.rows(here, query), "the view is being read", 240)


def test_a_reader_in_the_way_of_the_replay_reads_again(
    night: Night, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that the standby has to follow ends the reading; the next try reads the same moment."""
    monkeypatch.setattr(retry, "STEP", RetryPolicy(60, 0.1, 0.1))
    run, shown = next_run(), []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            extract.extract_table(
                night.settings, night.table("shop", "slowly"), run, lambda _, what: shown.append(what)
            )
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    with night.snapshot("shop", run):
        worker = threading.Thread(target=work)
        worker.start()
        in_the_middle(standby)
        night.ask("shop", "BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE; COMMIT")
        worker.join()
    assert failures == []
    assert any("trying again" in what for what in shown)
    night.publish("shop", run, "slowly")
    assert night.differing("shop", "slowly") == []


def test_a_reader_that_is_always_in_the_way_says_what_to_set(
    night: Night, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "STEP", RetryPolicy(0))
    run = next_run()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            extract.extract_table(night.settings, night.table("shop", "slowly"), run)
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    with night.snapshot("shop", run):
        worker = threading.Thread(target=work)
        worker.start()
        in_the_middle(standby)
        night.ask("shop", "BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE; COMMIT")
        worker.join()
    (error,) = failures
    assert isinstance(error, ConflictError)
    assert str(error).startswith("shop.slowly: the source is a standby and cancelled the query")
    assert "hot_standby_feedback = on" in str(error)


def test_a_run_whose_snapshot_is_ended_by_the_standby_takes_another(night: Night, standby: Standby) -> None:
    """A vacuum on the primary ends reader and snapshot at once: the chain goes on with another by itself."""
    run = next_run()
    started = night.start_etl(run)
    in_the_middle(standby)
    night.ask("shop", "DELETE FROM item WHERE id > 140")
    night.ask("shop", "VACUUM item")
    out, err = started.communicate(timeout=300)
    assert started.returncode == 0, out + err
    standby.catch_up("shop")
    assert night.differing("shop") == []
    with standby.connect("shop") as here:
        query = "SELECT confl_snapshot FROM pg_stat_database_conflicts WHERE datname = current_database()"
        assert postgres.value(here, query) >= 1


def test_a_failover_is_noticed_and_the_table_read_whole(night: Night, tmp_path: Path) -> None:
    """What the old primary had and the new one has not is another history, where no watermark holds."""
    with standbys.following(night.platform.sandbox, tmp_path / "own") as server:
        standby = read_from(night, server)
        night.load("shop", "item")
        standby.promote("shop")
        with standby.connect("shop") as here:
            postgres.rows(here, "UPDATE item SET name = 'after the failover' WHERE id = 1")
        run = next_run()
        night.load("shop", "item", run)
    assert night.extraction(run, "shop.item") == ("full", 150)
    changed = "SELECT id FROM shop.item WHERE name = 'after the failover'"
    assert night.ask("warehouse", changed) == [(1,)]
