"""The job files: each is what its duty says, and has what a job of this platform must have."""

import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pygohcl
import pytest

from pipeline import cli
from pipeline.chains import CHAINS, DUTIES, Duty
from pipeline.nomad import jobs, values
from pipeline.sandbox.home import PROJECT
from tests.support.nomad import FOLDER, group_of, plain, read, tasks_of

NAMES = [duty.name for duty in DUTIES]
SAMPLES = {"database": "hr", "run": "2026-11-22", "into_new": "hr_restored"}
# What Nomad's drivers take; it looks at that only on the node, when the job is to begin.
CONFIG_KEYS = {"command", "args"}
TIMES = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]


def strings(value: Any) -> Iterator[str]:
    """Yield every string in it."""
    if isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


every_duty = pytest.mark.parametrize("duty", DUTIES, ids=NAMES)


def test_every_chain_has_its_job_and_nothing_else_is_a_job() -> None:
    chains = {chain.name for chain in CHAINS if not chain.within}
    assert chains == {duty.name for duty in DUTIES if duty.kind == "periodic" and duty.chains}
    assert {chain.within for chain in CHAINS} - {""} <= chains
    assert {path.name for path in FOLDER.glob("*.nomad.hcl")} == {f"{name}.nomad.hcl" for name in NAMES}


@every_duty
def test_a_job_file_is_what_its_duty_says(duty: Duty) -> None:
    """Where not: python -m pipeline.nomad.jobs nomad."""
    assert (FOLDER / f"{duty.name}.nomad.hcl").read_text() == jobs.render(duty)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.hcl")), ids=lambda path: path.name)
def test_a_file_is_read_by_the_parser_that_nomad_has(file: Path) -> None:
    """pygohcl is HashiCorp's own HCL, as @cdktf/hcl2json of npm is.

    Of 4,563 texts, these files with one token left out or twice among them, both judged all but one alike: a
    text ends for pygohcl where a zero byte stands.
    """
    text = file.read_text()
    assert "\0" not in text
    assert pygohcl.loads(text).keys() >= ({"job", "variable"} if ".nomad." in file.name else set())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('restart { attempts = 0, mode = "fail" }', "single-argument block"),
        ('job "x" {\n  type = "batch"\n', "no closing brace"),
        ('args = ["${NOMAD_META_run"]', "interpolation"),
        ('args = ["run", , "etl"]', "Expected the start of an expression"),
    ],
)
def test_that_parser_refuses_what_nomad_refuses(wrong: str, told: str) -> None:
    """Else the test above would prove nothing."""
    with pytest.raises(pygohcl.HCLParseError, match=told):
        pygohcl.loads(wrong)


@pytest.mark.skipif(shutil.which("nomad") is None, reason="Nomad is not there")
@every_duty
def test_nomad_itself_finds_nothing_wrong_and_no_other_style(duty: Duty) -> None:
    file = FOLDER / f"{duty.name}.nomad.hcl"
    given = [f"-var-file={FOLDER / 'school.vars.hcl'}", *(["-var=database=hr"] if duty.per_database else [])]
    if duty.foreign:
        given += [
            "-var=metabase=https://files.example.org/m.jar",
            f"-var=metabase_checksum=sha256:{'0' * 64}",
        ]
    for words in (["fmt", "-check", str(file)], ["job", "validate", *given, str(file)]):
        done = subprocess.run(["nomad", *words], capture_output=True, text=True, check=False)  # noqa: S607
        assert done.returncode == 0, done.stdout + done.stderr


@every_duty
def test_what_a_job_runs_is_a_command_that_there_is(duty: Duty) -> None:
    for name, task in tasks_of(duty).items():
        program, *arguments = task["config"][0]["args"]
        assert (task["config"][0]["command"], program) == ("${var.python}", "local/pipeline.pex")
        wanted = [
            SAMPLES.get(given[1], "")
            if (given := re.fullmatch(r"\$\{(?:NOMAD_META_|var\.)(\w+)\}", word))
            else word
            for word in arguments
        ]
        assert wanted[0] == "run" or name in wanted
        parsed = cli._parser().parse_args(wanted)
        assert callable(parsed.command)


@every_duty
def test_one_failure_is_one_execution_unless_it_is_a_service(duty: Duty) -> None:
    group = group_of(duty)
    service = duty.kind == "service"
    assert group["restart"][0]["attempts"] == (jobs.RESTARTS if service else 0)
    kinds = {(True, False): "service", (False, True): "sysbatch", (False, False): "batch"}
    assert read(duty)["type"] == kinds[service, duty.every_node]
    if duty.every_node:
        # Nomad takes no such block there, and starts it on no other node.
        assert "reschedule" not in group
        return
    (elsewhere,) = group["reschedule"]
    assert elsewhere["unlimited"] == ("true" if service else "false")
    assert service or elsewhere["attempts"] == 0


@every_duty
def test_where_there_are_several_nodes_what_a_node_keeps_is_asked_of_that_node(duty: Duty) -> None:
    """The checkout, dumps on their way, alerts that wait and the scheduler's state are a machine's own."""
    apart = {"worker", "sync"}
    pinned = [str(each) for each in read(duty).get("dynamic", [])]
    assert (duty.name in apart) == (duty.scales or duty.every_node) == (not pinned)
    assert all("${node.unique.name}" in each and "var.node" in each for each in pinned)
    assert ("spread" in group_of(duty)) == duty.scales


