"""The analysts' repository of the sandbox: a bare git remote on disk, and a checkout of it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.sandbox.home import PROJECT, Home
from pipeline.sandbox.servers.server import plain_environment
from pipeline.system import command

EXAMPLE = PROJECT / "examples" / "analysts"
WHO = ["-c", "user.name=Sandbox", "-c", "user.email=sandbox@localhost"]


def make(home: Home) -> None:
    """Make the remote from the example, and a checkout of it, where they are missing."""
    if not home.analysts_remote.exists():
        remote, work = home.path / "analysts.git.partial", home.path / "analysts.partial"
        for folder in (remote, work):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(EXAMPLE, work)
        _git(work, "init", "--quiet", "--initial-branch=main")
        _commit(work, "The example")
        _git(home.path, "clone", "--quiet", "--bare", str(work), str(remote))
        shutil.rmtree(work)
        remote.rename(home.analysts_remote)
    if not home.analysts.exists():
        _git(home.path, "clone", "--quiet", str(home.analysts_remote), str(home.analysts))


def declare(home: Home, name: str, text: str) -> None:
    """Write sources/NAME.yaml, unless there is one, commit it and push it."""
    path = home.analysts / "sources" / f"{name}.yaml"
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    _commit(home.analysts, f"Load {name}", f"sources/{name}.yaml")
    _git(home.analysts, "push", "--quiet", "origin", "HEAD:main")


def _commit(folder: Path, message: str, *paths: str) -> None:
    _git(folder, "add", *(paths or ["--all"]))
    _git(folder, *WHO, "commit", "--quiet", "--no-gpg-sign", f"--message={message}", *paths)


def _git(folder: Path, *arguments: str) -> str:
    settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    line: Sequence[str | Path] = ["git", "-C", folder, *arguments]
    return command.run(line, environment={**plain_environment(), **settings})
