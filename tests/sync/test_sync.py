"""Sync: a good commit is live at once and as a whole; whatever else is pushed leaves all as it was."""

import errno
import itertools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline import alerts, catalog, settings, sync
from pipeline.errors import (
    AlreadyRunningError,
    CheckError,
    PipelineError,
    StepError,
    StoppedError,
    UnreachableError,
    UsageError,
)
from pipeline.git import credential
from pipeline.git import repository as git
from pipeline.settings import Settings
from pipeline.sync import synced, tree, versions
from pipeline.system import beside
from tests.support.archive import may_mount, small_disk

SOURCE = "source: hr\ntables: {employee: }\n"


@dataclass
class Analysts:
    """An analysts' repository as they have it, the remote they push to, and where we keep what we take."""

    folder: Path

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def remote(self) -> Path:
        return self.folder / "remote.git"

    @property
    def checkout(self) -> Path:
        return self.folder / "ours" / "analysts"

    @property
    def settings(self) -> Settings:
        file = self.folder / "luigi.cfg"
        file.write_text(
            "[vault]\nurl = http://127.0.0.1:9\nauth = token\n"
            f"[alerts]\nsecret = alerts\nspool = {self.folder / 'spool'}\n"
            f"[analysts]\ncheckout = {self.checkout}\nrepository = file://{self.remote}\n"
        )
        return settings.read([file])

    def git(self, *arguments: str, stdin: str | None = None, cwd: Path | None = None) -> str:
        """Do what an analyst, or somebody worse, does with git."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@a",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@a",
        }
        line = ["git", "-c", "protocol.file.allow=always", *arguments]
        done = subprocess.run(
            line,
            cwd=cwd or self.work,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def push(self, message: str = "change", *options: str) -> str:
        """Commit everything, push it, and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        self.git("push", "--quiet", *options, "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def push_tree(self, listed: str) -> str:
        """Push a commit with entries that git's own commands would not make; return the commit."""
        made = self.git("mktree", "--missing", stdin=listed)
        commit = self.git("commit-tree", "-m", "odd", made)
        self.git("push", "--quiet", "--force", "origin", f"{commit}:refs/heads/main")
        return commit

    def blob(self, content: str) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=content)

    def sync(self) -> sync.Synced:
        return sync.sync(self.settings)

    @property
    def current(self) -> str:
        return self.checkout.resolve().name

    def received(self) -> list[tuple[str, str]]:
        """Return key and error of each alert that is open."""
        return [(one.key, one.error or "") for one in alerts.open_alerts(self.settings)]


@pytest.fixture
def analysts(tmp_path: Path) -> Analysts:
    """A repository with one source, pushed."""
    made = Analysts(tmp_path)
    made.work.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("init", "--quiet", "--bare", "--initial-branch=main", str(made.remote))
    made.git("remote", "add", "origin", str(made.remote))
    (made.work / "sources").mkdir()
    (made.work / "marts").mkdir()
    (made.work / "sources" / "hr.yaml").write_text(SOURCE)
    (made.work / "marts" / "staff.sql").write_text("SELECT count(*) AS staff FROM hr.employee\n")
    return made


def tables(folder: Path) -> set[str]:
    return set(catalog.read(folder).source("hr").tables)


def test_a_commit_is_live_at_the_next_sync(analysts: Analysts) -> None:
    first = analysts.push()
    assert analysts.sync() == sync.Synced(first, new=True)
    assert tables(analysts.checkout) == {"employee"}
    assert analysts.sync() == sync.Synced(first, new=False)
    (analysts.work / "sources" / "hr.yaml").write_text("source: hr\ntables: {employee: , department: }\n")
    second = analysts.push()
    assert analysts.sync().commit == second
    assert tables(analysts.checkout) == {"employee", "department"}
    names = {path.name for path in beside.place(analysts.checkout, "versions").iterdir()}
    assert first not in names, "nobody goes by it"
    assert not list(analysts.checkout.rglob(".git"))


def test_a_broken_commit_is_told_once_and_the_last_good_one_stays(analysts: Analysts) -> None:
    good = analysts.push()
    analysts.sync()
    (analysts.work / "marts" / "staff.sql").write_text("\nSELECT * FROM hr.employe\n")
    bad = analysts.push()
    for _ in range(2):
        with pytest.raises(CheckError, match=r"marts/staff.sql:2: hr.employe: no such table"):
            analysts.sync()
    assert analysts.current == good
    ((key, error),) = analysts.received()
    assert key == "sync"
    assert error.startswith(f"commit {bad[:10]}: marts/staff.sql:2: "), "the subject first"
    (analysts.work / "marts" / "staff.sql").write_text("SELECT count(*) AS staff FROM hr.employee\n")
    fixed = analysts.push()
    assert analysts.sync().commit == fixed
    assert analysts.received() == []


