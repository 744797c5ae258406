"""Each job as its file has it begun on a node, with its own login to Vault: what it does, and that no
credential is where somebody else can look. By a stand-in for Nomad's client (tests/support/nomad.py).
"""

import configparser
import contextlib
import copy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.chains import DUTIES, Duty
from pipeline.nomad import vault_setup
from pipeline.sandbox.servers.vault_server import administrator
from tests.support.leaks import Planted, Watcher, in_files
from tests.support.night import wait_until
from tests.support.nomad import Client, Issuer, serving, tasks_of
from tests.trust.stage import Stage, stage

__all__ = ["stage"]

# One that ends well, in the place of the one that is to fail.
PROGRAM = """\
import luigi


class One(luigi.Task):
    done = False

    def run(self):
        One.done = True

    def complete(self):
        return One.done
"""
LOGIN = {
    "url": "${VAULT_ADDR}",
    "auth": "jwt",
    "role": "${VAULT_ROLE}",
    "credential_file": "${NOMAD_SECRETS_DIR}/nomad_vault.jwt",
}
BY_NAME = {duty.name: duty for duty in DUTIES}
# In the order of a first night. Metabase's own needs its program, and the scheduler is there already.
ORDER = ("sync", "etl", "backup", "analysts", "audit", "drill", "restore", "rerun", "dashboards", "watch")
SECRET = "planted p@ss/word: ü%41"


@dataclass
class Node:
    """A node, what is known of the credentials, and who looks at its processes."""

    client: Client
    planted: Planted
    watcher: Watcher
    # Where the pipeline keeps what it works with: dumps on their way, alerts that wait, logs.
    own: Path

    def found(self, scratch: Path) -> dict[str, set[str]]:
        """Search all of it; return what was found, by place."""
        needles = list(self.planted.kinds)
        # There Nomad itself puts the token of a task, for its user alone: and nothing else may be there.
        token = [needle for needle, kind in self.planted.kinds.items() if kind != "JWT"]
        apart = "--exclude-dir=secrets"
        secrets = list(self.client.allocations.glob("*/*/secrets"))
        return {
            "a process": self.watcher.found,
            "state": set(in_files(needles, [self.client.state], scratch)),
            "logs": set(in_files(needles, list(self.client.allocations.glob("*/alloc/logs")), scratch)),
            "files": set(in_files(needles, [self.client.allocations], scratch, apart, "--exclude-dir=logs")),
            "secrets": set(in_files(token, secrets, scratch)),
            # The catcher of webhooks says at which address it was asked.
            "the pipeline's own": set(in_files(needles, [self.own], scratch, "--exclude=webhooks.jsonl")),
        }


@contextlib.contextmanager
def watched(client: Client, planted: Planted, watcher: Watcher, own: Path) -> Iterator[Node]:
    watcher.start()
    try:
        yield Node(client, planted, watcher, own)
    finally:
        watcher.stop()


def settings_of_a_node(stage: Stage) -> Path:
    """Write luigi.cfg as docs/operations.md has it on a node."""
    folder = stage.night.platform.folder
    (stage.night.platform.analysts / "tasks" / "one.py").write_text(PROGRAM)
    for line in (
        ["git", "init", "--quiet", "--initial-branch=main", "."],
        ["git", "add", "--all"],
        ["git", "-c", "user.name=A", "-c", "user.email=a@a.invalid", "commit", "--quiet", "--message=all"],
        ["git", "clone", "--quiet", "--bare", ".", str(folder / "remote.git")],
    ):
        subprocess.run(line, cwd=stage.night.platform.analysts, check=True, capture_output=True)
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(stage.night.platform.settings_file)
    for key, value in LOGIN.items():
        parser.set("vault", key, value)
    for key in ("role", "credential_file"):
        parser.remove_option("restore", key)
    parser.set("analysts", "checkout", str(folder / "ours"))
    parser.set("analysts", "repository", f"file://{folder / 'remote.git'}")
    made = folder / "node.cfg"
    with made.open("w") as file:
        parser.write(file)
    return made


