"""Who runs the servers: the caller, or an unprivileged user when the caller is root."""

import os
import pwd
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pipeline.errors import UsageError

NAME = "nobody"

_copying = threading.Lock()


class PopenArguments(TypedDict, total=False):
    """What subprocess needs to start a program as somebody else."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """A user that servers run as."""

    user: int
    group: int


def server_account() -> Account | None:
    """Return the user that PostgreSQL and Vault run as, or None for the caller."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        raise UsageError(
            f"PostgreSQL refuses to run as root, and the user {NAME}, which would run it, does not exist"
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def popen_arguments(account: Account | None) -> PopenArguments:
    """Return the arguments that make subprocess drop to `account`, if there is one."""
    if account is None:
        return {}
    return {"user": account.user, "group": account.group, "extra_groups": []}


def give(path: Path, account: Account | None) -> None:
    """Make `account`, if there is one, the owner of a file or folder."""
    if account is not None:
        os.chown(path, account.user, account.group)


def executable_by(account: Account | None, program: Path, copies: Path) -> Path:
    """Return `program`, or a copy below `copies` where `account` cannot reach it.

    The copy holds the program's whole installation, for it finds its libraries by their relative path.
    """
    if account is None or _can_execute(account, program):
        return program
    installation = program.parent.parent
    copy = copies / installation.name
    with _copying:
        if not copy.exists():
            copies.mkdir(mode=0o755, exist_ok=True)
            partial = copy.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(installation, partial, symlinks=True)
            for path in (copies, partial, *partial.rglob("*")):
                if not path.is_symlink():
                    give(path, account)
            partial.rename(copy)
    return copy / program.relative_to(installation)


def _can_execute(account: Account, program: Path) -> bool:
    try:
        subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            cwd="/",
            **popen_arguments(account),
        )
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True
