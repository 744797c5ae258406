"""The dump with the real pg_dump: what the manifest says of a database is what the dump restores to."""

import dataclasses
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import postgres, retry
from pipeline.backup import dump, tools
from pipeline.backup.database import contents
from pipeline.backup.store.manifest import Contents
from pipeline.backup.work import records
from pipeline.backup.work.records import Dumped
from pipeline.errors import PipelineError, ProblemsError, StepError, UnreachableError, UsageError
from pipeline.postgres import snapshot
from pipeline.retry import RetryPolicy
from pipeline.sandbox import provision
from pipeline.sandbox.servers import clusters
from tests.support.archive import SMALL, Archive, may_mount, psql, script, small_disk
from tests.support.night import next_run, wait_until
from tests.support.platforms import Connection

AWKWARD = """
CREATE EXTENSION IF NOT EXISTS citext;
CREATE SCHEMA "Odd ""Schema";
CREATE TYPE "Odd ""Schema".mood AS ENUM ('so', 'la la');
CREATE DOMAIN short AS text CHECK (length(value) < 30);
CREATE TABLE "Odd ""Schema"."Table with ""quotes" (
    "Id" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "größe" numeric, mood "Odd ""Schema".mood, gone int,
    doubled numeric GENERATED ALWAYS AS ("größe" * 2) STORED
);
ALTER TABLE "Odd ""Schema"."Table with ""quotes" DROP COLUMN gone;
INSERT INTO "Odd ""Schema"."Table with ""quotes" ("größe", mood)
VALUES (1.50, 'so'), (NULL, NULL), ('NaN', 'la la'), (123456789012345678901234567890.123456789, 'so');
CREATE TABLE kinds (
    moment timestamptz, span interval, exact double precision, raw bytea, doc json, tree jsonb, list text[],
    place point, words citext, day date, brief short, net inet, range int4range
);
INSERT INTO kinds VALUES
    ('infinity', '1 mon -3 days', 0.1::float8 + 0.2, '\\xdeadbeef', '{"b":1, "a" : 2}', '{"b":1}',
     '{"a,b",NULL}', '(1.1,2)', 'MiXed', '-infinity', 'x', '::1', '[1,5)'),
    ('2026-03-29 01:30+00', NULL, 'NaN', '', 'null', '[]', '{}', NULL, '', '2026-11-22', NULL, NULL, 'empty');
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE part (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE part_2025 PARTITION OF part FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE part_rest PARTITION OF part DEFAULT;
INSERT INTO part SELECT n, date '2025-06-01' + n FROM generate_series(1, 500) AS n;
CREATE TABLE parent (id int);
CREATE TABLE child (more int) INHERITS (parent);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2, 3), (4, 5);
CREATE UNLOGGED TABLE fleeting AS SELECT n FROM generate_series(1, 10) AS n;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM kinds;
CREATE MATERIALIZED VIEW never_filled AS SELECT 1 AS one WITH NO DATA;
CREATE VIEW seen AS SELECT * FROM kinds;
CREATE SEQUENCE unused;
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER noted BEFORE INSERT ON kinds FOR EACH ROW EXECUTE FUNCTION noted();
SELECT lo_from_bytea(4711, convert_to(repeat('large object', 1000), 'UTF8')), lo_from_bytea(4712, '');
"""


def dumped(archive: Archive, run: str) -> Dumped:
    dump.dump_database(archive.settings, "shop", run)
    record = records.dumped(archive.work("shop", run))
    assert record is not None
    return record


@pytest.fixture
def shop(archive: Archive) -> Archive:
    archive.source("shop", SMALL)
    return archive


@pytest.fixture
def restored(archive: Archive) -> Iterator[str]:
    """The name of an empty database in another server; roles that come with a restore go again afterwards."""
    name = f"{archive.platform.prefix}_restored"
    home = archive.platform.sandbox.home
    with clusters.connection(home, provision.DRILL, "postgres") as connection:
        before = {role for (role,) in postgres.rows(connection, "SELECT rolname FROM pg_roles")}
        postgres.rows(connection, f"CREATE DATABASE {name} TEMPLATE template0")
        yield name
        postgres.rows(connection, f"DROP DATABASE {name} WITH (FORCE)")
        for (role,) in postgres.rows(connection, "SELECT rolname FROM pg_roles"):
            if role not in before:
                postgres.rows(connection, f'DROP ROLE "{role}"')


