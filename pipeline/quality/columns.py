"""The rules of single columns: null rate, accepted values, range; all in one scan."""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Level, Quarantine
from pipeline.catalog.check_kinds import CANDIDATE, Result
from pipeline.postgres import Composable, Connection
from pipeline.quality.subject import Subject, naming


@dataclass(frozen=True)
class ColumnRule:
    name: str
    wrong: Composable
    most: float
    level: Level
    quarantine: Quarantine


def _column_rules(subject: Subject) -> Iterator[ColumnRule]:
    for name, column in subject.rules.items():
        if name not in subject.columns:
            continue
        value = sql.Identifier("c", name)
        if rate := column.null_rate:
            wrong = sql.SQL("{} IS NULL").format(value)
            yield ColumnRule(f"{name} null_rate", wrong, rate.max, rate.level, rate.quarantine)
        if accepted := column.accepted:
            listed = sql.SQL(", ").join(sql.Literal(_as_text(known)) for known in accepted.values)
            wrong = sql.SQL("{}::text NOT IN ({})").format(value, listed)
            yield ColumnRule(f"{name} accepted", wrong, 0.0, accepted.level, accepted.quarantine)
        if bounds := column.range:
            for bound, limit, outside in (("min", bounds.min, "<"), ("max", bounds.max, ">")):
                if limit is not None:
                    wrong = sql.SQL("{} {} {}").format(value, sql.SQL(outside), sql.Literal(limit))
                    if bound == "min":
                        # To the server NaN is above every number, and so it is above a max as well.
                        wrong = sql.SQL("({} OR {}::text = 'NaN')").format(wrong, value)
                    yield ColumnRule(f"{name} {bound} {limit}", wrong, 0.0, bounds.level, bounds.quarantine)


def _as_text(value: object) -> str:
    """Return a value of the YAML as PostgreSQL writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def of_columns(warehouse: Connection, subject: Subject) -> Iterator[Result]:
    """Look at all columns in one scan."""
    rules = list(_column_rules(subject))
    if not rules:
        return
    counts = sql.SQL(", ").join(sql.SQL("count(*) FILTER (WHERE {})").format(rule.wrong) for rule in rules)
    query = sql.SQL("SELECT count(*), {} FROM {} AS c").format(counts, sql.Identifier(CANDIDATE))
    postgres.rows(warehouse, "SAVEPOINT rules")
    try:
        total, *failing = postgres.rows(warehouse, query)[0]
    except postgres.Error as error:
        if postgres.is_lost(error):
            raise
        # One scan for all of them does not tell which it was.
        for rule in rules:
            postgres.rows(warehouse, "ROLLBACK TO SAVEPOINT rules")
            with naming(f"rule {rule.name}", subject.declared_in):
                one = sql.SQL("SELECT FROM {} AS c WHERE {}").format(sql.Identifier(CANDIDATE), rule.wrong)
                postgres.rows(warehouse, one)
        raise
    for rule, wrong in zip(rules, failing, strict=True):
        share = wrong / total if total else 0.0
        yield Result(
            rule.name,
            rule.level,
            share <= rule.most,
            f"{wrong:,} of {total:,} rows ({share:.2%})",
            f"at most {rule.most:.2%}" if rule.most else "none",
            share,
            rule.quarantine,
            rule.wrong,
        )
