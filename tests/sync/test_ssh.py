"""A deploy key: from Vault to an agent of its own, to a server that is known, and nowhere else."""

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pipeline import alerts, settings
from pipeline.errors import PipelineError, StepError, UnreachableError, UsageError
from pipeline.git import Login, LoginError, Repository, agent
from pipeline.git import repository as git
from pipeline.settings import Settings
from pipeline.sync import synced
from tests.support.night import wait_until

# Debian's is not where users look for programs.
SSHD = os.environ.get("SSHD") or shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
# As root it wants a user and a folder of its own, which are there in this very namespace.
AS_ROOT = """
    cp /etc/passwd "$1/passwd" && echo 'sshd:x:65533:65534::/run/sshd:/bin/false' >> "$1/passwd" &&
    mount --bind "$1/passwd" /etc/passwd && mount -t tmpfs none /run && mkdir /run/sshd && shift && exec "$@"
"""


@dataclass
class Server:
    """A server with a repository, and the login that may read it."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{self.folder}/remote.git"

    @property
    def login(self) -> Login:
        host = " ".join((self.folder / "host.pub").read_text().split()[:2])
        return Login((self.folder / "key").read_text(), f"[127.0.0.1]:{self.port} {host}")


def made(folder: Path, name: str, *more: str) -> Path:
    line = ["ssh-keygen", "-q", "-t", "ed25519", "-f", str(folder / name), "-N", *(more or ("",))]
    subprocess.run(line, check=True)
    return folder / name


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if SSHD is None:
        pytest.skip("there is no sshd here: apt-get install openssh-server")
    made(tmp_path, "host")
    authorized = made(tmp_path, "key").with_suffix(".pub")
    run = ["git", "-c", "user.name=A", "-c", "user.email=a@a"]
    subprocess.run([*run, "init", "-q", "-b", "main", tmp_path / "work"], check=True)
    subprocess.run([*run, "commit", "-q", "--allow-empty", "-m", "one"], cwd=tmp_path / "work", check=True)
    subprocess.run([*run, "clone", "-q", "--bare", tmp_path / "work", tmp_path / "remote.git"], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {tmp_path}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {authorized}\nStrictModes no\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\nKbdInteractiveAuthentication no\n"
    )
    line = [SSHD, "-D", "-e", "-f", str(config)]
    if os.geteuid() == 0:
        line = ["unshare", "--mount", "sh", "-c", AS_ROOT, "sh", str(tmp_path), *line]
    with (tmp_path / "sshd.log").open("wb") as log:
        process = subprocess.Popen(line, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, "sshd answers", 15)
        assert process.poll() is None, (tmp_path / "sshd.log").read_text()
        yield Server(tmp_path, port)
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def fetch(server: Server, login: Login) -> str:
    return Repository(server.folder / "ours.git").fetch(server.url, "main", None, login)


def agents() -> list[psutil.Process]:
    return [
        one
        for one in psutil.Process().children(recursive=True)
        if one.status() != psutil.STATUS_ZOMBIE and one.name() == "ssh-agent"
    ]


def test_a_deploy_key_reaches_git_by_an_agent_of_its_own_and_nothing_else(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    ran = git._run

    def watched(line: list[str], environment: dict[str, str], *rest: object) -> bytes:
        seen.extend([*line, *environment.values()])
        return ran(line, environment, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(git, "_run", watched)
    # Neither the agent nor the configuration of whoever runs this has a say.
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent")
    monkeypatch.setenv("GIT_SSH_COMMAND", "false")
    monkeypatch.setattr(tempfile, "tempdir", str(server.folder))
    run = ["git", "rev-parse", "HEAD"]
    told = subprocess.run(run, cwd=server.folder / "work", capture_output=True, text=True, check=True)
    head = told.stdout.strip()
    login = server.login
    secret = "".join(login.key.splitlines()[1:-1])
    (server.folder / "key").unlink()
    assert fetch(server, login) == head
    assert any("IdentityAgent=" in word for word in seen)
    assert not any(secret[:60] in word or login.key in word for word in seen)
    assert agents() == []
    kept = [
        path
        for path in server.folder.rglob("*")
        if path.is_file() and secret[-60:].encode() in path.read_bytes()
    ]
    assert kept == []
    assert not list(server.folder.glob("pipeline-ssh-*"))


def test_a_server_with_another_key_is_not_spoken_to(server: Server) -> None:
    other = " ".join(made(server.folder, "other").with_suffix(".pub").read_text().split()[:2])
    wrong = Login(server.login.key, f"[127.0.0.1]:{server.port} {other}")
    strange = r"has a key that is not in known_hosts: .* Host key verification failed"
    with pytest.raises(LoginError, match=strange):
        fetch(server, wrong)
    with pytest.raises(LoginError, match=strange):
        fetch(server, Login(server.login.key, "elsewhere.example ssh-ed25519 AAAA"))
    stranger = Login((server.folder / "other").read_text(), server.login.known_hosts)
    with pytest.raises(LoginError, match=r"refuses our login: .*Permission denied"):
        fetch(server, stranger)
    assert agents() == []


def test_a_known_server_that_has_no_repository_there_or_is_away_is_no_matter_of_the_login(
    server: Server,
) -> None:
    """Also where its name is hashed in known_hosts, as ssh writes it on many machines."""
    hosts = server.folder / "hosts"
    hosts.write_text(f"{server.login.known_hosts}\n")
    line = ["ssh-keygen", "-q", "-H", "-f", str(hosts)]
    subprocess.run(line, check=True, capture_output=True)
    login = Login(server.login.key, hosts.read_text())
    assert "127.0.0.1" not in login.known_hosts
    repository = Repository(server.folder / "ours.git")
    away = server.url.replace("remote.git", "none.git")
    with pytest.raises(UnreachableError, match="there is no repository at") as caught:
        repository.fetch(away, "main", None, login)
    assert not isinstance(caught.value, LoginError)
    with pytest.raises(UnreachableError, match="has no branch trunk"):
        repository.fetch(server.url, "trunk", None, login)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UnreachableError, match="is out of reach") as caught:
        repository.fetch(server.url.replace(str(server.port), str(port)), "main", None, login)
    assert not isinstance(caught.value, LoginError)


@pytest.mark.parametrize("text", ["no key", "locked"])
def test_what_is_no_usable_key_is_told_and_leaves_no_agent(tmp_path: Path, text: str) -> None:
    key = made(tmp_path, "key", "a passphrase").read_text() if text == "locked" else text
    with pytest.raises(StepError, match="without a passphrase"), agent.speaking(Login(key, "x")):
        pass
    assert agents() == []


HOLDS = """
import sys, time
from pathlib import Path
from pipeline.git import Login, agent
with agent.speaking(Login(Path(sys.argv[1]).read_text(), "x")) as told:
    print("there", flush=True)
    time.sleep(600)
