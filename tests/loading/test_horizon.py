"""What keeps a source's horizon back for long is named, with its owner and since when."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from pipeline import access
from pipeline.loading.source import continuity, horizon
from pipeline.observe import watch
from pipeline.postgres import Connection
from tests.support.night import Night

DECLARATION = "source: shop\ntables: {item: {}}\n"
TABLE = "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item SELECT generate_series(1, 5);"


@pytest.fixture
def writing(night: Night) -> Iterator[Connection]:
    """A source, loaded once, and a session that has written there and does not end."""
    night.platform.source("shop", TABLE, DECLARATION)
    with night.platform.connect("shop") as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO item VALUES (100)")
        night.ask("shop", "INSERT INTO item VALUES (50) RETURNING id")  # the source goes on
        night.load("shop", "item")
        yield connection
        connection.rollback()


def named(night: Night) -> list[str]:
    """Return who is named as a load begins."""
    with (
        access.opened(night.settings) as databases,
        databases.warehouse(autocommit=True) as ours,
        databases.source("shop") as theirs,
    ):
        return list(continuity.take(ours, theirs, "shop", remember=False).held_back)


def test_a_session_of_another_role_that_is_in_its_transaction_for_days_is_named(
    night: Night, writing: Connection
) -> None:
    """The source does not tell us since when: that it was at work at a snapshot of before does."""
    assert named(night) == []
    night.ask("warehouse", "UPDATE ops.step SET finished_at = finished_at - interval '2 days' RETURNING 1")
    (one,) = named(night)
    assert one.startswith(f'process {writing.info.backend_pid} of "postgres", since before ')
    writing.rollback()
    assert named(night) == []


def test_who_ends_and_begins_again_holds_nobody_up(night: Night, writing: Connection) -> None:
    night.ask("warehouse", "UPDATE ops.step SET finished_at = finished_at - interval '2 days' RETURNING 1")
    writing.commit()
    with writing.cursor() as cursor:
        cursor.execute("INSERT INTO item VALUES (101)")
    assert named(night) == []


def test_with_pg_read_all_stats_it_is_told_since_when(
    night: Night, writing: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(horizon, "LONG", timedelta())
    with night.platform.connect("shop") as connection, connection.cursor() as cursor:
        reader = night.platform.reader("shop")
        cursor.execute(f'GRANT pg_read_all_stats TO "{reader}"')
        (one,) = named(night)
        cursor.execute(f'REVOKE pg_read_all_stats FROM "{reader}"')
    assert one.startswith(f'process {writing.info.backend_pid} (idle in transaction) of "postgres", since 20')


@pytest.mark.endurance
def test_plan_status_and_watch_name_it(night: Night, writing: Connection) -> None:
    night.ask("warehouse", "UPDATE ops.step SET finished_at = finished_at - interval '2 days' RETURNING 1")
    assert f"process {writing.info.backend_pid}" in night.run("plan", "shop").out
    with night.snapshot("shop", "2026-11-28"):
        pass
    assert f"process {writing.info.backend_pid}" in night.run("status").out
    now = night.ask("warehouse", "SELECT now()")[0][0]
    found = {one.key: one for one in watch.judge(night.settings, watch.observe(night.settings, now), now)}
    assert found["watch/horizon/shop"].severity == "warning"
    assert f"process {writing.info.backend_pid}" in found["watch/horizon/shop"].summary


def test_a_prepared_transaction_is_named_by_its_name(
    night: Night, writing: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(horizon, "LONG", timedelta())
    writing.commit()
    with night.platform.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; INSERT INTO item VALUES (7); PREPARE TRANSACTION 'left over'")
        try:
            (one,) = named(night)
        finally:
            cursor.execute("ROLLBACK PREPARED 'left over'")
    assert one.startswith('prepared transaction "left over" of "postgres", since 20')
