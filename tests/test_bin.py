"""The commands that a newcomer types, as the README tells them: the demo on real servers among them."""

import dataclasses
import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from pipeline import settings
from pipeline.sandbox import comparison
from pipeline.sandbox.home import PROJECT, Home
from pipeline.sandbox.servers import clusters

README = (PROJECT / "README.md").read_text(encoding="utf-8")
TELLING = {"README.md": README, "docs/architecture.md": (PROJECT / "docs" / "architecture.md").read_text()}
MAXIMUM_PICTURE_BYTES = 200_000


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a newcomer whose sandbox lies in `home`."""
    unwanted = ("LUIGI_CONFIG_PATH", "VAULT_ADDR", "CI")
    plain = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**plain, "SANDBOX_HOME": str(home), "COLUMNS": "80"}


def run(*arguments: str, home: Path, folder: Path = PROJECT, more: Mapping[str, str] | None = None) -> Done:
    """Run a command of the project to its end, as a newcomer would, without a terminal."""
    done = subprocess.run(
        [str(PROJECT / arguments[0]), *arguments[1:]],
        cwd=folder,
        env={**environment(home), **(more or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def left_over(*places: str) -> list[str]:
    """Return the command lines of all processes that name one of these places."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if any(place in line for place in places):
            found.append(line)
    return found


def places(path: Path) -> tuple[str, ...]:
    """Return where a sandbox's processes may be at home."""
    home = Home(path)
    home.load()
    return str(path), home.state.server_folder, home.state.socket_folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Done]]:
    """One run of the demo, and its home; what it leaves running is ended."""
    home = tmp_path_factory.mktemp("demo") / "home"
    done = run("bin/demo", home=home)
    yield home, done
    run("bin/demo", "--down", "--wipe", home=home)


@pytest.mark.endurance
def test_the_demo_runs_two_nights_and_proves_every_table_equal(demo: tuple[Path, Done]) -> None:
    home, done = demo
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"all \d+ tables?, [\d,]+ rows, equal their sources", done.stdout)
    nights = re.findall(
        r"^run \S+: (\d+) tables?, .*: ([\d,]+) new, ([\d,]+) changed, ([\d,]+) deleted$",
        done.stdout,
        re.MULTILINE,
    )
    # Between them a run of the mart that was pushed, and of the one table that it reads.
    assert [tables for tables, *_ in nights] == ["20", "20", "1"]
    assert nights[0][2:] == ("0", "0")
    assert "0" not in nights[1]
    assert "static/visualiser/index.html" in done.stdout
    # Luigi's own lines do not drown what a person should see.
    assert "INFO" not in done.stdout + done.stderr
    assert "INFO" in (home / "log" / "etl.log").read_text()
    assert (home / "log" / "etl.log").stat().st_mode & 0o077 == 0


@pytest.mark.endurance
def test_the_demo_takes_an_analysts_commit_and_refuses_a_broken_one(demo: tuple[Path, Done]) -> None:
    _, done = demo
    assert re.search(r"^commit \w{10} is the version of the next run$", done.stdout, re.MULTILINE), (
        done.stdout
    )
    assert re.search(r"^mart\.students_by_city +7 +view *$", done.stdout, re.MULTILINE)
    assert "marts/students_by_city.sql:5: records.studnet: no such table" in done.stderr
    assert "8 marts built" in done.stdout


