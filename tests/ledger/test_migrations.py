"""The warehouse's own tables: made by many at once, made again without a trace."""

import socket
import subprocess
import threading

import pytest

from pipeline.errors import UnreachableError
from pipeline.ledger import migrations
from pipeline.postgres import session
from tests.support.night import Night, program
from tests.support.platforms import Platform

COUNT = 10


def revisions(night: Night) -> list[tuple[object, ...]]:
    """Return the catalog rows of all that the migrations made."""
    return night.ask(
        "warehouse",
        """
        SELECT c.oid, c.relname, c.xmin::text, c.relfilenode FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'ops' ORDER BY 1
        """,
    )


@pytest.mark.endurance
def test_ten_migrations_at_once_of_an_empty_warehouse_all_succeed(platform: Platform) -> None:
    """As when all nodes start at once; Luigi's own tables are there too, and once more changes nothing."""
    started = [
        subprocess.Popen(
            [program("pipeline"), "migrate"],
            env=platform.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(COUNT)
    ]
    outputs = [process.communicate()[0].decode() for process in started]
    assert [process.returncode for process in started] == [0] * COUNT, outputs
    night = Night(platform)
    names = {name for _, name, _, _ in revisions(night)}
    assert {"run", "step", "watermark", "table_shape", "check_result", "tasks", "task_events"} <= names
    before = revisions(night)
    ended = night.run("migrate")
    assert ended.code == 0
    assert revisions(night) == before


def test_a_warehouse_that_refuses_is_left_as_it_was(platform: Platform) -> None:
    """All or nothing: what stands in the way is told, and no half of a ledger stays."""
    night = Night(platform)
    owner = f"{platform.prefix}_pipeline"
    night.ask("warehouse", f"CREATE SCHEMA ops AUTHORIZATION {owner}")
    night.ask("warehouse", "CREATE TABLE ops.watermark (mine int)")
    ended = night.run("migrate")
    assert (ended.code, len(ended.errors)) == (3, 1)
    assert ended.errors[0].startswith("the warehouse could not be migrated: ")
    assert night.ask(
        "warehouse", "SELECT relname FROM pg_class WHERE relnamespace = 'ops'::regnamespace"
    ) == [("watermark",)]


@pytest.mark.endurance
def test_a_warehouse_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a firewall that drops what it does not know: the line is open, and nothing comes."""
    monkeypatch.setattr(session, "CONNECT_TIMEOUT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # Ends the test, not the wait, where nothing else does.
        rescue = threading.Timer(30, silent.close)
        rescue.daemon = True
        rescue.start()
        uri = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/warehouse"
        with pytest.raises(UnreachableError, match="timeout expired"):
            migrations.migrate(uri)
        rescue.cancel()


def test_a_release_that_is_older_than_the_ledger_says_so_and_changes_nothing(platform: Platform) -> None:
    """As after a rollback: its scheduler does not begin, and who looks why is told."""
    night = Night(platform)
    night.migrate()
    night.ask("warehouse", "UPDATE ops.alembic_version SET version_num = '9999'")
    before = revisions(night)
    ended = night.run("migrate")
    assert ended.code == 3
    assert len(ended.errors) == 1, ended.errors
    assert "at revision 9999, and this release of the pipeline (0.1.0" in ended.errors[0]
    assert "the release is older; use a release that knows that revision" in ended.errors[0]
    assert revisions(night) == before
    assert night.ask("warehouse", "SELECT version_num FROM ops.alembic_version") == [("9999",)]
