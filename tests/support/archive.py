"""What tests of backups run on: a platform whose databases go to a bucket, with keys, of this test alone."""

import configparser
import contextlib
import functools
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pipeline import access, crypt, settings
from pipeline.backup.store import backups, choice
from pipeline.backup.store.manifest import Manifest, dump_name, globals_name, manifest_name
from pipeline.backup.work.work_folder import Work
from pipeline.bucket import KEPT, Bucket
from pipeline.sandbox.b2.control import Control
from pipeline.sandbox.servers import backup_store, clusters
from pipeline.sandbox.servers.vault_server import administrator
from pipeline.settings import Settings
from tests.support.night import Ended, program, typed
from tests.support.platforms import Platform

# Some 40 MB that nothing makes smaller: the dump is a large file of three parts.
INCOMPRESSIBLE = """
CREATE TABLE noise (id int PRIMARY KEY, data bytea NOT NULL);
INSERT INTO noise
SELECT n, (
    SELECT string_agg(sha512(convert_to(n || ' ' || i, 'UTF8')), ''::bytea) FROM generate_series(1, 1000) AS i
)
FROM generate_series(1, 640) AS n;
"""
SMALL = """
CREATE TABLE item (id int PRIMARY KEY, name text);
INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 1000) AS n;
"""


