"""The drill of pgBackRest's archive: what is whole is proven, and a gap, another server or damage is not."""

import contextlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import postgres
from pipeline.backup.drills import attempt, recovery
from pipeline.backup.drills.report import Origin, Report
from pipeline.backup.pgbackrest import cluster, isolation, machine
from pipeline.errors import CheckError, PipelineError, StepError, UnreachableError
from tests.support.archive import SMALL
from tests.support.hooks import Hook
from tests.support.night import Night, next_run, wait_until
from tests.support.pgbackrest import PROGRAM, STANZA, Archived, archived, drilling
from tests.support.platforms import Connection
from tests.support.restores import RUN, Restores

pytestmark = pytest.mark.endurance

MONTH = "2026-11"
# A table that nobody writes to after our backup: it has to come back as it was.
UNCHANGED = "CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept VALUES (1);"
GAP = r"recovery ended at .*, and the repository has WAL up to"


@pytest.fixture
def beside(restores: Restores, tmp_path: Path) -> Iterator[Archived]:
    """A server with a backup of pgBackRest's and then one of ours, and something written after both."""
    with beside_in(restores, tmp_path / "server") as made:
        yield made


@contextlib.contextmanager
def beside_in(restores: Restores, folder: Path, repositories: int = 1) -> Iterator[Archived]:
    """As `beside`, with a backup in each of several repositories, the newest in the last."""
    archive = restores.archive
    with archived(folder, repositories) as made:
        made.server.backed_up(archive.platform, "shop", SMALL + UNCHANGED)
        for number in range(repositories):
            made.back_up(repo=number + 1)
        archive.write_settings()
        archive.write_sections(**{"database.shop": {"pgbackrest": STANZA}, "pgbackrest": drilling(made)})
        ended = archive.backup("shop", RUN)
        assert ended.code == 0, ended.err
        write(made, restores, "INSERT INTO item VALUES (2000, 'later')")
        made.switch()
        yield made


def write(beside: Archived, restores: Restores, *statements: str) -> None:
    """Run statements in the source."""
    with beside.server.connect(restores.archive.platform.database("shop")) as connection:
        for statement in statements:
            postgres.rows(connection, statement)


def drilled(restores: Restores) -> Report:
    """Drill, and return the report."""
    return recovery.drill_archive(restores.archive.settings, "shop", MONTH)


def failed(restores: Restores, match: str, kind: type[PipelineError] = CheckError) -> Report:
    """Drill, see it fail, and return the report that is in the bucket."""
    with pytest.raises(kind, match=match) as error:
        drilled(restores)
    assert type(error.value) is kind
    result = attempt.reports(restores.archive.settings, ["shop"], MONTH, Origin.PGBACKREST)["shop"]
    assert (result.grade, result.held) == ("F", False)
    return result


def held(result: Report) -> dict[str, bool | None]:
    """Return which sentences held."""
    return {one.name: one.held for one in (*result.assertions, *result.controls)}


def left(beside: Archived) -> list[Path]:
    """Return what drills have left."""
    return list((beside.server.home.servers("drill") / ".restore").glob("*"))


def test_a_whole_archive_is_proven_and_nothing_stays_but_the_report(
    beside: Archived, restores: Restores
) -> None:
    before = [path.name for path in beside.wal()]
    result = drilled(restores)
    assert (result.grade, result.failures, result.notes) == ("A", (), ())
    assert held(result) == dict.fromkeys(
        (
            "backup",
            "server",
            "end of the archive",
            "our backup",
            "tables",
            "indexes",
            "amcheck",
            "page checksums",
            "a damaged page is noticed",
        ),
        True,
    )
    assert "1,002 rows read in full" in next(one.detail for one in result.assertions if one.name == "tables")
    assert list(result.seconds) == ["restore", "recovery", "check"]
    assert result.recovered_to is not None
    assert result.label == beside.info()["backup"][0]["label"]
    assert [path.name for path in beside.wal()] == before, "the drill wrote into the archive"
    assert attempt.is_held(restores.archive.settings, "shop", MONTH, Origin.PGBACKREST)
    assert not attempt.is_held(restores.archive.settings, "shop", MONTH), "it is no drill of our backup"
    assert left(beside) == []


def test_of_several_repositories_the_newest_backup_is_restored_and_the_others_are_named(
    restores: Restores, tmp_path: Path
) -> None:
    """pgBackRest by itself takes the first that has a backup at all: here one that cannot be restored."""
    with beside_in(restores, tmp_path / "server", repositories=2) as beside:
        first, newest = sorted(one["label"] for one in beside.info()["backup"])
        shutil.rmtree(beside.repository / "backup" / STANZA / first / "pg_data")
        result = drilled(restores)
        assert (result.grade, result.failures, result.label) == ("B", (), newest)
        assert result.notes == (f"not drilled: repo1; the newest backup, {newest}, is in repo2",)
        assert left(beside) == []


