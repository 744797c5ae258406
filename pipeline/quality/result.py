"""How a check came out, and where that is written down."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline import postgres
from pipeline.postgres import Composable, Connection

HOLD, ROWS = "hold", "rows"


@dataclass(frozen=True)
class Result:
    """How one check came out. `observed` and `expected` are words for a person, `value` is for a chart.

    `wrong` is the condition on a row, called "c", that makes it a failing one; None where no single row is.
    """

    name: str
    level: str
    passed: bool
    observed: str
    expected: str
    value: float | None = None
    quarantine: str = HOLD
    wrong: Composable | None = None
    # What is to be written, and where, to have it otherwise.
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.observed}" + (f", expected {self.expected}" if self.expected else "")

    @property
    def stops(self) -> bool:
        """Whether nothing may be loaded: it failed, and its rows cannot be, or are not to be, set aside."""
        return not self.passed and self.level == "error" and (self.quarantine == HOLD or self.wrong is None)

    @property
    def sets_aside(self) -> bool:
        """Whether its failing rows are set aside and the others loaded."""
        return not self.passed and self.level == "error" and not self.stops


def mend(results: Iterable[Result]) -> str:
    """Return what is to be done about results that stop something; nothing if they do not say."""
    return "; ".join(dict.fromkeys(result.hint for result in results if result.stops and result.hint))


def record(connection: Connection, run: str, schema: str, table: str, results: Sequence[Result]) -> None:
    """Write the results to the ledger, in the caller's transaction, in place of earlier ones of the run."""
    postgres.rows(
        connection,
        "DELETE FROM ops.check_result WHERE run = %s AND source = %s AND table_name = %s",
        (run, schema, table),
    )
    for result in results:
        postgres.rows(
            connection,
            """
            INSERT INTO ops.check_result (run, source, table_name, check_name, level, passed, observed,
                                          expected, value)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            (
                run, schema, table, result.name, result.level, result.passed, result.observed,
                result.expected, result.value,
            ),
        )  # fmt: skip
