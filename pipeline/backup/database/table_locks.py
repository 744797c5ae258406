"""Keeps the tables of a database in their files, from before a snapshot of it is taken until pg_dump has
locks of its own; and finds what was rewritten nevertheless.

A snapshot is of rows, not of files: who reads a table at a moment before it was truncated, or rewritten by an
ALTER TABLE, finds it empty, and nothing says so.
"""

import sys
from collections.abc import Iterable

from psycopg2 import sql

from pipeline import access, postgres
from pipeline.backup.database import contents
from pipeline.backup.database.contents import TableShape
from pipeline.errors import ConflictError, StepError
from pipeline.postgres import Connection, snapshot
from pipeline.postgres.snapshot import Snapshot
from pipeline.progress import Show
from pipeline.retry import Attempts, RetryPolicy

# A try waits so long for a lock, and lets go of all that it has before the next: who waits for us gets on.
LOCK_TIMEOUT = "5s"
LOCKS = RetryPolicy(give_up_after_seconds=600.0, first_wait_seconds=0.5, longest_wait_seconds=5.0)
# A database in which tables come and go all the time is left to what is looked at afterwards.
LISTINGS = 5
CAPACITY = """
    SELECT current_setting('max_locks_per_transaction')::bigint
        * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)
"""
HELD = """
    SELECT relation::bigint FROM pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'relation' AND mode = 'AccessShareLock' AND granted
"""
NOW = "SELECT oid::bigint, relfilenode::bigint FROM pg_class WHERE oid = ANY(%s::oid[])"


class TableLocks:
    """The tables of one database, held by this session and by those that `join`.

    Where the server has too little room for so many locks, or they would take the room of others, none are
    taken: what was rewritten is then found only, and the backup begun anew.
    """

    def __init__(self, connection: Connection, name: str, sessions: int, show: Show) -> None:
        """Lock the tables of the database of `connection`, called `name`; `sessions` read it at once."""
        self._connection, self._name, self._sessions, self._show = connection, name, sessions, show
        self._locked: list[TableShape] = []
        self.tables: list[TableShape] = []

    def take(self) -> Snapshot:
        """Lock every table, then take a snapshot; `tables` are those that it shows.

        Raise StepError, saying who is in the way, if that cannot be had for too long.
        """
        attempts, listings = Attempts(LOCKS), 0
        while True:
            listed = self._list()
            try:
                taken = snapshot.take(self._connection, self._lock_all)
                self.tables, listings = contents.dumped(self._connection), listings + 1
            except postgres.LockNotAvailable:
                blocker = self._blocker(listed)
                self._show(None, f"waiting for {blocker}")
                if not attempts.wait(None):
                    raise StepError(
                        f"{self._name}: the dump timed out waiting for {blocker}",
                        hint="wait for it to end, or end it",
                    ) from None
            except postgres.GONE:  # a table was dropped or renamed since it was listed
                if not attempts.wait(None):
                    raise
            except postgres.OutOfMemory:
                self._sessions = sys.maxsize
            else:
                if self._holds_all() or listings == LISTINGS:
                    return taken

    def _list(self) -> list[TableShape]:
        """Return the tables as they are now; choose to lock all of them, or none if there are too many."""
        self._connection.rollback()
        tables = contents.dumped(self._connection, sizes=False)
        capacity: int = postgres.value(self._connection, CAPACITY)
        self._locked = tables if len(tables) * self._sessions <= capacity else []
        return tables

    def _lock_all(self) -> None:
        _lock(self._connection, self._locked)

    def _holds_all(self) -> bool:
        if not self._locked:
            return True
        held = {oid for (oid,) in postgres.rows(self._connection, HELD)}
        return held.issuperset(one.oid for one in self.tables)

    def _blocker(self, tables: list[TableShape]) -> str:
        self._connection.rollback()
        oids = [one.oid for one in tables]
        return postgres.keeper(self._connection, oids)

    def join(self, connection: Connection) -> None:
        """Have another session, which reads the snapshot already, hold the tables as well.

        Nobody who waits for a table can come between its sessions then. Raise ConflictError if somebody is
        there already.
        """
        try:
            _lock(connection, self._locked)
        except postgres.LockNotAvailable:
            raise ConflictError(
                f"{self._name}: another session is waiting for an exclusive lock on a table while the "
                "backup begins"
            ) from None

    def step_aside(self) -> None:
        """Raise ConflictError if somebody waits for a table of ours, and one of our sessions behind him."""
        query = postgres.statement("backup/waiting_behind")
        for kept in postgres.read(self._connection, query, postgres.kept):
            raise ConflictError(f"{self._name}: the backup released its locks for {kept}")

    def require_unmoved(self, fresh: Connection) -> None:
        """Raise ConflictError if a table was rewritten before pg_dump had locked it, as it now has.

        `fresh` is a new session: an old one may know files for a while that are not there any more.
        """
        files = dict(postgres.rows(fresh, NOW, ([one.oid for one in self.tables],)))
        moved = [one.full_name for one in self.tables if files.get(one.oid) != one.file]
        if moved:
            raise ConflictError(f"{self._name}: {', '.join(moved)} {contents.REWRITTEN}")


def _lock(connection: Connection, tables: Iterable[TableShape]) -> None:
    names = [postgres.identifier(one.schema_name, one.name) for one in tables]
    if not names:
        return
    locked = sql.SQL(", ").join(sql.SQL("ONLY {}").format(name) for name in names)
    # None of these reads anything: the moment of the transaction is chosen afterwards.
    postgres.rows(connection, f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    postgres.rows(connection, sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(locked))
    postgres.rows(connection, f"SET LOCAL lock_timeout = '{access.BACKUP_SESSION['lock_timeout']}'")
