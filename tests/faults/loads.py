"""A small school whose nights are loaded under faults, and this suite's own comparison of what came of it.

It goes by nothing of the pipeline's: rows are read from both sides and compared one by one, the history is
held to what the suite itself did to each row, and the mart to a sum over the source.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline import catalog
from pipeline.marts import build
from tests.support.hooks import Hook
from tests.support.night import Ended, Night, next_run
from tests.support.platforms import Platform

SOURCE = "school"
SCRIPT = """
    CREATE TABLE student (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO student SELECT n, 'student ' || n FROM generate_series(1, 60) AS n;
    CREATE TABLE payment (
        student_id int, number int, paid numeric(10, 2), PRIMARY KEY (student_id, number)
    );
    INSERT INTO payment SELECT 1 + n % 60, n, n / 7.0 FROM generate_series(1, 300) AS n;
    CREATE TABLE event (what text, at timestamptz);
    INSERT INTO event SELECT 'event ' || n % 40, '2026-11-20'::timestamptz FROM generate_series(1, 80) AS n;
"""
DECLARED = f"""\
source: {SOURCE}
defaults: {{max_deleted: 100%}}
tables:
  student: {{deletes: soft, history: true}}
  payment: {{checks: [unique: [student_id, number]]}}
  event: {{changes: full}}
"""
MART = f"""\
-- What each student has paid.
-- materialize: table
SELECT student_id, count(*) AS payments, sum(paid) AS paid FROM {SOURCE}.payment GROUP BY student_id
"""
CHANGES = """
    UPDATE student SET name = name || ',{n}' WHERE id % 10 = {n} % 10;
    DELETE FROM student WHERE id = {n};
    INSERT INTO student VALUES (1000 + {n}, 'new {n}');
    DELETE FROM payment WHERE number = {n};
    UPDATE payment SET paid = paid + 1 WHERE number % 20 = {n} % 20;
    INSERT INTO payment VALUES (1 + {n} % 60, 10000 + {n}, {n});
    DELETE FROM event WHERE ctid = (SELECT min(ctid) FROM event);
    INSERT INTO event VALUES ('new {n}', NULL);
"""
# Of all of these there is none when nothing runs.
_SESSIONS = """
    SELECT application_name || ': ' || query FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    """
REMAINS = {
    "a session in the warehouse": ("warehouse", _SESSIONS),
    "a session in the source": (SOURCE, _SESSIONS),
    "an advisory lock": (
        "warehouse",
        """
        SELECT objid::text FROM pg_locks JOIN pg_database AS d ON d.oid = database
        WHERE locktype = 'advisory' AND datname = current_database()""",
    ),
    "a table in staging": (
        "warehouse",
        """
        SELECT relname::text FROM pg_class WHERE relnamespace = 'staging'::regnamespace AND relkind = 'r'""",
    ),
}
UNDER_WAY = {
    "a step under way": ("warehouse", "SELECT run || task || name FROM ops.step WHERE state = 'running'"),
    "a run under way": ("warehouse", "SELECT run || name FROM ops.run WHERE state = 'running'"),
}


class Loads:
    """The nights of one small school."""

    source = SOURCE
    # With what the command ends if nothing is in its way.
    good: tuple[int, ...] = (0,)
    done: tuple[int, ...] = (0,)
    # Whether people are told by the webhook when the command fails, and not by its own words alone.
    tells = True

    def __init__(self, night: Night, hook: Hook) -> None:
        self.night, self.hook = night, hook
        self.disks: dict[str, Path] = {}
        self._serials = itertools.count(1)
        # What each student was called, one name after the other; None while there is none.
        self.names: dict[int, list[str | None]] = defaultdict(list)
        night.platform.source(SOURCE, SCRIPT, DECLARED)
        marts = night.platform.analysts / "marts"
        marts.mkdir()
        (marts / "paid.sql").write_text(MART)
        self.note()
        done = night.etl(next_run())
        assert done.code == 0, done

    @property
    def platform(self) -> Platform:
        """Where it all is."""
        return self.night.platform

    @property
    def reader(self) -> str:
        """The role that the source is read with."""
        return self.platform.reader(SOURCE)

    def entry(self, where: str) -> str:
        """Return the entry in Vault with the login to the `source` or the `warehouse`."""
        database = self.platform.database(SOURCE if where == "source" else where)
        return f"source/{database}" if where == "source" else database

    @property
    def environment(self) -> dict[str, str]:
        """What the command has."""
        return self.night.platform.env

    @property
    def folder(self) -> Path:
        """Where files may lie."""
        return self.night.platform.folder

    @property
    def tables(self) -> list[str]:
        """The tables that are loaded."""
        return list(catalog.read(self.night.platform.analysts).source(SOURCE).tables)

    def begin(self) -> Sequence[str]:
        """Let a day go by; return the command of its night."""
        self.change()
        return ["run", "etl", "--run", next_run()]

    def again(self, arguments: Sequence[str]) -> Ended:
        """Run it to its end."""
        return self.night.run(*arguments)

    def change(self) -> None:
        """Change some rows of each table."""
        self.night.ask(SOURCE, CHANGES.format(n=next(self._serials)))
        self.note()

    def note(self) -> None:
        """Remember what the students are called, which the next night loads."""
        now = dict(self.night.ask(SOURCE, "SELECT id, name FROM student"))
        for number in self.names.keys() | now.keys():
            if not self.names[number] or self.names[number][-1] != now.get(number):
                self.names[number].append(now.get(number))

    # What came of it.

    def differences(self) -> list[str]:
        """Return how the warehouse is not what the sources are, in words; nothing if it is."""
        return [*self._tables(), *self._history(), *self._mart()]

    def _tables(self) -> list[str]:
        found = []
        for name in self.tables:
            columns = self._columns(name)
            live = "WHERE _deleted_at IS NULL" if name == "student" else ""
            theirs = self._rows(SOURCE, f"SELECT {columns} FROM {name}")
            ours = self._rows("warehouse", f"SELECT {columns} FROM {SOURCE}.{name} {live}")
            if theirs != ours:
                lost, added = [x for x in theirs if x not in ours], [x for x in ours if x not in theirs]
                found.append(f"{name}: {len(theirs)} rows, loaded {len(ours)}; lost {lost}, added {added}")
        return found

    def _columns(self, table: str) -> str:
        query = """
            SELECT string_agg(quote_ident(attname) || '::text', ', ' ORDER BY attname) FROM pg_attribute
            WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
            """
        return str(self.night.value(SOURCE, query, (table,)))

    def _rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        return sorted(self.night.ask(database, query), key=repr)

    def _history(self) -> list[str]:
        query = (
            f"SELECT id, name, _valid_from, _valid_to FROM {SOURCE}.student_history ORDER BY id, _valid_from"
        )
        kept: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for number, *version in self.night.ask("warehouse", query):
            kept[number].append(tuple(version))
        found = []
        for number, names in self.names.items():
            versions = kept.pop(number, [])
            wanted = [name for name in names if name is not None]
            if [name for name, _, _ in versions] != wanted:
                found.append(f"history of student {number}: {versions}, not {names}")
            follows = all(
                before[2] is not None and before[2] <= after[1]
                for before, after in itertools.pairwise(versions)
            )
            if not follows or (versions and (versions[-1][2] is None) != (names[-1] is not None)):
                found.append(f"history of student {number} is not one version after the other: {versions}")
        return [*found, *(f"history of student {number}, who never was" for number in kept)]

    def _mart(self) -> list[str]:
        sums: dict[int, tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
        for student, paid in self.night.ask(SOURCE, "SELECT student_id, paid FROM payment"):
            sums[student] = sums[student][0] + 1, sums[student][1] + paid
        wanted = sorted((student, *both) for student, both in sums.items())
        shown = sorted(self.night.ask("warehouse", f"SELECT * FROM {build.SCHEMA}.paid"))
        return [] if wanted == shown else [f"mart: {shown}, not {wanted}"]

    def under_way(self) -> list[str]:
        """Return what the ledger says is under way."""
        return self._found(UNDER_WAY)

    def _found(self, queries: Mapping[str, tuple[str, str]]) -> list[str]:
        return [
            f"{what}: {one}"
            for what, (database, query) in queries.items()
            for (one,) in self.night.ask(database, query)
        ]

    def remains(self) -> list[str]:
        """Return what is there and should not be when nothing runs."""
        found = [f"a process: {' '.join(one.cmdline())}" for one in self.night.ours()]
        found += [*self._found(REMAINS), *self.under_way()]
        spool = self.night.platform.folder / "alerts"
        found += [f"an alert that was not sent: {path.read_text()}" for path in spool.glob("unsent/*")]
        found += [f"an alert that nobody took back: {path.read_text()}" for path in spool.glob("open/*")]
        return found
