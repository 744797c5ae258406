"""The checks that a table or a mart declares, each looked at as its kind says."""

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog.check_kinds import CANDIDATE, Check, Result
from pipeline.postgres import Composable, Connection
from pipeline.quality import asked
from pipeline.quality.subject import Subject, naming


def of_declared(warehouse: Connection, subject: Subject) -> Iterator[Result]:
    """Look at what each check declares. Raise StepError if the warehouse cannot compute one."""
    rows = _Rows(warehouse, subject)
    for declared in subject.checks:
        with naming(f"{declared.kind} check", subject.declared_in):
            results = list(declared.evaluate(rows))
        yield from results


def require_pure(theirs: Connection, checks: Sequence[Check], declared_in: str) -> None:
    """Raise StepError if the SQL of one of these checks can do more than compute, or is not understood.

    For a session that is an analyst's own, before its transaction is a read-only one; CANDIDATE is there.
    """
    for declared in checks:
        if declared.query is not None:
            with naming(f"{declared.kind} check", declared_in):
                asked.require_pure(theirs, declared.query, declared_in)


class _Rows:
    """The rows of CANDIDATE in the session of `warehouse`, for the kinds of checks to ask."""

    relation: Composable = sql.Identifier(CANDIDATE)

    def __init__(self, warehouse: Connection, subject: Subject) -> None:
        self._warehouse, self._subject = warehouse, subject
        self.count, self.history = subject.rows, subject.history

    def ask(self, query: Composable) -> Sequence[Any]:
        return postgres.rows(self._warehouse, query)[0]

    def ask_as_analyst(self, query: Composable) -> tuple[int, Composable | None]:
        subject = self._subject
        if subject.analyst is None:
            return asked.count(self._warehouse, query), None
        answer = asked.ask(self._warehouse, query, subject.key, subject.analyst, subject.declared_in)
        if answer.failing is None:
            return answer.count, None
        same = _same_key(subject.key)
        return answer.count, sql.SQL("EXISTS (SELECT 1 FROM {} AS f WHERE {})").format(answer.failing, same)

    def other(self, table: str) -> Composable:
        return self._subject.other(table)


def _same_key(key: Sequence[str]) -> Composable:
    """Return the condition under which a row that the check returned, "f", is a row of the table, "c"."""
    pairs = (sql.SQL("{} = {}").format(sql.Identifier("f", name), sql.Identifier("c", name)) for name in key)
    return sql.SQL(" AND ").join(pairs)
