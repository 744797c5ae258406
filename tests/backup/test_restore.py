"""Restores from the bucket alone: what comes out is what went in, and each thing that can be wrong is told by
the step that finds it, with its exit code, and leaves nothing behind.
"""

import contextlib
import os
import pty
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from pipeline import crypt
from pipeline.backup import dump
from pipeline.backup.restoring import restore, target
from pipeline.backup.restoring.restoration import Order, Restored
from pipeline.backup.store.manifest import Extension, dump_name
from pipeline.errors import StepError, UsageError
from pipeline.sandbox.servers import clusters
from tests.backup.test_dump import AWKWARD
from tests.support.archive import SMALL, may_mount, script, small_disk
from tests.support.night import program, wait_until
from tests.support.restores import GPG_HOMES, RUN, Restores

pytestmark = pytest.mark.endurance

KEYED = (
    SMALL
    + """
CREATE TYPE mood AS ENUM ('so', 'la la');
CREATE TABLE purchase (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item_id int NOT NULL REFERENCES item, mood mood,
    note text CHECK (note <> '')
);
CREATE INDEX purchase_item ON purchase (item_id);
INSERT INTO purchase (item_id, mood) SELECT 1 + n % 1000, 'so' FROM generate_series(1, 3000) AS n;
"""
)


@pytest.fixture
def shop(restores: Restores) -> Restores:
    """A small database with one backup."""
    restores.source("shop", KEYED)
    restores.back_up("shop")
    return restores


def restored(restores: Restores, *arguments: str, tools: Path | None = None) -> tuple[int, str]:
    """Run `pipeline restore shop`; return its exit code and all it wrote."""
    done = restores.archive.run("restore", "shop", *arguments, tools=tools)
    return done.code, done.out + done.err


def into_new(restores: Restores, run: str | None = None, table: str | None = None) -> Restored:
    """Restore into a new database by a call."""
    order = Order("shop", run=run, table=table)
    return restore.restore_into_new(restores.archive.settings, order, restores.name("new"))


# What is restored.


def test_a_new_database_is_what_was_backed_up_and_nothing_else_is_left(shop: Restores) -> None:
    name = shop.name("copy")
    code, said = restored(shop, "--into-new", name)
    assert code == 0, said
    assert "NO " not in said
    assert "2 tables, 4,000 rows" in said
    assert shop.ask(name, "SELECT count(*), sum(item_id) FROM purchase") == [(3000, 1501500)]
    assert shop.ask(name, "SELECT last_value FROM purchase_id_seq") == [(3000,)]
    assert shop.ask(
        "postgres", f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{name}'"
    ) == [(None,)]
    owner = shop.owner("shop")
    assert owner in shop.roles()
    with_password = (
        "SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname NOT LIKE 'drill%'"
    )
    assert shop.ask("postgres", with_password) == []
    assert shop.leftovers() == []


def test_every_kind_of_object_is_restored_and_compared(restores: Restores) -> None:
    restores.source("shop", AWKWARD)
    restores.back_up("shop")
    found = into_new(restores)
    assert [one for one in found.assertions if one.held is not True] == []
    assert {one.name for one in found.assertions} == {
        "tables",
        "sequences",
        "large objects",
        "objects",
        "constraints",
        "indexes",
        "amcheck",
        "extensions",
        "roles",
        "encoding and locale",
        "database owner",
        "in no backup",
        "settings and grants",
    }


def test_a_database_that_somebody_made_is_filled_by_the_uri_that_vault_keeps(shop: Restores) -> None:
    name = shop.empty("made")
    path = shop.keep("target", uri=shop.uri(name))
    code, said = restored(shop, "--into", f"vault:{path}")
    # The role that owns what is restored may not write into a schema of somebody else's database.
    assert code == 3
    assert "permission denied for schema public" in said
    assert f"set its owner back to {shop.owner('shop')}" in said
    assert "repeat the command with --clean" in said
    with shop.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")
    owner = shop.owner("shop")
    shop.empty("made", owner)
    code, said = restored(shop, "--into", f"vault:{path}")
    assert code == 0, said
    assert shop.ask(name, "SELECT count(*) FROM purchase") == [(3000,)]


def test_the_run_that_is_asked_for_is_restored_and_the_newest_otherwise(shop: Restores) -> None:
    with shop.archive.platform.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO item VALUES (5000, 'later')")
    shop.back_up("shop", "2026-11-23")
    for run, count in ((RUN, 1000), (None, 1001)):
        found = into_new(shop, run=run)
        assert found.held
        assert shop.ask(found.target.database, "SELECT count(*) FROM item") == [(count,)]
        with shop.connect("postgres") as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {found.target.database}")
    with pytest.raises(UsageError, match=r"there is no backup of shop for run 2020-01-01.*2026-11-22"):
        into_new(shop, run="2020-01-01")


