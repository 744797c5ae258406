"""How a check came out, and what it may ask to find that out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg2.sql import Composable

from pipeline.catalog import queries
from pipeline.catalog.values import Level, Quarantine

# The relation that stands for the rows; it ends with the session. It has the name under which a check is
# parsed: a query that calls something of its own so is refused there, and cannot ask that in the rows' place.
CANDIDATE = queries.STAND_IN


@dataclass(frozen=True)
class Result:
    """How one check came out. `observed` and `expected` are words for a person, `value` is for a chart.

    `wrong` is the condition on a row, called "c", that makes it a failing one; None where no single row is.
    `examples` is a query of failing rows, where the check is one.
    """

    name: str
    level: Level
    passed: bool
    observed: str
    expected: str
    value: float | None = None
    quarantine: Quarantine = Quarantine.HOLD
    wrong: Composable | None = None
    # What is to be written, and where, to have it otherwise.
    hint: str = ""
    examples: Composable | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.observed}" + (f", expected {self.expected}" if self.expected else "")

    @property
    def stops(self) -> bool:
        """Whether nothing may be loaded: it failed, and its rows cannot be, or are not to be, set aside."""
        return (
            not self.passed
            and self.level == Level.ERROR
            and (self.quarantine == Quarantine.HOLD or self.wrong is None)
        )

    @property
    def sets_aside(self) -> bool:
        """Whether its failing rows are set aside and the others loaded."""
        return not self.passed and self.level == Level.ERROR and not self.stops


class Rows(Protocol):
    """The rows that are checked: those of a table or a mart as they are about to be.

    `relation` is what a query calls them; `count` is how many there are, and `history` how many there were
    each time before, the newest first.
    """

    relation: Composable
    count: int
    history: Sequence[int]

    def ask(self, query: Composable) -> Sequence[Any]:
        """Return the first row of a query, which every query of ours has."""

    def ask_as_analyst(self, query: Composable) -> tuple[int, Composable | None]:
        """Return how many rows a query that an analyst wrote returns, asked with the rights of one.

        And the condition on a row, called "c", under which it is one of them; None where that is not known.
        Raise StepError if the query can do more than compute.
        """

    def other(self, table: str) -> Composable:
        """Return the relation of a table, named as in the file."""
