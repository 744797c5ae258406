"""What is loaded, held to the checks that are declared now: `pipeline plan --check`. Changes nothing.

All is asked in the analysts' own session, with no more rights than they have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg2 import sql

from pipeline import ledger, postgres, quality
from pipeline.catalog import Level, Mart, Table
from pipeline.chains import LOAD_TASK
from pipeline.loading import steps
from pipeline.marts import build
from pipeline.postgres import Composable, Connection
from pipeline.quality import CANDIDATE, Result, Subject
from pipeline.warehouse import relation, roles, staging
from pipeline.warehouse.staging import Staged

# So many failing rows are shown of each check, and so many columns of one that has no key.
EXAMPLES, SHOWN_COLUMNS = 3, 4
# Longer values are cut.
CHARACTERS = 40
OURS = (staging.LOADED_AT, staging.DELETED_AT)


@dataclass(frozen=True)
class Seen:
    """How a check came out of what is loaded. `examples` are failing rows: what tells each apart."""

    result: Result
    examples: Sequence[str] = ()

    def __str__(self) -> str:
        such = f"; such as {'; '.join(self.examples)}" if self.examples else ""
        return f"{self.result}{such}"

    @property
    def fails(self) -> bool:
        """Whether a load of these rows would hold some back."""
        return not self.result.passed and self.result.level == Level.ERROR


def of_table(warehouse: Connection, theirs: Connection, table: Table) -> list[Seen] | None:
    """Return how each rule and check came out; None if the table is not loaded.

    Raise StepError if the warehouse cannot compute one.
    """
    target = Staged(table, "").target
    if relation.oid(warehouse, target) is None:
        return None
    columns = [name for name in relation.column_names(warehouse, target) if name not in OURS]
    accepted = ledger.accepted_shape(warehouse, table.source, table.name)
    key = [name for name in (accepted or {}).get("key", ()) if name in columns]
    history = ledger.row_counts(warehouse, steps.key_of(table, "", LOAD_TASK))

    def other(name: str) -> sql.Identifier:
        return sql.Identifier(CANDIDATE) if name == table.name else sql.Identifier(table.source, name)

    def subject(rows: int) -> Subject:
        # The newest is that of these very rows.
        declared_in = f"under {table.name} in {table.file}"
        return Subject(
            columns, table.columns, table.checks, rows, history[1:], declared_in, tuple(key), other
        )

    live = staging.live(warehouse, target, table)
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(postgres.columns(columns), target, live)
    return _seen(theirs, f"{table.source}.{table.name}", query, subject)


def of_mart(warehouse: Connection, theirs: Connection, mart: Mart) -> list[Seen] | None:
    """Return the same of a mart as it is now; None if it is not built."""
    target = sql.Identifier(build.SCHEMA, mart.name)
    if relation.oid(warehouse, target) is None:
        return None
    columns = relation.column_names(warehouse, target)
    history = ledger.row_counts(warehouse, build.key_of(mart.name, ""))

    def other(name: str) -> sql.Identifier:
        own = name == f"{build.SCHEMA}.{mart.name}"
        return sql.Identifier(CANDIDATE) if own else sql.Identifier(*name.split("."))

    def subject(rows: int) -> Subject:
        return Subject(columns, mart.rules, mart.checks, rows, history[1:], f"in {mart.file}", (), other)

    query = sql.SQL("SELECT {} FROM {}").format(postgres.columns(columns), target)
    return _seen(theirs, f"{build.SCHEMA}.{mart.name}", query, subject)


def _seen(theirs: Connection, name: str, query: Composable, subject: Callable[[int], Subject]) -> list[Seen]:
    try:
        with postgres.explained(name):
            group = sql.Identifier(roles.of(theirs).analyst)
            postgres.rows(theirs, sql.SQL("SET LOCAL ROLE {}").format(group))
            view = sql.Identifier(CANDIDATE)
            postgres.rows(theirs, sql.SQL("CREATE TEMP VIEW {} AS {}").format(view, query))
            asked = subject(staging.count(theirs, view))
            quality.require_pure(theirs, asked.checks, asked.declared_in)
            postgres.rows(theirs, "SET LOCAL transaction_read_only = on")
            return [Seen(result, _examples(theirs, asked, result)) for result in quality.check(theirs, asked)]
    finally:
        theirs.rollback()


def _examples(theirs: Connection, subject: Subject, result: Result) -> list[str]:
    """Return some rows that failed a check."""
    if result.passed:
        return []
    key = subject.key or subject.columns[:SHOWN_COLUMNS]
    # The rule of a column begins with its name.
    ruled = [name for name in subject.rules if result.name.startswith(f"{name} ") and name not in key]
    if result.wrong is not None:
        names = [*key, *ruled]
        query = sql.SQL("SELECT {} FROM {} AS c WHERE {} LIMIT {}").format(
            postgres.columns(names, "c"), sql.Identifier(CANDIDATE), result.wrong, sql.Literal(EXAMPLES)
        )
        return [_in_words(dict(zip(names, row, strict=True))) for row in postgres.rows(theirs, query)]
    if result.examples is None:
        return []
    query = sql.SQL("SELECT * FROM ({}) AS f LIMIT {}").format(result.examples, sql.Literal(EXAMPLES))
    lines = []
    for row in postgres.records(theirs, query):
        shown = [name for name in subject.key if name in row] or list(row)[:SHOWN_COLUMNS]
        lines.append(_in_words({name: row[name] for name in shown}))
    return lines


def _in_words(row: dict[str, object]) -> str:
    """Return a row in a few words.

    >>> _in_words({"id": 5, "name": None})
    'id=5, name=null'
    """
    return ", ".join(
        f"{name}={'null' if value is None else str(value)[:CHARACTERS]}" for name, value in row.items()
    )