def test_one_table_comes_with_what_is_its_own_and_without_what_needs_others(shop: Restores) -> None:
    name = shop.empty("one", "drill")
    owner = shop.owner("shop")
    with shop.connect(name) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"CREATE ROLE {owner}; GRANT {owner} TO drill; GRANT CREATE ON SCHEMA public TO {owner}"
        )
        cursor.execute("CREATE TABLE bystander (id int); CREATE TYPE mood AS ENUM ('so', 'la la')")
    path = shop.keep("target", uri=shop.uri(name))
    code, said = restored(shop, "--into", f"vault:{path}", "--table", "purchase")
    assert code == 0, said
    assert "1 tables, 3,000 rows" in said
    kinds = "SELECT contype::text FROM pg_constraint WHERE conrelid = 'purchase'::regclass ORDER BY 1"
    assert shop.ask(name, kinds) == [("c",), ("p",)]
    assert shop.ask(name, "SELECT to_regclass('purchase_item') IS NOT NULL, to_regclass('item') IS NULL") == [
        (True, True)
    ]
    again, said = restored(shop, "--into", f"vault:{path}", "--table", "public.purchase")
    assert again == 2, said
    assert "already has a table public.purchase" in said
    absent, said = restored(shop, "--into", f"vault:{path}", "--table", "purchases")
    assert absent == 2, said
    assert "the backup has no table public.purchases; did you mean public.purchase?" in said


def test_a_partitioned_table_comes_with_its_partitions(restores: Restores) -> None:
    restores.source("shop", AWKWARD)
    restores.back_up("shop")
    found = into_new(restores, table="public.part")
    assert found.held
    assert restores.ask(found.target.database, "SELECT count(*) FROM part") == [(500,)]
    names = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    assert restores.ask(found.target.database, names) == [("part",), ("part_2025",), ("part_rest",)]


# Where it may go.


def test_a_password_in_the_uri_is_refused_and_not_repeated(shop: Restores) -> None:
    for uri in (
        "postgresql://drill:geheim123@127.0.0.1/x",
        "postgresql://127.0.0.1/x?user=a&password=geheim123",
    ):
        code, said = restored(shop, "--into", uri)
        assert code == 2
        assert "~/.pgpass" in said
        assert "geheim123" not in said


def test_a_password_file_opens_the_target(shop: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = shop.owner("shop")
    with shop.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {owner}; GRANT {owner} TO drill")
    name = shop.empty("file", owner)
    found = target.at(shop.uri(name)).environment
    passfile = shop.archive.folder / "pgpass"
    line = [found["PGHOST"], found["PGPORT"], name, "drill", found["PGPASSWORD"]]
    passfile.write_text(":".join(line) + "\n")
    passfile.chmod(0o600)
    uri = f"postgresql://drill@{found['PGHOST']}:{found['PGPORT']}/{name}"
    assert restored(shop, "--into", uri)[0] == 5
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    code, said = restored(shop, "--into", uri)
    assert code == 0, said


def test_a_password_is_asked_for_where_there_is_a_person(shop: Restores) -> None:
    owner = shop.owner("shop")
    with shop.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {owner}; GRANT {owner} TO drill")
    name = shop.empty("asked", owner)
    found = target.at(shop.uri(name)).environment
    uri = f"postgresql://drill@{found['PGHOST']}:{found['PGPORT']}/{name}"
    person = on_a_terminal(shop, ["restore", "shop", "--into", uri], "Password for", found["PGPASSWORD"])
    assert "tables: 2 tables, 4,000 rows" in person
    assert found["PGPASSWORD"] not in person


def on_a_terminal(restores: Restores, arguments: list[str], prompt: str, answer: str) -> str:
    """Run `pipeline ARGUMENTS` on a terminal of its own, answer one question, and return what it showed."""
    process, terminal = pty.fork()
    if process == 0:
        os.execve(program("pipeline"), ["pipeline", *arguments], restores.archive.environment(None))  # noqa: S606
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while piece := os.read(terminal, 4096):
            before, shown = shown, shown + piece
            if prompt.encode() in shown and prompt.encode() not in before:
                os.write(terminal, answer.encode() + b"\n")
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, shown
    return shown.decode()


def test_what_is_in_the_way_is_told_before_anything_is_fetched(shop: Restores) -> None:
    owner = shop.owner("shop")
    with shop.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {owner}; GRANT {owner} TO drill")
    name = shop.empty("full", owner)
    path = shop.keep("target", uri=shop.uri(name))
    with shop.connect(name) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE item (id int); CREATE TABLE other (id int);"
            "CREATE FUNCTION one() RETURNS int RETURN 1;"
        )
        cursor.execute(f"ALTER TABLE item OWNER TO {owner}")
    shop.archive.control.clear()
    code, said = restored(shop, "--into", f"vault:{path}")
    assert code == 2
    assert "is not empty (it has 1 function, 1 table, 1 table)" in said
    assert "--clean" in said
    assert fetched(shop) == []
    code, said = restored(shop, "--into", f"vault:{path}", "--clean")
    assert code == 0, said
    assert shop.ask(name, "SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM other)") == [(1000, 0)]
    code, said = restored(shop, "--into-new", name)
    assert code == 2
    assert "a database of that name exists already" in said


