"""A repository of pgBackRest beside our backups: how old it is, what is wrong with it, and whose it is."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline import postgres
from pipeline.backup.pgbackrest import comparison, repository
from pipeline.errors import StepError, UnreachableError
from pipeline.settings.sections import PgBackRestSettings
from tests.support.archive import SMALL, Archive
from tests.support.hooks import Hook
from tests.support.night import next_run, wait_until
from tests.support.pgbackrest import STANZA, Archived, archived, drilling


def lines(text: str) -> str:
    """Return a terminal's words without its line breaks."""
    return " ".join(text.split())


def named(archive: Archive, beside: Archived, stanza: str = STANZA) -> None:
    """Let luigi.cfg name the repository of shop's server."""
    archive.write_sections(**{"database.shop": {"pgbackrest": stanza}, "pgbackrest": drilling(beside)})


@pytest.mark.endurance
def test_status_watch_and_check_show_it_and_say_what_is_wrong(
    archive: Archive, hook: Hook, tmp_path: Path
) -> None:
    with archived(tmp_path / "server") as beside:
        beside.server.backed_up(archive.platform, "shop", SMALL)
        beside.back_up()
        archive.write_settings()
        named(archive, beside)
        last = beside.switch()
        found = repository.read(archive.settings.pgbackrest, STANZA)
        assert (found.problem, found.wal) == (None, last)
        assert found.backup is not None
        assert found.archived_at is not None
        assert found.backup.label == beside.info()["backup"][0]["label"]
        ended = archive.backup("shop", next_run())
        assert ended.code == 0, ended.err
        shown = lines(archive.run("status").out)
        assert f"shop: pgBackRest full of {found.backup.taken_at:%Y-%m-%d %H:%M} UTC, " in shown
        assert f"; WAL until {found.archived_at:%Y-%m-%d %H:%M} UTC, " in shown
        (known,) = json.loads(archive.run("status", "--json").out)["archives"]
        assert (known["database"], known["wal"], known["state"]) == ("shop", last, "ok")
        assert "pgBackRest shop: ok" in archive.run("check").out
        programs = archive.sections["pgbackrest"]["postgres_bin"]
        archive.write_sections(pgbackrest={"postgres_bin": str(tmp_path)})
        lacking = "pgBackRest shop: warning: it cannot be drilled on this machine: PostgreSQL 1"
        assert lacking in lines(archive.run("check").out)
        archive.write_sections(pgbackrest={"postgres_bin": programs})
        archive.run("watch")
        assert "watch/pgbackrest/shop" not in [key for _, key in hook.received()]

        # Another name: nothing is known of it, and all three say so.
        named(archive, beside, "mian")
        assert "reports for stanza mian: repo1: missing stanza path" in lines(archive.run("status").out)
        assert "pgBackRest shop: warning: stanza mian: repo1: missing stanza path" in lines(
            archive.run("check").out
        )
        archive.run("watch")
        assert ("stale", "watch/pgbackrest/shop") in hook.received()
        named(archive, beside)
        archive.run("watch")
        assert ("recovered", "watch/pgbackrest/shop") in hook.received()

        # A file that is not there: what cannot be asked is out of reach, and hides nothing else.
        archive.write_sections(pgbackrest={"config": str(tmp_path / "nothing.conf")})
        shown = lines(archive.run("status").out)
        assert "pgBackRest, stanza main: pgbackrest exited with 55: " in shown
        assert "shop " in shown
        watched = archive.run("watch")
        assert watched.code == 5
        assert "pgBackRest main: could not be observed" in lines(watched.out)


def test_a_stanza_that_is_not_there_and_a_file_that_is_not_read_are_one_clear_message(
    tmp_path: Path,
) -> None:
    with archived(tmp_path / "server") as beside:
        own = PgBackRestSettings(config=beside.config)
        assert repository.read(own, STANZA).problem == "repo1: no valid backups"
        assert repository.read(own, "other").problem == "repo1: missing stanza path"
        with pytest.raises(UnreachableError, match=r"pgbackrest exited with 55: .*unable to open missing"):
            repository.read(PgBackRestSettings(config=tmp_path / "nothing.conf"), STANZA)


def test_without_the_program_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepError, match="pgbackrest: not found on the PATH; install pgBackRest"):
        repository.read(PgBackRestSettings(), STANZA)


def test_the_newest_backup_and_the_moment_of_the_newest_wal_are_those_of_the_files(tmp_path: Path) -> None:
    with archived(tmp_path / "server") as beside:
        beside.back_up()
        beside.back_up("incr")
        beside.switch()
        found = repository.read(PgBackRestSettings(config=beside.config), STANZA)
        assert found.backup is not None
        assert found.backup.kind == "incr"
        assert found.archived_at is not None
        newest = beside.wal()[-1]
        assert newest.name.startswith(f"{found.wal}-")
        written = found.archived_at.timestamp() - newest.stat().st_mtime
        assert abs(written) <= timedelta(seconds=1).total_seconds()


def test_a_repository_of_another_server_or_that_lacks_what_was_archived_is_told(tmp_path: Path) -> None:
    """The server and the repository are asked apart: neither says it of itself."""
    with archived(tmp_path / "server") as beside:
        beside.back_up()
        own = PgBackRestSettings(config=beside.config)
        with beside.server.connect("postgres") as connection:
            of = comparison.server(connection)
            assert comparison.problems("shop", of, repository.read(own, STANZA)) == []
            postgres.rows(connection, "ALTER SYSTEM SET archive_command = 'true'")
            postgres.rows(connection, "SELECT pg_reload_conf()")
            postgres.rows(connection, "SELECT pg_logical_emit_message(false, 'a', 'b'), pg_switch_wal()")
            wait_until(lambda: comparison.server(connection).archived != of.archived, "it says it archived")
            of = comparison.server(connection)
        found = repository.read(own, STANZA)
        (problem,) = comparison.problems("shop", of, found)
        assert f"it archived {of.archived}, and the newest WAL in stanza main is {found.wal};" in problem
        other = comparison.Server("7", of.major, None)
        (problem,) = comparison.problems("shop", other, found)
        assert "stanza main belongs to another server: its system identifier is" in problem