"""


def started_in(folder: Path) -> list[psutil.Process]:
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(folder) in " ".join(one.cmdline()) and one.name() == "ssh-agent":
                found.append(one)
    return found


def test_an_agent_ends_with_a_sync_that_is_killed_and_the_next_removes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = made(tmp_path, "key")
    with tempfile.TemporaryDirectory() as short:
        environment = {**os.environ, "TMPDIR": short}
        holder = subprocess.Popen([sys.executable, "-c", HOLDS, key], env=environment, stdout=subprocess.PIPE)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"there\n"
            assert len(started_in(Path(short))) == 1
        finally:
            holder.kill()
            holder.communicate()
        wait_until(lambda: started_in(Path(short)) == [], "the agent has ended")
        (left,) = Path(short).iterdir()
        monkeypatch.setattr(tempfile, "tempdir", short)
        with agent.speaking(Login(key.read_text(), "x")):
            assert not left.exists()
        assert list(Path(short).iterdir()) == []


def programs(folder: Path, *names: str) -> Path:
    """Make a folder that has these programs alone."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


@pytest.mark.parametrize("missing", ["ssh-agent", "ssh-add", "ssh"])
def test_a_program_of_openssh_that_is_missing_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    key = made(tmp_path, "key").read_text()
    there = programs(tmp_path / "bin", *sorted({"ssh-agent", "ssh-add", "ssh", "setpriv"} - {missing}))
    monkeypatch.setenv("PATH", str(there))
    told = f"^{missing}: not found; install OpenSSH's client"
    with pytest.raises(PipelineError, match=told), agent.speaking(Login(key, "x")):
        pass


def test_an_agent_that_cannot_start_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = made(tmp_path, "key").read_text()
    # A socket's path may not be that long.
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(StepError, match=r"too long.*; set TMPDIR"), agent.speaking(Login(key, "x")):
        pass
    assert agents() == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"#!/bin/sh\nexec /bin/sleep 60\n", "ssh-add: still running after 0.5 seconds"),
        (b"\x7fELF", "ssh-add: cannot be started"),
    ],
)
def test_an_ssh_add_that_hangs_or_cannot_be_started_is_one_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, told: str
) -> None:
    key = made(tmp_path, "key").read_text()
    there = programs(tmp_path / "bin", "ssh-agent", "ssh", "setpriv")
    (there / "ssh-add").write_bytes(content)
    (there / "ssh-add").chmod(0o755)
    monkeypatch.setenv("PATH", str(there))
    monkeypatch.setattr(agent, "ADD_SECONDS", 0.5)
    with pytest.raises(StepError, match=told), agent.speaking(Login(key, "x")):
        pass
    assert agents() == []


