"""What `bin/bench` shows; how much it is, is for people to judge."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import StepError
from pipeline.sandbox import provision
from pipeline.sandbox.b2.control import Control
from pipeline.sandbox.benches import bench_platform
from pipeline.sandbox.home import PROJECT
from pipeline.sandbox.servers import backup_store, clusters
from tests.support.platforms import Sandbox

pytestmark = pytest.mark.endurance


@pytest.fixture(scope="session")
def sandbox(sandbox: Sandbox) -> Sandbox:
    """The sandbox with its samples."""
    return sandbox.with_samples()


def test_the_cost_of_an_audit_is_shown_beside_its_night_and_nothing_is_left(sandbox: Sandbox) -> None:
    done = subprocess.run(
        [PROJECT / "bin" / "bench", "audit", "--rows=2000", "--rounds=2"],
        text=True,
        capture_output=True,
        env={**os.environ, "SANDBOX_HOME": str(sandbox.home.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    night = r"^bench: night 2: load \d.* s, audit \d.* s, \d.*%; of processors \d.*; audit: \d+ equal; at "
    assert re.search(night, done.stdout, re.MULTILINE), done.stdout
    for what in ("of its night", "of the processors' time of its night"):
        assert re.search(rf"^bench: an audit takes \d+\.\d% {what} \(median; ", done.stdout, re.MULTILINE)
    apart = r"^bench: of that \d+\.\d\d s to begin and end, and \d+\.\d\d s a million rows$"
    assert re.search(apart, done.stdout, re.MULTILINE)
    assert re.search(r"^bench: \d+ of 20 tables had their turn within 2 nights$", done.stdout, re.MULTILINE)
    with clusters.connection(sandbox.home, provision.SOURCES, "postgres") as connection:
        assert not provision.database_exists(connection, "bench")


def bench(sandbox: Sandbox, *arguments: str) -> str:
    """Run bin/bench in the sandbox of the tests, and return what it said."""
    done = subprocess.run(
        [PROJECT / "bin" / "bench", *arguments],
        text=True,
        capture_output=True,
        env={**os.environ, "SANDBOX_HOME": str(sandbox.home.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("backup", {"dump, encryption, checksums", "upload, verify"}),
        ("restore", {"from the bucket to a checked database"}),
    ],
)
def test_a_backup_and_a_restore_are_shown_beside_the_least_and_nothing_is_left(
    sandbox: Sandbox, what: str, names: set[str]
) -> None:
    told = json.loads(bench(sandbox, what, "--rows=2000", "--rounds=1", "--json"))
    assert (told["what"], told["figures"].keys()) == (what, names)
    for cluster in (provision.SOURCES, provision.DRILL):
        with clusters.connection(sandbox.home, cluster, "postgres") as connection:
            for database in ("bench_backup", "bench_restored"):
                assert not provision.database_exists(connection, database)
    with Control(sandbox.home.path / backup_store.NAME) as control, pytest.raises(StepError):
        control.versions("bench-backups")


def test_the_memory_of_each_process_is_shown_and_whether_it_grows(sandbox: Sandbox) -> None:
    told = json.loads(bench(sandbox, "memory", "--rows=2000", "--tables=4", "--json"))
    assert told["unit"] == "MiB"
    for process in ("pipeline run etl", "Luigi", "one step", "scheduler", "all together"):
        for what in ("2,000 rows", "4 tables"):
            figures = told["figures"][f"{process}, {what}"]
            assert 10 < figures["seconds"][0] < 2000
            assert figures["ratio"] > 0


def test_a_night_that_only_waits_is_done_by_a_real_scheduler(sandbox: Sandbox) -> None:
    said = bench(sandbox, "scheduler", "--tables=20")
    assert re.search(r"^bench: scheduler, 20 tables, 20 workers: \d+\.\d\d s", said, re.MULTILINE)
    assert re.search(r"^bench: get_work: [\d,]+ calls, \d+ ms at the median", said, re.MULTILINE)


def test_a_warehouse_is_migrated_by_the_build_that_is_measured(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "pipeline" / "cli").mkdir(parents=True)
    (tmp_path / "pipeline" / "__init__.py").touch()
    ran = tmp_path / "ran"
    says = f"import pathlib, sys\ndef main(): pathlib.Path({str(ran)!r}).write_text(str(sys.argv[1:]))\n"
    (tmp_path / "pipeline" / "cli" / "__init__.py").write_text(says)
    make = "CREATE TABLE entry (id int PRIMARY KEY)"
    with bench_platform.platform(sandbox.home, ["entry"], make) as platform:
        platform.empty(tmp_path)
    assert ran.read_text() == "['migrate']"


@pytest.mark.parametrize("what", ["tables", "nights", "start"])
def test_whole_nights_are_shown_beside_a_yardstick_and_nothing_is_left(sandbox: Sandbox, what: str) -> None:
    done = subprocess.run(
        [PROJECT / "bin" / "bench", what, "--rows=20000", "--tables=2", "--rounds=1", "--json"],
        text=True,
        capture_output=True,
        env={**os.environ, "SANDBOX_HOME": str(sandbox.home.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    names = {
        "tables": {"first load", "unchanged"},
        "nights": {"first load", "1 % changed, 0.1 % deleted", "1 % changed", "nothing changed"},
        "start": {"pipeline --help", "pipeline status"},
    }
    assert (told["what"], told["figures"].keys()) == (what, names[what])
    for figures in told["figures"].values():
        assert len(figures["seconds"]) == len(figures["yardstick_seconds"]) == 1
        assert figures["ratio"] > 0
    with clusters.connection(sandbox.home, provision.SOURCES, "postgres") as connection:
        assert not provision.database_exists(connection, "bench")
