"""What failed of a restore, tried again: with a search path lent to functions that find names by one, which a
restore has not; and a table's rows without the checks that do not take them. What fails even so is named.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from psycopg2 import sql

from pipeline import postgres
from pipeline.backup.restoring.pg_restore import Complaints, Restorer
from pipeline.backup.restoring.toc import Entry
from pipeline.backup.store.manifest import Contents, Table
from pipeline.postgres import Connection

ENABLE = {"O": "ENABLE TRIGGER", "A": "ENABLE ALWAYS TRIGGER", "R": "ENABLE REPLICA TRIGGER"}
SHOWN = 8
# How PostgreSQL, in English, ends its refusal to make something twice.
THERE = "already exists"


class _Trigger(NamedTuple):
    """A trigger that fires, with the letter that says when (pg_trigger.tgenabled)."""

    table: sql.Identifier
    name: str
    state: str


class _Function(NamedTuple):
    """A function without a search path of its own, its name as it is written in SQL."""

    name: str
    schema_name: str


class _Check(NamedTuple):
    """A check of a table, and what makes it."""

    name: str
    definition: str


@dataclass
class Repair:
    """What became of the entries that failed: `remarks` on what came in the end, `left_out` is the rest.

    `lends`: whether functions may be given a search path for a while.
    """

    restorer: Restorer
    wanted: Contents
    lends: bool = True
    remarks: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _errors: dict[int, str] = field(default_factory=dict)
    _functions: set[str] = field(default_factory=set)

    def fix(self, entries: Sequence[Entry], first: Complaints) -> None:
        """Try again what `first` says failed of these entries."""
        self._take(first)
        failed = [one for one in entries if one.number in first.failed]
        # In order: a check may read a table whose rows came later.
        failed, fixed = self._again(failed)
        if fixed:
            self.remarks.append(
                f"restored at the second try, after the tables that they read: {_listed(fixed)}"
            )
        if failed:
            with self.restorer.place.opened() as connection, self._lent(connection):
                if self.lends:
                    failed, fixed = self._again(failed)
                    if fixed:
                        self._note_lent(fixed)
                failed = [one for one in failed if not self._without_checks(connection, one)]
                # What needed those rows, as a foreign key does.
                failed, _ = self._again(failed)
        self.left_out += [self._described(one) for one in failed]

    def define(self, entries: Sequence[Entry], first: Complaints) -> list[str]:
        """Try again the definitions of which `first` says that they failed; return what fails even so."""
        self._take(first)
        failed = [one for one in entries if one.number in first.failed]
        # In order: what one of them computes with may have come after it.
        failed, fixed = self._again(failed)
        if failed and self.lends:
            with self.restorer.place.opened() as connection, self._lent(connection):
                failed, lent = self._again(failed)
            if lent:
                self._note_lent(lent)
        if fixed:
            self.remarks.append(
                f"restored at the second try, after the objects that they need: {_listed(fixed)}"
            )
        return [self._described(one) for one in failed]

    def _described(self, entry: Entry) -> str:
        return f"{described(entry)}: {self._errors[entry.number]}"

    def _take(self, complaints: Complaints) -> None:
        for number, reason in complaints.failed.items():
            # What was made by half, as without its owner, is there at the next try: not why it failed.
            if number not in self._errors or not reason.endswith(THERE):
                self._errors[number] = reason
        self._functions |= complaints.functions

    def _again(self, failed: list[Entry]) -> tuple[list[Entry], list[Entry]]:
        """Try entries one after the other as long as that helps; return what fails still, and what came."""
        before, left = failed, failed
        while left:
            with self.restorer.place.opened() as connection, self._quiet(connection, left):
                complaints = self.restorer.run(left, jobs=1, goes_on=True)
            self._take(complaints)
            still = [one for one in left if one.number in complaints.failed]
            if len(still) == len(left):
                break
            left = still
        return left, [one for one in before if one not in left]

    def _table(self, entry: Entry) -> Table | None:
        for one in self.wanted.tables:
            if entry.text == f"TABLE DATA {one.schema_name} {one.name} {one.owner}":
                return one
        return None

    @contextlib.contextmanager
    def _quiet(self, connection: Connection, entries: Sequence[Entry]) -> Iterator[None]:
        """Let no trigger of the database fire for rows that come only now."""
        query = """
            SELECT tgname AS name, tgenabled::text AS state FROM pg_trigger
            WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal AND tgenabled <> 'D'
            """
        triggers: list[_Trigger] = []
        for table in filter(None, map(self._table, entries)):
            place = postgres.identifier(table.schema_name, table.name)
            of_table = functools.partial(_Trigger, place)
            triggers += postgres.read(connection, query, of_table, (place.as_string(connection),))
        change = "ALTER TABLE {} {} {}"
        for one in triggers:
            parts = (one.table, sql.SQL("DISABLE TRIGGER"), sql.Identifier(one.name))
            postgres.rows(connection, sql.SQL(change).format(*parts))
        try:
            yield
        finally:
            for one in triggers:
                parts = (one.table, sql.SQL(ENABLE[one.state]), sql.Identifier(one.name))
                postgres.rows(connection, sql.SQL(change).format(*parts))

    @contextlib.contextmanager
    def _lent(self, connection: Connection) -> Iterator[None]:
        """Lend functions without a search path one: the database's, their own schema, and the others."""
        if not self.lends:
            yield
            return
        functions = postgres.read(connection, postgres.statement("backup/without_search_path"), _Function)
        schemas = sorted({function.schema_name for function in functions})
        lent = []
        for name, schema in functions:
            names = [sql.Identifier(one).as_string(connection) for one in (schema, *schemas)]
            path = ", ".join(filter(None, (self.wanted.search_path, *names)))
            with contextlib.suppress(postgres.Error):  # somebody else's
                postgres.rows(connection, "SELECT set_config('search_path', %s, false)", (path,))
                postgres.rows(connection, f"ALTER ROUTINE {name} SET search_path FROM CURRENT")
                lent.append(name)
        postgres.rows(connection, "SELECT set_config('search_path', 'pg_catalog', false)")
        try:
            yield
        finally:
            for name in lent:
                postgres.rows(connection, f"ALTER ROUTINE {name} RESET search_path")

    def _note_lent(self, fixed: Sequence[Entry]) -> None:
        functions = ", ".join(sorted(self._functions)) or "the functions that they call"
        path = self.wanted.search_path or "public"
        self.remarks.append(
            f"restored only with a search path set for {functions}: {_listed(fixed)}; pg_restore alone fails "
            f"there; in the source, ALTER FUNCTION ... SET search_path = {path} for each of them"
        )

    def _without_checks(self, connection: Connection, entry: Entry) -> bool:
        """Bring a table's rows without its checks, which are then put back as far as that can be."""
        table = self._table(entry)
        if table is None:
            return False
        place = postgres.identifier(table.schema_name, table.name)
        parameters = (table.schema_name, table.name)
        checks = postgres.read(connection, postgres.statement("backup/table_checks"), _Check, parameters)
        for check in checks:
            drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(place, sql.Identifier(check.name))
            postgres.rows(connection, drop)
        failed, _ = self._again([entry]) if checks else ([entry], [])
        for name, definition in checks:
            words = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} ").format(place, sql.Identifier(name))
            add = sql.Composed([words, sql.SQL(definition)])
            try:
                postgres.rows(connection, add)
            except postgres.Error as error:
                postgres.rows(connection, sql.Composed([add, sql.SQL(" NOT VALID")]))
                self.left_out.append(
                    f"CHECK {name} of {table.full_name} was restored as NOT VALID: "
                    f"{postgres.message_of(error)}"
                )
        return not failed


def described(entry: Entry) -> str:
    """Return an entry for people, without its owner.

    >>> described(Entry(1, "INDEX public item_name hr_owner", frozenset()))
    'INDEX public item_name'
    """
    return entry.text.rpartition(" ")[0]


def _listed(entries: Sequence[Entry]) -> str:
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return ", ".join(described(one) for one in entries[:SHOWN]) + more
