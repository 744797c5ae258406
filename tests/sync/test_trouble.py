"""What keeps a branch from being fetched is asked for, at real repositories, not read out of git's words."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.errors import PipelineError, StoppedError, UnreachableError
from pipeline.git import ContentError, LoginError, MachineError, Repository, probes
from pipeline.git import repository as git
from tests.support.recording import Handler, serving

# As English as git's own: in the address, where it has no say.
NAME = "error: 403 certificate fsck Permission denied ("
WORDS = "fatal: Authentication failed: No space left on device, certificate, index-pack, fsck"


@dataclass
class Remote:
    """A repository with one commit on main, and where ours is."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / f"{NAME}.git"

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    @property
    def ours(self) -> Repository:
        return Repository(self.folder / "ours.git")

    def git(self, *arguments: str | Path, stdin: str | None = None, cwd: Path | None = None) -> str:
        line = ["git", "-c", "user.name=A", "-c", "user.email=a@a", *map(str, arguments)]
        there = cwd or self.folder / "work"
        done = subprocess.run(line, cwd=there, input=stdin, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def error(self, url: str = "", branch: str = "main", token: str | None = None) -> PipelineError:
        with pytest.raises(PipelineError) as caught:
            self.ours.fetch(url or self.url, branch, token)
        return caught.value


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    made = Remote(tmp_path)
    made.git("init", "-q", "-b", "main", tmp_path / "work", cwd=tmp_path)
    made.git("init", "-q", "--bare", "-b", "main", made.path, cwd=tmp_path)
    (tmp_path / "work" / "a").write_bytes(os.urandom(50_000))
    made.git("add", "a")
    made.git("commit", "-q", "-m", "one")
    made.git("push", "-q", made.path, "main")
    made.ours.fetch(made.url, "main", None)
    return made


def test_a_repository_on_this_machine_is_told_by_what_it_is(remote: Remote) -> None:
    none = remote.error(branch="trunk")
    assert (type(none), none.hint) == (UnreachableError, "push it, or name another in [analysts] branch")
    gone = remote.error(f"{remote.url}/none")
    assert (type(gone), "there is no repository at" in gone.fact) == (UnreachableError, True)
    refused = remote.error("http://127.0.0.1:9/a.git")
    assert (type(refused), "is out of reach" in refused.fact) == (UnreachableError, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a repository away")
def test_a_repository_of_another_user_is_told_with_what_to_do(remote: Remote) -> None:
    for path in (remote.path, *remote.path.rglob("*")):
        os.chown(path, 65534, 65534)
    error = remote.error()
    assert (type(error), "belongs to another user" in error.fact) == (UnreachableError, True)


def test_what_is_damaged_is_the_contents_fault_whoever_finds_it(remote: Remote) -> None:
    """Here, by fsck; and there, where an object is missing."""
    blob = remote.git("hash-object", "-w", "--stdin", stdin="x")
    inner = remote.git("mktree", stdin=f"100644 blob {blob}\t.git\n")
    bad = remote.git("commit-tree", "-m", "x", inner)
    remote.git("push", "-q", "--force", remote.path, f"{bad}:refs/heads/bad")
    error = remote.error(branch="bad")
    assert (type(error), "is damaged or incomplete" in error.fact) == (ContentError, True)
    shutil.rmtree(remote.folder / "ours.git")
    for path in (remote.path / "objects").glob("??/*"):
        if path.stat().st_size > 40_000:
            path.unlink()
    error = remote.error()
    assert (type(error), "git fsck" in error.hint) == (ContentError, True)


def test_a_folder_that_is_closed_to_us_is_this_machines_fault(
    remote: Remote,
) -> None:
    """As where somebody ran it once as root; root itself is kept out by a disk that is read-only alone."""
    packs = remote.folder / "ours.git" / "objects" / "pack"
    error: PipelineError
    if os.geteuid() == 0:
        with mounted(packs):
            remote.git("commit", "-q", "--allow-empty", "-m", "two")
            remote.git("push", "-q", remote.path, "main")
            error = remote.error()
    else:
        packs.chmod(0o500)
        remote.git("commit", "-q", "--allow-empty", "-m", "two")
        remote.git("push", "-q", remote.path, "main")
        error = remote.error()
    assert type(error) is MachineError
    assert error.hint == "let the pipeline's user write to the parent folder of [analysts] checkout"


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """Have a folder on a disk that is read-only."""
    mount, umount = (["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)], ["umount", str(folder)])
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("no disk may be mounted here")
    try:
        yield
    finally:
        subprocess.run(umount, check=True)


@pytest.mark.parametrize(
    ("script", "kind", "fact"),
    [
        # Whatever it says in these, the branch can be had.
        (f"echo '{WORDS}' >&2; exit 128", ContentError, "is damaged or incomplete"),
        ("kill -9 $$", MachineError, "this machine cannot store"),
        ("kill -25 $$", ContentError, "larger than may be fetched"),
        ("exec sleep 60", UnreachableError, "is out of reach"),
    ],
)
def test_a_git_that_fails_is_judged_by_how_it_ends_and_never_by_its_words(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, script: str, kind: type[PipelineError], fact: str
) -> None:
    real, bin_ = shutil.which("git"), remote.folder / "bin"
    bin_.mkdir()
    (bin_ / "git").write_text(
        f'#!/bin/sh\nfor word; do [ "$word" = fetch ] && {{ {script}; }}; done\nexec {real} "$@"\n'
    )
    (bin_ / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    monkeypatch.setattr(git, "FETCH_SECONDS", 1.0)
    error = remote.error()
    assert (type(error), fact in error.fact) == (kind, True)


@dataclass
class Https:
    """A server that answers with `status`, in a certificate of its own; `seen` is who asked there."""

    port: int
    certificate: Path
    status: list[int]
    seen: list[str]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/a.git"


@pytest.fixture
def https(tmp_path: Path) -> Iterator[Https]:
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    more = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *more], check=True, capture_output=True)
    status, seen = [200], list[str]()

    class Own(Handler):
        def handle(self) -> None:
            # Who does not trust it goes.
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                super().handle()

        def do_GET(self) -> None:  # noqa: N802 - http.server's own name
            seen.append(f"{self.path} {self.headers.get('Authorization')}")
            self.answer(status[0], b"<html>", {"Location": "https://elsewhere.invalid/"})

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(Own, context) as port:
        yield Https(port, certificate, status, seen)


def test_a_server_of_https_is_told_by_its_status_and_the_token_is_shown_nowhere(
    remote: Remote, https: Https, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrusted = remote.error(https.url, token="s3cret-of-this-test")
    assert (type(untrusted), "is not trusted" in untrusted.fact) == (UnreachableError, True)
    assert https.seen == [], "it was sent to nobody whom this machine does not trust"
    # git itself does not trust it, so that it fails each time.
    monkeypatch.setattr(probes, "_authorities", lambda: str(https.certificate))
    for status, kind, fact in (
        (401, LoginError, "refuses our login"),
        (403, LoginError, "refuses our login"),
        (404, UnreachableError, "there is no repository at"),
        (301, UnreachableError, "there is no repository at"),
        (200, UnreachableError, "there is no repository at"),
        (503, UnreachableError, "is out of reach"),
    ):
        https.status[0] = status
        error = remote.error(https.url, token="s3cret-of-this-test")
        assert (type(error), fact in error.fact) == (kind, True), status
        assert "s3cret" not in str(error)
    assert {line.split()[0] for line in https.seen} == {"/a.git/info/refs?service=git-upload-pack"}
    assert {line.split()[1] for line in https.seen} == {"Basic"}


def test_nobody_at_an_address_is_a_server_out_of_reach(remote: Remote) -> None:
    error = remote.error("https://127.0.0.1:9/a.git")
    assert (type(error), "is out of reach" in error.fact) == (UnreachableError, True)


# The socket is closed with what it is in: a library was about to.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("way", "connections"), [("https", 1), ("ssh", 2)])
def test_a_sync_that_is_told_to_stop_while_it_asks_stops(way: str, connections: int) -> None:
    """At a server that takes connections and says nothing, and would be waited for."""

    def stop(*_: object) -> None:
        raise StoppedError("stopped by a signal")

    before = signal.signal(signal.SIGTERM, stop)
    lines: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def accept() -> None:
            lines.extend(silent.accept()[0] for _ in range(connections))
            os.kill(os.getpid(), signal.SIGTERM)

        accepting = threading.Thread(target=accept)
        accepting.start()
        url = f"{way}://127.0.0.1:{silent.getsockname()[1]}/a.git"
        try:
            with pytest.raises(StoppedError):
                probes.by_https(url, None) if way == "https" else probes.by_ssh(url, {})
        finally:
            signal.signal(signal.SIGTERM, before)
            accepting.join()
            for line in lines:
                line.close()
