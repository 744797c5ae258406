"""The checks that a table declares: rows, unique, sql, freshness, relationship."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from statistics import median

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import (
    Check,
    FreshnessCheck,
    RelationshipCheck,
    RowsCheck,
    SqlCheck,
    UniqueCheck,
)
from pipeline.postgres import Composable, Connection
from pipeline.quality import asked
from pipeline.quality.result import Result
from pipeline.quality.subject import CANDIDATE, Subject, duplicates, naming

# With so many earlier loads is a row count compared: their median is not moved by one odd night.
COMPARED_LOADS = 10
# By so much may clocks and time zones differ. What is later than that says nothing of when a row came.
CLOCKS_DIFFER = "1 day"


def of_declared(warehouse: Connection, subject: Subject) -> Iterator[Result]:
    """Look at what each check declares. Raise StepError if the warehouse cannot compute one."""
    for declared in subject.checks:
        with naming(f"{declared.kind} check", subject.declared_in):
            found = list(_one(warehouse, declared, subject))
        yield from found


def require_pure(theirs: Connection, checks: Sequence[Check], declared_in: str) -> None:
    """Raise StepError if the SQL of one of these checks can do more than compute, or is not understood.

    For a session that is an analyst's own, before its transaction is a read-only one; CANDIDATE is there.
    """
    for declared in checks:
        if isinstance(declared, SqlCheck):
            with naming(f"{declared.kind} check", declared_in):
                asked.require_pure(theirs, _query(declared), declared_in)


def _one(warehouse: Connection, declared: Check, subject: Subject) -> Iterator[Result]:
    match declared:
        case RowsCheck():
            yield from _rows(declared, subject)
        case UniqueCheck():
            yield _unique(warehouse, declared)
        case SqlCheck():
            yield _sql(warehouse, declared, subject)
        case FreshnessCheck():
            yield _freshness(warehouse, declared)
        case RelationshipCheck():
            yield _relationship(warehouse, declared, subject)


def _rows(declared: RowsCheck, subject: Subject) -> Iterator[Result]:
    rule, level, rows = declared.rows, declared.level, subject.rows
    if rule.min is not None:
        yield Result("rows min", level, rows >= rule.min, f"{rows:,} rows", f"at least {rule.min:,}", rows)
    if rule.max is not None:
        yield Result("rows max", level, rows <= rule.max, f"{rows:,} rows", f"at most {rule.max:,}", rows)
    if rule.change is not None and subject.history:
        usual = median(subject.history[:COMPARED_LOADS])
        change = abs(rows - usual) / usual if usual else float(rows > 0)
        observed = f"{rows:,} rows where {usual:,.0f} are usual ({change:.0%} off)"
        yield Result(
            "rows change", level, change <= rule.change, observed, f"at most {rule.change:.0%}", change
        )


def _unique(warehouse: Connection, declared: UniqueCheck) -> Result:
    view, columns = sql.Identifier(CANDIDATE), postgres.columns(declared.unique)
    duplicated = duplicates(warehouse, view, columns)
    wrong = sql.SQL("({}) IN (SELECT {} FROM {} GROUP BY {} HAVING count(*) > 1)").format(
        postgres.columns(declared.unique, "c"), columns, view, columns
    )
    return Result(
        f"unique ({', '.join(declared.unique)})", declared.level, not duplicated,
        f"{duplicated:,} duplicated values", "none", duplicated, declared.quarantine, wrong,
    )  # fmt: skip


def _sql(warehouse: Connection, declared: SqlCheck, subject: Subject) -> Result:
    query, wrong = _query(declared), None
    if subject.analyst is not None:
        found = asked.ask(warehouse, query, subject.key, subject.analyst, subject.declared_in)
        counted = found.count
        if found.failing is not None:
            same = _same_key(subject.key)
            wrong = sql.SQL("EXISTS (SELECT 1 FROM {} AS f WHERE {})").format(found.failing, same)
    else:
        counted = asked.count(warehouse, query)
    name = f"sql {' '.join(declared.sql.split())}"
    return Result(
        name, declared.level, not counted, f"{counted:,} rows", "none", counted, declared.quarantine, wrong
    )


def _query(declared: SqlCheck) -> Composable:
    # The catalog saw to it that this is one SELECT.
    # On lines of its own, so that a comment at its end takes nothing with it.
    return sql.SQL("\n" + declared.sql.strip().rstrip(";").replace("{table}", CANDIDATE) + "\n")


def _same_key(key: Sequence[str]) -> Composable:
    """Return the condition under which a row that the check returned, "f", is a row of the table, "c"."""
    pairs = (sql.SQL("{} = {}").format(sql.Identifier("f", name), sql.Identifier("c", name)) for name in key)
    return sql.SQL(" AND ").join(pairs)


def _freshness(warehouse: Connection, declared: FreshnessCheck) -> Result:
    rule = declared.freshness
    newest, age_seconds, fresh = postgres.rows(
        warehouse,
        sql.SQL(
            "SELECT max({0})::text, extract(epoch FROM now() - max({0}))::float8,"
            " max({0}) >= now() - {1}::interval FROM {2} WHERE {0} <= now() + {3}::interval"
        ).format(
            sql.Identifier(rule.column),
            sql.Literal(f"{rule.max_age.total_seconds()} seconds"),
            sql.Identifier(CANDIDATE),
            sql.Literal(CLOCKS_DIFFER),
        ),
    )[0]
    return Result(
        f"freshness of {rule.column}", declared.level, bool(fresh), f"the newest is {newest or 'missing'}",
        f"at most {_in_words(rule.max_age)} old", age_seconds,
    )  # fmt: skip


def _in_words(duration: timedelta) -> str:
    """Return a duration as people write it.

    >>> _in_words(timedelta(days=2)), _in_words(timedelta(minutes=90)), _in_words(timedelta(seconds=0.5))
    ('2 days', '90 minutes', '0.5 seconds')
    """
    seconds = duration.total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:g} {unit}" + ("" if seconds == length else "s")
    return f"{seconds:g} seconds"


def _relationship(warehouse: Connection, declared: RelationshipCheck, subject: Subject) -> Result:
    rule = declared.relationship
    view, pairs = sql.Identifier(CANDIDATE), list(zip(rule.columns, rule.to_columns, strict=True))
    other = subject.other(rule.to)
    given = [sql.SQL("{} IS NOT NULL").format(sql.Identifier("c", column)) for column in rule.columns]
    same = [
        sql.SQL("{} = {}").format(sql.Identifier("o", to), sql.Identifier("c", column))
        for column, to in pairs
    ]
    wrong = sql.SQL("{} AND NOT EXISTS (SELECT 1 FROM {} AS o WHERE {})").format(
        sql.SQL(" AND ").join(given),
        other,
        sql.SQL(" AND ").join(same),
    )
    counted = postgres.value(warehouse, sql.SQL("SELECT count(*) FROM {} AS c WHERE {}").format(view, wrong))
    return Result(
        f"relationship ({', '.join(rule.columns)}) to {rule.to}", declared.level, not counted,
        f"{counted:,} rows without a counterpart", "none", counted, declared.quarantine, wrong,
    )  # fmt: skip
