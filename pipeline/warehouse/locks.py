"""Locks: a table that people read is changed at once or not at all.

Whoever waits for a table's lock makes every reader wait behind him. So a change of the catalog waits for a
moment only, lets the readers pass, and tries again.
"""

import time
from collections.abc import Callable

from psycopg2 import sql

from pipeline import postgres
from pipeline.errors import StepError
from pipeline.ledger import lease
from pipeline.postgres import Connection
from pipeline.postgres.locks import give_back_when_stopped

# A change waits this long for those who read, and so do those who come after it.
LOCK_TIMEOUT_MILLISECONDS = 100
LOCK_TRIES = 200
LOCK_PAUSE_SECONDS = 0.2
# After so many tries, and again after as many, it is told for whom it waits: most readers are gone by then.
LOG_TRIES = 10


def patiently(connection: Connection, relation: sql.Identifier, change: Callable[[], object]) -> None:
    """Make a change that needs a relation for itself, within a savepoint if in a transaction.

    Raise StepError, saying who is in the way, if there is never a gap between its readers.
    """
    alone = connection.autocommit
    scope = "SESSION" if alone else "LOCAL"
    if not alone:
        # From here to the commit whoever reads the relation waits for us.
        give_back_when_stopped(connection)
        postgres.rows(connection, "SAVEPOINT attempt")
    for tried in range(1, LOCK_TRIES + 1):
        postgres.rows(connection, f"SET {scope} lock_timeout = '{LOCK_TIMEOUT_MILLISECONDS}ms'")
        try:
            change()
        except postgres.LockNotAvailable:
            if not alone:
                postgres.rows(connection, "ROLLBACK TO SAVEPOINT attempt")
            if tried % LOG_TRIES == 0:
                lease.wait_for(
                    f"those who read {'.'.join(relation.strings)}: {_readers(connection, relation)}"
                )
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            lease.wait_for("")
            postgres.rows(connection, f"SET {scope} lock_timeout = 0")
            return
    raise StepError(
        f"the table has been read without a break for {_seconds():.0f} seconds, so it "
        f"cannot get its new shape: {_readers(connection, relation)}",
        hint="wait for these sessions to end, or terminate them",
    )


def _seconds() -> float:
    return LOCK_TRIES * (LOCK_TIMEOUT_MILLISECONDS / 1000 + LOCK_PAUSE_SECONDS)


def _readers(connection: Connection, relation: sql.Identifier) -> str:
    # As they are now, and not as they were when this transaction first asked.
    postgres.rows(connection, "SELECT pg_stat_clear_snapshot()")

    def describe() -> str:
        query = postgres.statement("warehouse/readers")
        readers = postgres.read(connection, query, postgres.process, relation.strings)
        return "; ".join(readers) or "they have just ended"

    return postgres.legible(describe)
