"""`relationship: {columns, to, to_columns}`: a foreign key of which the database may know nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg2 import sql
from pydantic import model_validator

from pipeline import names
from pipeline.catalog.as_written import ALL, EMPTYING, mapping, masks_of, named
from pipeline.catalog.check_kinds.kind import Mistakes, TableCheck
from pipeline.catalog.check_kinds.outcome import Result, Rows
from pipeline.catalog.declared import Declared
from pipeline.catalog.document import Path
from pipeline.catalog.values import ColumnNames, Name


class RelationshipRule(Declared):
    """Each combination of `columns` without nulls is there in `to_columns` of `to`, a table of the source."""

    columns: ColumnNames
    """The column, or the columns, that refer to another table."""
    to: Name
    """The other table, as it is called in this file."""
    to_columns: ColumnNames
    """What they refer to there: one for each of columns."""

    @model_validator(mode="after")
    def _pairs(self) -> "RelationshipRule":
        if len(self.columns) != len(self.to_columns):
            raise ValueError("columns and to_columns differ in number; write one for each")
        return self


class RelationshipCheck(TableCheck):
    """A foreign key that the database need not have."""

    usage = "relationship: {columns, to, to_columns}"
    holds_if = "each value, nulls aside, exists in another table of this source"

    relationship: RelationshipRule
    """Values that must be there in another table of this source: {columns, to, to_columns}."""

    @classmethod
    def columns_in(cls, rule: Any) -> list[str]:
        """Return the columns that refer to another table."""
        return named(mapping(rule).get("columns"))

    @classmethod
    def tables_in(cls, rule: Any) -> list[tuple[Path, str]]:
        """Return the other table."""
        return [(("to",), to) for to in named(mapping(rule).get("to"))]

    @classmethod
    def mistakes(cls, rule: Any, masks: Mapping[str, str], tables: Mapping[str, Any]) -> Mistakes:
        """Yield columns of which nothing is left, a table that is not there, and what never agrees."""
        for column in cls.columns_in(rule):
            if masks.get(column) in EMPTYING:
                yield (
                    (),
                    f"mask: {masks[column]} leaves nothing of {column} to check; remove one of the two",
                )
        for where, target in cls.tables_in(rule):
            if target not in tables and ALL not in tables:
                yield (cls.kind, *where), f"no such table in this file; {names.advice(target, tables)}"
            elif target in tables:
                yield from _disagreeing(mapping(rule), target, masks, masks_of(mapping(tables[target])))

    @property
    def others(self) -> tuple[str, ...]:
        """The other table."""
        return (self.relationship.to,)

    def evaluate(self, rows: Rows) -> Iterator[Result]:
        """Count the rows without a counterpart."""
        rule = self.relationship
        given = [sql.SQL("{} IS NOT NULL").format(sql.Identifier("c", column)) for column in rule.columns]
        same = [
            sql.SQL("{} = {}").format(sql.Identifier("o", to), sql.Identifier("c", column))
            for column, to in zip(rule.columns, rule.to_columns, strict=True)
        ]
        wrong = sql.SQL("{} AND NOT EXISTS (SELECT 1 FROM {} AS o WHERE {})").format(
            sql.SQL(" AND ").join(given), rows.other(rule.to), sql.SQL(" AND ").join(same)
        )
        counting = sql.SQL("SELECT count(*) FROM {} AS c WHERE {}").format(rows.relation, wrong)
        (counted,) = rows.ask(counting)
        yield Result(
            f"relationship ({', '.join(rule.columns)}) to {rule.to}",
            self.level,
            not counted,
            f"{counted:,} rows without a counterpart",
            "none",
            counted,
            self.quarantine,
            wrong,
        )


def _disagreeing(
    rule: dict[str, Any], target: str, masks: Mapping[str, str], others: Mapping[str, str]
) -> Mistakes:
    for column, other in zip(named(rule.get("columns")), named(rule.get("to_columns")), strict=False):
        ours, theirs = masks.get(column), others.get(other)
        if theirs in EMPTYING:
            problem = f"mask: {theirs} leaves nothing of {target}.{other}; remove one of the two"
            yield (RelationshipCheck.kind, "to_columns"), problem
        elif ours not in EMPTYING and ours != theirs:
            yield (
                (RelationshipCheck.kind,),
                f"only one of {column} and {target}.{other} is hashed, so they never match; "
                "write mask: hash for both or neither",
            )
