"""Compares one table, or a part of it, with its source: exact, or not at all.

The source goes on while we look. What it wrote since the load is known by its xmin, and left out on both
sides; what it deleted since cannot be told from what is too much in the warehouse, so that is judged by the
number of rows that the load left. All that remains has to be the same, byte by byte.
"""

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from psycopg2 import sql

from pipeline import postgres
from pipeline.audit import comparable, contents, finding, parts, proofs
from pipeline.audit.finding import Finding, Outcome, Part
from pipeline.audit.rotation import Turn
from pipeline.catalog import RelationKind, Table
from pipeline.errors import StepError
from pipeline.loading import plan
from pipeline.loading.plan import Plan
from pipeline.loading.source import reading
from pipeline.postgres import Composable, Connection, snapshot
from pipeline.warehouse import staging
from pipeline.warehouse.staging import Staged

# What lies in this table of the warehouse is bounded: so many keys of each difference.
KEYS = 100
# As any session of a source may take.
LONG_SECONDS = 4 * 3600.0


def compare(
    warehouse: Connection,
    source: Connection,
    table: Table,
    unlock: Callable[[], str],
    turn: Turn,
    most_seconds: float | None = None,
) -> tuple[Part, Finding]:
    """Compare a table, or the part whose turn it is, as it was last loaded with its source as it is now.

    `unlock` is what plan.make() wants. All is in one transaction each; that of `warehouse` has begun, holds
    the table's lock, and is to be committed. Keys of some rows that differ are in `quarantine.audit` then.
    What takes longer than `most_seconds` is given up; the transaction of `warehouse` is over then.
    """
    name = f"{table.source}.{table.name}"
    try:
        with postgres.explained(name):
            taken = snapshot.take(source)
            planned = plan.make(warehouse, source, table, taken, unlock)
            reasons = comparable.hindrances(warehouse, planned, taken)
            if reasons:
                proofs.drop_keys(warehouse, table)
                return Part(), Finding(Outcome.INCOMPARABLE, reasons[0])
            alike = contents.hash_alike(warehouse, source)
            part = parts.chosen(warehouse, source, planned, turn, alike)
            if part.number == 1:
                proofs.drop_keys(warehouse, table)
            reading.require_same(source, planned)
            comparison = _Comparison(warehouse, source, planned, part, alike)
            began = time.monotonic()
            try:
                result = comparison.compare(most_seconds)
            except (postgres.QueryCanceled, StepError):
                # A copy that is ended by a limit is told as any that failed.
                if most_seconds is None or time.monotonic() - began < most_seconds:
                    raise
                for side in (warehouse, source):
                    # The limit holds for this as well, the first time.
                    with contextlib.suppress(postgres.QueryCanceled):
                        side.rollback()
                    side.rollback()
                return part, Finding(Outcome.STOPPED, "it takes longer than this night has time for")
            reading.require_unmoved(source, planned)
    except StepError as error:
        # What is wrong with the source, or with what is declared, is told by the load.
        warehouse.rollback()
        return Part(), Finding(Outcome.INCOMPARABLE, str(error).removeprefix(f"{name}: "))
    return part, result


