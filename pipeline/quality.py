"""Quality: what is declared of a table's rows, looked at before anyone sees them.

Every check looks at the table as it will be once the staged rows are in it, so that a rate means the same
after a full load and after a night with three changes.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from psycopg2 import sql

from pipeline import postgres, staging
from pipeline.catalog import (
    Check,
    FreshnessCheck,
    RelationshipCheck,
    RowsCheck,
    SqlCheck,
    Table,
    UniqueCheck,
)
from pipeline.drift import IGNORE, Change
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection
from pipeline.staging import Staged

# The view that stands for the table as it will be; it ends with the session.
CANDIDATE = "candidate"
# Fewer deletes than this are never suspicious by their share alone, unless nothing would be left.
DELETES_UNSUSPICIOUS = 20
# With so many earlier loads is a row count compared: their median is not moved by one odd night.
COMPARED_LOADS = 10
# By so much may clocks and time zones differ. What is later than that says nothing of when a row came.
CLOCKS_DIFFER = "1 day"
HOLD, ROWS = "hold", "rows"


@dataclass(frozen=True)
class Result:
    """How one check came out. `observed` and `expected` are words for a person, `value` is for a chart.

    `wrong` is the condition on a row, called "c", that makes it a failing one; None where no single row is.
    `of_row`: whether that can be told by the row alone, whichever other rows there are.
    """

    name: str
    level: str
    passed: bool
    observed: str
    expected: str
    value: float | None = None
    quarantine: str = HOLD
    wrong: Composable | None = None
    of_row: bool = False

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


@dataclass(frozen=True)
class Candidate:
    """A table as it will be: the staged rows, and those of the target that they leave alone.

    `history` is how many rows the table had after its latest loads, the newest first.
    """

    table: Table
    staged: Staged
    columns: Sequence[str]
    key: Sequence[str]
    increment: bool
    keys_staged: bool
    source_rows: int
    deleted: int
    history: Sequence[int]
    # What the target still calls a column that has another name by now.
    renamed: Mapping[str, str]

    def create(self, warehouse: Connection) -> None:
        """Make the view that the checks read, in the session of `warehouse`."""
        names = postgres.columns(self.columns, "s")
        query = sql.SQL("SELECT {} FROM {} AS s").format(names, self.staged.rows)
        if self.increment:
            query += self._kept(warehouse)
        view = sql.Identifier(CANDIDATE)
        postgres.rows(warehouse, sql.SQL("CREATE TEMP VIEW {} AS {}").format(view, query))

    def _kept(self, warehouse: Connection) -> Composable:
        """Return what adds the rows of the target that stay as they are."""
        return sql.SQL(" UNION ALL {} AND {}").format(self._loaded(warehouse), self._unread)

    def standing(self, warehouse: Connection) -> Composable:
        """Return the query of the rows of the target that stay, though the source has others or the same.

        Those that nothing was read for, and those of which what was read is to be set aside.
        """
        bad = sql.SQL("EXISTS (SELECT 1 FROM {} AS s JOIN {} AS b ON b.place = s.ctid WHERE {})").format(
            self.staged.rows, self.staged.bad, staging.same_key(self.key, "t", "s", self.renamed)
        )
        stays = sql.SQL("({} OR {})").format(self._unread, bad) if self.increment else bad
        return sql.SQL("{} AND {}").format(self._loaded(warehouse), stays)

    def _loaded(self, warehouse: Connection) -> Composable:
        """Return the query of the target's rows, called "t", that are not gone from the source."""
        known = staging.column_names(warehouse, self.staged.target)
        # A column that is new in the source is empty in the rows that were not read again.
        called = [(name, self.renamed.get(name, name)) for name in self.columns]
        names = sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(
                sql.Identifier("t", old) if old in known else sql.SQL("NULL"), sql.Identifier(name)
            )
            for name, old in called
        )
        loaded = sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(
            names, self.staged.target, staging.live(warehouse, self.staged.target, self.table, "t")
        )
        if self.keys_staged:
            loaded += sql.SQL(" AND EXISTS (SELECT 1 FROM {} AS k WHERE {})").format(
                self.staged.keys, staging.same_key(self.key, "t", "k", self.renamed)
            )
        return loaded

    @property
    def _unread(self) -> Composable:
        return sql.SQL("NOT EXISTS (SELECT 1 FROM {} AS s WHERE {})").format(
            self.staged.rows, staging.same_key(self.key, "t", "s", self.renamed)
        )


