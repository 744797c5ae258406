"""The table as it will be once the staged rows are in it: what every check looks at."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Table
from pipeline.errors import StepError
from pipeline.loading import staging
from pipeline.loading.staging import Staged
from pipeline.postgres import Composable, Connection

# The view that stands for it; it ends with the session.
CANDIDATE = "candidate"


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


def duplicates(warehouse: Connection, relation: sql.Identifier, columns: Composable) -> int:
    """Return how many values of these columns stand in several rows."""
    query = sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {} GROUP BY {} HAVING count(*) > 1) AS duplicated")
    counted: int = postgres.value(warehouse, query.format(relation, columns))
    return counted


@contextlib.contextmanager
def naming(what: str, table: Table) -> Iterator[None]:
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
