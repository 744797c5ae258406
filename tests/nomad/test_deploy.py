"""bin/nomad-deploy, as far as it can be tried without Nomad."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline import settings as all_settings
from pipeline.chains import DUTIES, jobs
from pipeline.chains.jobs import Job
from pipeline.errors import StepError
from pipeline.nomad import deploy, server, values
from pipeline.nomad.server import Server
from pipeline.settings import Settings, VaultSettings

BACKUP = next(duty for duty in DUTIES if duty.per_database)


def settings(**more: Any) -> Settings:
    vault = VaultSettings.model_validate(
        {"url": "http://vault:8200", "auth": "jwt", "role": "any", "credential_file": Path("jwt")}
    )
    return Settings.model_validate({"vault": vault, **more})


@pytest.mark.parametrize(("position", "begins"), [(0, "0 1 * * *"), (1, "10 1 * * *"), (7, "10 2 * * *")])
def test_backups_do_not_all_begin_at_once(position: int, begins: str) -> None:
    names = sorted(f"d{number}" for number in range(8))
    wanted = [Job(BACKUP, name) for name in names]
    assert wanted[position].begins(wanted) == begins


def test_each_database_has_a_job_of_its_own_and_what_is_not_declared_has_none() -> None:
    databases = {name: {"secret": f"database/{name}"} for name in ("records", "hr")}
    backup = {"bucket": "school", "secret": "b2/writer", "recipients": (Path("one.asc"), Path("two.asc"))}
    found = [job.id for job in jobs.wanted(settings(databases=databases, backup=backup))]
    assert found == ["pipeline-backup-hr", "pipeline-backup-records", "pipeline-watch"]


def test_without_nomads_own_program_nothing_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "luigi.cfg"
    file.write_text("[vault]\nurl = http://vault:8200\nauth = jwt\nrole = any\ncredential_file = jwt\n")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(file))
    assert deploy.main(["--vars", "school.vars.hcl"]) == 2


NOMAD = """\
#!/bin/sh
# Stands for Nomad's own program as far as schedules go: it takes any, and prints the job that it was given.
case "$*" in
*-output*etl.nomad.hcl) echo '{"Job": {"Periodic": {"Specs": ["15 2 * * 6-7", "0 25 * * *"]}}}' ;;
*-output*) echo '{"Job": {"Periodic": {"Spec": "0 1 * * *"}}}' ;;
esac
"""


def programs(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have Nomad's program, and settings for a load."""
    nomad = folder / "nomad"
    nomad.write_text(NOMAD)
    nomad.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("NOMAD_ADDR", "http://127.0.0.1:9")
    file = folder / "luigi.cfg"
    file.write_text(
        "[vault]\nurl = http://vault:8200\nauth = jwt\nrole = any\ncredential_file = jwt\n"
        "[warehouse]\nsecret = warehouse/loader\n[analysts]\ncheckout = analysts\n"
    )
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(file))