def of_drift(changes: Sequence[Change], table: Table) -> list[Result]:
    """Return the changes of a table's shape as results, as they are recorded."""
    results = []
    for change in changes:
        told, level = change.told(table), "error"
        if change.kind == "dropped" and not change.blocks and change.action != IGNORE:
            told, level = f"{told}; it stays empty in new rows", "warn"
        passed = level == "error" and not change.blocks
        results.append(Result(f"drift {change.kind}", level, passed, told, ""))
    return results


def check(warehouse: Connection, candidate: Candidate) -> list[Result]:
    """Return how every check of the table came out."""
    if not candidate.columns:
        return list(_deletes(candidate))
    candidate.create(warehouse)
    return [
        *_key(warehouse, candidate),
        *_deletes(candidate),
        *_of_columns(warehouse, candidate),
        *_declared(warehouse, candidate),
    ]


def _key(warehouse: Connection, candidate: Candidate) -> Iterator[Result]:
    if not candidate.key:
        return
    key = postgres.columns(candidate.key)
    name = f"key ({', '.join(candidate.key)})"
    with _told(name, candidate.table):
        duplicated = _duplicates(warehouse, candidate.staged.rows, key)
    words = f"{duplicated:,} duplicated values"
    other = (
        f"none; write the key that tells its rows apart under {candidate.table.name} in "
        f"sources/{candidate.table.source}.yaml"
    )
    yield Result(f"{name} is unique", "error", not duplicated, words, other, duplicated)
    missing = sql.SQL(" OR ").join(
        sql.SQL("{} IS NULL").format(sql.Identifier(column)) for column in candidate.key
    )
    nulls = staging.count(warehouse, candidate.staged.rows, missing)
    yield Result(f"{name} is not null", "error", not nulls, f"{nulls:,} rows without a key", other, nulls)


def _duplicates(warehouse: Connection, relation: sql.Identifier, columns: Composable) -> int:
    query = sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {} GROUP BY {} HAVING count(*) > 1) AS duplicated")
    counted: int = postgres.value(warehouse, query.format(relation, columns))
    return counted


def _deletes(candidate: Candidate) -> Iterator[Result]:
    if not candidate.history or not candidate.history[0]:
        return
    last = candidate.history[0]
    gone = candidate.deleted if candidate.key else max(0, last - candidate.source_rows)
    share, most = gone / last, candidate.table.max_deleted
    few = gone < DELETES_UNSUSPICIOUS and candidate.source_rows > 0
    yield Result(
        "deletes", "error", share <= most or few,
        f"{gone:,} of {last:,} rows ({share:.0%}) are gone from the source",
        f"at most {most:.0%}; if that is right, write 'max_deleted: {min(1, share + 0.005):.0%}' "
        f"under {candidate.table.name} in sources/{candidate.table.source}.yaml",
        share,
    )  # fmt: skip


@dataclass(frozen=True)
class _ColumnRule:
    name: str
    wrong: Composable
    most: float
    level: str
    quarantine: str


