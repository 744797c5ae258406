"""A small database whose backups are made, and drilled, under faults; and this suite's own look into them.

It goes by nothing of the pipeline's but the private key: the objects in the bucket are counted, the dump is
decrypted and turned into text by the stock tools, and its rows are compared with those of the database.
"""

import io
import itertools
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.alerts import failures
from pipeline.sandbox.servers import clusters
from pipeline.system import file_lock
from tests.support.archive import Archive, whole
from tests.support.hooks import Hook
from tests.support.night import Ended, next_run
from tests.support.platforms import Platform
from tests.support.restores import Restores

DATABASE = "school"
SCRIPT = """
    CREATE TABLE student (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO student SELECT n, 'student ' || n FROM generate_series(1, 60) AS n;
    CREATE TABLE payment (number int PRIMARY KEY, student_id int REFERENCES student, paid numeric(10, 2));
    INSERT INTO payment SELECT n, 1 + n % 60, n / 7.0 FROM generate_series(1, 300) AS n;
"""
CHANGES = """
    UPDATE student SET name = name || ',{n}' WHERE id % 10 = {n} % 10;
    DELETE FROM payment WHERE number = {n};
    INSERT INTO payment VALUES (1000 + {n}, 1, {n});
"""
TABLES = {"student": "id, name", "payment": "number, student_id, paid"}
# What a work folder has when nothing runs: who was at work last, and how that ended.
WORDS = ("run.lock", "step.lock", "status.json", "finished.json")


class Archives:
    """The nights of one small database that is backed up."""

    source = DATABASE
    good: tuple[int, ...] = (0,)
    done: tuple[int, ...] = (0,)
    tells = True

    def __init__(self, restores: Restores, hook: Hook) -> None:
        self.restores, self.archive, self.hook = restores, restores.archive, hook
        self._serials = itertools.count(1)
        self.disks = {"work": self.archive.settings.require_backup().work_dir}
        self.run = ""
        restores.source(DATABASE, SCRIPT)

    @property
    def platform(self) -> Platform:
        """Where it all is."""
        return self.archive.platform

    @property
    def reader(self) -> str:
        """The role that the database is backed up with."""
        return f"backup_{self.platform.database(DATABASE)}"

    def entry(self, _where: str) -> str:
        """Return the entry in Vault with the login to the database."""
        return f"database/{self.platform.database(DATABASE)}"

    @property
    def environment(self) -> dict[str, str]:
        """What the command has."""
        return self.archive.platform.env

    @property
    def folder(self) -> Path:
        """Where files may lie."""
        return self.archive.folder

    def begin(self) -> Sequence[str]:
        """Let a day go by; return the command of its backup."""
        self.change()
        return ["run", "backup", DATABASE, "--run", self.run]

    def change(self) -> None:
        """Change some rows."""
        self.run = next_run()
        with self.archive.platform.connect(DATABASE) as connection, connection.cursor() as cursor:
            cursor.execute(CHANGES.format(n=next(self._serials)))

    def again(self, arguments: Sequence[str]) -> Ended:
        """Run it to its end."""
        return self.archive.run(*arguments)

    # What came of it.

    def differences(self) -> list[str]:
        """Return how the backup is not what the database is, in words; nothing if it is."""
        return [*self._objects(), *self._rows()]

    def _objects(self) -> list[str]:
        found = [one for one in self.archive.names() if f"/{self.run}/" in one[1]]
        wanted = whole(DATABASE, self.run)
        return [] if found == wanted else [f"the bucket has {found}, not {wanted}"]

    def _rows(self) -> list[str]:
        return rows_differing(self.archive, DATABASE, self.run, TABLES)

    def under_way(self) -> list[str]:
        """Return nothing: a backup is at work as long as somebody has its lock."""
        return []

    def remains(self) -> list[str]:
        """Return what is there and should not be when nothing runs."""
        spool = self.folder / "alerts"
        if any(failures.KEPT in path.read_text() for path in spool.glob("open/*")):
            # A verified backup is not made again by the same command: the next one ends that alert.
            self.archive.backup(DATABASE, next_run())
        found = [f"a process: {' '.join(one.cmdline())}" for one in self.archive.ours()]
        found += [f"an unfinished upload: {one}" for one in self.archive.names() if one[0] == "start"]
        work = self.archive.settings.require_backup().work_dir
        found += [f"a file: {one}" for one in work.rglob("*") if one.is_file() and one.name not in WORDS]
        found += [f"a lock: {one}" for one in work.rglob("*.lock") if file_lock.is_held(one)]
        found += [f"of a restore: {one}" for one in self.restores.leftovers()]
        found += [f"a database: {name}" for name in self.restores.databases()]
        found += [f"a role: {name}" for name in self.restores.roles()]
        found += [f"a session: {one}" for one in self._sessions()]
        found += [f"an alert that was not sent: {path.read_text()}" for path in spool.glob("unsent/*")]
        found += [f"an alert that nobody took back: {path.read_text()}" for path in spool.glob("open/*")]
        return found

    def _sessions(self) -> list[Any]:
        query = """
            SELECT usename || ': ' || query FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
            """
        with self.archive.platform.connect(DATABASE) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return [one for (one,) in cursor.fetchall()]


class Drills(Archives):
    """The drills of one backup of it, which are a month apart."""

    def __init__(self, restores: Restores, hook: Hook) -> None:
        super().__init__(restores, hook)
        self.change()
        restores.back_up(DATABASE, self.run)

    def begin(self) -> Sequence[str]:
        """Let a month go by; return the command of its drill."""
        self.month = f"{2030 + next(self._serials)}-01"
        return ["run", "drill", DATABASE, "--month", self.month]

    def differences(self) -> list[str]:
        """Return how the drill's report is not that of a proven backup."""
        with self.archive.bucket() as bucket:
            found = [
                json.loads(bucket.read_small(one.name))
                for one in bucket.list("")
                if self.month in one.name and one.name.endswith(".json")
            ]
        good = [(one["run"], one["grade"]) for one in found if one["grade"] in ("A", "B")]
        return [] if len(found) == 1 and good else [f"reports: {found}"]


def rows_differing(archive: Archive, database: str, run: str, tables: Mapping[str, str]) -> list[str]:
    """Return the tables, given with their columns, whose rows in a dump are not those of the database now."""
    dump, _ = archive.download(database, run)
    text = subprocess.run(
        [clusters.BINARIES / "pg_restore", "--data-only", "--file=-", dump],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    dump.unlink()
    found = []
    for table, columns in tables.items():
        head = f"COPY public.{table} ({columns}) FROM stdin;\n"
        dumped = sorted(text.partition(head)[2].partition("\\.\n")[0].splitlines())
        now = io.StringIO()
        with archive.platform.connect(database) as connection, connection.cursor() as cursor:
            cursor.copy_expert(f"COPY {table} ({columns}) TO STDOUT", now)
        if dumped != (rows := sorted(now.getvalue().splitlines())):
            found.append(f"{table}: dumped {dumped}, not {rows}")
    return found