def test_nobody_at_a_terminal_is_asked_for_the_passphrase_of_a_deploy_key(tmp_path: Path) -> None:
    key = made(tmp_path, "key", "a passphrase")
    # With a terminal of its own, at which nobody types.
    line = shlex.join([sys.executable, "-c", HOLDS, str(key)])
    done = subprocess.run(
        [str(shutil.which("script")), "--quiet", "--return", "--command", line, "/dev/null"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "without a passphrase" in done.stdout
    assert "Enter passphrase" not in done.stdout


def with_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, str], analysts: str = ""
) -> Settings:
    """Return settings, with this entry in the place of Vault's."""

    class Vaults:
        def __enter__(self) -> "Vaults":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        @property
        def vault(self) -> "Vaults":
            return self

        def read(self, _path: str) -> dict[str, str]:
            return entry

    file = tmp_path / "luigi.cfg"
    file.write_text(
        "[vault]\nurl = http://127.0.0.1:9\nauth = token\n"
        f"[alerts]\nspool = {tmp_path}/spool\nsecret = alerts\n"
        f"[analysts]\ncheckout = {tmp_path}/ours/analysts\n{analysts}"
    )
    # For the entry alone: what an alert finds there is another matter.
    monkeypatch.setattr(synced, "access", SimpleNamespace(opened=lambda _: Vaults()))
    return settings.read([file])


def test_a_key_without_the_servers_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = with_entry(tmp_path, monkeypatch, {"ssh_key": "k"})
    with pytest.raises(UnreachableError, match="has ssh_key and no known_hosts"):
        synced._credential(read, "ssh://git@127.0.0.1:22/a.git", "analysts")


BOTH = {"ssh_key": "k", "known_hosts": "h", "token": "t"}


@pytest.mark.parametrize(
    ("url", "entry", "expected"),
    [
        ("https://git.example.org/a.git", BOTH, ("t", None)),
        ("ssh://git@git.example.org:2222/a.git", BOTH, (None, Login("k", "h"))),
        ("git@git.example.org:a.git", BOTH, (None, Login("k", "h"))),
        ("file:///srv/a.git", {}, (None, None)),
        ("ssh://git@h:22/a", {"token": "t"}, "; write ssh_key and known_hosts into Vault (entry analysts)"),
        ("git@h:a.git", {}, "; write ssh_key and known_hosts into Vault (entry analysts)"),
        ("https://h/a", {"ssh_key": "k", "known_hosts": "h"}, "; write token into Vault (entry analysts)"),
    ],
)
def test_the_login_is_of_the_kind_that_the_address_needs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    entry: dict[str, str],
    expected: tuple[object, object] | str,
) -> None:
    read = with_entry(tmp_path, monkeypatch, entry)
    if isinstance(expected, str):
        with pytest.raises(PipelineError) as caught:
            synced._credential(read, url, "analysts")
        assert str(caught.value).endswith(expected)
        assert caught.value.exit_code == UsageError.exit_code
        assert not caught.value.retryable
    else:
        assert synced._credential(read, url, "analysts") == expected


@pytest.mark.parametrize(
    ("key", "secret", "told"),
    [
        ("locked", "secret = analysts\n", "write an OpenSSH private key without a passphrase into Vault"),
        ("none", "secret = analysts\n", "write an OpenSSH private key without a passphrase into Vault"),
        ("", "", "write the name of an entry in Vault, with ssh_key and known_hosts"),
    ],
)
def test_a_login_that_only_a_person_can_mend_is_not_told_as_a_server_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, secret: str, told: str
) -> None:
    text = made(tmp_path, "key", "a passphrase").read_text() if key == "locked" else key
    url = "repository = ssh://git@127.0.0.1:9/a.git\n"
    read = with_entry(tmp_path, monkeypatch, {"ssh_key": text, "known_hosts": "h"}, url + secret)
    (tmp_path / "ours").mkdir()
    with pytest.raises(PipelineError, match=told) as caught:
        synced.sync(read)
    assert caught.value.exit_code == UsageError.exit_code
    assert "branch main cannot be fetched" not in str(caught.value)
    (alert,) = alerts.open_alerts(read)
    assert (alert.key, told in (alert.hint or "")) == ("sync/remote", True)