def read_again(connection: Connection) -> Contents:
    """Return what a restored database holds, by the same queries."""
    for setting, value in postgres.SESSION.items():
        postgres.rows(connection, "SELECT set_config(%s, %s, false)", (setting, value))
    counted = [contents.count(connection, shape) for shape in contents.tables(connection)]
    return contents.complete(
        connection, counted, contents.sequences(connection), contents.large_objects(connection)
    )


def restore(archive: Archive, run: str, database: str) -> Contents:
    """Restore roles and dump from the work folder into another server, and return what it then holds."""
    folder, home = archive.work("shop", run), archive.platform.sandbox.home
    psql(archive, provision.DRILL, "postgres", [f"--file={folder.globals}"])
    where = [*clusters.socket_arguments(home, provision.DRILL), f"--dbname={database}"]
    subprocess.run(
        [clusters.BINARIES / "pg_restore", *where, "--exit-on-error", folder.dump],
        check=True,
        capture_output=True,
    )
    with clusters.connection(home, provision.DRILL, database) as connection:
        return read_again(connection)


def test_what_is_restored_is_what_the_manifest_says(archive: Archive, restored: str) -> None:
    """Every kind of table, type, object and owner, in another server, by counts and checksums."""
    archive.source("shop", AWKWARD)
    with archive.platform.connect("shop") as connection:
        # pg_dump may read large objects only of its own role or as superuser.
        postgres.rows(connection, f"ALTER ROLE {backup_role(archive)} SUPERUSER")
    run = next_run()
    told = dumped(archive, run).contents
    found = restore(archive, run, restored)
    assert found.tables == told.tables
    assert found.large_objects == told.large_objects
    assert told.large_objects.count == 2
    assert (found.sequences, found.extensions) == (told.sequences, told.extensions)
    assert found.objects == told.objects
    assert set(told.roles) <= {*found.roles, *all_roles(archive)}
    names = {table.full_name: table.rows for table in told.tables}
    assert names['Odd "Schema.Table with "quotes'] == 4
    assert (names["public.nothing"], names["public.parent"], names["public.child"]) == (2, 1, 2)
    assert (names["public.part_2025"] + names["public.part_rest"], names["public.fleeting"]) == (500, 10)
    assert not {"public.part", "public.totals", "public.seen"} & set(names)


def backup_role(archive: Archive) -> str:
    return f"backup_{archive.platform.database('shop')}"


def all_roles(archive: Archive) -> set[str]:
    with clusters.connection(archive.platform.sandbox.home, provision.DRILL, "postgres") as connection:
        return {role for (role,) in postgres.rows(connection, "SELECT rolname FROM pg_roles")}


def test_a_changed_value_changes_the_checksum_and_the_order_of_rows_does_not(shop: Archive) -> None:
    def checksum() -> str:
        with shop.platform.connect("shop") as connection:
            return contents.count(connection, contents.tables(connection)[0]).checksum

    before = checksum()
    with shop.platform.connect("shop") as connection:
        postgres.rows(connection, "CREATE INDEX by_name ON item (name DESC)")
        postgres.rows(connection, "CLUSTER item USING by_name")
        assert checksum() == before
        postgres.rows(connection, "UPDATE item SET name = 'changed' WHERE id = 7")
        assert checksum() != before
        postgres.rows(connection, "UPDATE item SET name = 'item 7' WHERE id = 7")
        assert checksum() == before