def test_a_commit_whose_tasks_cannot_be_imported_is_told_and_none_of_them_acts(analysts: Analysts) -> None:
    good = analysts.push()
    analysts.sync()
    (analysts.work / "tasks").mkdir()
    ran = analysts.folder / "ran"
    (analysts.work / "tasks" / "count.py").write_text(f"import luigi\n\nopen({str(ran)!r}, 'w')\n")
    analysts.push()
    with pytest.raises(
        (CheckError, UsageError), match=r"tasks/count.py:3: FileNotFound|cannot be confined here"
    ):
        analysts.sync()
    assert not ran.exists()
    assert analysts.current == good


def test_a_commit_that_was_judged_is_not_judged_again(
    analysts: Analysts, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysts.push()
    analysts.sync()
    (analysts.work / "marts" / "staff.sql").write_text("SELECT * FROM nothing\n")
    analysts.push()
    with pytest.raises(CheckError):
        analysts.sync()

    def judge(*_: object) -> None:
        pytest.fail("it was judged before")

    monkeypatch.setattr(tree, "write", judge)
    with pytest.raises(CheckError, match="staff"):
        analysts.sync()


def test_a_commit_that_an_earlier_version_refused_is_judged_again(
    analysts: Analysts, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysts.push()
    analysts.sync()
    (analysts.work / "marts" / "staff.sql").write_text("SELECT * FROM nothing\n")
    newest = analysts.push()
    with monkeypatch.context() as earlier:
        earlier.setattr(synced, "JUDGE", "0.0.9")
        with pytest.raises(CheckError):
            analysts.sync()
    monkeypatch.setattr(catalog, "read_repository", lambda _folder: None)
    assert analysts.sync().commit == newest


def test_a_run_keeps_the_version_that_it_began_with(analysts: Analysts) -> None:
    first = analysts.push()
    analysts.sync()
    with sync.held(analysts.checkout) as folder:
        (analysts.work / "sources" / "hr.yaml").write_text("source: hr\ntables: {department: }\n")
        (analysts.work / "marts" / "staff.sql").unlink()
        second = analysts.push()
        analysts.sync()
        assert analysts.current == second
        assert (folder.name, tables(folder)) == (first, {"employee"})
        # What the run starts goes by the same.
        code = "from pipeline import sync; from pathlib import Path; print(sync.folder(Path('/x')).name)"
        assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == first
    analysts.sync()
    assert not folder.exists()


def _link(one: Analysts) -> None:
    (one.work / "marts" / "other.sql").symlink_to("/etc/passwd")
    one.push()


def _submodule(one: Analysts) -> None:
    one.push_tree(f"160000 commit {'a' * 40}\tvendored\n")


def _lfs(one: Analysts) -> None:
    (one.work / "marts" / "big.sql").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    one.push()


def _large(one: Analysts) -> None:
    (one.work / "dump.sql").write_text("x" * (tree.LARGEST_FILE_BYTES + 1))
    one.push()


def _case(one: Analysts) -> None:
    (one.work / "marts" / "Staff.sql").write_text("SELECT 1 AS a\n")
    one.push()


def _many(one: Analysts) -> None:
    blob = one.blob("x")
    one.push_tree("".join(f"100644 blob {blob}\tf{n}\n" for n in range(tree.MOST_FILES + 1)))


def _control(one: Analysts) -> None:
    (one.work / "marts" / "a\nb.sql").write_text("SELECT 1 AS a\n")
    one.push()


@pytest.mark.parametrize(
    ("abuse", "told"),
    [
        (_link, "marts/other.sql: is a link"),
        (_submodule, "vendored: is a submodule"),
        (_lfs, "marts/big.sql:1: is only a Git LFS pointer"),
        (_large, "dump.sql: has 1,048,577 bytes"),
        (_case, "differs from marts/Staff.sql only in"),
        (_many, "it has 5,001 files"),
        (_control, "is not a valid name for a file here"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_no_plain_file_is_refused_by_name_and_changes_nothing(
    analysts: Analysts, abuse: Callable[[Analysts], None], told: str
) -> None:
    good = analysts.push()
    analysts.sync()
    abuse(analysts)
    with pytest.raises(CheckError) as caught:
        analysts.sync()
    assert told in str(caught.value)
    assert analysts.current == good
    assert tables(analysts.checkout) == {"employee"}
    left = {path.name for path in beside.place(analysts.checkout, "versions").iterdir()}
    assert left == {good, ".lock", "judged.json", "ended.json"}


@pytest.mark.parametrize("name", ["..", ".git", ".GIT", "git~1", "."])
def test_a_path_that_leaves_its_folder_is_refused_before_a_byte_is_written(
    analysts: Analysts, name: str
) -> None:
    good = analysts.push()
    analysts.sync()
    inner = analysts.git("mktree", stdin=f"100644 blob {analysts.blob('x')}\tescaped\n")
    analysts.git("config", "receive.fsckObjects", "false", cwd=analysts.remote)
    analysts.push_tree(f"040000 tree {inner}\t{name}\n")
    with pytest.raises((CheckError, StepError)):
        analysts.sync()
    assert analysts.current == good
    assert not list(analysts.folder.rglob("escaped"))


def test_nothing_that_a_commit_brings_is_run(analysts: Analysts, tmp_path: Path) -> None:
    """Hooks, filters, attributes and configuration, in the commit and in the remote."""
    ran = tmp_path / "ran"
    script = f"#!/bin/sh\ntouch {ran}\ncat\n"
    for place in ("hooks/post-checkout", "hooks/post-merge", ".githooks/post-checkout", "run"):
        path = analysts.work / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
    (analysts.work / ".gitattributes").write_text("* filter=evil diff=evil export-subst text eol=crlf\n")
    (analysts.work / ".gitconfig").write_text(f'[filter "evil"]\n\tsmudge = {analysts.work}/run\n')
    (analysts.work / "sources" / "note.txt").write_text("$Format:%H$\n")
    commit = analysts.push()
    shutil.copy(analysts.work / "run", analysts.remote / "hooks" / "post-update")
    analysts.git("config", "uploadpack.packObjectsHook", f"{analysts.work}/run", cwd=analysts.remote)
    assert analysts.sync().commit == commit
    assert (analysts.checkout / "sources" / "note.txt").read_text() == "$Format:%H$\n"
    assert not os.access(analysts.checkout / "run", os.X_OK)
    assert not ran.exists()


def test_what_this_machine_has_configured_for_git_does_not_count(
    analysts: Analysts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "evil").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "evil").chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[core]\n\tfsmonitor = {tmp_path}/evil\n[url "file:///nowhere"]\n\tinsteadOf = file://\n'
    )
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_SSH_COMMAND", str(tmp_path / "evil"))
    commit = analysts.push()
    assert analysts.sync().commit == commit
    assert not ran.exists()


def test_alternates_in_our_own_repository_are_thrown_away(analysts: Analysts) -> None:
    analysts.push()
    analysts.sync()
    ours = beside.place(analysts.checkout, "git")
    (ours / "objects" / "info").mkdir(exist_ok=True)
    (ours / "objects" / "info" / "alternates").write_text(str(analysts.remote / "objects"))
    analysts.push()
    analysts.sync()
    assert not (ours / "objects" / "info" / "alternates").exists()


def test_a_force_push_is_taken_and_a_vanished_remote_is_told_and_recovers(analysts: Analysts) -> None:
    first = analysts.push()
    analysts.sync()
    analysts.git("commit", "--quiet", "--amend", "-m", "another history")
    forced = analysts.push("more", "--force")
    assert analysts.sync().commit == forced != first
    away = analysts.remote.with_name("away.git")
    analysts.remote.rename(away)
    with pytest.raises(UnreachableError, match="branch main cannot be fetched"):
        analysts.sync()
    assert [key for key, _ in analysts.received()] == ["sync/remote"]
    assert analysts.current == forced
    away.rename(analysts.remote)
    analysts.sync()
    assert analysts.received() == []


def test_each_sync_that_ends_leaves_word_of_it_and_one_that_is_stopped_does_not(
    analysts: Analysts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By that `pipeline watch` knows that there are any: who fails tells so, who is never begun does not."""
    record = beside.place(analysts.checkout, "versions") / "ended.json"
    assert sync.ended_at(analysts.checkout) is None
    analysts.push()
    analysts.sync()
    ended_at = sync.ended_at(analysts.checkout)
    assert ended_at is not None
    assert abs(datetime.now(UTC) - ended_at) < timedelta(minutes=10)
    record.write_text("{")
    assert sync.ended_at(analysts.checkout) is None
    analysts.remote.rename(analysts.remote.with_name("away.git"))
    with pytest.raises(UnreachableError):
        analysts.sync()
    assert sync.ended_at(analysts.checkout) is not None
    record.unlink()

    # Who comes while one hangs.
    hanging = beside.alone(record.parent, "")
    with hanging, pytest.raises(AlreadyRunningError):
        analysts.sync()
    assert sync.ended_at(analysts.checkout) is None

    def stopped(*_: object) -> None:
        raise StoppedError("stopped by a signal")

    monkeypatch.setattr(synced, "_sync", stopped)
    with pytest.raises(StoppedError):
        analysts.sync()
    assert sync.ended_at(analysts.checkout) is None


def test_a_pack_that_is_too_large_is_refused_and_nothing_of_it_stays(
    analysts: Analysts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What git leaves of it is as large as any may be, and is fetched again at each sync."""
    analysts.push()
    analysts.sync()
    # Many files: git is not told then that what unpacks them was ended.
    for number in range(150):
        (analysts.work / f"noise{number}").write_bytes(os.urandom(30_000))
    analysts.push()
    monkeypatch.setattr(git, "LARGEST_PACK_BYTES", 1_000_000)
    told = refused(analysts)
    assert (told.key, told.hint) == ("sync", "remove the large files, from its newest commit at least")
    assert list(beside.place(analysts.checkout, "git").glob("objects/**/tmp_*")) == []


def test_what_was_killed_in_the_middle_is_swept_and_done(analysts: Analysts) -> None:
    commit = analysts.push()
    folder = beside.place(analysts.checkout, "versions")
    half = folder / ".partial-dead"
    half.mkdir(parents=True)
    (half / ".in-use").touch()
    ours = beside.place(analysts.checkout, "git")
    assert analysts.sync().commit == commit
    (ours / "shallow.lock").touch()
    second = analysts.push()
    assert analysts.sync().commit == second
    assert not half.exists()


def test_a_version_is_on_disk_before_it_has_the_name_that_says_so(
    analysts: Analysts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut an empty file would be taken for what was pushed: a version is not made again."""
    safe: set[int] = set()
    sync_file, rename, replace = os.fsync, Path.rename, Path.replace
    seen = []

    def note(descriptor: int) -> None:
        safe.add(os.fstat(descriptor).st_ino)
        sync_file(descriptor)

    def unsafe(*paths: Path) -> list[str]:
        return [one.name for one in paths if one.stat().st_ino not in safe]

    def named(self: Path, target: Path) -> Path:
        if target.parent == folder:
            seen.append(("is there", unsafe(self, *self.rglob("*"))))
        return rename(self, target)

    def switched(self: Path, target: Path) -> Path:
        if target == analysts.checkout:
            seen.append(("counts", unsafe(folder)))
        return replace(self, target)

    folder = beside.place(analysts.checkout, "versions")
    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "rename", named)
    monkeypatch.setattr(Path, "replace", switched)
    analysts.push()
    analysts.sync()
    assert seen == [("is there", []), ("counts", [])]


def kill_at(analysts: Analysts, removal: int) -> None:
    """Be a sync that is killed as it removes the file with this number of an old version. Does not return."""
    unlink, count, before = os.unlink, itertools.count(1), analysts.checkout.resolve()

    def until(*arguments: Any, **more: Any) -> None:
        if analysts.checkout.resolve() != before and "dir_fd" in more and next(count) == removal:
            os.kill(os.getpid(), signal.SIGKILL)
        unlink(*arguments, **more)

    os.unlink = until
    analysts.sync()
    os._exit(0)


@pytest.mark.parametrize("removal", [1, 2, 3, 4])
def test_a_version_of_which_half_was_removed_is_not_taken_for_a_whole_one(
    analysts: Analysts, removal: int
) -> None:
    """A sync is killed while it removes an old version, and then the analysts go back to just that one."""
    for name in ("c", "d", "e"):
        (analysts.work / f"{name}.md").write_text(name)
    first = analysts.push()
    analysts.sync()
    second = analysts.push("another")
    child = multiprocessing.get_context("fork").Process(target=kill_at, args=(analysts, removal))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert analysts.checkout.resolve().name == second
    analysts.git("reset", "--quiet", "--hard", first)
    analysts.git("push", "--quiet", "--force", "origin", "HEAD:main")
    assert analysts.sync().commit == first
    pushed = analysts.git("ls-files").splitlines()
    there = [str(path.relative_to(analysts.checkout)) for path in analysts.checkout.rglob("*")]
    assert [name for name in pushed if name not in there] == []
    with versions.held(analysts.checkout):
        pass
    assert [one.name for one in beside.place(analysts.checkout, "versions").iterdir() if one.is_dir()] == [
        first
    ]


def test_one_sync_at_a_time(analysts: Analysts, monkeypatch: pytest.MonkeyPatch) -> None:
    analysts.push()
    whole = tree.write

    def another(*arguments: object) -> None:
        with pytest.raises(AlreadyRunningError):
            analysts.sync()
        whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tree, "write", another)
    analysts.sync()


def test_what_fails_within_a_sync_is_not_taken_for_another_sync(
    analysts: Analysts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    analysts.push()
    monkeypatch.setattr(tree, "write", full)
    with pytest.raises(StepError, match="no more processes"):
        analysts.sync()
    assert [key for key, _ in analysts.received()] == ["sync/machine"]


def test_a_sync_that_is_told_to_stop_tells_nobody(
    analysts: Analysts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise StoppedError("stopped by a signal")

    analysts.push()
    monkeypatch.setattr(tree, "write", stopped)
    with pytest.raises(StoppedError):
        analysts.sync()
    assert analysts.received() == []


def test_a_checkout_that_somebody_made_by_hand_is_left_alone(analysts: Analysts) -> None:
    analysts.push()
    analysts.checkout.mkdir(parents=True)
    (analysts.checkout / "mine").touch()
    with pytest.raises(UsageError, match="move it away"):
        analysts.sync()
    assert (analysts.checkout / "mine").exists()


def refused(analysts: Analysts) -> alerts.Alert:
    """Return what is told of a sync that fails, and whose last good version has to stay."""
    before = analysts.current
    with pytest.raises(PipelineError):
        analysts.sync()
    assert analysts.current == before
    (told,) = alerts.open_alerts(analysts.settings)
    return told


def test_what_keeps_a_branch_from_being_fetched_is_told_by_who_can_mend_it(
    analysts: Analysts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A commit that nobody saw is called neither good nor bad."""
    analysts.push()
    analysts.sync()
    analysts.git("branch", "-m", "main", "trunk", cwd=analysts.remote)
    told = refused(analysts)
    assert (told.key, told.hint) == ("sync/remote", "push it, or name another in [analysts] branch")
    assert f"file://{analysts.remote} has no branch main" in str(told.error)
    analysts.git("branch", "-m", "trunk", "main", cwd=analysts.remote)
    analysts.sync()
    away = analysts.remote.rename(tmp_path / "away.git")
    told = refused(analysts)
    assert (told.key, told.hint) == (
        "sync/remote",
        "correct [analysts] repository in luigi.cfg, or let the login read it",
    )
    away.rename(analysts.remote)
    analysts.sync()
    (tmp_path / "empty").mkdir()
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    told = refused(analysts)
    assert (told.key, told.error, told.hint) == (
        "sync/machine",
        "git: not found",
        "install it, or put it on the PATH",
    )
    monkeypatch.setenv("PATH", path)
    analysts.sync()
    assert analysts.received() == []


@pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
def test_a_disk_that_is_full_is_not_the_commits_fault(analysts: Analysts) -> None:
    """git says at the end that what came was not as it should be, which is the disk's doing."""
    analysts.push()
    (analysts.folder / "ours").mkdir()
    with small_disk(analysts.folder, 400_000) as disk:
        (analysts.folder / "ours").rmdir()
        (analysts.folder / "ours").symlink_to(disk)
        analysts.sync()
        (analysts.work / "noise").write_bytes(os.urandom(600_000))
        analysts.push()
        told = refused(analysts)
        assert (told.key, told.summary) == (
            "sync/machine",
            "the analysts' repository: this machine cannot run it",
        )
        assert "(No space left on device): branch main cannot be fetched" in str(told.error)
        assert told.hint == "free some space in the parent folder of [analysts] checkout"


@pytest.fixture
def helper() -> Path:
    """The program that git asks for a login."""
    return Path(str(credential.__file__))


def test_a_token_reaches_git_by_a_pipe_and_nothing_else(
    helper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In no argument, environment or file; git's own helper protocol gives it on."""
    seen: list[tuple[list[str], dict[str, str]]] = []
    ran = git._run

    def watched(line: list[str], environment: dict[str, str], *rest: Any) -> bytes:
        seen.append((line, environment))
        return ran(
            ["git", *line[3:-1], "credential", "fill"],
            environment,
            30,
            b"url=https://x.invalid/y\n\n",
            rest[-1],
        )

    monkeypatch.setattr(git, "_run", watched)
    answered = git.Repository(Path("/nonexistent"))._git(["version"], 30, token="s3cret-of-this-test")
    assert b"password=s3cret-of-this-test" in answered
    ((line, environment),) = seen
    assert "s3cret-of-this-test" not in " ".join([*line, *environment.values()])
    assert "s3cret" not in helper.read_text()