def test_a_server_that_is_too_old_is_refused_before_anything_is_fetched(shop: Restores) -> None:
    shop.change_manifest("shop", client_version="99.1")
    path = shop.keep("target", uri=shop.uri(shop.empty("old")))
    shop.archive.control.clear()
    code, said = restored(shop, "--into", f"vault:{path}")
    assert code == 3
    assert "is too old for a backup that pg_dump 99.1 made" in said
    assert "restore into 99 or later" in said
    code, said = restored(shop, "--into-new", shop.name("new"))
    assert code == 3
    assert "is older than the pg_dump 99.1 that made this backup; install the client of 99" in said
    found = shop.archive.manifest("shop", RUN).contents
    newer = found.database.model_copy(update={"version": "98.2", "version_number": 980002})
    contents = found.model_copy(update={"database": newer})
    shop.change_manifest("shop", client_version="17.0", contents=contents)
    code, said = restored(shop, "--into-new", shop.name("new"))
    assert code == 3
    assert "is too old for a backup that pg_dump 17.0 made of a 98.2; restore into 98 or later" in said
    assert fetched(shop) == []


def fetched(restores: Restores) -> list[str]:
    """Return the names of what was downloaded, but for manifests."""
    names = {version["file_id"]: version["name"] for version in restores.archive.versions()}
    calls = restores.archive.control.calls("b2_download_file")
    return [name for call in calls if (name := names[call["file_id"]]).endswith(".gpg")]


def test_a_name_that_is_wrong_or_taken_is_told_before_anything_is_fetched(shop: Restores) -> None:
    shop.archive.control.clear()
    name = shop.empty("taken")
    for arguments, wanted, told in (
        (["--into-new", name], 2, "a database of that name exists already"),
        (["--into-new", ""], 2, "is required"),
        (["--into-new", "x" * 64], 2, "is not a valid name"),
        (["--into-new", shop.name("new"), "--table", "purchases"], 2, "did you mean public.purchase?"),
        (["--into-new", shop.name("new"), "--at", "2020-01-01"], 2, f"known: {RUN}"),
    ):
        code, said = restored(shop, *arguments)
        assert (code, told in said) == (wanted, True), said
    assert fetched(shop) == []
    assert shop.databases() == [name]


def test_a_missing_extension_is_told_by_name(shop: Restores) -> None:
    contents = shop.archive.manifest("shop", RUN).contents
    more = (*contents.extensions, Extension(name="postgis", version="3.5", schema_name="public"))
    shop.change_manifest("shop", contents=contents.model_copy(update={"extensions": more}))
    shop.archive.control.clear()
    code, said = restored(shop, "--into-new", shop.name("new"))
    assert code == 3
    assert "the server lacks the extension postgis" in said
    assert shop.databases() == []
    assert fetched(shop) == []