def test_dump_and_manifest_are_of_one_moment(shop: Archive, restored: str) -> None:
    """Rows that come and go while it is read are in both or in neither."""
    stop = threading.Event()

    def write() -> None:
        with shop.platform.connect("shop") as connection:
            number = 10_000
            while not stop.is_set():
                number += 1
                postgres.rows(connection, "INSERT INTO item VALUES (%s, 'new')", (number,))
                postgres.rows(connection, "DELETE FROM item WHERE id = %s", (number - 50,))

    writer = threading.Thread(target=write)
    writer.start()
    run = next_run()
    try:
        with shop.platform.connect("shop") as connection:
            wait_until(lambda: postgres.value(connection, "SELECT count(*) FROM item") > 1020, "rows come")
        told = dumped(shop, run).contents
    finally:
        stop.set()
        writer.join()
    assert restore(shop, run, restored).tables == told.tables


def test_roles_have_their_memberships_and_settings_and_no_password(shop: Archive, restored: str) -> None:
    run = next_run()
    prefix = shop.platform.prefix
    boss, clerk = f"{prefix} boss", f"{prefix} clerk"
    with shop.platform.connect("shop") as connection:
        try:
            postgres.rows(connection, f"""CREATE ROLE "{boss}" NOLOGIN BYPASSRLS""")
            postgres.rows(
                connection, f"""CREATE ROLE "{clerk}" LOGIN PASSWORD 'Pa55word-here' CONNECTION LIMIT 3"""
            )
            postgres.rows(connection, f"""GRANT "{boss}" TO "{clerk}" WITH ADMIN OPTION""")
            postgres.rows(connection, f"""ALTER ROLE "{clerk}" SET search_path = one, "Two Three" """)
            postgres.rows(connection, f"""ALTER ROLE "{clerk}" SET work_mem = '7MB'""")
            dumped(shop, run)
        finally:
            postgres.rows(connection, f"""DROP ROLE IF EXISTS "{clerk}", "{boss}" """)
    text = shop.work("shop", run).globals.read_text()
    assert "SCRAM" not in text
    assert "PASSWORD" not in text
    restore(shop, run, restored)
    # As somebody does who cannot know how far he got.
    psql(shop, provision.DRILL, "postgres", [f"--file={shop.work('shop', run).globals}"])
    query = """
        SELECT r.rolcanlogin, r.rolconnlimit, r.rolconfig, m.admin_option, b.rolbypassrls
        FROM pg_roles r JOIN pg_auth_members m ON m.member = r.oid JOIN pg_roles b ON b.oid = m.roleid
        WHERE r.rolname = %s AND b.rolname = %s
        """
    with clusters.connection(shop.platform.sandbox.home, provision.DRILL, "postgres") as connection:
        assert postgres.rows(connection, query, (clerk, boss)) == [
            (True, 3, ['search_path=one, "Two Three"', "work_mem=7MB"], True, True)
        ]


def test_nothing_of_the_credential_is_seen(shop: Archive) -> None:
    """Not in the arguments, and not in the environment of pg_dump either."""
    seen = shop.folder / "seen"
    real = clusters.BINARIES / "pg_dump"
    made = script(shop.folder, "pg_dump", f'printf "%s\\n" "$@" >>{seen}; env >>{seen}; exec {real} "$@"')
    shop.write_settings(postgres_bin=str(made))
    run = next_run()
    dumped(shop, run)
    uri = shop.platform.sandbox.vault.read(f"database/{shop.platform.database('shop')}")
    assert uri is not None
    password = uri["uri"].split(":")[2].split("@")[0]
    assert "--format=custom" in seen.read_text()
    assert "PGPASSFILE=/proc/self/fd/" in seen.read_text()
    assert "PGPASSWORD" not in seen.read_text()
    for path in [seen, *(path for path in shop.work("shop", run).home.rglob("*") if path.is_file())]:
        assert password.encode() not in path.read_bytes(), path


def test_the_fastest_compression_is_used_where_there_is_one(shop: Archive) -> None:
    newest = tools.newest("pg_dump", clusters.BINARIES)
    assert tools.compression(newest) == "zstd:1"
    plain = script(
        shop.folder,
        "pg_dump",
        'case "$1" in --version) echo "pg_dump (PostgreSQL) 17.1";; '
        '*) echo "pg_dump: error: this build does not support compression with ZSTD" >&2; exit 1;; esac',
    )
    assert tools.compression(tools.newest("pg_dump", plain)) == "gzip:1"


