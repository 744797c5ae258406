"""Sessions as the administrator of the tests' servers, each lent to one block after another.

To connect is half of what it takes to make a platform and to remove it: each time a process of the server.
"""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator

import psycopg2

from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters
from tests.support.platforms import Connection

DATABASE = "postgres"


class Lender:
    """Lends sessions in the database of that name of one sandbox's servers; all others are opened as ever."""

    def __init__(self, home: Home) -> None:
        self._home, self._open = home, clusters.connection
        self._ended = contextlib.ExitStack()
        # By the process that opened them, the server and its port.
        self._free: defaultdict[tuple[int, str, int], list[Connection]] = defaultdict(list)

    @contextlib.contextmanager
    def connection(
        self, home: Home, cluster: str, database: str, *, user: str = clusters.SUPERUSER
    ) -> Iterator[Connection]:
        """Open a database, or lend a session in it: as `clusters.connection`, in whose place this is."""
        if (home.path, database, user) != (self._home.path, DATABASE, clusters.SUPERUSER):
            with self._open(home, cluster, database, user=user) as opened:
                yield opened
            return
        free = self._free[os.getpid(), cluster, home.state.ports[cluster]]
        while free:
            if self._is_as_new(lent := free.pop()):
                break
        else:
            lent = self._ended.enter_context(self._open(home, cluster, database))
        try:
            yield lent
        except BaseException:
            lent.close()
            raise
        # What was asked last is not to be seen of it meanwhile.
        if self._is_as_new(lent):
            free.append(lent)

    @staticmethod
    def _is_as_new(session: Connection) -> bool:
        """Whether a session is, from now on, as one that has just been opened; else it is closed."""
        try:
            if not session.autocommit:
                session.rollback()
                session.autocommit = True
            with session.cursor() as cursor:
                cursor.execute("DISCARD ALL")
        except psycopg2.Error:
            session.close()
            return False
        return True

    def close(self) -> None:
        """End all sessions."""
        self._ended.close()