def test_a_missing_role_is_told_by_name(shop: Restores) -> None:
    """It can be made, unless the backup lacks it or our login may not."""
    contents = shop.archive.manifest("shop", RUN).contents
    shop.change_manifest("shop", contents=contents.model_copy(update={"roles": (*contents.roles, "ghost")}))
    code, said = restored(shop, "--into-new", shop.name("new"))
    assert code == 3
    assert "the database needs roles that are missing: ghost (not in the backup)" in said
    assert shop.databases() == []
    assert shop.roles() == set()
    shop.change_manifest("shop", contents=contents)
    with (
        shop.without_second_login(),
        shop.connect("postgres") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("ALTER ROLE drill NOCREATEROLE")
        try:
            code, said = restored(shop, "--into-new", shop.name("new"))
        finally:
            cursor.execute("ALTER ROLE drill CREATEROLE")
    assert code == 3
    assert shop.owner("shop") in said
    assert "ALTER ROLE drill CREATEROLE" in said


def test_roles_that_are_there_are_left_alone(shop: Restores) -> None:
    role = shop.archive.platform.reader("shop")
    with shop.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} NOLOGIN CONNECTION LIMIT 3")
    found = into_new(shop)
    assert found.held
    assert role not in found.roles.made
    query = f"SELECT rolcanlogin, rolconnlimit FROM pg_roles WHERE rolname = '{role}'"
    assert shop.ask("postgres", query) == [(False, 3)]


# What is wrong with the backup.


@pytest.mark.parametrize("damage", ["flip", "truncate", "globals"])
def test_a_damaged_object_is_found_by_its_hash_before_it_is_decrypted(shop: Restores, damage: str) -> None:
    control, bucket = shop.archive.control, shop.archive.bucket_name
    name = dump_name("shop", RUN)
    if damage == "flip":
        control.corrupt(bucket, name, offset=2000)
    elif damage == "truncate":
        control.truncate(bucket, name, size_bytes=3000)
    else:
        name = f"shop/{RUN}/globals.sql.gpg"
        control.corrupt(bucket, name, offset=100)
    tools = script(shop.archive.folder, "gpg", f"touch {shop.archive.folder}/decrypted; exit 2")
    code, said = restored(shop, "--into-new", shop.name("new"), tools=tools)
    assert code == 4, said
    assert f"{name} is damaged" in said
    assert not (shop.archive.folder / "decrypted").exists()
    assert shop.databases() == []
    assert shop.leftovers() == []


def test_a_wrong_manifest_is_told_table_by_table_and_what_was_restored_stays(shop: Restores) -> None:
    contents = shop.archive.manifest("shop", RUN).contents
    tables = tuple(
        one.model_copy(update={"rows": 1001} if one.name == "item" else {"checksum": "1"})
        for one in contents.tables
    )
    shop.change_manifest("shop", contents=contents.model_copy(update={"tables": tables}))
    code, said = restored(shop, "--into-new", shop.name("new"))
    assert code == 4
    assert "public.item has 1,000 rows instead of 1,001" in said
    assert "public.purchase has other rows" in said
    assert shop.ask(shop.name("new"), "SELECT count(*) FROM item") == [(1000,)]


def test_another_private_key_is_refused(shop: Restores) -> None:
    _, other = crypt.new_key_pair("other", "other@test.invalid", expires="0", folder=shop.archive.folder)
    shop.keep("restore/key", private_key=other)
    code, said = restored(shop, "--into-new", shop.name("new"))
    assert code == 4
    assert "globals.sql.gpg is not encrypted to this private key" in said
    shop.keep("restore/key", public_key="nothing else")
    code, said = restored(shop, "--into-new", shop.name("new"))
    assert code == 5
    assert "has no private_key" in said
    assert shop.leftovers() == []


def test_the_key_in_the_safe_opens_every_backup_as_well(shop: Restores) -> None:
    shop.keep("restore/key", private_key=shop.archive.private_keys["safe"])
    assert into_new(shop).held


def test_a_vanished_bucket_is_out_of_reach(shop: Restores) -> None:
    shop.archive.control.remove_bucket(shop.archive.bucket_name)
    code, said = restored(shop, "--into-new", shop.name("new"))
    assert code == 5
    assert f"bucket {shop.archive.bucket_name}: there is no such bucket" in said
    shop.archive.control.create_bucket(shop.archive.bucket_name)  # for who tidies up


# What is wrong here.


@pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
def test_no_room_in_the_work_folder_is_told_before_the_download_and_on_the_way(shop: Restores) -> None:
    found = shop.archive.manifest("shop", RUN)
    files = (found.dump, found.globals)
    needed = sum(file.encrypted.size_bytes + file.plain.size_bytes for file in files)
    with small_disk(shop.archive.folder, needed // 2) as disk:
        shop.archive.write_settings(work_dir=str(disk))
        with pytest.raises(StepError, match="bytes are free, and restoring shop 2026-11-22 needs"):
            into_new(shop)
    shop.archive.folder.joinpath("later").mkdir()
    with small_disk(shop.archive.folder / "later", 4 * 1024 * 1024) as disk:
        shop.archive.write_settings(work_dir=str(disk))
        # Somebody else takes the room meanwhile.
        gpg = f'case "$*" in *--decrypt*) head -c 8M /dev/zero > {disk}/other 2> /dev/null;; esac\n'
        tools = script(shop.archive.folder, "gpg", gpg + f'exec {shutil.which("gpg")} "$@"')
        code, said = restored(shop, "--into-new", shop.name("new"), tools=tools)
        assert code == 3, said
        assert "No space left on device; make room in" in said
        assert not list((disk / ".restore").iterdir())
    assert shop.databases() == []


def fake_pg_restore(restores: Restores, restoring: str) -> None:
    """Put a pg_restore in place of the real one that does `restoring` where it is to restore."""
    real = clusters.BINARIES / "pg_restore"
    listing = f'case $1 in --version|--list|--file=-) exec {real} "$@" ;; esac\n'
    made = script(restores.archive.folder, "pg_restore", listing + restoring)
    restores.archive.write_settings(postgres_bin=str(made))


def test_what_pg_restore_says_is_told_and_the_new_database_is_gone(shop: Restores) -> None:
    fake_pg_restore(shop, 'echo "pg_restore: error: boom" >&2; exit 1')
    code, said = restored(shop, "--into-new", shop.name("new"))
    assert code == 3
    assert "pg_restore exited with 1: pg_restore: error: boom" in said
    assert shop.databases() == []
    assert shop.roles() == set()
    assert shop.leftovers() == []


def started(restores: Restores) -> "subprocess.Popen[str]":
    """Start a restore that is held up in pg_restore."""
    held = restores.archive.folder / "held"
    fake_pg_restore(restores, f"touch {held}; sleep 600")
    process = restores.start("restore", "shop", "--into-new", restores.name("new"))
    wait_until(held.exists, "pg_restore has begun")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_stops_a_restore_leaves_nothing(shop: Restores, number: signal.Signals) -> None:
    process = started(shop)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert shop.databases() == []
    assert shop.roles() == set()
    assert shop.leftovers() == []
    assert [line for line in living() if str(shop.archive.folder) in line] == []


def test_what_a_killed_restore_left_is_removed_by_the_next(shop: Restores) -> None:
    process = started(shop)
    assert [path for path in shop.leftovers() if path.parent != GPG_HOMES]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert shop.leftovers()
    assert shop.databases() == [shop.name("new")]
    shop.archive.write_settings(postgres_bin=str(clusters.BINARIES))
    assert into_new(shop).held
    assert shop.leftovers() == []


def test_what_a_killed_restore_left_in_the_clear_is_removed_by_the_next_backup_too(shop: Restores) -> None:
    """The next restore may be a month away."""
    process = started(shop)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    home = GPG_HOMES / f"pipeline-temporary-{shop.archive.platform.prefix}"
    home.mkdir(mode=0o700)
    (home / ".in-use").touch()
    assert {home} < set(shop.leftovers())
    shop.archive.write_settings(postgres_bin=str(clusters.BINARIES))
    dump.dump_database(shop.archive.settings, "shop", "2026-11-23")
    assert shop.leftovers() == []


def test_the_home_of_a_private_key_is_removed_after_a_kill(shop: Restores) -> None:
    held = (
        "import sys, time; from pathlib import Path; from pipeline import crypt\n"
        "with crypt.private_key(sys.stdin.read(), folder=Path('.')) as key:\n"
        "    print(key._gpg.gnupghome, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [program("python"), "-c", held], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(shop.archive.private_keys["school"])
    process.stdin.close()
    home = Path(process.stdout.readline().strip())
    assert home.parent == GPG_HOMES
    assert home.stat().st_mode & 0o077 == 0
    process.kill()
    process.wait()
    process.stdout.close()
    assert home.exists()
    assert into_new(shop).held
    assert not home.exists()
    assert [line for line in living() if str(home) in line] == []


def test_neither_password_nor_key_is_an_argument_or_is_told(shop: Restores) -> None:
    seen = shop.archive.folder / "seen"
    parent = f'tr "\\0" " " < /proc/$PPID/cmdline >> {seen}; echo "$@" >> {seen}\n'
    fake_pg_restore(shop, parent + f'exec {clusters.BINARIES / "pg_restore"} "$@"')
    code, said = restored(shop, "--into-new", shop.name("new"))
    assert code == 0, said
    password = target.at(shop.uri("postgres")).environment["PGPASSWORD"]
    for text in (seen.read_text(), said):
        assert password not in text
        assert "PRIVATE KEY" not in text


def living() -> list[str]:
    """Return the command lines of the processes that live."""
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return lines