@pytest.mark.endurance
def test_the_demo_backs_up_every_database_and_proves_each_backup(demo: tuple[Path, Done]) -> None:
    _, done = demo
    for name in ("hr", "records", "service_desk"):
        backed_up = rf"^{name} .* yes +\d{{4}}-\d\d-\d\d +yes *$"
        assert re.search(backed_up, done.stdout, re.MULTILINE), done.stdout
        assert re.search(rf"^{name} .* 30 min .* [AB] *$", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.endurance
def test_a_demo_on_the_same_day_loads_what_changed_since_which_is_nothing(demo: tuple[Path, Done]) -> None:
    again = run("bin/demo", home=demo[0])
    assert again.returncode == 0, again.stdout + again.stderr
    assert "already done" in again.stdout
    assert re.search(r"rows: nothing changed$", again.stdout, re.MULTILINE)


@pytest.mark.endurance
def test_a_row_that_differs_fails_the_demo_with_the_name_of_its_table(demo: tuple[Path, Done]) -> None:
    """The comparison must be able to fail: one value of one row is enough."""
    home = Home(demo[0])
    home.load()
    with clusters.connection(home, "warehouse", "warehouse") as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE hr.employee SET family_name = family_name || ' ' WHERE id = 7")
    wrong = [one.name for one in comparison.compare(settings.read([home.settings_file])) if not one.equal]
    assert wrong == ["hr.employee"]
    failed = run("bin/demo", home=demo[0])
    assert failed.returncode == 4
    assert "hr.employee: the same number of rows, but not the same rows" in failed.stderr


@pytest.mark.endurance
def test_bin_pipeline_takes_the_sandbox_only_when_told_and_says_how(demo: tuple[Path, Done]) -> None:
    done = run("bin/pipeline", "status", home=demo[0])
    assert done.returncode == 2
    assert 'eval "$(bin/sandbox env)"' in done.stderr
    told = run("bin/pipeline", "status", home=demo[0], more=exported(run("bin/sandbox", "env", home=demo[0])))
    assert told.returncode == 0, told.stderr
    # What it showed of a branch of the analysts is not in the checkout by which people go on.
    assert "no longer declared" not in told.stdout


def exported(env: Done) -> dict[str, str]:
    """Return what `bin/sandbox env` prints, but for the PATH."""
    lines = re.findall(r"^export (\w+)='?([^'\n]*)'?$", env.stdout, re.MULTILINE)
    return {name: value for name, value in lines if name != "PATH"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Where a sandbox can be; whatever a test leaves there is ended."""
    yield tmp_path / "home"
    run("bin/demo", "--down", "--wipe", home=tmp_path / "home")


@pytest.mark.endurance
def test_the_demo_that_is_stopped_leaves_what_its_down_ends(home: Path) -> None:
    with subprocess.Popen(
        [PROJECT / "bin" / "demo"],
        cwd=PROJECT,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(line.startswith("== Night 1") for line in process.stdout)
        # As a terminal does it: to everything that the person started.
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()
        assert process.wait() == 143, said
    assert "bin/demo --down" in said
    everywhere = places(home)
    assert run("bin/demo", "--down", home=home).returncode == 0
    assert left_over(*everywhere) == []
    assert home.exists()
    assert run("bin/demo", "--down", "--wipe", home=home).returncode == 0
    assert not any(Path(place).exists() for place in everywhere)
    assert "nothing to stop" in run("bin/demo", "--down", home=home).stdout


@pytest.mark.endurance
def test_what_the_demo_does_not_understand_it_does_not_do(tmp_path: Path) -> None:
    for arguments in (["--wipe"], ["--dwon"], ["today"]):
        assert run("bin/demo", *arguments, home=tmp_path / "home").returncode == 2
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", TELLING)
def test_every_file_that_is_linked_is_there(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TELLING[name])
    missing = [link for link in links if not (PROJECT / name).parent.joinpath(link).exists()]
    assert missing == []


def test_pictures_are_small_enough_for_a_first_screen() -> None:
    pictures = sorted((PROJECT / "docs").glob("*.png"))
    assert pictures
    assert [picture.name for picture in pictures if picture.stat().st_size > MAXIMUM_PICTURE_BYTES] == []


@pytest.mark.parametrize("name", TELLING)
def test_every_command_that_is_told_is_there(name: str, tmp_path: Path) -> None:
    """A command that the README names but the program does not know would be a newcomer's first error."""
    shown = run("bin/pipeline", "--help", home=tmp_path).stdout
    told = set(re.findall(r"[`'/]pipeline ([a-z]+)", TELLING[name]))
    assert told
    unknown = [command for command in told if not re.search(rf"^    {command}\b", shown, re.MULTILINE)]
    assert unknown == []


def test_every_option_of_a_run_is_told(tmp_path: Path) -> None:
    for command in (["run", "etl"], ["status"]):
        shown = run("bin/pipeline", *command, "--help", home=tmp_path).stdout
        row = next(
            line for line in README.splitlines() if line.startswith(f"| `pipeline {' '.join(command)}")
        )
        untold = set(re.findall(r"--[a-z-]+", shown)) - set(re.findall(r"--[a-z-]+", row)) - {"--help"}
        assert untold == set(), f"{command}: the README does not tell {untold}"


def test_the_exit_codes_that_are_told_are_those_of_the_program(tmp_path: Path) -> None:
    shown = run("bin/pipeline", "--help", home=tmp_path).stdout
    told = next(line for line in README.splitlines() if line.startswith("| 0 |"))
    codes = re.findall(r"\d+", told)
    assert codes == re.findall(r"(?<![\w-])(\d+) (?=[a-z])", shown[shown.index("exit codes") :])


def test_a_wheel_for_a_release_that_is_another_one_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    """Whoever looked at a wheelhouse looked at these very files."""
    wheels, out = tmp_path / "wheels", tmp_path / "out"
    wheels.mkdir()
    known, added = wheels / "luigi-3.8.1-py3-none-any.whl", wheels / "requests-2.31.0-py3-none-any.whl"
    known.write_bytes(b"as it was")
    was = hashlib.sha256(known.read_bytes()).hexdigest()
    (wheels / "SHA256SUMS").write_text(f"{was}  {known.name}\n")
    known.write_bytes(b"as it is!")
    added.write_bytes(b"")
    done = subprocess.run(
        [PROJECT / "bin" / "release", "--wheelhouse", wheels, "--out", out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    got = hashlib.sha256(known.read_bytes()).hexdigest()
    assert f"release: {known}: its SHA-256 is {got}, expected {was}; remove the wheel" in done.stderr
    assert (
        f"{added}: its SHA-256 is {hashlib.sha256().hexdigest()}, expected one of {wheels}/SHA256SUMS"
        in done.stderr
    )
    assert not list(out.glob("*.pex"))
