"""Tables that others rewrite, create, drop or lock while a backup begins: every row is in it, or it fails."""

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import postgres, retry
from pipeline.backup import dump
from pipeline.backup.database import archive, contents, table_locks
from pipeline.backup.database.contents import TableShape
from pipeline.backup.store.manifest import Table
from pipeline.backup.work import records
from pipeline.backup.work.records import Dumped
from pipeline.errors import CheckError, ConflictError, PipelineError, StepError
from pipeline.retry import RetryPolicy
from pipeline.sandbox.servers import clusters
from tests.support.archive import Archive, script
from tests.support.marks import in_depth
from tests.support.night import next_run, wait_until
from tests.support.platforms import Connection

TABLES = """
CREATE TABLE a_first (id int);
CREATE TABLE b_big (id int PRIMARY KEY, v varchar(30));
INSERT INTO b_big SELECT n, 'row ' || n FROM generate_series(1, 20000) AS n;
CREATE TABLE part (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (500);
CREATE TABLE part_high PARTITION OF part DEFAULT;
INSERT INTO part SELECT n, 'row' FROM generate_series(1, 1000) AS n;
"""
# Each commits another file for a table, in which an older snapshot sees no row.
REWRITES = {
    "type": "ALTER TABLE b_big ALTER COLUMN v TYPE varchar(20)",
    "partitions": "ALTER TABLE part ALTER COLUMN v TYPE varchar(20)",
    "reload": "BEGIN; CREATE TEMP TABLE kept AS TABLE b_big; TRUNCATE b_big; "
    "INSERT INTO b_big TABLE kept; DROP TABLE kept; COMMIT",
}


@pytest.fixture
def shop(archive: Archive) -> Archive:
    archive.source("shop", TABLES)
    return archive


def dumped(archive: Archive, run: str) -> Dumped:
    dump.dump_database(archive.settings, "shop", run)
    record = records.dumped(archive.work("shop", run))
    assert record is not None
    return record


def rows(record: Dumped) -> dict[str, int]:
    return {table.name: table.rows for table in record.contents.tables}


