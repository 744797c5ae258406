"""docs/crontab: every line of it is understood, and does what it says on a sandbox, started as cron does."""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import cli, settings
from pipeline.sandbox import configuration
from pipeline.sandbox.home import PROJECT
from pipeline.sandbox.servers import clusters
from pipeline.settings import RunSettings
from tests.support.platforms import Sandbox

CRONTAB = PROJECT / "docs" / "crontab"
README = PROJECT / "README.md"
# minute, hour, day, month, weekday: the numbers that each may have.
FIELDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Job:
    """One line of a crontab."""

    times: tuple[str, ...]
    command: str

    @property
    def words(self) -> list[str]:
        """What the command is, once the shell has put in the variables."""
        return shlex.split(self.command.replace("$BIN/", "/bin/"))

    @property
    def option(self) -> dict[str, str]:
        """The options of bin/cron."""
        return dict(zip(self.words[1:5:2], self.words[2:5:2], strict=True))

    @property
    def arguments(self) -> list[str]:
        """The arguments of `pipeline`."""
        assert self.words[0] == "/bin/pipeline-cron"
        assert self.words[5] == "/bin/pipeline"
        return self.words[6:]


def read(text: str) -> tuple[dict[str, str], list[Job]]:
    """Return the variables and the jobs of a crontab, as cron(8) reads it."""
    variables, jobs = {}, []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if assigned := re.fullmatch(r"(\w+)\s*=\s*(.*)", line):
            variables[assigned[1]] = assigned[2]
            continue
        *times, command = line.split(None, 5)
        assert "%" not in command, "cron takes it for the end of a line"
        jobs.append(Job(tuple(times), command))
    return variables, jobs


VARIABLES, JOBS = read(CRONTAB.read_text())


def test_the_times_are_times() -> None:
    for job in JOBS:
        for text, (least, most) in zip(job.times, FIELDS, strict=True):
            found = re.fullmatch(r"(\*(/(?P<every>\d+))?|(?P<at>\d+))", text)
            assert found, text
            assert found["at"] is None or least <= int(found["at"]) <= most
            assert found["every"] is None or 0 < int(found["every"]) <= most


def test_each_line_is_understood_by_the_program() -> None:
    parser = cli._parser()
    for job in JOBS:
        assert callable(parser.parse_args(job.arguments).command), job.command


def test_each_line_has_a_lock_of_its_own_and_more_time_than_the_program_gives_itself() -> None:
    """Else the lesser of the two limits would never say which step it was."""
    locks = [job.option["--lock"] for job in JOBS]
    assert len(set(locks)) == len(locks)
    for job in JOBS:
        number, unit = re.fullmatch(r"(\d+)(\w)", job.option["--timeout"]).groups()  # type: ignore[union-attr]
        if job.arguments[0] == "run":
            assert int(number) * UNITS[unit] > RunSettings().run_minutes * 60


def test_what_the_readme_shows_is_a_line_of_it() -> None:
    (block,) = re.findall(r"```crontab\n(.*?)```", README.read_text(), re.DOTALL)
    shown = read(block)[1]
    assert shown
    assert set(shown) <= set(JOBS)


def test_it_holds_no_credential_and_all_that_is_chained() -> None:
    chains = {tuple(job.arguments[:2]) for job in JOBS}
    assert chains >= {("run", "etl"), ("run", "backup"), ("run", "drill"), ("audit",), ("watch",)}
    assert "secret" not in CRONTAB.read_text().lower()


@pytest.mark.endurance
def test_every_line_does_what_it_says(sandbox: Sandbox, tmp_path: Path) -> None:
    """In the order of the night, by the shell that it names, with the little that cron hands on."""
    # What analysts pushed is fetched as in production.
    own = configuration.sections(sandbox.with_samples().home)
    remote = f"file://{sandbox.home.analysts_remote}"
    own["analysts"] = {"checkout": str(tmp_path / "analysts"), "repository": remote, "branch": "main"}
    luigi_cfg = tmp_path / "luigi.cfg"
    luigi_cfg.write_text(configuration.render(configuration.template(), own))
    here = {
        "BIN": str(tmp_path / "bin"),
        "CRON_STATE": str(tmp_path / "state"),
        "CRON_ALERTS": str(tmp_path / "alerts"),
        "LUIGI_CONFIG_PATH": str(luigi_cfg),
        "VAULT_ADDR": sandbox.env["VAULT_ADDR"],
    }
    names = set(settings.read([Path(here["LUIGI_CONFIG_PATH"])]).databases)
    backed_up = {job.arguments[2] for job in JOBS if job.arguments[:2] == ["run", "backup"]}
    assert backed_up == names, "one line for each database"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pipeline-cron").symlink_to(PROJECT / "bin" / "cron")
    (tmp_path / "bin" / "pipeline").symlink_to(Path(sys.executable).with_name("pipeline"))
    # What cron gives, and pg_dump, which on another machine is installed.
    path = f"{clusters.BINARIES}:/usr/bin:/bin"
    environment = {"HOME": str(tmp_path), "LOGNAME": "pipeline", "PATH": path, **VARIABLES, **here}
    # As whoever installs it did before.
    migrate = [str(tmp_path / "bin" / "pipeline"), "migrate"]
    subprocess.run(migrate, env=environment, check=True, capture_output=True, timeout=60)
    for job in sorted(JOBS, key=lambda job: (job.arguments[0] == "watch", *reversed(job.times[:2]))):
        done = subprocess.run(
            [VARIABLES["SHELL"], "-c", job.command],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        log = (tmp_path / "state" / f"{job.option['--lock']}.log").read_text()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), log
        assert "ended with 0" in log