def test_a_schedule_that_nomad_takes_and_does_not_go_by_is_refused_before_anything_is_registered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With Nomad 2.0.5, "15 2 * * 6-7" begins on Saturdays alone, and nothing tells."""
    programs(monkeypatch, tmp_path)
    assert deploy.main(["--vars", "school.vars.hcl"]) == 4
    assert capsys.readouterr().err == (
        'nomad-deploy: pipeline-etl: schedule "15 2 * * 6-7": weekday 6-7: Nomad skips Sunday here; '
        "write 0,6\n"
        'pipeline-etl: schedule "0 25 * * *": hour 25: expected 0 to 23; '
        "correct it in school.vars.hcl under schedules\n"
    )


class Left(Server):
    """Nomad, with one job that nobody wants any more."""

    def __init__(self) -> None:
        """It is nowhere."""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        assert (method, path, body) == ("GET", "jobs?prefix=pipeline-", None)
        return [{"ID": "pipeline-drill", "Status": "running"}]


def test_a_plan_says_whether_a_job_would_be_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs(monkeypatch, tmp_path)
    monkeypatch.setattr(deploy, "_check_schedules", lambda *_: None)
    monkeypatch.setattr(server, "nomad", Left)
    told = "pipeline-drill: luigi.cfg has nothing that needs it"
    for arguments, end in (([], (0, f"{told}; --remove stops it\n")), (["--remove"], (4, f"{told}\n"))):
        code = deploy.main(["--vars", "school.vars.hcl", "--plan", *arguments])
        assert (code, capsys.readouterr().out) == end


class Answers(Server):
    """Nomad, as far as one service goes that is being deployed."""

    def __init__(self, status: str, tasks: Mapping[str, Any]) -> None:
        self.job: dict[str, Any] = {"Version": 4, "TaskGroups": [{"Count": 1}]}
        self._answers: dict[str, Any] = {}
        self.come(4, status, "pending", tasks)

    def come(self, version: int, status: str, client: str, tasks: Mapping[str, Any]) -> None:
        allocation = {"CreateTime": 1, "JobVersion": version, "ClientStatus": client, "TaskStates": tasks}
        self._answers |= {
            "deployment": {"Status": status, "JobVersion": version},
            "allocations": [allocation],
        }

    def call(self, method: str, path: str, body: Any = None) -> Any:
        assert (method, body) == ("GET", None)
        return self._answers.get(path.rpartition("/")[2], self.job)

    def succeed(self) -> None:
        self._answers["deployment"] = {"Status": "successful", "JobVersion": 4}


def task(state: str, restarts: int) -> Mapping[str, Any]:
    told = {"Type": "Terminated", "DisplayMessage": "Exit Code: 5"}
    return {"State": state, "Restarts": restarts, "Events": [told]}


def test_a_service_whose_first_step_fails_again_and_again_is_told_before_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its allocation is pending for as long as Nomad tries, and its deployment runs for as long as that."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: pytest.fail("it waits"))
    failing = Answers("running", {"prepare": task("pending", 3), "metabase": task("pending", 0)})
    with pytest.raises(
        StepError, match=r"pipeline-metabase: is not healthy:\n  prepare: Terminated: Exit Code: 5"
    ):
        deploy._until_healthy(failing, "pipeline-metabase", 600)


def test_a_service_that_ended_often_before_and_is_there_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Answers("running", {"scheduler": task("running", 7)})
    monkeypatch.setattr(time, "sleep", lambda _seconds: there.succeed())
    deploy._until_healthy(there, "pipeline-scheduler", 600)


@pytest.mark.parametrize(("before", "client"), [("successful", "running"), ("failed", "failed")])
def test_how_the_version_before_fared_says_nothing_of_the_one_that_was_just_registered(
    before: str, client: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nomad has registered a job before it has placed it: until then its newest deployment is the last."""
    nomad = Answers("running", {})
    nomad.come(3, before, client, {"scheduler": task("dead", 7)})
    waited = []

    def wait(_seconds: float) -> None:
        assert capsys.readouterr().out == ""
        waited.append(1)
        nomad.come(4, "running" if len(waited) == 1 else "successful", "running", {})

    monkeypatch.setattr(time, "sleep", wait)
    deploy._until_healthy(nomad, "pipeline-scheduler", 600)
    assert (len(waited), capsys.readouterr().out) == (2, "pipeline-scheduler: healthy\n")


def test_a_service_of_which_none_is_to_run_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Nomad makes no deployment of it."""
    nomad = Answers("running", {})
    nomad.job = {"Version": 4, "TaskGroups": [{"Count": 0}]}
    deploy._until_healthy(nomad, "pipeline-worker", 600)
    assert capsys.readouterr().out == "pipeline-worker: count is 0, nothing to wait for\n"


BEYOND = "[core]\ndefault_scheduler_url = https://luigi.example.org:8443/\n"


@pytest.mark.parametrize(
    ("more", "listens"),
    [
        ("", ("127.0.0.1", "8082")),
        ("[core]\ndefault-scheduler-port = 8090\n", ("127.0.0.1", "8090")),
        (
            BEYOND + "[visualizer]\nsecret = scheduler\ncertificate = a.pem\nkey = a.key\n",
            (values.EVERYWHERE, "8443"),
        ),
        # Before it stands a proxy with the certificate.
        (BEYOND + "[visualizer]\nsecret = scheduler\n", ("127.0.0.1", "8443")),
    ],
)
def test_the_scheduler_listens_where_luigi_cfg_has_everybody_look_for_it(
    more: str, listens: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "luigi.cfg"
    file.write_text(
        "[vault]\nurl = http://vault:8200\nauth = jwt\nrole = any\ncredential_file = jwt\n" + more
    )
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(file))
    monkeypatch.chdir(tmp_path)
    found = values.of_the_scheduler(all_settings.read())
    assert (found["scheduler_address"], found["scheduler_port"]) == listens
