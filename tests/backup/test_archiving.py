"""A server's own archive of WAL, beside our backups: where it is not written any more, the night says so."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import alerts, postgres
from pipeline.alerts import failures
from pipeline.backup import dump
from tests.support import majors
from tests.support.archive import SMALL
from tests.support.hooks import Hook
from tests.support.majors import Major
from tests.support.night import Night, next_run, wait_until
from tests.support.restores import Restores


def archived_by(server: Major, command: str, counted: str) -> None:
    """Have the server archive by a command, and wait until it has tried that with one more segment."""
    query = f"SELECT {counted} FROM pg_stat_archiver"
    with server.connect("postgres") as connection:
        postgres.rows(connection, f"ALTER SYSTEM SET archive_command = '{command}'")
        postgres.rows(connection, "SELECT pg_reload_conf()")
        before = postgres.value(connection, query)
        postgres.rows(connection, "SELECT pg_logical_emit_message(false, 'a', 'b'), pg_switch_wal()")
        wait_until(lambda: postgres.value(connection, query) > before, f"one more {counted}")


@pytest.mark.endurance
def test_an_archive_of_wal_that_is_not_written_is_told_until_it_is(
    restores: Restores, night: Night, hook: Hook, tmp_path: Path
) -> None:
    assert night.ask("warehouse", "SELECT count(*) FROM ops.backup") == [(0,)]
    archive = restores.archive
    version = min(majors.binaries())
    with majors.started(version, tmp_path / "server", "-c", "archive_mode=on") as server:
        server.backed_up(archive.platform, "shop", SMALL)
        archive.write_settings()
        archived_by(server, "true", "archived_count")
        archived_by(server, "false", "failed_count")
        for _ in range(2):
            ended = archive.backup("shop", next_run())
            assert ended.code == 0, ended.err
        (alert,) = hook.alerts()
        assert (alert.kind, alert.key) == ("warning", "watch/archiving/shop")
        assert "not archive its WAL: the last WAL that was archived is from 20" in alert.summary
        shown = " ".join(archive.run("status").out.split())
        assert "shop: its server does not archive its WAL: the last WAL that was archived is from 20" in shown
        archived_by(server, "true", "archived_count")
        ended = archive.backup("shop", next_run())
        assert ended.code == 0, ended.err
        assert hook.received() == [("warning", alert.key), ("recovered", alert.key)]
        assert "WAL" not in archive.run("status").out
        # It fails at nothing then, by its own figures.
        with server.connect("postgres") as connection:
            postgres.rows(connection, "ALTER SYSTEM SET archive_command = ''")
            postgres.rows(connection, "SELECT pg_reload_conf()")
            wait_until(
                lambda: postgres.value(connection, "SHOW archive_command") == "", "no command is there"
            )
        ended = archive.backup("shop", next_run())
        assert ended.code == 0, ended.err
        assert "neither archive_command nor archive_library is set" in hook.alerts()[-1].summary


def test_a_server_that_is_to_archive_nothing_any_more_is_no_longer_told_of(
    restores: Restores, hook: Hook
) -> None:
    restores.source("shop", SMALL)
    archive, key = restores.archive, f"{failures.ARCHIVING}shop"
    of = replace(failures.backup("shop", "2029-12-31"), key=key)
    alerts.send(archive.settings, of.alert("it does not archive its WAL", kind=alerts.Kind.WARNING))
    dump.dump_database(archive.settings, "shop", next_run())
    assert hook.received() == [("warning", key), ("recovered", key)]
