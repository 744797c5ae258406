"""What is looked at: rows that nobody sees yet, under a name of their own, and what is declared of them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Check, Column
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection


@dataclass(frozen=True)
class Subject:
    """What is declared of a table or a mart, and how many rows it has and had.

    `history` is how many rows it had each time before, the newest first; `declared_in` is where to correct
    what is declared.
    """

    columns: Sequence[str]
    rules: Mapping[str, Column]
    checks: Sequence[Check]
    rows: int
    history: Sequence[int]
    declared_in: str
    # What tells rows apart; nothing where no row can be set aside alone.
    key: Sequence[str]
    # The table that a relationship refers to, by what the declaration calls it.
    other: Callable[[str], sql.Identifier]
    # The analysts' role, where the session may do more than they: their own SQL is not run with its rights.
    analyst: str | None = None


def duplicates(warehouse: Connection, relation: sql.Identifier, columns: Composable) -> int:
    """Return how many values of these columns stand in several rows."""
    query = sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {} GROUP BY {} HAVING count(*) > 1) AS duplicated")
    counted: int = postgres.value(warehouse, query.format(relation, columns))
    return counted


@contextlib.contextmanager
def naming(what: str, declared_in: str) -> Iterator[None]:
    """Turn what the warehouse refuses to compute into an error that says what of the declaration it was."""
    try:
        yield
    except postgres.Error as error:
        if postgres.is_lost(error):
            raise
        raise StepError(
            f"its {what} cannot be evaluated: {postgres.message_of(error)}; its last good rows stay up",
            hint=f"correct it {declared_in}",
        ) from None
