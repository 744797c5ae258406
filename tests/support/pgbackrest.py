"""A server whose WAL pgBackRest archives, the real one: for the tests of what stands beside our backups."""

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import postgres
from pipeline.sandbox import accounts
from pipeline.sandbox.servers import clusters
from pipeline.sandbox.servers.server import plain_environment
from tests.support import majors
from tests.support.majors import Major
from tests.support.night import wait_until

PROGRAM = "pgbackrest"
STANZA = "main"
# Its releases that brought each major version of PostgreSQL.
SINCE = {15: (2, 41), 16: (2, 48), 17: (2, 54), 18: (2, 57)}
SANDBOX = 17


@dataclass
class Archived:
    """The server, and pgBackRest's own configuration file."""

    server: Major
    programs: Path
    config: Path

    @property
    def repository(self) -> Path:
        """The folder of its first repository."""
        return self.config.parent / "repository"

    def pgbackrest(self, *arguments: str) -> str:
        """Run pgBackRest as the user of the server, and return its output."""
        done = subprocess.run(
            [PROGRAM, f"--config={self.config}", f"--stanza={STANZA}", *arguments],
            capture_output=True,
            text=True,
            env=plain_environment(),
            check=False,
            cwd="/",
            **accounts.popen_arguments(self.server.home.account),
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def back_up(self, kind: str = "full", repo: int = 1) -> None:
        """Make a backup of the whole server, into one of its repositories."""
        self.pgbackrest(f"--type={kind}", f"--repo={repo}", "backup")

    def info(self) -> Any:
        """Return what it says of the stanza."""
        return json.loads(self.pgbackrest("--output=json", "info"))[0]

    def wal(self) -> list[Path]:
        """Return the archived segments, the oldest first."""
        return sorted(path for path in self.repository.rglob("*.gz") if re.match(r"[0-9A-F]{24}-", path.name))

    def switch(self) -> str:
        """Have the segment of WAL that is written now be archived, and return its name."""
        with self.server.connect("postgres") as connection:
            postgres.rows(connection, "SELECT pg_logical_emit_message(false, 'a', 'b')")
            name = str(postgres.value(connection, "SELECT pg_walfile_name(pg_current_wal_lsn())"))
            postgres.rows(connection, "SELECT pg_switch_wal()")
            query = "SELECT last_archived_wal >= %s FROM pg_stat_archiver"
            wait_until(lambda: postgres.value(connection, query, (name,)), f"{name} is archived")
        return name


def _version() -> tuple[int, ...]:
    if shutil.which(PROGRAM) is None:
        pytest.skip("pgbackrest is not on the PATH; apt-get install pgbackrest")
    output = subprocess.run([PROGRAM, "version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", output))


def _programs() -> tuple[int, Path]:
    """Return the major version of PostgreSQL that is taken, which this pgBackRest has to know, and where."""
    version = _version()
    there = {**majors.binaries(), SANDBOX: clusters.BINARIES}
    for debian in Path("/usr/lib/postgresql").glob("*/bin"):
        there.setdefault(int(debian.parent.name), debian)
    known = {major: folder for major, folder in there.items() if version >= SINCE.get(major, (99,))}
    if not known:
        pytest.skip(
            f"pgbackrest {'.'.join(map(str, version))} knows none of the PostgreSQL here "
            f"({', '.join(map(str, sorted(there)))}); install a newer one"
        )
    # Where both can be had, that of all other tests.
    chosen = SANDBOX if SANDBOX in known else max(known)
    return chosen, known[chosen]


@contextlib.contextmanager
def archived(folder: Path, repositories: int = 1) -> Iterator[Archived]:
    """Run a server below `folder` whose WAL is archived. Skip the test where no pgBackRest can do that."""
    more = {f"repo{number}": f"repository{number}" for number in range(2, repositories + 1)}
    version, programs = _programs()
    with majors.started(
        version,
        folder,
        "-c",
        "archive_mode=on",
        programs=programs,
        initializing=["--data-checksums"],
    ) as server:
        home = server.home
        own = home.servers("pgbackrest")
        own.mkdir(mode=0o755)
        config = own / "pgbackrest.conf"
        folders = {name: own / name for name in ("repository", "lock", "log", "spool", *more.values())}
        for path in (own, *folders.values()):
            path.mkdir(exist_ok=True)
            accounts.give(path, home.account)
        data = server.cluster.folder(home)
        others = "".join(f"{key}-path={folders[name]}\n" for key, name in more.items())
        config.write_text(
            f"[global]\nrepo1-path={folders['repository']}\n{others}lock-path={folders['lock']}\n"
            f"log-path={folders['log']}\nspool-path={folders['spool']}\nstart-fast=y\ncompress-level=1\n"
            f"[{STANZA}]\npg1-path={data}\npg1-port={server.cluster.port(home)}\n"
            f"pg1-socket-path={home.state.socket_folder}\npg1-user={clusters.SUPERUSER}\n"
        )
        made = Archived(server, programs, config)
        made.pgbackrest("stanza-create")
        push = f"{shutil.which(PROGRAM)} --config={config} --stanza={STANZA} archive-push %p"
        with server.connect("postgres") as connection:
            postgres.rows(connection, f"ALTER SYSTEM SET archive_command = '{push}'")
            postgres.rows(connection, "SELECT pg_reload_conf()")
        yield made


def drilling(beside: Archived) -> dict[str, str]:
    """Return what luigi.cfg has to say so that a server out of its repository can be started here."""
    home = beside.server.home
    work = home.servers("drill")
    work.mkdir(mode=0o711, exist_ok=True)
    # Whoever runs the server has to get there, also where we are root.
    work.parent.chmod(0o711)
    postgres_ = accounts.executable_by(home.account, beside.programs / "postgres", home.servers("binaries"))
    section = {"config": str(beside.config), "work_dir": str(work), "postgres_bin": str(postgres_.parent)}
    return {**section, **({"user": accounts.NAME} if home.account else {})}
