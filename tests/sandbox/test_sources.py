"""Source databases: the samples, what day 2 does to them, and those that a person adds."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import catalog, settings
from pipeline.sandbox import analysts, provision, sources
from pipeline.sandbox.servers import clusters, vault_server
from pipeline.warehouse import roles
from tests.sandbox.conftest import CommandLine
from tests.support.platforms import Sandbox

pytestmark = pytest.mark.endurance

DUMP = r"""
CREATE TABLE public."Matter" (id integer PRIMARY KEY, "client name" text);
COPY public."Matter" (id, "client name") FROM stdin;
1	O'Neill \\ Sons
2	\N
\.
CREATE SCHEMA billing;
CREATE TABLE billing.entry (amount numeric);
CREATE TABLE billing."null" (id int PRIMARY KEY);
"""
CHECKSUM = "SELECT coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM {} AS t"


@pytest.fixture(scope="session")
def sandbox(sandbox: Sandbox) -> Sandbox:
    """The sandbox with its samples."""
    return sandbox.with_samples()


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A sandbox with the sample sources, for this file alone."""
    command = CommandLine(tmp_path_factory.mktemp("stocked") / "home")
    command("up")
    yield command
    command("down", "--wipe")


def test_a_sandbox_with_its_samples_is_ready_for_a_first_load(stocked: CommandLine) -> None:
    """Its marts included: else the first thing that somebody tries fails."""
    with clusters.connection(stocked.home, "warehouse", "warehouse") as connection:
        assert roles.there(connection)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM ops.listing")
            assert cursor.fetchall() == [(0,)]


