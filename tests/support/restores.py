"""What tests of restores and drills run on: an archive whose backups can be restored on the drill server."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql

from pipeline import access, postgres
from pipeline.backup import dump, encrypt, upload, verify
from pipeline.backup.drills import attempt, drill
from pipeline.backup.drills.report import Report
from pipeline.backup.store import manifest, signature
from pipeline.backup.store.manifest import Manifest
from pipeline.backup.work.work_folder import RESTORES
from pipeline.sandbox import provision
from pipeline.sandbox.servers import backup_store, clusters
from pipeline.system import temporary
from tests.support.archive import Archive
from tests.support.night import program
from tests.support.platforms import Connection

RUN = "2026-11-22"
LEFT_ALONE = ("postgres", "drill", "drill_superuser")
GPG_HOMES = Path("/dev/shm")  # noqa: S108 - where the homes of private keys are


@dataclass
class Restores:
    """An archive, its restores' settings, and the drill server."""

    archive: Archive

    def make(self) -> None:
        """Let the pipeline's own login restore, with this test's private key and B2 key."""
        self.keep("restore/key", private_key=self.archive.private_keys["school"])
        self.archive.write_sections(
            restore={
                "secret": f"{self.archive.entries}{backup_store.RESTORER}",
                "key_secret": f"{self.archive.entries}restore/key",
                "role": provision.role_id(self.home),
                "credential_file": str(provision.secret_id_file(self.home)),
            }
        )

    @contextlib.contextmanager
    def without_second_login(self) -> Iterator[None]:
        """Let luigi.cfg name the first login of the drill server alone."""
        file = self.archive.platform.settings_file
        kept = file.read_text()
        file.write_text(kept.replace(f"superuser_secret = {provision.DRILL_SUPERUSER}\n", ""))
        try:
            yield
        finally:
            file.write_text(kept)

    def keep(self, entry: str, **values: str) -> str:
        """Write an entry of Vault that belongs to this test, and return its path."""
        path = f"{self.archive.entries}{entry}"
        self.archive.platform.sandbox.vault.write(path, values)
        return path

    @property
    def home(self) -> Any:
        """The sandbox's home."""
        return self.archive.platform.sandbox.home

    def source(self, name: str, script: str) -> None:
        """Make a database to back up, in which all belongs to an ordinary role."""
        backup = f"backup_{self.archive.platform.database(name)}"
        # Who may read all data may not read large objects.
        grants = f"""
            DO $$ DECLARE number oid; BEGIN
                FOR number IN SELECT oid FROM pg_largeobject_metadata LOOP
                    EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO {backup}', number);
                END LOOP;
            END $$;
            """
        # What a superuser will make is his: who is none may not say who reads it.
        reader = self.archive.platform.reader(name)
        nothing = f"""
            ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM {reader};
            ALTER DEFAULT PRIVILEGES REVOKE USAGE ON SCHEMAS FROM {reader};
            """
        self.archive.source(name, f"{nothing} SET ROLE {self.owner(name)};\n{script}\n{grants}")

    def back_up(self, name: str, run: str = RUN) -> None:
        """Back a database up by its four steps, without Luigi."""
        for step in (dump.dump_database, encrypt.encrypt_dump, upload.upload_backup, verify.verify_backup):
            step(self.archive.settings, name, run)

    def owner(self, name: str) -> str:
        """Return the role that owns a database to back up, and all in it."""
        return provision.owner(self.archive.platform.database(name))

    def name(self, name: str) -> str:
        """Return what a database of this test on the drill server is called."""
        return f"{self.archive.platform.prefix}_{name}"

    def connect(self, name: str) -> contextlib.AbstractContextManager[Connection]:
        """Open a database of the drill server as superuser, with autocommit."""
        return clusters.connection(self.home, provision.DRILL, name)

    def ask(self, name: str, query: str) -> list[tuple[Any, ...]]:
        """Run SQL in a database of the drill server."""
        with self.connect(name) as connection:
            return postgres.rows(connection, query)

    def empty(self, name: str, owner: str = "drill") -> str:
        """Make an empty database on the drill server and return its name."""
        made = self.name(name)
        with self.connect("postgres") as connection:
            statement = sql.SQL("CREATE DATABASE {} OWNER {}")
            postgres.rows(connection, statement.format(sql.Identifier(made), sql.Identifier(owner)))
        return made

    def uri(self, database: str) -> str:
        """Return the URI of a database of the drill server, with the drill's password."""
        kept = self.archive.platform.sandbox.vault.read("drill") or {}
        return urlsplit(kept["uri"])._replace(path=f"/{database}").geturl()

    def databases(self) -> list[str]:
        """Return the databases on the drill server that are this test's or a drill's."""
        names = [name for (name,) in self.ask("postgres", "SELECT datname FROM pg_database")]
        prefixes = (f"{self.archive.platform.prefix}_", drill.PREFIX)
        return sorted(name for name in names if name.startswith(prefixes))

    def roles(self) -> set[str]:
        """Return the roles on the drill server that restores have made."""
        query = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'"
        return {name for (name,) in self.ask("postgres", query)} - set(LEFT_ALONE)

    def leftovers(self) -> list[Path]:
        """Return what restores have left in the work folder and in memory."""
        work = self.archive.settings.require_backup().work_dir
        homes = GPG_HOMES.glob("pipeline-temporary-*")
        # Those of living processes are somebody else's.
        return [*(work / RESTORES).glob("*"), *(home for home in homes if not temporary.in_use(home))]

    def start(self, *arguments: str, tools: Path | None = None) -> "subprocess.Popen[str]":
        """Start `pipeline ARGUMENTS` in a process group of its own; what is left ends with the test."""
        started = subprocess.Popen(
            [program("pipeline"), *arguments],
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.archive.environment(tools),
            start_new_session=True,
        )
        self.archive.started.append(started)
        return started

    # Damage.

    def change_manifest(self, database: str, **changes: Any) -> Manifest:
        """Put another manifest in place of the one of a backup, signed as we would have."""
        changed = self.archive.manifest(database, RUN).model_copy(update=changes)
        name, data = manifest.manifest_name(database, RUN), changed.to_bytes()
        with access.opened(self.archive.settings) as databases:
            info = signature.sign(databases, changed, data)
        with self.archive.writing() as bucket:
            bucket.write_small(name, data, content_type=manifest.CONTENT_TYPE, info=info, replace=True)
        return changed

    def report(self, database: str, month: str) -> Report:
        """Return the report of a drill."""
        return attempt.reports(self.archive.settings, [database], month)[database]

    def close(self) -> None:
        """Remove databases and roles from the drill server, and the entries from Vault."""
        with self.connect("postgres") as connection:
            for name in self.databases():
                postgres.rows(
                    connection, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                )
            for role in self.roles():
                with contextlib.suppress(psycopg2.Error):
                    postgres.rows(connection, sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
        for entry in ("restore/key", "target"):
            self.archive.platform.sandbox.vault.remove(f"{self.archive.entries}{entry}")


@contextlib.contextmanager
def restores_in(archive: Archive) -> Iterator[Restores]:
    """Let an archive's backups be restored, and remove what came of it afterwards."""
    made = Restores(archive)
    made.make()
    try:
        yield made
    finally:
        made.close()