@dataclass
class Archive:
    """One test's bucket, recipients and work folder, and the commands on them."""

    platform: Platform
    control: Control
    private_keys: dict[str, str] = field(default_factory=dict, repr=False)
    changed: dict[str, str] = field(default_factory=dict)
    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """A folder of this test."""
        return self.platform.folder

    @property
    def bucket_name(self) -> str:
        """The bucket of this test."""
        return f"{self.platform.prefix}-backups"

    @property
    def entries(self) -> str:
        """What the names of this test's entries in Vault begin with."""
        return f"{self.platform.prefix}/"

    @property
    def settings(self) -> Settings:
        """The settings as they are now."""
        return settings.read([self.platform.settings_file])

    def work(self, database: str, run: str) -> Work:
        """Return the work folder of a run."""
        return Work(self.settings.require_backup(), database, run)

    def make(self) -> None:
        """Make the bucket, its keys in Vault and the recipients."""
        vault = administrator(self.platform.sandbox.home)
        backup_store.make_bucket(
            self.platform.sandbox.home, self.control, vault, self.bucket_name, entries=self.entries
        )
        for name in ("school", "safe"):
            self.add_key(name)
        self.write_settings()

    def add_key(self, name: str, expires: str = "0") -> Path:
        """Make a key pair, keep the private half in memory, and return the file of the public one."""
        public, private = _key_pair(name) if expires == "0" else _new_key_pair(name, expires)
        self.private_keys[name] = private
        path = self.folder / f"{name}.asc"
        path.write_text(public)
        return path

    def source(self, name: str, script: str) -> None:
        """Make a database to back up."""
        self.platform.source(name, script)
        self.write_settings()

    def write_settings(self, **changes: str) -> None:
        """Write luigi.cfg, with `changes` to [backup] from here on."""
        self.changed |= changes
        self.platform.write_settings()
        parser = configparser.RawConfigParser()
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read(self.platform.settings_file)
        own = {
            "bucket": self.bucket_name,
            "secret": f"{self.entries}b2/writer",
            "verify_secret": f"{self.entries}b2/verifier",
            "audit_secret": f"{self.entries}b2/auditor",
            "recipients": "school.asc, safe.asc",
            "work_dir": "work",
            # Tests have databases side by side.
            "leave": "*",
            "postgres_bin": str(clusters.BINARIES),
            **self.changed,
        }
        for section, values in {"backup": own, **self.sections}.items():
            if not parser.has_section(section):
                parser.add_section(section)
            for key, value in values.items():
                if value:
                    parser.set(section, key, value)
                else:
                    parser.remove_option(section, key)
        with self.platform.settings_file.open("w") as file:
            parser.write(file)

    def write_sections(self, **sections: dict[str, str]) -> None:
        """Write luigi.cfg, with these values in its other sections from here on."""
        for name, values in sections.items():
            self.sections[name] = {**self.sections.get(name, {}), **values}
        self.write_settings()

    # Commands.

    def environment(self, tools: Path | None) -> dict[str, str]:
        """Return the environment of commands; programs in the folder `tools` go first."""
        found = self.platform.env
        return {**found, "PATH": f"{tools}{os.pathsep}{found['PATH']}"} if tools else found

    def run(self, *arguments: str, tools: Path | None = None) -> Ended:
        """Run `pipeline ARGUMENTS` to its end."""
        return typed(arguments, self.environment(tools))

    def backup(self, database: str, run: str, tools: Path | None = None) -> Ended:
        """Run `pipeline run backup` to its end."""
        return self.run("run", "backup", database, "--run", run, tools=tools)

    def start(self, database: str, run: str, tools: Path | None = None) -> "subprocess.Popen[str]":
        """Start `pipeline run backup` in a process group of its own; what is left ends with the test."""
        started = subprocess.Popen(
            [program("pipeline"), "run", "backup", database, "--run", run],
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(tools),
            start_new_session=True,
        )
        self.started.append(started)
        return started

    def ours(self) -> list[psutil.Process]:
        """Return the living processes that work with this test's settings or in its folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                by_settings = process.environ().get("LUIGI_CONFIG_PATH") == str(self.platform.settings_file)
                if by_settings or str(self.folder) in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def close(self) -> None:
        """End what is still running, and remove the bucket and the keys."""
        access.end_brief()
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        self.control.clear()
        self.control.remove_bucket(self.bucket_name)
        vault = administrator(self.platform.sandbox.home)
        for entry in backup_store.KEYS:
            vault.remove(self.entries + entry)

    # What came of it.

    @contextlib.contextmanager
    def bucket(self) -> Iterator[Bucket]:
        """Open the bucket for reading."""
        with access.opened(self.settings) as databases, backups.reading(databases) as opened:
            yield opened

    @contextlib.contextmanager
    def writing(self) -> Iterator[Bucket]:
        """Open the bucket with the key that writes."""
        settings = self.settings
        with (
            access.opened(settings) as databases,
            databases.bucket(settings.require_backup().secret) as opened,
        ):
            yield opened

    def versions(self) -> list[dict[str, Any]]:
        """Return every version of every object, unfinished ones included."""
        return self.control.versions(self.bucket_name)

    def names(self) -> list[tuple[str, str]]:
        """Return action and name of every version but kept copies, hidden and unfinished ones too, sorted."""
        found = sorted((version["action"], version["name"]) for version in self.versions())
        return [(action, name) for action, name in found if not name.startswith(KEPT)]

    def manifest(self, database: str, run: str) -> Manifest:
        """Return the manifest of a run."""
        with self.bucket() as opened:
            return choice.choose(opened, self.settings, database, run)

    def download(self, database: str, run: str, key: str = "school") -> tuple[Path, Path]:
        """Return the dump and the roles of a run, downloaded and decrypted with one of the keys."""
        found = []
        with (
            self.bucket() as opened,
            crypt.private_key(self.private_keys[key], folder=self.folder) as private,
        ):
            proven = choice.choose(opened, self.settings, database, run)
            for file in (proven.dump, proven.globals):
                encrypted = self.folder / f"{key}-{Path(file.name).name}"
                opened.download(file.name, encrypted, sha256=file.encrypted.sha256)
                plain = encrypted.with_suffix("")
                plain.unlink(missing_ok=True)
                assert private.decrypt(encrypted, plain) == file.plain
                found.append(plain)
        return found[0], found[1]


def _new_key_pair(name: str, expires: str) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        return crypt.new_key_pair(name, f"{name}@test.invalid", expires=expires, folder=Path(folder))


@functools.cache
def _key_pair(name: str) -> tuple[str, str]:
    """Return a key pair that all archives share: gpg takes longer to make one than to use it."""
    return _new_key_pair(name, "0")


def whole(database: str, run: str) -> list[tuple[str, str]]:
    """Return what `Archive.names` gives for exactly one backup."""
    objects = [dump_name(database, run), globals_name(database, run), manifest_name(database, run)]
    return sorted(("upload", name) for name in objects)


def script(folder: Path, name: str, text: str) -> Path:
    """Make a program of that name in a folder of its own, which is returned: it goes before the real one.

    Of PostgreSQL's, the others that a backup needs are there as they are.
    """
    made = folder / "tools"
    made.mkdir(exist_ok=True)
    for other in ("pg_dump", "pg_restore"):
        if name in ("pg_dump", "pg_restore") and not (made / other).exists():
            (made / other).symlink_to(clusters.BINARIES / other)
    path = made / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return made


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of that size; only root may."""
    place = folder / "disk"
    place.mkdir(mode=0o700)
    options = f"size={size_bytes},mode=0700,uid={os.geteuid()}"
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["/bin/umount", "--lazy", place], check=True)


def may_mount() -> bool:
    """Whether file systems can be mounted here."""
    if os.geteuid() != 0:
        return False
    tried = ["/usr/bin/unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def archive_in(platform: Platform) -> Iterator[Archive]:
    """Make an archive for one test, and remove it afterwards."""
    with Control(platform.sandbox.home.path / backup_store.NAME) as control:
        made = Archive(platform, control)
        made.make()
        try:
            yield made
        finally:
            made.close()


def psql(archive: Archive, cluster: str, database: str, arguments: Sequence[str | Path]) -> None:
    """Run psql as superuser, stopping at the first error."""
    home = archive.platform.sandbox.home
    subprocess.run(
        [
            clusters.BINARIES / "psql",
            *clusters.socket_arguments(home, cluster),
            f"--dbname={database}",
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            *arguments,
        ],
        check=True,
        capture_output=True,
    )