@every_duty
def test_a_task_is_told_to_stop_as_it_understands_and_within_what_a_node_grants(duty: Duty) -> None:
    for task in tasks_of(duty).values():
        assert task["kill_signal"] == "SIGTERM"
        assert int(task["kill_timeout"].removesuffix("s")) <= 30


@every_duty
def test_no_credential_can_be_in_a_job(duty: Duty) -> None:
    text = (FOLDER / f"{duty.name}.nomad.hcl").read_text()
    assert not re.search(r"^\s*(vault|template|secret)\b.*\{", text, re.MULTILINE)
    for task in tasks_of(duty).values():
        (login,) = task["identity"]
        assert login["file"] == "true"
        assert "env" not in login
        assert not {"VAULT_TOKEN", "NOMAD_TOKEN"} & task["env"][0].keys()


@every_duty
def test_a_task_has_a_user_a_home_and_a_path_and_a_checked_release(duty: Duty) -> None:
    for task in tasks_of(duty).values():
        assert task["user"] == ("${var.metabase_user}" if duty.foreign else "${var.user}")
        assert {"HOME", "PATH", "LUIGI_CONFIG_PATH", "PEX_ROOT", "VAULT_ADDR", "VAULT_ROLE"} == task["env"][
            0
        ].keys()
        assert task["env"][0]["VAULT_ROLE"].startswith("pipeline-")
        for file in task["artifact"]:
            assert re.fullmatch(r"\$\{var\.(metabase_)?checksum\}", file["options"][0]["checksum"])
        assert task["resources"][0].keys() == {"cpu", "memory"}


@every_duty
def test_nothing_is_left_in_a_config_for_a_second_reading_but_what_a_person_gives(duty: Duty) -> None:
    for task in tasks_of(duty).values():
        (config,) = task["config"]
        assert config.keys() == CONFIG_KEYS
        for text in strings(config):
            left = re.sub(r"\$\{(var\.\w+|NOMAD_META_(\w+))\}", "", text)
            assert "${" not in left
            assert "%{" not in left
        given = set(re.findall(r"NOMAD_META_(\w+)", str(config)))
        assert given <= {*duty.required, *duty.optional}


@every_duty
def test_what_a_clock_starts_goes_by_utc_and_never_over_itself(duty: Duty) -> None:
    job = read(duty)
    assert ("periodic" in job, "parameterized" in job) == (duty.kind == "periodic", duty.kind == "dispatched")
    if duty.kind != "periodic":
        return
    (when,) = job["periodic"]
    assert when["time_zone"] == "UTC"
    assert when["prohibit_overlap"] == "true"
    fields = duty.schedule.split()
    for field, (lowest, highest) in zip(fields, TIMES, strict=True):
        numbers = [int(number) for number in re.findall(r"\d+", field)]
        assert all(lowest <= number <= highest for number in numbers)


def test_the_times_are_those_of_the_crontab() -> None:
    lines = (PROJECT / "docs" / "crontab").read_text().splitlines()
    times = {
        line.removesuffix(" --changed").split()[-1]: " ".join(line.split()[:5])
        for line in lines
        if re.match(r"[\d*]", line)
    }
    for duty in DUTIES:
        name = "hr" if duty.per_database else duty.name
        if duty.kind == "periodic" and name in times:
            assert times[name] == duty.schedule
    assert {"hr", "etl", "drill", "audit", "sync", "watch"} <= times.keys()


@every_duty
def test_a_file_has_the_style_of_nomad_fmt_as_far_as_that_can_be_told_without_it(duty: Duty) -> None:
    """Equals signs of neighbouring lines stand below each other, and blocks are indented by two."""
    lines = (FOLDER / f"{duty.name}.nomad.hcl").read_text().splitlines()
    for above, below in itertools.pairwise(lines):
        signs = [re.match(r"( *)\w+ += ", line) for line in (above, below)]
        if signs[0] and signs[1] and signs[0][1] == signs[1][1]:
            assert signs[0].end() == signs[1].end()
    assert not [line for line in lines if line != line.rstrip()]


def test_the_files_of_values_name_every_variable_without_a_default_and_no_other() -> None:
    with (FOLDER / "school.vars.hcl").open() as file:
        given = plain(hcl2.load(file))
    assert {name for name, (_, default, _) in values.VARIABLES.items() if not default} <= given.keys()
    assert given.keys() <= values.VARIABLES.keys()


def test_what_becomes_a_program_of_others_gets_nothing_that_our_jobs_keep() -> None:
    """Metabase runs what people ask of it: not as our user, and neither with our home nor with our volume."""
    (duty,) = (duty for duty in DUTIES if duty.foreign)
    text = (FOLDER / f"{duty.name}.nomad.hcl").read_text().partition("job ")[2]
    assert not re.search(r"\bvar\.(user|home)\b|\bvolume", text)
    tasks = tasks_of(duty)
    assert list(tasks) == ["prepare", "metabase"]
    assert tasks["prepare"]["lifecycle"][0] == {"hook": "prestart", "sidecar": "false"}
    assert [file["source"] for file in tasks["metabase"]["artifact"]] == ["${var.release}", "${var.metabase}"]
    # It is reached by this node alone, and well only once it says so itself.
    (service,) = group_of(duty)["service"]
    assert (service["address"], service["check"][0]["path"]) == ("127.0.0.1", "/api/health")
