"""Luigi's settings are ours without a word in luigi.cfg; what that says wins; `check` tells what is lost."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.sandbox.home import PROJECT
from pipeline.settings import weakened
from pipeline.settings.luigi_defaults import LUIGI
from tests.support.night import Night, next_run, program

# What Luigi itself makes of its settings, once our tasks are imported as its command line does it.
EFFECTIVE = """
import json, luigi, luigi.cmdline_parser, sys
sys.argv[1:] = ["--module", "tasks.etl", "LoadWarehouse"]
with luigi.cmdline_parser.CmdlineParser.global_instance(sys.argv[1:]):
    import luigi.interface, luigi.retcodes, luigi.scheduler, luigi.worker
    found = {
        "core": luigi.interface.core(), "worker": luigi.worker.worker(),
        "scheduler": luigi.scheduler.scheduler(), "retcode": luigi.retcodes.retcode(),
    }
    config = luigi.configuration.get_config()
    print(json.dumps({
        section: {key: str(getattr(one, key, config.get(section, key))) for key in json.loads(%r)[section]}
        for section, one in found.items()
    }))
"""
OURS = {section: {key: default.value for key, default in found.items()} for section, found in LUIGI.items()}
README = """
[vault]
url = http://127.0.0.1:1
auth = approle
role = 7d1a3c5e-0000-0000-0000-000000000000
credential_file = secret-id
"""


def effective(folder: Path, settings: str) -> dict[str, dict[str, str]]:
    path = folder / "luigi.cfg"
    path.write_text(settings)
    code = EFFECTIVE % json.dumps(OURS)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"LUIGI_CONFIG_PATH": str(path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


def plain(value: str) -> str:
    """Return a value as it is compared: Luigi reads numbers and lengths of time."""
    value = value.removesuffix(".0")
    return {"0:05:00": "5 minutes", "None": "0"}.get(value, value)


def test_the_settings_that_the_readme_calls_enough_switch_nothing_off(tmp_path: Path) -> None:
    found = effective(tmp_path, README)
    assert {
        section: {key: plain(value) for key, value in values.items()} for section, values in found.items()
    } == OURS


def test_what_luigi_cfg_says_of_luigi_wins(tmp_path: Path) -> None:
    own = "[scheduler]\nretry_count = 5\nretry-delay = 3\n[retcode]\nnot_run = 7\n"
    found = effective(tmp_path, README + own)
    told = (found["scheduler"]["retry_count"], found["retcode"]["not_run"], found["retcode"]["task_failed"])
    assert told == ("5", "7", "30")
    assert plain(found["scheduler"]["retry_delay"]) == "3"


def test_the_defaults_that_luigi_cfg_shows_are_those_of_the_code() -> None:
    shown: dict[str, dict[str, str]] = {}
    _, _, own = (PROJECT / "luigi.cfg").read_text().partition("# ---- Luigi's own.")
    section = ""
    for line in own.splitlines():
        if opened := re.fullmatch(r"\[(\w+)\]", line):
            section = opened[1]
        elif key := re.fullmatch(r"# (\w+) = (.*)", line):
            shown.setdefault(section, {})[key[1]] = key[2]
        assert not re.match(r"\w+ =", line), "all are commented"
    assert shown == OURS


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("[retcode]\ntask_failed = 0", "plain Luigi exits with 0"),
        ("[scheduler]\nretry_count = 1", "a failed step is not retried"),
        ("[scheduler]\nworker-disconnect-delay = 60", "a step may run twice at once"),
        ("[worker]\nforce_multiprocessing = False", "ends the whole run"),
        ("[worker]\ncache_task_completion = true", "cleared steps count as done"),
        ("[worker]\ntimeout = 60", "[run] step_minutes ends all of them"),
        ("[core]\nno_lock = 0", "two different runs exclude each other"),
        ("[scheduler]\nretry_count = 9", None),
        ("[retcode]\ntask_failed = 3", None),
        ("[core]\nlog_level = DEBUG", None),
        ("[worker]\nkeep_alive = TRUE", None),
    ],
)
def test_what_is_weakened_is_told_with_its_place(tmp_path: Path, line: str, lost: str | None) -> None:
    path = tmp_path / "luigi.cfg"
    path.write_text(f"{README}{line}\n")
    told = list(weakened([path], {}))
    assert len(told) == (lost is not None)
    if lost:
        number = path.read_text().count("\n")
        assert told[0].startswith(f"{path}:{number}: ")
        assert lost in told[0]


@pytest.mark.endurance
def test_check_tells_it(night: Night) -> None:
    path = night.platform.settings_file
    assert "Luigi: ok\n" in night.run("check").out
    path.write_text(path.read_text().replace("[retcode]\n", "[retcode]\ntask_failed = 0\n", 1))
    told = night.run("check").out
    assert re.search(r"^Luigi: warning: .*\[retcode\] task_failed = 0, and not 30: ", told, re.MULTILINE)


@pytest.mark.endurance
def test_plain_luigi_ends_with_a_code_of_its_own_where_a_task_failed(night: Night) -> None:
    declaration = "source: shop\ntables: {item: {checks: [{rows: {min: 1}}]}}\n"
    night.platform.source("shop", "CREATE TABLE item (id int PRIMARY KEY)", declaration)
    written = night.platform.settings_file.read_text()
    assert not re.search(r"^(task_failed|retry_count|force_multiprocessing) =", written, re.MULTILINE)
    words = ["--module", "tasks.etl", "LoadWarehouse", "--run", next_run()]
    done = subprocess.run(
        [program("luigi"), *words], env=night.platform.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == int(OURS["retcode"]["task_failed"]), done.stderr
