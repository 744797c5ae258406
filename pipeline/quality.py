"""Quality: what is declared of a table's rows, looked at before anyone sees them.

Every check looks at the table as it will be once the staged rows are in it, so that a rate means the same
after a full load and after a night with three changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql

from pipeline import postgres, staging
from pipeline.catalog import (
    FreshnessCheck,
    RelationshipCheck,
    RowsCheck,
    SqlCheck,
    Table,
    UniqueCheck,
)
from pipeline.postgres import Composable, Connection
from pipeline.staging import Staged

# The view that stands for the table as it will be; it ends with the session.
CANDIDATE = "candidate"
# Fewer deletes than this are never suspicious by their share alone, unless nothing would be left.
DELETES_UNSUSPICIOUS = 20


@dataclass(frozen=True)
class Result:
    """How one check came out. `observed` and `expected` are words for a person."""

    name: str
    level: str
    passed: bool
    observed: str
    expected: str

    def __str__(self) -> str:
        return f"{self.name}: {self.observed}, expected {self.expected}"


@dataclass(frozen=True)
class Candidate:
    """A table as it will be: the staged rows, and those of the target that they leave alone."""

    table: Table
    staged: Staged
    columns: Sequence[str]
    key: Sequence[str]
    increment: bool
    keys_staged: bool
    source_rows: int
    deleted: int

    def create(self, warehouse: Connection) -> None:
        """Make the view that the checks read, in the session of `warehouse`."""
        names = postgres.columns(self.columns, "s")
        query = sql.SQL("SELECT {} FROM {} AS s").format(names, self.staged.rows)
        if self.increment:
            query += self._kept(warehouse)
        postgres.rows(
            warehouse, sql.SQL("CREATE TEMP VIEW {} AS {}").format(sql.Identifier(CANDIDATE), query)
        )

    def _kept(self, warehouse: Connection) -> Composable:
        """Return what adds the rows of the target that stay as they are."""
        known = staging.column_names(warehouse, self.staged.target)
        # A column that is new in the source is empty in the rows that were not read again.
        names = sql.SQL(", ").join(
            sql.Identifier("t", name) if name in known else sql.SQL("NULL") for name in self.columns
        )
        kept = sql.SQL(
            " UNION ALL SELECT {names} FROM {target} AS t WHERE {live}"
            " AND NOT EXISTS (SELECT 1 FROM {staged} AS s WHERE {same})"
        ).format(
            names=names, target=self.staged.target, live=staging.live(self.table, "t"),
            staged=self.staged.rows, same=staging.same_key(self.key, "t", "s"),
        )  # fmt: skip
        if self.keys_staged:
            kept += sql.SQL(" AND EXISTS (SELECT 1 FROM {} AS k WHERE {})").format(
                self.staged.keys, staging.same_key(self.key, "t", "k")
            )
        return kept


def check(warehouse: Connection, candidate: Candidate, last_rows: int | None) -> list[Result]:
    """Return how every check of the table came out.

    `last_rows` is how many rows the table had when it was last loaded, None if it never was.
    """
    candidate.create(warehouse)
    return [
        *_key(warehouse, candidate),
        *_deletes(candidate, last_rows),
        *_aggregates(warehouse, candidate.table),
        *_declared(warehouse, candidate, last_rows),
    ]


def _key(warehouse: Connection, candidate: Candidate) -> Iterator[Result]:
    if not candidate.key:
        return
    key = postgres.columns(candidate.key)
    duplicated = _duplicates(warehouse, candidate.staged.rows, key)
    name = f"key ({', '.join(candidate.key)})"
    yield Result(f"{name} is unique", "error", not duplicated, f"{duplicated:,} duplicated values", "none")
    missing = sql.SQL(" OR ").join(
        sql.SQL("{} IS NULL").format(sql.Identifier(column)) for column in candidate.key
    )
    nulls = staging.count(warehouse, candidate.staged.rows, missing)
    yield Result(f"{name} is not null", "error", not nulls, f"{nulls:,} rows without a key", "none")


def _duplicates(warehouse: Connection, relation: sql.Identifier, columns: Composable) -> int:
    query = sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {} GROUP BY {} HAVING count(*) > 1) AS duplicated")
    counted: int = postgres.value(warehouse, query.format(relation, columns))
    return counted


def _deletes(candidate: Candidate, last_rows: int | None) -> Iterator[Result]:
    if not last_rows:
        return
    share, most = candidate.deleted / last_rows, candidate.table.max_deleted
    few = candidate.deleted < DELETES_UNSUSPICIOUS and candidate.source_rows > 0
    yield Result(
        "deletes", "error", share <= most or few,
        f"{candidate.deleted:,} of {last_rows:,} rows ({share:.0%}) are gone from the source",
        f"at most {most:.0%}; if that is right, write 'max_deleted: {min(1, share + 0.005):.0%}' under it",
    )  # fmt: skip


def _aggregates(warehouse: Connection, table: Table) -> Iterator[Result]:
    """Look at all columns in one scan."""
    terms: list[Composable] = [sql.SQL("count(*)")]
    readers: list[tuple[str, str, Any]] = []
    for name, column in table.columns.items():
        quoted = sql.Identifier(name)
        if column.null_rate:
            terms.append(sql.SQL("count(*) FILTER (WHERE {} IS NULL)").format(quoted))
            readers.append((f"{name} null_rate", column.null_rate.level, column.null_rate.max))
        if column.accepted:
            accepted = sql.SQL(", ").join(sql.Literal(str(value)) for value in column.accepted)
            terms.append(sql.SQL("count(*) FILTER (WHERE {}::text NOT IN ({}))").format(quoted, accepted))
            readers.append((f"{name} accepted", "error", 0))
        for bound, operator in (("min", "<"), ("max", ">")):
            limit = getattr(column.range, bound) if column.range else None
            if limit is not None:
                terms.append(
                    sql.SQL("count(*) FILTER (WHERE {} {} {})").format(
                        quoted, sql.SQL(operator), sql.Literal(limit)
                    )
                )
                readers.append((f"{name} {bound} {limit}", "error", 0))
    if not readers:
        return
    found = postgres.row(
        warehouse, sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(terms), sql.Identifier(CANDIDATE))
    )
    assert found is not None  # noqa: S101 - an aggregate always has a row
    total = found[0]
    for (name, level, most), wrong in zip(readers, found[1:], strict=True):
        share = wrong / total if total else 0.0
        expected = f"at most {most:.2%}" if name.endswith("null_rate") else "none"
        yield Result(name, level, share <= most, f"{wrong:,} of {total:,} rows ({share:.2%})", expected)


def _declared(warehouse: Connection, candidate: Candidate, last_rows: int | None) -> Iterator[Result]:
    view = sql.Identifier(CANDIDATE)
    for declared in candidate.table.checks:
        match declared:
            case RowsCheck():
                yield from _rows(declared, candidate.source_rows, last_rows)
            case UniqueCheck():
                duplicated = _duplicates(warehouse, view, postgres.columns(declared.unique))
                name = f"unique ({', '.join(declared.unique)})"
                yield Result(
                    name, declared.level, not duplicated, f"{duplicated:,} duplicated values", "none"
                )
            case SqlCheck():
                yield _sql(warehouse, declared)
            case FreshnessCheck():
                yield _freshness(warehouse, declared)
            case RelationshipCheck():
                yield _relationship(warehouse, declared, candidate.table.source)


def _rows(declared: RowsCheck, rows: int, last_rows: int | None) -> Iterator[Result]:
    rule = declared.rows
    if rule.min is not None:
        yield Result("rows min", declared.level, rows >= rule.min, f"{rows:,} rows", f"at least {rule.min:,}")
    if rule.max is not None:
        yield Result("rows max", declared.level, rows <= rule.max, f"{rows:,} rows", f"at most {rule.max:,}")
    if rule.change is not None and last_rows:
        change = abs(rows - last_rows) / last_rows
        observed = f"{rows:,} rows after {last_rows:,} ({change:.0%})"
        yield Result(
            "rows change", declared.level, change <= rule.change, observed, f"at most {rule.change:.0%}"
        )


def _sql(warehouse: Connection, declared: SqlCheck) -> Result:
    query = declared.sql.strip().rstrip(";").replace("{table}", CANDIDATE)
    wrong = postgres.value(warehouse, f"SELECT count(*) FROM ({query}) AS wrong")  # noqa: S608
    return Result(f"sql {declared.sql}", declared.level, not wrong, f"{wrong:,} rows", "none")


def _freshness(warehouse: Connection, declared: FreshnessCheck) -> Result:
    rule = declared.freshness
    column = sql.Identifier(rule.column)
    newest, fresh = postgres.rows(
        warehouse,
        sql.SQL("SELECT max({0})::text, max({0}) >= now() - {1}::interval FROM {2}").format(
            column, sql.Literal(f"{rule.max_age.total_seconds()} seconds"), sql.Identifier(CANDIDATE)
        ),
    )[0]
    expected = f"at most {rule.max_age} old"
    return Result(f"freshness of {rule.column}", declared.level, bool(fresh), f"newest is {newest}", expected)


def _relationship(warehouse: Connection, declared: RelationshipCheck, source: str) -> Result:
    rule = declared.relationship
    pairs = list(zip(rule.columns, rule.to_columns, strict=True))
    same = sql.SQL(" AND ").join(
        sql.SQL("o.{} = c.{}").format(sql.Identifier(to), sql.Identifier(column)) for column, to in pairs
    )
    given = sql.SQL(" AND ").join(
        sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(column)) for column, _ in pairs
    )
    wrong = postgres.value(
        warehouse,
        sql.SQL(
            "SELECT count(*) FROM {} AS c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS o WHERE {})"
        ).format(sql.Identifier(CANDIDATE), given, sql.Identifier(source, rule.to), same),
    )
    name = f"relationship ({', '.join(rule.columns)}) to {rule.to}"
    return Result(name, declared.level, not wrong, f"{wrong:,} rows without a counterpart", "none")


def failed(results: Sequence[Result], level: str) -> list[Result]:
    """Return the results of that level that did not pass."""
    return [result for result in results if not result.passed and result.level == level]


def record(connection: Connection, run: str, table: Table, results: Sequence[Result]) -> None:
    """Write the results to the ledger, in the caller's transaction."""
    for result in results:
        fields: Mapping[str, Any] = result.__dict__
        postgres.rows(
            connection,
            """
            INSERT INTO ops.check_result (run, source, table_name, check_name, level, passed, observed,
                                          expected)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
            """,
            (run, table.source, table.name, *fields.values()),
        )