def _column_rules(candidate: Candidate) -> Iterator[_ColumnRule]:
    for name, column in candidate.table.columns.items():
        if name not in candidate.columns:
            continue
        value = sql.Identifier("c", name)
        if rate := column.null_rate:
            wrong = sql.SQL("{} IS NULL").format(value)
            yield _ColumnRule(f"{name} null_rate", wrong, rate.max, rate.level, rate.quarantine)
        if accepted := column.accepted:
            listed = sql.SQL(", ").join(sql.Literal(_as_text(known)) for known in accepted.values)
            wrong = sql.SQL("{}::text NOT IN ({})").format(value, listed)
            yield _ColumnRule(f"{name} accepted", wrong, 0.0, accepted.level, accepted.quarantine)
        if bounds := column.range:
            for bound, limit, outside in (("min", bounds.min, "<"), ("max", bounds.max, ">")):
                if limit is not None:
                    wrong = sql.SQL("{} {} {}").format(value, sql.SQL(outside), sql.Literal(limit))
                    yield _ColumnRule(f"{name} {bound} {limit}", wrong, 0.0, bounds.level, bounds.quarantine)


def _as_text(value: object) -> str:
    """Return a value of the YAML as PostgreSQL writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_columns(warehouse: Connection, candidate: Candidate) -> Iterator[Result]:
    """Look at all columns in one scan."""
    rules = list(_column_rules(candidate))
    if not rules:
        return
    counts = sql.SQL(", ").join(sql.SQL("count(*) FILTER (WHERE {})").format(rule.wrong) for rule in rules)
    query = sql.SQL("SELECT count(*), {} FROM {} AS c").format(counts, sql.Identifier(CANDIDATE))
    postgres.rows(warehouse, "SAVEPOINT rules")
    try:
        total, *found = postgres.rows(warehouse, query)[0]
    except postgres.Error as error:
        if postgres.is_lost(error):
            raise
        # One scan for all of them does not tell which it was.
        for rule in rules:
            postgres.rows(warehouse, "ROLLBACK TO SAVEPOINT rules")
            with _told(f"rule {rule.name}", candidate.table):
                one = sql.SQL("SELECT FROM {} AS c WHERE {}").format(sql.Identifier(CANDIDATE), rule.wrong)
                postgres.rows(warehouse, one)
        raise
    for rule, wrong in zip(rules, found, strict=True):
        share = wrong / total if total else 0.0
        yield Result(
            rule.name, rule.level, share <= rule.most, f"{wrong:,} of {total:,} rows ({share:.2%})",
            f"at most {rule.most:.2%}" if rule.most else "none", share, rule.quarantine, rule.wrong,
            of_row=True,
        )  # fmt: skip


def _declared(warehouse: Connection, candidate: Candidate) -> Iterator[Result]:
    for declared in candidate.table.checks:
        with _told(f"{declared.kind} check", candidate.table):
            found = list(_one(warehouse, declared, candidate))
        yield from found


def _one(warehouse: Connection, declared: Check, candidate: Candidate) -> Iterator[Result]:
    match declared:
        case RowsCheck():
            yield from _rows(declared, candidate)
        case UniqueCheck():
            yield _unique(warehouse, declared)
        case SqlCheck():
            yield _sql(warehouse, declared, candidate)
        case FreshnessCheck():
            yield _freshness(warehouse, declared)
        case RelationshipCheck():
            yield _relationship(warehouse, declared, candidate.table)


@contextlib.contextmanager
def _told(what: str, table: Table) -> Iterator[None]:
    """Turn what the warehouse refuses to compute into an error that says what of the declaration it was."""
    try:
        yield
    except postgres.Error as error:
        if postgres.is_lost(error):
            raise
        raise StepError(
            f"its {what} cannot be looked at: {postgres.said(error)}; correct it under {table.name} in "
            f"sources/{table.source}.yaml; until then its last good rows stay up"
        ) from None


def _rows(declared: RowsCheck, candidate: Candidate) -> Iterator[Result]:
    rule, level, rows = declared.rows, declared.level, candidate.source_rows
    if rule.min is not None:
        yield Result("rows min", level, rows >= rule.min, f"{rows:,} rows", f"at least {rule.min:,}", rows)
    if rule.max is not None:
        yield Result("rows max", level, rows <= rule.max, f"{rows:,} rows", f"at most {rule.max:,}", rows)
    if rule.change is not None and candidate.history:
        usual = median(candidate.history[:COMPARED_LOADS])
        change = abs(rows - usual) / usual if usual else float(rows > 0)
        observed = f"{rows:,} rows where {usual:,.0f} are usual ({change:.0%} off)"
        yield Result(
            "rows change", level, change <= rule.change, observed, f"at most {rule.change:.0%}", change
        )


def _unique(warehouse: Connection, declared: UniqueCheck) -> Result:
    view, columns = sql.Identifier(CANDIDATE), postgres.columns(declared.unique)
    duplicated = _duplicates(warehouse, view, columns)
    wrong = sql.SQL("({}) IN (SELECT {} FROM {} GROUP BY {} HAVING count(*) > 1)").format(
        postgres.columns(declared.unique, "c"), columns, view, columns
    )
    return Result(
        f"unique ({', '.join(declared.unique)})", declared.level, not duplicated,
        f"{duplicated:,} duplicated values", "none", duplicated, declared.quarantine, wrong,
    )  # fmt: skip


def _sql(warehouse: Connection, declared: SqlCheck, candidate: Candidate) -> Result:
    # The catalog saw to it that this is one SELECT.
    # On lines of its own, so that a comment at its end takes nothing with it.
    query = sql.SQL("\n" + declared.sql.strip().rstrip(";").replace("{table}", CANDIDATE) + "\n")
    counted = postgres.value(warehouse, sql.SQL("SELECT count(*) FROM ({}) AS found").format(query))
    wrong = None
    if candidate.key and counted:
        returned = _returned_columns(warehouse, query)
        if set(candidate.key) <= set(returned):
            wrong = sql.SQL("EXISTS (SELECT 1 FROM ({}) AS f WHERE {})").format(
                query, staging.same_key(candidate.key, "f", "c")
            )
    name = f"sql {' '.join(declared.sql.split())}"
    return Result(
        name, declared.level, not counted, f"{counted:,} rows", "none", counted, declared.quarantine, wrong
    )


def _returned_columns(warehouse: Connection, query: Composable) -> list[str]:
    with warehouse.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM ({}) AS f LIMIT 0").format(query))
        return [column.name for column in cursor.description or ()]


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


def _relationship(warehouse: Connection, declared: RelationshipCheck, table: Table) -> Result:
    rule = declared.relationship
    view, pairs = sql.Identifier(CANDIDATE), list(zip(rule.columns, rule.to_columns, strict=True))
    given = [sql.SQL("{} IS NOT NULL").format(sql.Identifier("c", column)) for column in rule.columns]
    same = [
        sql.SQL("{} = {}").format(sql.Identifier("o", to), sql.Identifier("c", column))
        for column, to in pairs
    ]
    wrong = sql.SQL("{} AND NOT EXISTS (SELECT 1 FROM {} AS o WHERE {})").format(
        sql.SQL(" AND ").join(given),
        view if rule.to == table.name else sql.Identifier(table.source, rule.to),
        sql.SQL(" AND ").join(same),
    )
    counted = postgres.value(warehouse, sql.SQL("SELECT count(*) FROM {} AS c WHERE {}").format(view, wrong))
    return Result(
        f"relationship ({', '.join(rule.columns)}) to {rule.to}", declared.level, not counted,
        f"{counted:,} rows without a counterpart", "none", counted, declared.quarantine, wrong,
        of_row=rule.to != table.name,
    )  # fmt: skip


def record(connection: Connection, run: str, table: Table, results: Sequence[Result]) -> None:
    """Write the results to the ledger, in the caller's transaction, in place of earlier ones of the run."""
    postgres.rows(
        connection,
        "DELETE FROM ops.check_result WHERE run = %s AND source = %s AND table_name = %s",
        (run, table.source, table.name),
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
                run, table.source, table.name, result.name, result.level, result.passed, result.observed,
                result.expected, result.value,
            ),
        )  # fmt: skip
