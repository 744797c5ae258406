"""Changes of a machine: each is made, or only told; what is as it should be is neither."""

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli import terminal
from pipeline.errors import StepError
from pipeline.install.layout import USER
from pipeline.system import atomic


class Machine:
    """The machine, or a tree of folders that is to become one.

    `real`: users are made and files given to them, and programs of the system are called; else there are only
    files. `plan`: nothing is done at all.
    """

    def __init__(self, *, real: bool, plan: bool) -> None:
        self._real, self._plan = real, plan
        self.changes = 0

    def user(self, home: Path) -> None:
        """Have the user that everything runs as, who cannot log in."""
        if not self._real or _exists(USER):
            return
        self._report(f"user {USER}, without a login shell")
        self.run(
            "useradd",
            "--system",
            "--user-group",
            "--home-dir",
            str(home),
            "--shell",
            "/usr/sbin/nologin",
            USER,
        )

    def folder(self, path: Path, *, private: bool) -> None:
        """Have a folder: for the pipeline's user alone, or of root's for everybody to read."""
        mode, owner = (0o700, USER) if private else (0o755, "root")
        if not path.is_dir():
            self._report(f"folder {path} ({mode:04o}, {owner})")
            if not self._plan:
                path.mkdir(parents=True)
                self._give(path, mode, owner)
        else:
            self._given(path, mode, owner)

    def file(self, path: Path, content: bytes, *, mode: int, owner: str = "root") -> bool:
        """Have a file with that content, written as a whole. Return whether it had to be written."""
        changed = not path.is_file() or path.read_bytes() != content
        if changed:
            self._report(f"file {path} ({mode:04o}, {owner})")
            if not self._plan:
                path.parent.mkdir(parents=True, exist_ok=True)
                atomic.write(path, content, mode=mode, owner=_ids(owner) if self._real else None)
        else:
            self._given(path, mode, owner)
        return changed

    def link(self, path: Path, target: Path) -> bool:
        """Have a link to `target`, which changes in one moment. Return whether it led elsewhere."""
        if path.is_symlink() and path.readlink() == target:
            return False
        self._report(f"{path} -> {target}")
        if not self._plan:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.unlink(missing_ok=True)
            partial.symlink_to(target)
            partial.replace(path)
        return True

    def gone(self, path: Path) -> None:
        """Have nothing there."""
        if not path.exists() and not path.is_symlink():
            return
        self._report(f"removed: {path}")
        if self._plan:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def run(self, *arguments: str) -> None:
        """Run a program of the system. Raise StepError with what it says if it fails."""
        if self._plan or not self._real:
            return
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StepError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")

    def end(self, process: int, name: str) -> None:
        """Ask a process to end."""
        self._report(f"stopped: {name} (process {process})")
        if not self._plan:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)

    def as_user(self, home: Path, *arguments: str | Path) -> None:
        """Run a program as the pipeline's user. Raise StepError with what it says if it fails."""
        environment = f"HOME={home}", "PATH=/usr/local/bin:/usr/bin:/bin"
        line = ["env", "--ignore-environment", "--chdir=/", *environment, *map(str, arguments)]
        self.run("runuser", "--user", USER, "--", *line)

    def _given(self, path: Path, mode: int, owner: str) -> None:
        """Have that mode and that owner."""
        known = path.stat()
        same_owner = not self._real or (_exists(owner) and known.st_uid == pwd.getpwnam(owner).pw_uid)
        if stat.S_IMODE(known.st_mode) == mode and same_owner:
            return
        self._report(f"mode of {path}: {mode:04o}, {owner}")
        if not self._plan:
            self._give(path, mode, owner)

    def _give(self, path: Path, mode: int, owner: str) -> None:
        if self._real:
            shutil.chown(path, owner, owner)
        path.chmod(mode)

    def _report(self, change: str) -> None:
        self.changes += 1
        terminal.print_text(f"{'would change' if self._plan else 'changed'}: {change}")


def _ids(user: str) -> tuple[int, int]:
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def missing(programs: Sequence[str]) -> list[str]:
    """Return those that are not there."""
    # Those of the system's administrator are not on everybody's PATH.
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in programs if shutil.which(name, path=path) is None]
