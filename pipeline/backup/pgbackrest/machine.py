"""What of this machine a restored server needs: PostgreSQL's programs, room, and a user that is not root."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.backup.pgbackrest import program
from pipeline.errors import StepError, UsageError
from pipeline.settings.sections import PgBackRestSettings
from pipeline.system import account as accounts
from pipeline.system import command
from pipeline.system.account import Account

MEBIBYTE = 1 << 20
# While WAL is replayed, so much of it lies there beside the data; and the data may grow.
WAL_BYTES, GROWTH = 512 * MEBIBYTE, 1.1


@dataclass(frozen=True)
class Programs:
    """PostgreSQL's own programs of the source's major version."""

    folder: Path
    major: int

    def path(self, name: str) -> Path:
        """Return where a program is."""
        return self.folder / name


def programs(settings: PgBackRestSettings, version: str | None) -> Programs:
    """Return the programs for a server of that version. Raise StepError if they are not here."""
    major = version or "?"
    folders = [settings.postgres_bin] if settings.postgres_bin else []
    folders += [Path(f"/usr/lib/postgresql/{major}/bin"), Path(f"/usr/pgsql-{major}/bin")]
    folders += [Path(part) for part in os.get_exec_path() if part] if not settings.postgres_bin else []
    seen = []
    for folder in folders:
        known = _major(folder / "postgres")
        if known == major:
            return Programs(folder, int(major))
        seen += [f"{known} in {folder}"] if known else []
    there = f"; found {', '.join(dict.fromkeys(seen))}" if seen else ""
    raise StepError(
        f"PostgreSQL {major}, the archive's version, is not on this machine{there}",
        hint=f"install its server (in Debian postgresql-{major}), or name the folder of its programs in "
        "[pgbackrest] postgres_bin",
        retryable=False,
    )


def _major(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        output = command.run([path, "--version"], timeout_seconds=program.ASK_SECONDS)
    except StepError:
        return None
    known = re.search(r"\(PostgreSQL\) (\d+)", output)
    return known[1] if known else None


def require_room(folder: Path, size_bytes: int) -> None:
    """Raise StepError if a server of that size, and what it replays, has no room there."""
    needed, free = int(size_bytes * GROWTH) + WAL_BYTES, shutil.disk_usage(folder).free
    if free < needed:
        raise StepError(
            f"{folder}: the server needs {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free",
            hint="make room there, or set another [pgbackrest] work_dir",
            retryable=False,
        )


def account(settings: PgBackRestSettings) -> Account | None:
    """Return who runs the server if we are root, as whom it does not start; None where we run it ourselves.

    Raise UsageError if there is no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        return accounts.named(settings.user)
    except KeyError:
        raise UsageError(
            f"[pgbackrest] user: user {settings.user} does not exist, and PostgreSQL does not run as root",
            hint="name an existing user, or run this as the user that runs the pipeline",
        ) from None
