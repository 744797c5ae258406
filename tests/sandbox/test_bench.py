"""What `bin/bench` shows; how much it is, is for people to judge."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from pipeline.sandbox import provision
from pipeline.sandbox.benches import bench_platform
from pipeline.sandbox.home import PROJECT
from pipeline.sandbox.servers import clusters
from tests.support.platforms import Sandbox

pytestmark = pytest.mark.endurance


def test_the_cost_of_an_audit_is_shown_beside_its_night_and_nothing_is_left(sandbox: Sandbox) -> None:
    done = subprocess.run(
        [PROJECT / "bin" / "bench", "audit", "--rows=2000", "--rounds=2"], text=True, capture_output=True,
        env={**os.environ, "SANDBOX_HOME": str(sandbox.home.path)}, check=False,
    )  # fmt: skip
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


def test_the_local_half_of_a_backup_is_shown_beside_the_least_and_nothing_is_left(sandbox: Sandbox) -> None:
    done = subprocess.run(
        [PROJECT / "bin" / "bench", "backup", "--rows=2000", "--rounds=1"], text=True, capture_output=True,
        env={**os.environ, "SANDBOX_HOME": str(sandbox.home.path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^bench: backup, local stages: \d+\.\d\d times the least \(median\)$", done.stdout, re.M
    )
    assert re.search(r"^bench: peak memory of a backup's step: \d+ MiB$", done.stdout, re.MULTILINE)
    with clusters.connection(sandbox.home, provision.SOURCES, "postgres") as connection:
        assert not provision.database_exists(connection, "bench_backup")
    assert "bench_backup" not in sandbox.home.settings_file.read_text()


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


@pytest.mark.parametrize("what", ["tables", "nights"])
def test_whole_nights_are_shown_beside_a_yardstick_and_nothing_is_left(sandbox: Sandbox, what: str) -> None:
    done = subprocess.run(
        [PROJECT / "bin" / "bench", what, "--rows=20000", "--tables=2", "--rounds=1", "--json"], text=True,
        capture_output=True, env={**os.environ, "SANDBOX_HOME": str(sandbox.home.path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    names = {
        "tables": {"first load", "unchanged"},
        "nights": {"first load", "1 % changed, 0.1 % deleted", "1 % changed", "nothing changed"},
    }
    assert (told["what"], told["figures"].keys()) == (what, names[what])
    for figures in told["figures"].values():
        assert len(figures["seconds"]) == len(figures["yardstick_seconds"]) == 1
        assert figures["ratio"] > 0
    with clusters.connection(sandbox.home, provision.SOURCES, "postgres") as connection:
        assert not provision.database_exists(connection, "bench")