def _rows(own: CommandLine, database: str, query: str) -> list[tuple[object, ...]]:
    with clusters.connection(own.home, "sources", database) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def _checksums(home: Sandbox | CommandLine, database: str) -> dict[str, str]:
    with clusters.connection(home.home, "sources", database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT format('%I.%I', schemaname, relname) FROM pg_stat_user_tables ORDER BY 1")
        tables = [table for (table,) in cursor.fetchall()]
        sums = {}
        for table in tables:
            cursor.execute(CHECKSUM.format(table))
            ((sums[table],),) = cursor.fetchall()
    return sums


def _roles(own: CommandLine) -> set[object]:
    return {
        role for (role,) in _rows(own, "postgres", "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'")
    }


def _databases(own: CommandLine) -> set[object]:
    return {name for (name,) in _rows(own, "postgres", "SELECT datname FROM pg_database")}


@pytest.mark.endurance
def test_every_sandbox_holds_the_same_rows_until_day_2_comes_once(
    sandbox: Sandbox, stocked: CommandLine
) -> None:
    before = {name: _checksums(stocked, name) for name in sources.SAMPLES}
    assert before == {name: _checksums(sandbox, name) for name in sources.SAMPLES}
    assert "hr, records, service_desk" in stocked("day2").stdout
    after = {name: _checksums(stocked, name) for name in sources.SAMPLES}
    changed = {
        table for name in sources.SAMPLES for table, was in before[name].items() if after[name][table] != was
    }
    assert len(changed) >= 15
    assert "nothing to do" in stocked("day2").stdout
    assert {name: _checksums(stocked, name) for name in sources.SAMPLES} == after


def test_the_samples_are_about_as_many_rows_as_promised(sandbox: Sandbox) -> None:
    rows = 0
    for name in sources.SAMPLES:
        with sandbox.connect(name) as connection, connection.cursor() as cursor:
            cursor.execute("ANALYZE")
            cursor.execute("SELECT sum(n_live_tup)::int FROM pg_stat_user_tables")
            ((count,),) = cursor.fetchall()
            rows += count
    assert 180_000 < rows < 250_000


def test_the_example_declares_every_table_but_views(sandbox: Sandbox) -> None:
    declared = catalog.read(analysts.EXAMPLE)
    for name in sources.SAMPLES:
        with sandbox.connect(name) as connection, connection.cursor() as cursor:
            cursor.execute(sources.script("tables").read_text())
            tables = cursor.fetchall()
        known = {
            (table.schema_name, table.relation): table for table in declared.source(name).tables.values()
        }
        assert set(known) == {(schema, table) for schema, table, _ in tables}
        for schema, table, has_key in tables:
            assert has_key or known[schema, table].changes == "full", table


@pytest.mark.endurance
def test_a_dump_becomes_a_source(own: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "practice.sql"
    file.write_text(DUMP)
    own("add", "practice", str(file))
    assert _rows(own, "practice", 'SELECT "client name" FROM "Matter" ORDER BY id') == [
        ("O'Neill \\ Sons",),
        (None,),
    ]
    read = settings.read([own.home.settings_file])
    assert "practice" in read.sources
    assert "practice" in read.databases
    assert vault_server.administrator(own.home).read("source/practice")
    tables = catalog.read(own.home.analysts).source("practice").tables
    assert {name: (table.schema_name, table.changes) for name, table in tables.items()} == {
        "Matter": ("public", "xmin"),
        "entry": ("billing", "full"),
        "null": ("billing", "xmin"),
    }
    log = ["git", "-C", str(own.home.analysts_remote), "log", "--format=%s", "main"]
    assert "Load practice" in subprocess.run(log, capture_output=True, text=True, check=True).stdout
    assert "already up" in own("up", "--empty").stdout


def test_an_empty_source_can_be_added_and_filled_with_psql(own: CommandLine) -> None:
    own("add", "blank")
    own("psql", "blank", "-c", "CREATE TABLE t (id int)")
    assert _rows(own, "blank", "SELECT count(*) FROM t") == [(0,)]


def test_a_database_that_is_read_only_by_default_is_added_as_it_is(own: CommandLine) -> None:
    with clusters.connection(own.home, "sources", "postgres") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE sealed")
        cursor.execute("ALTER DATABASE sealed SET default_transaction_read_only = on")
    added = own("add", "sealed")
    assert "Traceback" not in added.stderr
    setting = (
        "SELECT setconfig[1] FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase"
    )
    assert _rows(own, "sealed", f"{setting} WHERE d.datname = 'sealed'") == [
        ("default_transaction_read_only=on",)
    ]
    reads = "SELECT has_schema_privilege('pipeline_sealed', 'public', 'USAGE')"
    assert _rows(own, "sealed", reads) == [(True,)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CREATE TABLE fine (id int);\nCREATE TABEL broken (id int);", "TABEL"),
        ("CREATE TABLE t (id int); ALTER TABLE t OWNER TO nobody_here;", "--no-owner"),
        ("COPY missing FROM stdin;\n1\n\\.\n", "missing"),
    ],
)
def test_a_broken_dump_leaves_nothing(own: CommandLine, tmp_path: Path, text: str, reason: str) -> None:
    databases, roles, state = _databases(own), _roles(own), own.home.state
    file = tmp_path / "broken.sql"
    file.write_text(text)
    assert reason in own("add", "broken", str(file), expect=3).stderr
    assert _databases(own) == databases
    assert _roles(own) == roles
    assert own.home.state == state
    assert vault_server.administrator(own.home).read("source/broken") is None
    assert not (own.home.analysts / "sources" / "broken.yaml").exists()


@pytest.mark.parametrize(
    "name", ["Capital", "1st", "mart", "warehouse", "postgres", "a-b", 'x"; drop', "x" * 70]
)
def test_a_name_that_will_not_do_is_refused(own: CommandLine, name: str) -> None:
    before = _databases(own)
    own("add", name, expect=2)
    assert _databases(own) == before


def test_a_name_that_is_taken_is_refused(own: CommandLine) -> None:
    own("add", "twice")
    assert "already" in own("add", "twice", expect=2).stderr
    assert vault_server.administrator(own.home).read("source/twice")


def test_a_database_of_the_same_name_is_not_overwritten_but_can_be_taken(
    own: CommandLine, tmp_path: Path
) -> None:
    with (
        clusters.connection(own.home, provision.SOURCES, "postgres") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE DATABASE handmade")
    file = tmp_path / "dump.sql"
    file.write_text("SELECT 1;")
    assert "already" in own("add", "handmade", str(file), expect=2).stderr
    assert "handmade" in _databases(own)
    own("add", "handmade")
    assert "handmade" in settings.read([own.home.settings_file]).sources


def test_psql_opens_what_is_meant(own: CommandLine) -> None:
    for name, database in (("warehouse", "warehouse"), ("drill", "postgres")):
        assert own("psql", name, "-XAtc", "SELECT current_database()").stdout == f"{database}\n"
    assert "no such database" in own("psql", "warehose", expect=2).stderr


@pytest.mark.endurance
def test_env_can_be_evaluated_and_points_at_the_sandbox(own: CommandLine) -> None:
    shell = 'eval "$1"; echo "$LUIGI_CONFIG_PATH"; pg_dump --version'
    line = ["bash", "-euc", shell, "bash", own("env").stdout]
    done = subprocess.run(line, env={"PATH": os.defpath}, capture_output=True, text=True, check=True)
    path, version = done.stdout.splitlines()
    assert path == str(own.home.settings_file)
    assert " 17." in version
