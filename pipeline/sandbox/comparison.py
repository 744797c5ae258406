"""Compares the warehouse with its sources: every declared table, every column of every row."""

from dataclasses import dataclass
from decimal import Decimal

from psycopg2 import sql

from pipeline import access, catalog, postgres
from pipeline.catalog import Deletes, Table
from pipeline.errors import PipelineError
from pipeline.loading import listing
from pipeline.postgres import Composable, Connection
from pipeline.settings import Settings
from pipeline.warehouse import shape, staging
from pipeline.warehouse.staging import Staged


@dataclass(frozen=True)
class Content:
    """How many rows, and the sum of the checksums of all of them."""

    rows: int
    checksum: Decimal


@dataclass(frozen=True)
class Comparison:
    """One table as its source has it and as the warehouse has it; None where it is not there."""

    name: str
    source: Content | None
    warehouse: Content | None

    @property
    def equal(self) -> bool:
        return self.source is not None and self.source == self.warehouse

    def __str__(self) -> str:
        if self.source is None or self.warehouse is None:
            where = "the source" if self.source is None else "the warehouse"
            return f"{self.name}: not in {where}, or not with all of its columns"
        if self.source.rows != self.warehouse.rows:
            here, there = self.source.rows, self.warehouse.rows
            return f"{self.name}: {here:,} rows in the source, {there:,} in the warehouse"
        return f"{self.name}: the same number of rows, but not the same rows"


def compare(configured: Settings) -> list[Comparison]:
    """Compare every declared table as its source has it now, through the pipeline's own connections.

    Tables that are declared with `deletes: ignore` are left out: they keep rows that the source has not.
    """
    comparisons: list[Comparison] = []
    declared = listing.known(configured, catalog.read(configured.require_analysts().checkout))
    with access.opened(configured) as databases, databases.warehouse() as warehouse:
        for source in declared.sources.values():
            with databases.source(source.name) as connection:
                comparisons += [
                    _compare(connection, warehouse, table)
                    for table in source.tables.values()
                    if table.deletes != Deletes.IGNORE
                ]
    return comparisons


def _compare(source: Connection, warehouse: Connection, table: Table) -> Comparison:
    name, target = f"{table.source}.{table.name}", Staged(table, "").target
    there = staging.oid(warehouse, target) is not None
    try:
        current = shape.read(source, table.schema_name, table.relation, table)
    except PipelineError:
        return Comparison(name, None, _content(warehouse, target, [], None) if there else None)
    # A masked column differs by intent.
    columns = [column for column in current.names if not _masked(table, column)]
    return Comparison(
        name,
        _content(source, sql.Identifier(table.schema_name, table.relation), columns, None),
        _content(warehouse, target, columns, staging.live(warehouse, target, table)) if there else None,
    )


def _masked(table: Table, column: str) -> bool:
    return column in table.columns and table.columns[column].mask is not None


def _content(
    connection: Connection, relation: sql.Identifier, columns: list[str], condition: Composable | None
) -> Content | None:
    # The text of a row is the same on every server, since each session is set up in the same way.
    query = sql.SQL(
        "SELECT count(*) AS rows, coalesce(sum(hashtextextended(ROW({})::text, 0)::numeric), 0) AS checksum"
        " FROM {} WHERE {}"
    ).format(postgres.columns(columns), relation, condition or sql.SQL("true"))
    try:
        (content,) = postgres.read(connection, query, Content)
    except postgres.Error:
        connection.rollback()
        return None
    return content
