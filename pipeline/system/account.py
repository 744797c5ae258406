"""Another user, as whom a program is started: of use to root alone."""

import os
import pwd
from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """A user; `name` is what the system calls it, `groups` all groups that it is in."""

    name: str
    user: int
    group: int
    groups: tuple[int, ...]

    def give(self, path: str | os.PathLike[str]) -> None:
        """Make it the owner of a file or folder."""
        os.chown(path, self.user, self.group)


def named(name: str) -> Account:
    """Return the user of that name. Raise KeyError if there is none."""
    entry = pwd.getpwnam(name)
    return Account(name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))


def own_name() -> str:
    """Return what the system calls whoever runs this."""
    return pwd.getpwuid(os.geteuid()).pw_name
