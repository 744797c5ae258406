"""The table as it will be once the staged rows are in it: what every check looks at."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Table
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection
from pipeline.quality import CANDIDATE, Subject
from pipeline.warehouse import roles, staging
from pipeline.warehouse.staging import Staged


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
    gone_staged: bool
    source_rows: int
    deleted: int
    history: Sequence[int]
    # What the target still calls a column that has another name by now.
    renamed: Mapping[str, str]
    # Whether other rows are declared to be wanted than when it was last loaded.
    filtered_anew: bool = False
    # The columns whose values in rows of the target still hold; None if no such row can stay: there is no
    # target, or the staged table takes its place, and they do not fit there.
    lasting: Collection[str] | None = None
    # Whether the warehouse has no such table yet: the staged one becomes it as it is.
    is_new: bool = False

    @property
    def declared_in(self) -> str:
        """Where to correct what is declared of the table."""
        return f"under {self.table.name} in {self.table.file}"

    def subject(self, warehouse: Connection) -> Subject:
        """Return what the checks look at. Raise StepError if analysts have no role to run their SQL as."""
        analyst = None
        if any(check.query is not None for check in self.table.checks):
            if not roles.there(warehouse):
                raise StepError(
                    "the warehouse has no role for analysts, as which its sql checks are run",
                    hint="run 'pipeline migrate'",
                    retryable=False,
                )
            analyst = roles.of(warehouse).analyst

        def other(name: str) -> sql.Identifier:
            own = name == self.table.name
            return sql.Identifier(CANDIDATE) if own else sql.Identifier(self.table.source, name)

        return Subject(
            self.columns,
            self.table.columns,
            self.table.checks,
            self.source_rows,
            self.history,
            self.declared_in,
            self.key,
            other,
            analyst,
        )

    def create(self, warehouse: Connection, *, settled: bool = False, stays: bool = False) -> None:
        """Make the view that the checks read, in the session of `warehouse`.

        `settled`: without what is set aside, and where the last good version of a row `stays`, with that.
        """
        names = postgres.columns(self.columns, "s")
        query = sql.SQL("SELECT {} FROM {} AS s").format(names, self.staged.rows)
        if settled:
            rejected = sql.SQL(" WHERE NOT EXISTS (SELECT 1 FROM {} AS b WHERE b.place = s.ctid)")
            query += rejected.format(self.staged.rejected)
            if stays:
                query += sql.SQL(" UNION ALL SELECT * FROM {} AS c").format(self.standing(warehouse))
        elif self.increment:
            query += self._kept(warehouse)
        view = sql.Identifier(CANDIDATE)
        postgres.rows(warehouse, sql.SQL("CREATE OR REPLACE TEMP VIEW {} AS {}").format(view, query))

    @staticmethod
    def drop(warehouse: Connection) -> None:
        """Drop that view, if there is one; before the commit.

        Of a session whose server crashes the next start leaves what was committed, temporary or not, and what
        is staged could not be dropped until another session happens to take the place of that one.
        """
        postgres.rows(
            warehouse, sql.SQL("DROP VIEW IF EXISTS {}").format(sql.Identifier("pg_temp", CANDIDATE))
        )

    def _kept(self, warehouse: Connection) -> Composable:
        """Return what adds the rows of the target that stay as they are."""
        return sql.SQL(" UNION ALL {} AND {}").format(self._loaded(warehouse), self._unread)

    def standing(self, warehouse: Connection) -> Composable:
        """Return the rows of the target that stay, though the source has others or the same, in brackets.

        Those that nothing was read for, and those of which what was read is to be set aside; but none that is
        itself to be set aside.
        """
        rejected = sql.SQL("EXISTS (SELECT 1 FROM {} AS s JOIN {} AS b ON b.place = s.ctid WHERE {})").format(
            self.staged.rows, self.staged.rejected, staging.same_key(self.key, "t", "s", self.renamed)
        )
        stays = sql.SQL("({} OR {})").format(self._unread, rejected) if self.increment else rejected
        left = sql.SQL("NOT EXISTS (SELECT 1 FROM {} AS f WHERE {})").format(
            self.staged.superseded, staging.same_key(self.key, "t", "f", self.renamed)
        )
        return sql.SQL("({} AND {} AND {})").format(self._loaded(warehouse), stays, left)

    def _loaded(self, warehouse: Connection) -> Composable:
        """Return the query of the target's rows, called "t", that are not gone from the source."""
        known = staging.column_types(warehouse, self.staged.target)
        types = staging.column_types(warehouse, self.staged.rows)
        lasting = frozenset(self.lasting or ())
        # A column that is new in the source is empty in the rows that were not read again.
        called = [(name, self.renamed.get(name, name)) for name in self.columns]
        names = sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(
                staging.cast(old, known[old], types[name], "t")
                if old in known and name in lasting
                else sql.SQL("NULL::{}").format(sql.SQL(types[name])),
                sql.Identifier(name),
            )
            for name, old in called
        )
        loaded = sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(
            names, self.staged.target, staging.live(warehouse, self.staged.target, self.table, "t")
        )
        if self.gone_staged:
            loaded += sql.SQL(" AND NOT EXISTS (SELECT 1 FROM {} AS g WHERE {})").format(
                self.staged.gone, staging.same_key(self.key, "t", "g", self.renamed)
            )
        return loaded

    @property
    def _unread(self) -> Composable:
        return sql.SQL("NOT EXISTS (SELECT 1 FROM {} AS s WHERE {})").format(
            self.staged.rows, staging.same_key(self.key, "t", "s", self.renamed)
        )
