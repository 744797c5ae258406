"""Question: a mart's SELECT, asked as an analyst, and what the server says it is and gives.

The session that runs it is not trusted from then on: nothing is written with it, and nothing is decided by
what it could have changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql

from pipeline import postgres, quality
from pipeline.catalog import Mart, Materialize
from pipeline.errors import StepError
from pipeline.postgres import Connection
from pipeline.quality import CANDIDATE
from pipeline.warehouse import roles

# The SELECT as a view, of which a table is filled.
QUESTION = "question"


@dataclass(frozen=True)
class Column:
    """A column of what a mart gives, with its type as SQL writes it; of a domain, what that constrains."""

    name: str
    type: str
    collation: str | None


@dataclass(frozen=True)
class Answer:
    """What a mart gives, and how the server itself writes its SELECT. `reads` are columns by relation."""

    definition: str
    columns: Sequence[Column]
    reads: dict[str, tuple[str, ...]]
    rows: int


def ask(theirs: Connection, mart: Mart) -> Answer:
    """Run the mart's SELECT in a read-only transaction, and leave its rows under the name CANDIDATE.

    Raise StepError, with file and line, for what is not a pure read of what the mart says it reads.
    """
    group = sql.Identifier(roles.of(theirs).analyst)
    try:
        postgres.rows(theirs, sql.SQL("SET ROLE {}").format(group))
    except postgres.Error as error:
        raise StepError(
            f"its login may not act as an analyst: {postgres.message_of(error)}",
            hint=f"run 'pipeline migrate', then GRANT {group.as_string(theirs)} to that login",
            retryable=False,
        ) from None
    view = QUESTION if mart.materialize == Materialize.TABLE else CANDIDATE
    oid = _create(theirs, mart, view)
    reads = _reads(theirs, mart, oid)
    _refuse_functions(theirs, mart, oid)
    definition = str(postgres.value(theirs, "SELECT pg_catalog.pg_get_viewdef(%s::oid)", (oid,)))
    columns = postgres.read(theirs, postgres.statement("marts/view_columns"), Column, (oid,))
    rows = _run(theirs, mart, view)
    return Answer(definition.rstrip().rstrip(";"), columns, reads, rows)


def _create(theirs: Connection, mart: Mart, view: str) -> int:
    """Have the server understand the SELECT, with the analysts' rights. Return the oid of its view."""
    # On lines of its own, so that a comment at its end takes nothing with it.
    before = f'CREATE TEMP VIEW "{view}" AS\n'
    try:
        with theirs.cursor() as cursor:
            cursor.execute(before + mart.sql + "\n")
    except psycopg2.Error as error:
        raise _refused(mart, error, len(before)) from None
    # A constant is read as the view is made, and its type may have set anything.
    postgres.rows(theirs, "SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)")
    oid: int = postgres.value(theirs, "SELECT %s::pg_catalog.regclass::oid::bigint", (f"pg_temp.{view}",))
    return oid


def _refused(mart: Mart, error: psycopg2.Error, before: int = 0) -> Exception:
    if postgres.is_lost(error):
        return error
    position = int(error.diag.statement_position or 0) - before
    line = mart.sql.count("\n", 0, max(0, position - 1)) + 1
    hint = " ".join((error.diag.message_hint or "").split())
    problem = f"{postgres.message_of(error)}{f' ({hint})' if hint else ''}"
    if isinstance(error, psycopg2.errors.QueryCanceled):
        problem = (
            "takes longer than the limit for a mart; make it faster, or materialize the mart that it "
            "reads as a table"
        )
    elif isinstance(error, psycopg2.errors.InsufficientPrivilege):
        problem = f"{problem}: analysts may read the sources' tables and marts"
    elif isinstance(error, psycopg2.errors.ReadOnlySqlTransaction):
        problem = f"{problem}: a mart may only read"
    return StepError(f"{mart.file}:{line}: {problem}")


def _reads(theirs: Connection, mart: Mart, oid: int) -> dict[str, tuple[str, ...]]:
    """Return what the server says the mart reads. Raise StepError if that is not what its SQL says."""
    rows = postgres.records(theirs, postgres.statement("marts/view_reads"), (oid,))
    reads = {str(row["relation"]): tuple(row["columns"] or ()) for row in rows}
    for relation in sorted(reads.keys() - set(mart.relations)):
        raise StepError(
            f"{mart.file}:1: reads {relation}, which its SQL does not name, so it could be built "
            "before that table is loaded",
            hint="name the table after FROM or JOIN",
            retryable=False,
        )
    for relation in sorted(set(mart.relations) - reads.keys()):
        raise StepError(
            f"{mart.file}:1: names {relation}, which it does not read, according to the server",
            hint="remove it",
            retryable=False,
        )
    return reads


def _refuse_functions(theirs: Connection, mart: Mart, oid: int) -> None:
    for function in postgres.records(theirs, postgres.statement("postgres/view_functions"), (oid,)):
        of_server = function["of_server"]
        why = "can do more than compute" if of_server else "is not built in, and could do anything"
        raise StepError(
            f"{mart.file}:1: the function {function['name']} {why}; a mart may only read",
            hint="remove it",
            retryable=False,
        )


def _run(theirs: Connection, mart: Mart, view: str) -> int:
    """Read every row, in a transaction that can no longer write. Return how many there are."""
    question, candidate = sql.Identifier("pg_temp", view), sql.Identifier("pg_temp", CANDIDATE)
    try:
        if mart.materialize == Materialize.TABLE:
            postgres.rows(
                theirs,
                sql.SQL("CREATE TEMP TABLE {} AS SELECT * FROM {} WITH NO DATA").format(
                    sql.Identifier(CANDIDATE), question
                ),
            )
        quality.require_pure(theirs, mart.checks, f"in {mart.file}")
        postgres.rows(theirs, "SET LOCAL transaction_read_only = on")
        if mart.materialize == Materialize.TABLE:
            # What is the session's own can be written all the same.
            postgres.rows(theirs, sql.SQL("INSERT INTO {} SELECT * FROM {}").format(candidate, question))
        # Not counted: the server computes no column that is not wanted.
        postgres.rows(theirs, sql.SQL("DECLARE everything CURSOR FOR SELECT * FROM {}").format(candidate))
        with theirs.cursor() as cursor:
            cursor.execute("MOVE FORWARD ALL IN everything")
            return int((cursor.statusmessage or "").removeprefix("MOVE "))
    except psycopg2.Error as error:
        raise _refused(mart, error) from None