def refused(archive: Archive, kind: type[PipelineError], told: str) -> None:
    """A dump ends with this error, and leaves no plaintext."""
    run = next_run()
    with pytest.MonkeyPatch.context() as patched:
        # To try again is another thing (tests/test_retry.py).
        patched.setattr(retry, "STEP", RetryPolicy(0))
        with pytest.raises(kind, match=told):
            dump.dump_database(archive.settings, "shop", run)
    folder = archive.work("shop", run)
    assert not folder.dump.exists()
    assert not folder.globals.exists()
    assert [path.name for path in folder.folder.iterdir()] in ([], ["failed.json"])


def test_a_client_older_than_the_server_is_refused_before_anything_starts(shop: Archive) -> None:
    called = shop.folder / "called"
    made = script(
        shop.folder, "pg_dump", f'[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 12.3" || touch {called}'
    )
    shop.write_settings(postgres_bin=str(made))
    refused(
        shop, StepError, r"pg_dump 12\.3 .* is older than the server \(17\.\d+\); install the client of 17"
    )
    assert not called.exists()


def test_a_client_that_is_missing_is_told(shop: Archive) -> None:
    shop.write_settings(postgres_bin=str(shop.folder))
    refused(shop, UsageError, "pg_dump: not found in")


def test_a_key_that_cannot_be_used_is_told_before_the_dump(shop: Archive) -> None:
    (shop.folder / "safe.asc").unlink()
    refused(shop, ProblemsError, r"safe\.asc: cannot be read: No such file")


def test_a_pg_dump_that_fails_stops_the_chain(shop: Archive) -> None:
    with shop.platform.connect("shop") as connection:
        postgres.rows(connection, f"REVOKE pg_read_all_data FROM {backup_role(shop)}")
        refused(shop, StepError, "permission denied for table item")


def test_a_pg_dump_that_is_killed_stops_the_chain(shop: Archive) -> None:
    real = clusters.BINARIES / "pg_dump"
    made = script(
        shop.folder,
        "pg_dump",
        f'case "$*" in *--snapshot*) echo part; kill -9 $$;; *) exec {real} "$@";; esac',
    )
    shop.write_settings(postgres_bin=str(made))
    refused(shop, StepError, "pg_dump was killed by signal 9")