def test_a_gap_in_the_wal_is_found_though_recovery_ends_well(beside: Archived, restores: Restores) -> None:
    """At a segment that is missing PostgreSQL thinks that the archive ends, and opens the database."""
    for number in range(2):
        write(beside, restores, f"INSERT INTO item VALUES ({3000 + number}, 'later')")
        beside.switch()
    beside.wal()[-2].unlink()
    result = failed(restores, GAP)
    assert held(result)["end of the archive"] is False
    assert left(beside) == []


def test_an_archive_that_ends_before_our_backup_is_found(beside: Archived, restores: Restores) -> None:
    """Also where nothing in the repository itself shows that anything is missing."""
    write(beside, restores, "ALTER SYSTEM SET archive_command = 'true'", "SELECT pg_reload_conf()")
    query = "SELECT last_archived_wal FROM pg_stat_archiver"
    with beside.server.connect("postgres") as connection:
        wait_until(lambda: postgres.value(connection, "SHOW archive_command") == "true", "it is told so")
        for _ in range(3):
            before = postgres.value(connection, query)
            postgres.rows(connection, "SELECT pg_logical_emit_message(false, 'a', 'b'), pg_switch_wal()")
            wait_until(lambda before=before: postgres.value(connection, query) != before, "it says so")  # type: ignore[misc]
    ended = restores.archive.backup("shop", next_run())
    assert ended.code == 0, ended.err
    result = failed(restores, "bytes of WAL are missing")
    assert held(result)["end of the archive"] is True
    assert held(result)["our backup"] is False


def test_wal_that_is_not_archived_yet_is_a_remark_and_costs_the_best_grade(
    beside: Archived, restores: Restores
) -> None:
    write(beside, restores, "INSERT INTO item VALUES (4000, 'not archived yet')")
    ended = restores.archive.backup("shop", next_run())
    assert ended.code == 0, ended.err
    result = drilled(restores)
    assert result.grade == "B"
    (note,) = result.notes
    assert "the server had not archived that segment of WAL yet; set archive_timeout there" in note


@pytest.mark.usefixtures("beside")
def test_the_archive_of_another_server_is_found(restores: Restores) -> None:
    contents = restores.archive.manifest("shop", RUN).contents
    other = contents.database.model_copy(update={"system_identifier": "7"})
    restores.change_manifest("shop", contents=contents.model_copy(update={"database": other}))
    result = failed(restores, "its system identifier is .*, and our backup's server has 7")
    assert held(result)["server"] is False


def test_damage_that_came_with_the_pages_is_found(beside: Archived, restores: Restores) -> None:
    """pgBackRest makes such a backup, and ends with 0."""
    with beside.server.connect(restores.archive.platform.database("shop")) as connection:
        file = postgres.value(connection, "SELECT pg_relation_filepath('item')")
        postgres.rows(connection, "CHECKPOINT")
    with (beside.server.cluster.folder(beside.server.home) / file).open("r+b") as opened:
        opened.seek(2 * 8192 + 8000)
        opened.write(b"damaged")
    beside.back_up()
    result = failed(restores, "invalid page in block 2")
    wrong = {name for name, holds in held(result).items() if holds is False}
    assert wrong == {"backup", "tables", "page checksums"}
    assert left(beside) == []


def test_what_the_source_is_told_to_do_the_restored_server_does_not(
    beside: Archived, restores: Restores
) -> None:
    """Neither load libraries, nor listen, nor archive, nor follow a publication, nor run what is on login."""
    database = restores.archive.platform.database("shop")
    write(
        beside,
        restores,
        "CREATE TABLE seen (at timestamptz)",
        "CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO public.seen VALUES (now()); END'",
        "CREATE SUBSCRIPTION follow CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p "
        "WITH (connect = false, slot_name = 'follow')",
        "ALTER SUBSCRIPTION follow ENABLE",
        "ALTER SYSTEM SET shared_preload_libraries = 'not_there'",
        "ALTER SYSTEM SET listen_addresses = '*'",
        f"ALTER DATABASE {database} SET session_preload_libraries = 'auto_explain'",
        "ALTER SYSTEM SET shared_buffers = '900GB'",
    )
    try:
        if beside.server.version >= isolation.EVENT_TRIGGERS_SINCE:
            write(beside, restores, "CREATE EVENT TRIGGER noted ON login EXECUTE FUNCTION noted()")
            write(beside, restores, "ALTER EVENT TRIGGER noted ENABLE ALWAYS")
        write(beside, restores, "DELETE FROM seen")
        beside.back_up()
        asked: list[list[tuple[object, ...]]] = []
        opened = cluster.Cluster.opened

        def asking(self: cluster.Cluster, name: str, session: object = None) -> object:
            if name == database:
                with opened(self, name) as connection:
                    asked.append(_surroundings(connection))
            return opened(self, name, session)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cluster.Cluster, "opened", asking)
            result = drilled(restores)
        assert result.held, result.failures
        assert asked[-1] == [("off", "", "", "", 0, 0)]
    finally:
        write(beside, restores, "ALTER SUBSCRIPTION follow DISABLE")
        write(beside, restores, "ALTER SUBSCRIPTION follow SET (slot_name = NONE)")
        write(beside, restores, "DROP SUBSCRIPTION follow")