class _Comparison:
    """One table, or a part of it, being compared."""

    def __init__(
        self, warehouse: Connection, source: Connection, planned: Plan, part: Part, alike: bool
    ) -> None:
        self._warehouse, self._source, self._planned, self._part = warehouse, source, planned, part
        self._alike = alike
        staged = Staged(planned.table, "")
        self._staged, self._live = staged, staging.live(warehouse, staged.target, planned.table)
        # By names of their own: a key may be called anything.
        self._keys = [sql.Identifier(f"k{number}") for number in range(len(planned.key))]
        assert planned.since is not None  # noqa: S101 - hindrances() saw to it
        self._left = planned.since.rows
        self._within = parts.rows_in(planned, part)

    def compare(self, most_seconds: float | None) -> Finding:
        """Return what differs; as long as nothing does, by sums alone, and within so many seconds."""
        self._limit(most_seconds)
        known = staging.column_names(self._warehouse, self._staged.target)
        lacking = [column.name for column in self._planned.columns if column.name not in known]
        if lacking:
            return Finding(Outcome.DIFFERS, f"the warehouse has no column {', '.join(lacking)}")
        clear = self._clear() if self._part.number == 1 else {}
        newer = self._newer()
        rows, surplus, same = self._sums(newer)
        if not self._planned.shape.has_xmin:
            return self._of_a_view(rows, 0 if same else surplus, clear, same=same)
        missing = altered = 0
        if surplus or not same:
            if self._part.by_sums:
                # To tell what differs is worth its time.
                self._limit(LONG_SECONDS)
            rows, missing, altered = self._differences(surplus)
        return finding.judged(
            rows=rows, newer=newer, missing=missing, altered=altered, surplus=surplus, clear=clear
        )

    def _limit(self, seconds: float | None) -> None:
        if seconds is not None:
            for side in (self._warehouse, self._source):
                postgres.rows(side, "SET LOCAL statement_timeout = %s", (max(1, int(seconds * 1000)),))

    def _clear(self) -> dict[str, int]:
        relations = (self._staged.target, self._staged.history)
        return dict(contents.values_in_clear(self._warehouse, self._planned, relations))

    def _of_a_view(self, rows: int, surplus: int, clear: dict[str, int], *, same: bool) -> Finding:
        if same or surplus or clear:
            return finding.judged(rows=rows, newer=0, missing=0, altered=0, surplus=surplus, clear=clear)
        what = "view" if self._planned.shape.kind == RelationKind.VIEW else "foreign table"
        why = f"a {what} does not show which rows changed; each load reads it in full"
        return Finding(Outcome.INCOMPARABLE, why, rows)

    # By sums.

    def _newer(self) -> int:
        """Return how many rows the source wrote since; their keys are in the table audit_newer."""
        planned = self._planned
        if not planned.shape.has_xmin or not self._part.by_sums:
            return 0
        where = sql.SQL(" WHERE {} AND {}").format(self._within, planned.written())
        if not self._keys:
            return staging.count(self._source, planned.relation, planned.written())
        self._make("audit_newer", [])
        return self._copy("audit_newer", self._source_keys(), where)

    def _sums(self, newer: int) -> tuple[int, int, bool]:
        """Return the rows compared, the warehouse's surplus, and whether the sums of both sides agree."""
        target, planned = self._staged.target, self._planned
        if not self._part.by_sums or (newer and not self._keys):
            return 0, self._surplus(), False
        theirs = sql.SQL(
            "SELECT count(*), {sums} FROM (SELECT {hash} AS hash FROM {relation} WHERE {where} OFFSET 0) AS r"
        ).format(
            sums=contents.sums(sql.Identifier("hash")),
            hash=contents.of_source(planned, self._alike),
            relation=planned.relation,
            where=self._unchanged(),
        )
        old: Composable = sql.SQL("true")
        if newer:
            old = sql.SQL("NOT EXISTS (SELECT 1 FROM audit_newer AS n WHERE {})").format(
                self._same("n", [sql.Identifier("t", name) for name in planned.key])
            )
        ours = sql.SQL(
            "SELECT count(*), count(hash), {sums}"
            " FROM (SELECT CASE WHEN {old} THEN {hash} END AS hash FROM {target} AS t"
            " WHERE {live} AND {within} OFFSET 0) AS r"
        ).format(
            sums=contents.sums(sql.Identifier("hash")),
            old=old,
            within=self._within,
            hash=contents.of_warehouse(planned, self._alike),
            target=target,
            live=self._live,
        )
        with ThreadPoolExecutor(1) as other:
            asked = other.submit(postgres.rows, self._source, theirs)
            ((total, *known),) = postgres.rows(self._warehouse, ours)
            (sums,) = asked.result()
        same = list(sums) == known
        if self._part.whole:
            return sums[0], total - self._left, same
        # Where the sums of a part agree, nothing is too much in it.
        return sums[0], 0 if same else self._surplus(), same

    def _surplus(self) -> int:
        """Return how many rows the whole table has more than the load left."""
        return staging.count(self._warehouse, self._staged.target, self._live) - self._left

    # By rows.

    def _differences(self, surplus: int) -> tuple[int, int, int]:
        """Return the rows compared, those that are missing and those that are not the same."""
        hash_ = contents.of_source(self._planned, self._alike)
        where = sql.SQL(" WHERE {}").format(self._unchanged())
        self._make("audit_source", [sql.SQL("hash bigint")])
        rows = self._copy("audit_source", [*self._source_keys(), hash_], where)
        postgres.rows(self._warehouse, "ANALYZE audit_source")
        if not self._keys:
            return rows, self._missing_contents(), 0
        missing = self._count_and_keep(
            "missing", "FROM audit_source AS r WHERE NOT EXISTS (SELECT 1 FROM {ours} AS o WHERE {same})"
        )
        altered = self._count_and_keep(
            "altered", "FROM audit_source AS r JOIN {ours} AS o ON {same} WHERE r.hash <> o.hash"
        )
        if surplus > 0 and self._part.by_sums:
            # Those among them that the source deleted since the load are no fault.
            self._count_and_keep(
                "surplus, or deleted since",
                "FROM {ours} AS r WHERE NOT EXISTS (SELECT 1 FROM audit_source AS o WHERE {same})"
                " AND NOT EXISTS (SELECT 1 FROM audit_newer AS o WHERE {same})",
            )
        return rows, missing, altered

    def _count_and_keep(self, what: str, query: str) -> int:
        """Return how many rows, called "r", there are, and keep the keys of some."""
        parts = {"ours": self._ours(), "same": self._same("r", self._of("o"))}
        count: int = postgres.value(self._warehouse, sql.SQL(f"SELECT count(*) {query}").format(**parts))
        if count:
            names = sql.SQL(", ").join(
                sql.SQL("{}, r.{}").format(sql.Literal(name), key)
                for name, key in zip(self._planned.key, self._keys, strict=True)
            )
            keep = sql.SQL(
                "INSERT INTO quarantine.audit (source, table_name, difference, key)"
                f" SELECT {{source}}, {{table}}, {{what}}, jsonb_build_object({{names}}) {query} LIMIT {KEYS}"
            )
            table = self._planned.table
            words = {"source": table.source, "table": table.name, "what": what}
            literals = {name: sql.Literal(word) for name, word in words.items()}
            postgres.rows(self._warehouse, keep.format(names=names, **literals, **parts))
        return count

    def _missing_contents(self) -> int:
        """Return how many rows of a table without a key the warehouse lacks."""
        query = sql.SQL(
            "SELECT coalesce(sum(greatest(0, s.count - coalesce(o.count, 0))), 0)"
            " FROM (SELECT hash, count(*) FROM audit_source GROUP BY hash) AS s"
            " LEFT JOIN (SELECT hash, count(*) FROM {} AS o GROUP BY hash) AS o USING (hash)"
        ).format(self._ours())
        return int(postgres.value(self._warehouse, query))

    def _ours(self) -> Composable:
        """Return the warehouse's rows: their keys and hashes."""
        keys = [
            sql.SQL("{} AS {}").format(sql.Identifier(name), key)
            for name, key in zip(self._planned.key, self._keys, strict=True)
        ]
        hash_ = sql.SQL("{} AS hash").format(contents.of_warehouse(self._planned, self._alike))
        within = self._within if self._part.by_sums else sql.SQL("true")
        return sql.SQL("(SELECT {} FROM {} WHERE {} AND {})").format(
            sql.SQL(", ").join([*keys, hash_]), self._staged.target, self._live, within
        )

    def _make(self, name: str, more: list[Composable]) -> None:
        """Make a table of keys, of the warehouse's own types, that is gone at the end."""
        types = staging.column_types(self._warehouse, self._staged.target)
        keys = [
            sql.SQL("{} {}").format(key, sql.SQL(types[column]))
            for key, column in zip(self._keys, self._planned.key, strict=True)
        ]
        postgres.rows(
            self._warehouse,
            sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(
                sql.Identifier(name), sql.SQL(", ").join([*keys, *more])
            ),
        )

    def _unchanged(self) -> Composable:
        return sql.SQL("{} AND {}").format(self._within, contents.unchanged(self._planned))

    def _source_keys(self) -> list[Composable]:
        columns = {column.name: column for column in self._planned.columns}
        return [plan.expression(columns[name]) for name in self._planned.key]

    def _copy(self, name: str, expressions: list[Composable], where: Composable) -> int:
        return postgres.copy(
            self._source,
            sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT").format(
                sql.SQL(", ").join(expressions), self._planned.relation, where
            ),
            self._warehouse,
            sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(name)),
            lambda _size: None,
        )

    def _of(self, side: str) -> list[sql.Identifier]:
        return [sql.Identifier(side, *key.strings) for key in self._keys]

    def _same(self, side: str, others: list[sql.Identifier]) -> Composable:
        """Return the condition under which a row called `side` has the key that the others make up."""
        pairs = zip(self._of(side), others, strict=True)
        return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(own, other) for own, other in pairs)
