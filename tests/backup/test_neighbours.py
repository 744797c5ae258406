"""A database that somebody made beside one that is backed up, and that nobody declared, is told."""

from collections.abc import Iterator

import pytest

from pipeline import postgres
from pipeline.backup import dump, encrypt, upload, verify
from pipeline.sandbox import provision
from pipeline.sandbox.servers import clusters
from tests.support.archive import SMALL, Archive
from tests.support.hooks import Hook
from tests.support.night import next_run

# Tests share a server, and none of their databases begins so.
FORGOTTEN, ALL_OTHERS = "quite_forgotten", "[!q]*"


@pytest.fixture
def shop(archive: Archive) -> Iterator[Archive]:
    """An archive with one database to back up, on whose server is another one."""
    home = archive.platform.sandbox.home
    with clusters.connection(home, provision.SOURCES, "postgres") as connection:
        postgres.rows(connection, f"CREATE DATABASE {FORGOTTEN}")
        try:
            archive.source("shop", SMALL)
            archive.write_settings(leave=ALL_OTHERS)
            yield archive
        finally:
            postgres.rows(connection, f"DROP DATABASE {FORGOTTEN} WITH (FORCE)")


def taken(archive: Archive) -> None:
    """Back the database up by its four steps, without Luigi."""
    run = next_run()
    for step in (dump.dump_database, encrypt.encrypt_dump, upload.upload_backup, verify.verify_backup):
        step(archive.settings, "shop", run)


def backed_up(archive: Archive, name: str) -> None:
    ended = archive.backup(name, next_run())
    assert ended.code == 0, ended.err


def test_a_database_that_nothing_backs_up_is_told_until_somebody_says_what_is_wanted(
    shop: Archive, hook: Hook
) -> None:
    """Each backup was green, and that database was lost with its server."""
    shop.write_settings()
    for _ in range(2):
        taken(shop)
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key, alert.command) == ("warning", "watch/neighbours/shop", "pipeline check")
    assert alert.summary.endswith(f"databases of its server are not backed up: {FORGOTTEN}")
    assert alert.hint is not None
    assert "[database.NAME]" in alert.hint
    shop.write_settings(leave=f"{ALL_OTHERS}, quite_*")
    taken(shop)
    assert hook.received() == [("warning", alert.key), ("recovered", alert.key)]


@pytest.mark.endurance
def test_a_section_is_known_by_its_backup_and_one_of_a_server_tells(shop: Archive, hook: Hook) -> None:
    """It is called as people like. And what is told by one of them is not told by each."""
    shop.source("another", SMALL)
    other = shop.platform.database("another")
    shop.write_settings(leave=f"[!q{other[0]}]*")
    backed_up(shop, "shop")
    (alert,) = hook.alerts()
    assert alert.key == "watch/neighbours/shop"
    assert FORGOTTEN in alert.summary
    assert other in alert.summary
    backed_up(shop, "another")
    (_, alert) = hook.alerts()
    assert alert.key == "watch/neighbours/another"
    assert FORGOTTEN in alert.summary
    assert shop.platform.database("shop") not in alert.summary
    backed_up(shop, "shop")
    assert hook.received()[2:] == [("recovered", "watch/neighbours/shop")]