def test_a_lost_connection_is_out_of_reach(shop: Archive) -> None:
    """The server's administrator ends our sessions while a table keeps them waiting."""
    end = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = %s AND wait_event_type = 'Lock'
        """
    ended: list[object] = []

    def end_sessions(connection: Connection) -> bool:
        ended.extend(postgres.rows(connection, end, (backup_role(shop),)))
        return bool(ended)

    with (
        shop.platform.connect("shop") as blocking,
        shop.platform.connect("shop") as ending,
        blocking.cursor() as cursor,
    ):
        cursor.execute("BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        thread = threading.Thread(target=lambda: wait_until(lambda: end_sessions(ending), "sessions wait"))
        thread.start()
        refused(shop, UnreachableError, "database shop: .*(lost|closed)")
        thread.join()
        cursor.execute("ROLLBACK")


def test_rows_that_a_policy_hides_are_an_error(shop: Archive) -> None:
    """A backup that lacks rows without a word is the worst of all."""
    with shop.platform.connect("shop") as connection:
        postgres.rows(connection, "ALTER TABLE item ENABLE ROW LEVEL SECURITY")
    refused(shop, StepError, "row-level security")


@pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
def test_room_is_looked_for_first(shop: Archive, tmp_path: Path) -> None:
    with small_disk(tmp_path, 2**20) as disk:
        shop.write_settings(work_dir=str(disk))
        refused(shop, StepError, r"bytes are free, and the dump of database shop may need [\d,]+; make room")


@pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
def test_a_disk_that_fills_up_stops_the_chain(shop: Archive, tmp_path: Path) -> None:
    real = clusters.BINARIES / "pg_dump"
    made = script(
        shop.folder,
        "pg_dump",
        f'case "$*" in *--snapshot*) fallocate -l 40M {tmp_path}/disk/other;; esac; exec {real} "$@"',
    )
    with shop.platform.connect("shop") as connection:
        noise = "SELECT n AS id, sha512(n::text::bytea) AS data FROM generate_series(1, 100000) AS n"
        postgres.rows(connection, f"CREATE TABLE noise AS {noise}")
    with small_disk(tmp_path, 44 * 2**20) as disk:
        shop.write_settings(work_dir=str(disk), postgres_bin=str(made))
        refused(shop, StepError, "No space left on device; make room in")


def test_a_dump_that_is_there_is_not_made_again(shop: Archive) -> None:
    run = next_run()
    first = dumped(shop, run)
    assert dumped(shop, run) == first


@pytest.mark.parametrize("days", [-400, 400])
def test_a_server_whose_clock_is_wrong_does_not_date_the_backup(
    shop: Archive, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Else an old backup could pass for the newest, or the newest for an old one."""
    take = snapshot.take

    def elsewhen(connection: Connection, before: Callable[[], object]) -> snapshot.Snapshot:
        taken = take(connection, before)
        return dataclasses.replace(taken, taken_at=taken.taken_at + timedelta(days=days))

    monkeypatch.setattr(snapshot, "take", elsewhen)
    record = dumped(shop, next_run())
    assert record.started_at <= record.taken_at <= datetime.now(UTC)
    (warning,) = record.warnings
    assert f"seconds {'behind' if days < 0 else 'ahead of'} this machine's" in warning


def test_what_pg_dump_warns_of_is_in_the_manifest(shop: Archive) -> None:
    """It ends well without what it may not read: that must not be found out by the restore."""
    with shop.platform.connect("shop") as connection:
        subscribed = (
            "CREATE SUBSCRIPTION follow CONNECTION 'host=127.0.0.1' PUBLICATION p WITH (connect = false)"
        )
        postgres.rows(connection, subscribed)
        try:
            record = dumped(shop, next_run())
        finally:
            for what in ("DISABLE", "SET (slot_name = NONE)"):
                postgres.rows(connection, f"ALTER SUBSCRIPTION follow {what}")
            postgres.rows(connection, "DROP SUBSCRIPTION follow")
    # In its words, and by name.
    warning, named = record.warnings
    assert named == "database shop: not in the backup: subscription follow"
    assert warning.startswith("database shop: pg_dump: warning: subscriptions not dumped")


def test_sequences_are_read_before_the_dump(shop: Archive, restored: str) -> None:
    """They are outside the snapshot: what is restored may be ahead of the manifest, never behind it."""
    with shop.platform.connect("shop") as connection:
        postgres.rows(connection, "CREATE SEQUENCE ticket")
        postgres.rows(connection, "SELECT nextval('ticket') FROM generate_series(1, 41)")
        real = clusters.BINARIES / "pg_dump"
        go = shop.folder / "go"
        made = script(
            shop.folder,
            "pg_dump",
            f'case "$*" in *--snapshot*) while [ ! -e {go} ]; do sleep 0.05; done;; esac; exec {real} "$@"',
        )
        shop.write_settings(postgres_bin=str(made))
        run = next_run()

        def go_on() -> None:
            wait_until(shop.work("shop", run).globals.exists, "the dump begins")
            postgres.rows(connection, "SELECT nextval('ticket')")
            go.touch()

        thread = threading.Thread(target=go_on)
        thread.start()
        told = dumped(shop, run).contents
        thread.join()
    found = restore(shop, run, restored)
    assert [one.last_value for one in told.sequences] == [41]
    assert [one.last_value for one in found.sequences] == [42]


def test_the_snapshot_is_of_the_database_that_is_named(shop: Archive) -> None:
    """The manifest's moment is the server's own."""
    with shop.platform.connect("shop") as connection:
        before = snapshot.take(connection).taken_at
    assert dumped(shop, next_run()).taken_at > before