def _surroundings(connection: Connection) -> list[tuple[object, ...]]:
    query = """
        SELECT current_setting('archive_mode'), current_setting('listen_addresses'),
            current_setting('shared_preload_libraries'), current_setting('session_preload_libraries'),
            (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%'),
            (SELECT count(*)::int FROM public.seen)
        """
    return postgres.rows(connection, query)


def test_what_keeps_a_drill_from_being_tried_is_one_clear_message(
    beside: Archived, restores: Restores, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive = restores.archive
    programs = archive.sections["pgbackrest"]["postgres_bin"]
    archive.write_sections(pgbackrest={"postgres_bin": str(tmp_path)})
    failed(restores, r"PostgreSQL \d+, the archive's version, is not on this machine", StepError)
    other = tmp_path / "postgres"
    other.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 9.6'\n")
    other.chmod(0o755)
    failed(restores, rf"is not on this machine; found 9 in {tmp_path}; install its server", StepError)
    archive.write_sections(pgbackrest={"postgres_bin": programs})
    with monkeypatch.context() as patch:
        patch.setattr(machine.shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore[attr-defined]
        failed(restores, r"the server needs 0.\d GB, and 0.0 GB are free", StepError)
    archive.write_sections(**{"database.shop": {"pgbackrest": "mian"}})
    failed(restores, "stanza mian: repo1: missing stanza path", StepError)
    archive.write_sections(pgbackrest={"config": str(tmp_path / "nothing.conf")})
    with pytest.raises(UnreachableError, match="unable to open missing file"):
        drilled(restores)
    assert left(beside) == []


def test_the_command_tells_of_what_did_not_hold_and_of_its_end(
    hook: Hook, beside: Archived, restores: Restores, night: Night, tmp_path: Path
) -> None:
    def known() -> dict[str, object]:
        """Return the one drill that `status` knows."""
        (one,) = json.loads(night.run("status", "--json").out)["drills"]
        return {key: one[key] for key in ("database", "from", "month", "state")}

    for number in range(2):
        write(beside, restores, f"INSERT INTO item VALUES ({3000 + number}, 'later')")
        beside.switch()
    gone = beside.wal()[-2]
    gone.rename(tmp_path / "kept")
    command = ("run", "drill", "shop", "--from", "pgbackrest", "--month", MONTH)
    ended = restores.archive.run(*command)
    assert ended.code == 4, ended.err
    assert "shop: the drill did not hold: shop, stanza main: end of the archive: recovery" in ended.err
    assert "next: fix that, then pipeline run drill shop --from pgbackrest" in " ".join(ended.err.split())
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key, alert.run) == ("failed", "drill/shop/pgbackrest", MONTH)
    assert alert.command == "pipeline run drill shop --from pgbackrest"
    drill = {"database": "shop", "from": "pgbackrest", "month": MONTH}
    assert known() == {**drill, "state": "failed"}
    (tmp_path / "kept").rename(gone)
    again = restores.archive.run(*command)
    assert again.code == 0, again.err
    assert "end of the archive: replayed up to" in again.out
    assert hook.received() == [("failed", "drill/shop/pgbackrest"), ("recovered", "drill/shop/pgbackrest")]
    assert known() == {**drill, "state": "ok"}
    third = restores.archive.run(*command)
    assert third.code == 0
    assert f"the drills of {MONTH} held already; nothing to do" in third.out
    assert restores.archive.run("run", "drill", "--from", "pgbackrest", "--changed").code == 2
    restores.archive.write_sections(**{"database.shop": {"pgbackrest": ""}})
    refused = restores.archive.run(*command)
    assert refused.code == 2
    assert "database shop: luigi.cfg names no stanza of pgBackRest" in refused.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_drill_that_is_ended_in_the_middle_leaves_no_server_and_the_next_one_is_whole(
    beside: Archived, restores: Restores, number: signal.Signals
) -> None:
    tools, waits = beside.server.home.servers("tools"), beside.server.home.servers("drill") / "waits"
    tools.mkdir(mode=0o755)
    real = shutil.which(PROGRAM)
    waits.touch(mode=0o666)
    waits.chmod(0o666)
    (tools / PROGRAM).write_text(
        f'#!/bin/sh\ncase "$*" in *archive-get*) echo waits >{waits}; sleep 600;; esac\nexec {real} "$@"\n'
    )
    (tools / PROGRAM).chmod(0o755)
    command = ("run", "drill", "shop", "--from", "pgbackrest", "--month", MONTH)
    drilling_ = restores.start(*command, tools=tools)
    wait_until(waits.read_text, "recovery has begun")
    drilling_.send_signal(number)
    _, output = drilling_.communicate(timeout=60)
    if number == signal.SIGTERM:
        assert drilling_.returncode == 143, output
    work = str(beside.server.home.servers("drill"))
    wait_until(
        lambda: not [one for one in restores.archive.ours() if work in " ".join(one.cmdline())], "all ended"
    )
    if number == signal.SIGTERM:
        assert left(beside) == []
    again = restores.archive.run(*command)
    assert again.code == 0, again.err
    assert left(beside) == []