def rows_in_archive(archive: Archive, run: str, table: str) -> int:
    """Return how many rows of a table pg_dump wrote."""
    said = subprocess.run(
        [
            clusters.BINARIES / "pg_restore",
            "--data-only",
            f"--table={table}",
            "--file=-",
            archive.work("shop", run).dump,
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return len(said.partition("FROM stdin;\n")[2].partition("\\.\n")[0].splitlines())


def require_all(archive: Archive, run: str, record: Dumped) -> None:
    """Dump and manifest have every row of every table."""
    wanted = {"a_first": 0, "b_big": 20_000, "part_low": 499, "part_high": 501}
    assert rows(record) == wanted
    assert {name: rows_in_archive(archive, run, name) for name in wanted} == wanted


def waits_for_lock(archive: Archive, connection: Connection, table: str) -> bool:
    """Whether one of the backup's sessions waits for a lock of the table."""
    query = """
        SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE NOT l.granted AND l.relation = %s::regclass AND a.usename = %s
    """
    role = f"backup_{archive.platform.database('shop')}"
    return bool(postgres.value(connection, query, (table, role)))


@contextlib.contextmanager
def in_background(work: Callable[[], object]) -> Iterator[None]:
    """Do something beside the block; what it failed with is raised at the end."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]


@in_depth("how", REWRITES, quick=1)
def test_a_table_that_is_rewritten_while_the_backup_waits_has_every_row(shop: Archive, how: str) -> None:
    """Another table keeps the backup waiting, and meanwhile this one is rewritten."""
    run = next_run()
    with (
        shop.platform.connect("shop") as blocking,
        shop.platform.connect("shop") as other,
        blocking.cursor() as cursor,
    ):
        cursor.execute("BEGIN; LOCK TABLE a_first IN ACCESS EXCLUSIVE MODE")

        def rewrite() -> None:
            try:
                wait_until(lambda: waits_for_lock(shop, other, "a_first"), "the backup waits")
                postgres.rows(other, REWRITES[how])
            finally:
                cursor.execute("ROLLBACK")

        with in_background(rewrite):
            record = dumped(shop, run)
    require_all(shop, run, record)


class Paused:
    """A pg_dump that waits, before it begins, until it is told to go on; a second one goes on at once."""

    def __init__(self, archive: Archive) -> None:
        self.here, self.go = archive.folder / "here", archive.folder / "go"
        made = script(
            archive.folder,
            "pg_dump",
            f'case "$*" in *--snapshot*) touch {self.here}; while [ ! -e {self.go} ]; do sleep 0.05; done;; '
            f'esac; exec {clusters.BINARIES / "pg_dump"} "$@"',
        )
        archive.write_settings(postgres_bin=str(made))

    def wait(self) -> None:
        wait_until(self.here.exists, "pg_dump begins")

    def go_on(self) -> None:
        self.go.touch()


@pytest.fixture
def paused(shop: Archive) -> Iterator[Paused]:
    made = Paused(shop)
    yield made
    made.go_on()


def test_nobody_rewrites_a_table_between_the_snapshot_and_the_lock_of_pg_dump(
    shop: Archive, paused: Paused
) -> None:
    run = next_run()

    def rewrite() -> None:
        paused.wait()
        with shop.platform.connect("shop") as other, contextlib.ExitStack() as stack:
            stack.callback(paused.go_on)
            postgres.rows(other, "SET lock_timeout = '50ms'")
            for statement in REWRITES.values():
                with pytest.raises(postgres.LockNotAvailable):
                    postgres.rows(other, statement)
                postgres.rows(other, "ROLLBACK")

    with in_background(rewrite):
        record = dumped(shop, run)
    require_all(shop, run, record)


@pytest.mark.endurance
def test_who_wants_to_rewrite_a_table_meanwhile_goes_first(shop: Archive, paused: Paused) -> None:
    """He waits for the backup's locks, pg_dump behind him, and the backup for pg_dump: nobody would move."""
    run = next_run()

    def rewrite() -> None:
        paused.wait()
        with shop.platform.connect("shop") as other, shop.platform.connect("shop") as watching:
            backend = other.info.backend_pid

            def waits() -> bool:
                return bool(postgres.value(watching, "SELECT cardinality(pg_blocking_pids(%s))", (backend,)))

            def go_on() -> None:
                wait_until(waits, "the rewrite waits")
                paused.go_on()

            with in_background(go_on):
                postgres.rows(other, REWRITES["type"])

    with in_background(rewrite):
        record = dumped(shop, run)
    require_all(shop, run, record)
    with shop.platform.connect("shop") as connection:
        length = "SELECT atttypmod - 4 FROM pg_attribute WHERE attrelid = 'b_big'::regclass AND attname = 'v'"
        assert postgres.value(connection, length) == 20


def fails(archive: Archive, kind: type[PipelineError], told: str) -> None:
    """A dump that is tried once ends with this error, and leaves no dump."""
    run = next_run()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(retry, "STEP", RetryPolicy(0))
        with pytest.raises(kind, match=told):
            dump.dump_database(archive.settings, "shop", run)
    assert not archive.work("shop", run).dump.exists()


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a server that has no room for so many locks."""
    monkeypatch.setattr(table_locks, "CAPACITY", "SELECT 0")


@pytest.mark.usefixtures("without_locks")
@in_depth("how", REWRITES, quick=1)
def test_without_locks_a_table_that_is_rewritten_before_pg_dump_has_it_is_found(
    shop: Archive, paused: Paused, how: str
) -> None:
    def rewrite() -> None:
        paused.wait()
        with shop.platform.connect("shop") as other, contextlib.ExitStack() as stack:
            stack.callback(paused.go_on)
            postgres.rows(other, REWRITES[how])

    name = "part_(low|high)" if how == "partitions" else "b_big"
    with in_background(rewrite):
        fails(shop, ConflictError, f"database shop: .*public.{name}.* was truncated, rewritten or dropped")
    # And then it is begun anew, at a new moment.
    run = next_run()
    require_all(shop, run, dumped(shop, run))


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_table_that_is_rewritten_before_it_is_counted_is_found(
    shop: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dump has its rows, for pg_dump had locked it by then; the count would be 0."""
    real, look, run = contents.count, table_locks.TableLocks.require_unmoved, next_run()
    rewritten: list[str] = []
    locked = threading.Event()

    def require_unmoved(self: table_locks.TableLocks, fresh: Connection) -> None:
        look(self, fresh)
        locked.set()

    def count(connection: Connection, shape: TableShape) -> Table:
        if shape.name == "b_big" and not rewritten:
            assert locked.wait(60), "pg_dump has its locks"
            rewritten.append(shape.name)
            with shop.platform.connect("shop") as other:
                postgres.rows(other, REWRITES["type"])
        return real(connection, shape)

    monkeypatch.setattr(table_locks.TableLocks, "require_unmoved", require_unmoved)
    monkeypatch.setattr(contents, "count", count)
    require_all(shop, run, dumped(shop, run))
    assert rewritten


def test_a_table_that_is_made_or_dropped_while_it_is_locked_is_no_failure(
    shop: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, run = contents.dumped, next_run()
    # Once it was listed: one that is locked by its name, and is gone; then one that the snapshot shows.
    statements = ["DROP TABLE a_first", "CREATE TABLE later AS SELECT 7 AS n"]

    def listed(connection: Connection, *, sizes: bool = True) -> list[TableShape]:
        found = real(connection, sizes=sizes)
        if statements:
            with shop.platform.connect("shop") as other:
                postgres.rows(other, "SET lock_timeout = '5s'")
                postgres.rows(other, statements.pop(0))
        return found

    monkeypatch.setattr(contents, "dumped", listed)
    record = dumped(shop, run)
    assert not statements
    assert rows(record)["later"] == rows_in_archive(shop, run, "later") == 1


def test_who_keeps_a_table_locked_is_named(shop: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_locks, "LOCKS", RetryPolicy(0))
    monkeypatch.setattr(table_locks, "LOCK_TIMEOUT", "50ms")
    with shop.platform.connect("shop") as blocking, blocking.cursor() as cursor:
        role = f"backup_{shop.platform.database('shop')}"
        cursor.execute(f"GRANT pg_read_all_stats TO {role}")
        cursor.execute("BEGIN; LOCK TABLE a_first IN ACCESS EXCLUSIVE MODE")
        who = rf"process {blocking.info.backend_pid} \({clusters.SUPERUSER}, since 20.* UTC\)"
        fails(
            shop,
            StepError,
            rf"database shop: .*public\.a_first, which {who} has locked exclusively; wait for it to end",
        )
        cursor.execute("ROLLBACK")


def test_rows_that_pg_dump_did_not_write_are_found_before_the_backup_counts(shop: Archive) -> None:
    real = clusters.BINARIES / "pg_dump"
    made = script(
        shop.folder,
        "pg_dump",
        f'case "$*" in *--snapshot*) set -- "$@" --exclude-table-data=b_big;; esac; exec {real} "$@"',
    )
    shop.write_settings(postgres_bin=str(made))
    fails(shop, CheckError, "database shop: .*public.b_big 20,000 rows, and the dump 0")


def test_a_dump_that_cannot_be_read_back_is_no_backup(shop: Archive) -> None:
    real = clusters.BINARIES / "pg_dump"
    made = script(
        shop.folder,
        "pg_dump",
        f'case "$*" in *--snapshot*) {real} "$@" | head --bytes=-100000;; *) exec {real} "$@";; esac',
    )
    shop.write_settings(postgres_bin=str(made))
    fails(shop, StepError, "database shop: the dump cannot be read back: pg_restore exited with 1")


AWKWARD = r"""
CREATE TABLE "COPY x (id) FROM stdin;" ("a
b" text);
INSERT INTO "COPY x (id) FROM stdin;"
VALUES ('\.'), (E'\\.\n\\.'), (''), (NULL), (E'\n'), ('COPY t FROM stdin;');
CREATE TABLE "line
break" (t text);
INSERT INTO "line
break" SELECT repeat('x', 30000) FROM generate_series(1, 3);
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE empty (id int);
SELECT lo_from_bytea(0, convert_to(repeat(E'COPY t FROM stdin;\n\\.\n', 500), 'UTF8'));
"""


def test_each_row_is_counted_once_whatever_is_in_it(shop: Archive) -> None:
    with shop.platform.connect("shop") as connection:
        postgres.rows(connection, "DROP TABLE b_big, part")
        postgres.rows(connection, AWKWARD)
        postgres.rows(connection, f"ALTER ROLE backup_{shop.platform.database('shop')} SUPERUSER")
    run = next_run()
    told = rows(dumped(shop, run))
    wanted = {"COPY x (id) FROM stdin;": 6, "line\nbreak": 3, "nothing": 1, "empty": 0, "a_first": 0}
    assert told == wanted
    # In whatever pieces it comes.
    restoring: list[str | Path] = [clusters.BINARIES / "pg_restore", "--data-only", "--verbose", "--file=-"]
    dump_file = shop.work("shop", run).dump
    text = subprocess.run([*restoring, dump_file], check=True, capture_output=True).stdout
    for size in (1, 2, 3, 1009, len(text)):
        counter = archive.Counter()
        for begin in range(0, len(text), size):
            counter.feed(text[begin : begin + size])
        found = counter.finish()
        assert (sorted(found.rows.values()), found.large_objects) == (sorted(wanted.values()), 1)


def test_rows_that_people_put_into_a_table_of_an_extension_are_counted_too(shop: Archive) -> None:
    """Of such a table a dump has only what its extension's condition lets through."""
    with shop.platform.connect("shop") as connection:
        for statement in (
            "CREATE EXTENSION citext",
            "CREATE TABLE setting (name text, own bool)",
            "INSERT INTO setting VALUES ('theirs', false), ('ours', true)",
            "ALTER EXTENSION citext ADD TABLE setting",
            "UPDATE pg_extension SET extconfig = ARRAY['setting'::regclass::oid], "
            "extcondition = ARRAY['WHERE own AND name LIKE ''%our%'''] WHERE extname = 'citext'",
        ):
            postgres.rows(connection, statement)
    run = next_run()
    assert "setting" not in rows(dumped(shop, run))
    assert rows_in_archive(shop, run, "setting") == 1
