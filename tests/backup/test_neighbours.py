"""A database that somebody made beside one that is backed up, and that nobody declared, is told."""

from collections.abc import Iterator

import pytest

from pipeline import postgres
from pipeline.backup import dump, encrypt, upload, verify
from pipeline.backup.store import neighbours
from pipeline.errors import PipelineError
from pipeline.sandbox import provision
from pipeline.sandbox.servers import clusters, servers
from pipeline.sandbox.servers.clusters import Cluster
from tests.support.archive import SMALL, Archive
from tests.support.hooks import Hook
from tests.support.majors import Major
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


def taken(archive: Archive, name: str = "shop") -> str:
    """Back a database up by its four steps, without Luigi; return the run."""
    run = next_run()
    for step in (dump.dump_database, encrypt.encrypt_dump, upload.upload_backup, verify.verify_backup):
        step(archive.settings, name, run)
    return run


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


def test_a_section_whose_entry_names_another_database_hides_none_by_its_name(
    shop: Archive, hook: Hook
) -> None:
    """Its backups were green, and of the wrong database: its dump equals its own manifest."""
    platform = shop.platform
    vault = platform.sandbox.vault
    vault.write(
        f"database/{platform.database(FORGOTTEN)}", vault.read(f"database/{platform.database('shop')}") or {}
    )
    platform.sources.append(FORGOTTEN)
    shop.write_settings()
    for name in ("shop", FORGOTTEN):
        taken(shop, name)
    (alert,) = hook.alerts()
    # The first of the two, by their names: the other relies on it.
    assert alert.key == f"watch/neighbours/{FORGOTTEN}"
    assert alert.summary.endswith(f"databases of its server are not backed up: {FORGOTTEN}")
    assert alert.hint is not None
    assert "correct uri in its entry in Vault" in alert.hint


@pytest.fixture
def elsewhere(shop: Archive) -> Iterator[str]:
    """The name of a database on both servers, of which that on the other one alone has a section."""
    platform = shop.platform
    home, name = platform.sandbox.home, platform.database(FORGOTTEN)
    cluster = next(one for one in servers.CLUSTERS if one.name == provision.DRILL)
    assert isinstance(cluster, Cluster)
    Major(17, home, cluster).backed_up(platform, FORGOTTEN, SMALL)
    try:
        with clusters.connection(home, provision.SOURCES, "postgres") as connection:
            # Removed with the source of that name.
            postgres.rows(connection, f"CREATE DATABASE {name}")
        yield name
    finally:
        with clusters.connection(home, provision.DRILL, "postgres") as connection:
            postgres.rows(connection, f"DROP DATABASE {name} WITH (FORCE)")
            postgres.rows(connection, f"DROP ROLE {name}_owner, backup_{name}")


def test_a_section_of_another_server_hides_no_database_by_its_name(
    shop: Archive, hook: Hook, elsewhere: str
) -> None:
    """Neither by what it is called itself, nor by what its database is called there."""
    shop.write_settings(leave=f"[!q{elsewhere[0]}]*")
    taken(shop, FORGOTTEN)
    taken(shop)
    (alert,) = hook.alerts("watch/neighbours/shop")
    assert {FORGOTTEN, elsewhere} <= set(alert.summary.rpartition(": ")[2].split(", "))


def test_a_bucket_that_does_not_answer_makes_no_database_one_without_a_backup(shop: Archive) -> None:
    """Which database another section is can then not be known."""
    shop.source("another", SMALL)
    proven = shop.manifest("shop", taken(shop))
    names = (FORGOTTEN, shop.platform.database("another"))
    with shop.bucket() as opened:
        taken(shop, "another")
        assert neighbours.left_out(opened, shop.settings, proven, names) == []
        shop.control.fault("b2_list_file_names", "error", status=400, code="bad_request")
        with pytest.raises(PipelineError, match="bad_request"):
            neighbours.left_out(opened, shop.settings, proven, names)