@pytest.fixture
def client(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A node of a cluster whose jobs have their logins to Vault: bin/vault-setup was typed."""
    file = settings_of_a_node(stage)
    home = tmp_path_factory.mktemp("home")
    env = stage.night.platform.sandbox.env
    with serving(Issuer()) as issuer:
        with monkeypatch.context() as typed:
            typed.setenv("LUIGI_CONFIG_PATH", str(file))
            typed.setenv("VAULT_ADDR", env["VAULT_ADDR"])
            typed.setenv("VAULT_TOKEN", administrator(stage.night.platform.sandbox.home)._token)
            assert vault_setup.main(["--jwks-url", issuer.url]) == 0
        given = {
            "python": sys.executable,
            "home": str(home),
            "path": env["PATH"],
            "settings": str(file),
            "vault": stage.vault.url,
        }
        made = Client(tmp_path_factory.mktemp("nomad"), issuer, given)
        try:
            yield made
        finally:
            made.close()


def given_with(duty: Duty, stage: Stage) -> dict[str, str]:
    """Return what a person gives with a job, and what of it is of one database."""
    if duty.per_database:
        return {"database": "hr"}
    return {"database": "hr", "into_new": stage.restores.name("job")} if duty.name == "restore" else {}


@pytest.mark.endurance
def test_each_job_does_what_it_is_for_by_its_own_login_and_shows_no_credential(
    stage: Stage, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Nobody's job: an empty Metabase is set up by a person. No night has made its mart yet.
    assert client.run(BY_NAME["sync"])[0] == 0
    code, said = client.run(BY_NAME["dashboards"])
    assert code == 5
    assert "; create Metabase's key once, by hand: 'pipeline dashboards apply' with a login that" in said
    stage.type(4, "dashboards", "apply")
    ended: dict[str, tuple[int, str]] = {}
    with watched(client, stage.planted, stage.watching(), stage.night.platform.folder) as node:
        ended["migrate"] = (
            client.begin("pipeline-scheduler", "migrate", tasks_of(BY_NAME["scheduler"])["migrate"]).wait(60),
            client.logs(),
        )
        ((name, task),) = tasks_of(BY_NAME["worker"]).items()
        worker = client.begin("pipeline-worker", name, task)
        for name in ORDER:
            ended[name] = client.run(BY_NAME[name], **given_with(BY_NAME[name], stage))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 143, client.logs()
    wrong = {name: end for name, end in ended.items() if end[0] != 0}
    assert wrong == {}
    # That of what pgBackRest has needs pgBackRest: tests/backup/pgbackrest tries its command.
    assert {*ORDER, "scheduler", "worker", "metabase", "archive-drill"} == BY_NAME.keys()
    assert stage.wrong == []
    assert node.watcher.looked > 100
    assert "JWT" in stage.planted.names
    found = node.found(tmp_path_factory.mktemp("patterns"))
    assert {place: what for place, what in found.items() if what} == {}


def simple(line: list[str], **environment: str) -> dict[str, Any]:
    """Return a task that runs Python with these words."""
    task = copy.deepcopy(tasks_of(BY_NAME["etl"])["etl"])
    task["config"] = [{"command": "${var.python}", "args": line}]
    task["env"] = [{**task["env"][0], **environment}]
    return task


# Each in a place of its own: a job that waits to be looked at, or one that ends at once.
LEAKS: Mapping[str, tuple[str, ...]] = {
    "environment": ("a process", "state"),
    "argument": ("a process", "state"),
    "file": ("files",),
    "log": ("logs",),
    "secrets": ("secrets",),
    "own": ("the pipeline's own",),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_what_searches_a_node_finds_a_credential_that_is_put_into_each_place(
    leak: str, tmp_path: Path
) -> None:
    """Else the test above would prove nothing."""
    planted, own = Planted(), tmp_path / "own"
    planted.add("a password", SECRET)
    own.mkdir()
    source = tmp_path / "source"
    source.write_text(SECRET)
    writes = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
    tasks = {
        "environment": simple(["-c", "import time; time.sleep(600)"], TOKEN=SECRET),
        "argument": simple(["-c", "import time; time.sleep(600)", SECRET]),
        "file": simple(["-c", writes, str(source), "local/notes"]),
        "log": simple(["-c", "import sys; print(open(sys.argv[1]).read())", str(source)]),
        "secrets": simple(["-c", writes, str(source), "secrets/notes"]),
        "own": simple(["-c", writes, str(source), str(own / "spool")]),
    }
    with serving(Issuer()) as issuer:
        client = Client(tmp_path / "nomad", issuer, {"python": sys.executable, "path": "/usr/bin"})
        with watched(client, planted, Watcher(planted), own) as node:
            process = client.begin("pipeline-etl", "etl", tasks[leak])
            try:
                if "a process" in LEAKS[leak]:
                    wait_until(lambda: node.watcher.found, "it was seen", 30)
                else:
                    assert process.wait(30) == 0
            finally:
                client.close()
        found = node.found(tmp_path)
    assert [place for place, what in found.items() if what] == list(LEAKS[leak])
    shutil.rmtree(client.folder)
