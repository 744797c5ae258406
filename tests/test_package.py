"""What is installed: one wheel, under a name of its own, with all that a machine needs."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from pipeline.sandbox.home import PROJECT

# Each takes seconds.
pytestmark = pytest.mark.endurance


def git() -> str:
    return shutil.which("git") or "git"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Return the wheel of what is committed and what is not."""
    stage, out = tmp_path_factory.mktemp("stage"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        [git(), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (source := PROJECT / name).exists():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--no-index", "--wheel-dir", out, "."], cwd=stage, check=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def read(wheel: zipfile.ZipFile, end: str) -> bytes:
    return wheel.read(next(name for name in wheel.namelist() if name.endswith(end)))


def test_the_wheel_has_a_name_of_its_own_and_says_where_it_runs(wheel: zipfile.ZipFile) -> None:
    told = Parser().parsestr(read(wheel, ".dist-info/METADATA").decode())
    assert told["Name"] == "school-nightly-pipeline"
    assert set(told["Requires-Python"].split(",")) == {">=3.11", "<3.14"}
    assert "School" not in str(told["Author"])


def test_the_wheel_brings_the_settings_the_crontab_and_the_licence(wheel: zipfile.ZipFile) -> None:
    assert read(wheel, "pipeline/data/luigi.cfg") == (PROJECT / "luigi.cfg").read_bytes()
    assert read(wheel, "pipeline/data/crontab") == (PROJECT / "docs" / "crontab").read_bytes()
    assert b"Apache License" in read(wheel, "LICENSE")


def test_every_sql_file_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {str(path.relative_to(PROJECT)) for path in (PROJECT / "pipeline").rglob("*.sql")} <= names


def test_the_cron_wrapper_is_installed_under_a_name_of_its_own(
    wheel: zipfile.ZipFile,
) -> None:
    scripts = {Path(name).name for name in wheel.namelist() if "/scripts/" in name}
    assert scripts == {"pipeline-cron"}
    assert read(wheel, "scripts/pipeline-cron") == (PROJECT / "bin" / "cron").read_bytes()


@pytest.mark.endurance
def test_the_same_commit_and_wheels_give_the_same_release_twice_and_it_runs(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    files = []
    for name in ("first", "second"):
        out = tmp_path / name
        subprocess.run(
            [PROJECT / "bin" / "release", "--out", out, "--wheelhouse", wheels],
            check=True,
            capture_output=True,
        )
        (made,) = out.glob("*.pex")
        subprocess.run(
            ["/usr/bin/sha256sum", "--check", f"{made.name}.sha256"], cwd=out, check=True, capture_output=True
        )
        files.append(made)
    assert files[0].read_bytes() == files[1].read_bytes()
    bare = {"HOME": str(tmp_path), "PATH": "/usr/local/bin:/usr/bin:/bin", "PEX_ROOT": str(tmp_path)}
    said = subprocess.run(
        [files[0], "--version"], env=bare, check=True, capture_output=True, text=True
    ).stdout
    commit = subprocess.run(
        [git(), "rev-parse", "--short=10", "HEAD"], cwd=PROJECT, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert said == f"pipeline 0.1.0 {commit}\n"
    # Programs of analysts are run by the release's own Python, confined: that has to be found there.
    repository = tmp_path / "repository"
    shutil.copytree(PROJECT / "examples" / "analysts" / "sources", repository / "sources")
    (repository / "tasks").mkdir()
    (repository / "tasks" / "one.py").write_text("import luigi\n\n\nclass One(luigi.Task):\n    pass\n")
    looked = subprocess.run(
        [files[0], "validate", repository], env=bare, check=False, capture_output=True, text=True
    )
    assert looked.returncode == 0, looked.stderr
    assert "1 file of tasks: no problem found" in looked.stdout
