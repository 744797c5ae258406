"""Compares one table, or a part of it, with its source: exact, or not at all.

The source goes on while we look. What it wrote since the load is known by its xmin, and left out on both
sides; what it deleted since cannot be told from what is too much in the warehouse, so that is judged by the
number of rows that the load left. All that remains has to be the same, byte by byte.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from psycopg2 import sql

from pipeline import ledger, postgres
from pipeline.audit import contents, finding
from pipeline.audit.finding import INCOMPARABLE, Finding, Part
from pipeline.catalog import Table
from pipeline.errors import StepError
from pipeline.loading import plan
from pipeline.loading.plan import HALF_CIRCLE, Plan
from pipeline.loading.shapes import drift, filtering
from pipeline.loading.source import reading
from pipeline.postgres import Composable, Connection, snapshot
from pipeline.postgres.snapshot import Snapshot
from pipeline.warehouse import staging
from pipeline.warehouse.staging import Staged

# What lies in this table of the warehouse is bounded: so many keys of each difference.
KEYS = 100
# Changes that were ignored and leave every column that is compared as it is.
HARMLESS = frozenset(
    {"added", "added_with_default", "dropped", "order", "nullable", "recreated", "partition"}
)


def compare(
    warehouse: Connection, source: Connection, table: Table, unlock: Callable[[], str], part: Part
) -> Finding:
    """Compare a table as it was last loaded with its source as it is now.

    `unlock` is what plan.make() wants. All is in one transaction each; that of `warehouse` has begun, holds
    the table's lock, and is to be committed.
    Where rows differ, keys of some are in `quarantine.audit` afterwards.
    """
    name = f"{table.source}.{table.name}"
    try:
        with postgres.explained(name):
            taken = snapshot.take(source)
            planned = plan.make(warehouse, source, table, taken, unlock)
            reasons = [*_unlike(planned, taken), *_held_otherwise(warehouse, planned)]
            if reasons:
                return Finding(INCOMPARABLE, reasons[0])
            reading.require_same(source, planned)
            found = _Comparison(warehouse, source, planned, part).look()
            reading.require_unmoved(source, planned)
    except StepError as error:
        # What is wrong with the source, or with what is declared, is told by the load.
        warehouse.rollback()
        return Finding(INCOMPARABLE, str(error).removeprefix(f"{name}: "))
    return found


def _unlike(planned: Plan, taken: Snapshot) -> Iterator[str]:
    """Yield why what is loaded and what the source has now cannot be held against each other."""
    since = planned.since
    if since is None:
        yield "it is not loaded yet"
        return
    for change in planned.changes:
        if change.action != drift.IGNORE or change.kind not in HARMLESS:
            yield f"{change}, which its next load sees to"
    if (since.system_identifier, since.timeline) != (taken.system_identifier, taken.timeline):
        yield "the source was restored or failed over since; its next load reads it in full"
    if since.quarantined:
        yield f"{since.quarantined:,} rows are set aside; until they are mended each load reads it in full"
    if not filtering.is_steady(planned.table):
        yield "which of its rows are loaded depends on the time; each load compares their keys"
    if planned.shape.has_xmin and not 0 <= taken.next_transaction - since.horizon < HALF_CIRCLE:
        yield "its last load is too long ago to tell what changed since; the next one reads it in full"


def _held_otherwise(warehouse: Connection, planned: Plan) -> Iterator[str]:
    """Yield the columns that the warehouse has as another type than they are read in: as was declared."""
    held = staging.column_types(warehouse, Staged(planned.table, "").target)
    for column in planned.columns:
        wanted = column.warehouse_type(planned.table.source).as_string(warehouse)
        if column.name in held and held[column.name].replace('"', "") != wanted.replace('"', ""):
            yield f'the warehouse has its column "{column.name}" as {held[column.name]}, and not as {wanted}'


class _Comparison:
    """One table, or a part of it, being compared."""

    def __init__(self, warehouse: Connection, source: Connection, planned: Plan, part: Part) -> None:
        self._warehouse, self._source, self._planned, self._part = warehouse, source, planned, part
        self._alike = contents.hash_alike(warehouse, source)
        staged = Staged(planned.table, "")
        self._staged, self._live = staged, staging.live(warehouse, staged.target, planned.table)
        # By names of their own: a key may be called anything.
        self._keys = [sql.Identifier(f"k{number}") for number in range(len(planned.key))]
        assert planned.since is not None  # noqa: S101 - _unlike() saw to it
        self._left = planned.since.rows

    def look(self) -> Finding:
        """Return what differs; as long as nothing does, by sums alone."""
        known = staging.column_names(self._warehouse, self._staged.target)
        lacking = [column.name for column in self._planned.columns if column.name not in known]
        if lacking:
            return Finding(finding.DIFFERS, f"the warehouse has no column {', '.join(lacking)}")
        clear = self._clear() if self._part.number == 1 else {}
        newer = self._newer()
        rows, ours, same = self._sums(newer)
        surplus = ours - self._left
        if not self._planned.shape.has_xmin:
            return self._of_a_view(rows, 0 if same else surplus, clear, same=same)
        missing = altered = 0
        if surplus or not same:
            rows, missing, altered = self._differences(surplus)
        return finding.judged(
            rows=rows, newer=newer, missing=missing, altered=altered, surplus=surplus, clear=clear
        )

    def _clear(self) -> dict[str, int]:
        relations = (self._staged.target, self._staged.history)
        return dict(contents.values_in_clear(self._warehouse, self._planned, relations))

    def _of_a_view(self, rows: int, surplus: int, clear: dict[str, int], *, same: bool) -> Finding:
        if same or surplus or clear:
            return finding.judged(rows=rows, newer=0, missing=0, altered=0, surplus=surplus, clear=clear)
        what = "view" if self._planned.shape.kind == "v" else "foreign table"
        return Finding(
            INCOMPARABLE, f"a {what} does not tell what changed since; each load reads it in full", rows
        )

    # By sums.

    def _newer(self) -> int:
        """Return how many rows the source wrote since; their keys are in the table audit_newer."""
        planned = self._planned
        if not planned.shape.has_xmin or not self._part.whole:
            return 0
        where = sql.SQL(" WHERE {}").format(planned.written())
        if not self._keys:
            return staging.count(self._source, planned.relation, planned.written())
        self._make("audit_newer", [])
        return self._copy("audit_newer", self._source_keys(), where)

    def _sums(self, newer: int) -> tuple[int, int, bool]:
        """Return the rows compared, those of the warehouse, and whether the sums of both sides agree."""
        target, planned = self._staged.target, self._planned
        if not self._part.whole or (newer and not self._keys):
            return 0, staging.count(self._warehouse, target, self._live), False
        theirs = sql.SQL("SELECT count(*), coalesce(sum({hash}), 0) FROM {relation} WHERE {where}").format(
            hash=contents.of_source(planned, self._alike), relation=planned.relation,
            where=contents.unchanged(planned),
        )  # fmt: skip
        old: Composable = sql.SQL("true")
        if newer:
            old = sql.SQL("NOT EXISTS (SELECT 1 FROM audit_newer AS n WHERE {})").format(
                self._same("n", [sql.Identifier("t", name) for name in planned.key])
            )
        ours = sql.SQL(
            "SELECT count(*), count(*) FILTER (WHERE old), coalesce(sum(hash) FILTER (WHERE old), 0)"
            " FROM (SELECT {old} AS old, {hash} AS hash FROM {target} AS t WHERE {live}) AS r"
        ).format(
            old=old, hash=contents.of_warehouse(planned, self._alike), target=target, live=self._live
        )  # fmt: skip
        with ThreadPoolExecutor(1) as other:
            asked = other.submit(postgres.rows, self._source, theirs)
            ((total, rows, checksum),) = postgres.rows(self._warehouse, ours)
            (found,) = asked.result()
        return found[0], total, tuple(found) == (rows, checksum)

    # By rows.

    def _differences(self, surplus: int) -> tuple[int, int, int]:
        """Return the rows compared, those that are missing and those that are not the same."""
        hash_ = contents.of_source(self._planned, self._alike)
        where = sql.SQL(" WHERE {} AND {}").format(contents.unchanged(self._planned), self._part.condition)
        self._make("audit_source", [sql.SQL("hash bigint")])
        rows = self._copy("audit_source", [*self._source_keys(), hash_], where)
        postgres.rows(self._warehouse, "ANALYZE audit_source")
        if not self._keys:
            return rows, self._missing_contents(), 0
        missing = self._tell(
            "missing", "FROM audit_source AS r WHERE NOT EXISTS (SELECT 1 FROM {ours} AS o WHERE {same})"
        )
        altered = self._tell(
            "altered", "FROM audit_source AS r JOIN {ours} AS o ON {same} WHERE r.hash <> o.hash"
        )
        if surplus > 0 and self._part.whole:
            # Those among them that the source deleted since the load are no fault.
            self._tell(
                "surplus, or deleted since",
                "FROM {ours} AS r WHERE NOT EXISTS (SELECT 1 FROM audit_source AS o WHERE {same})"
                " AND NOT EXISTS (SELECT 1 FROM audit_newer AS o WHERE {same})",
            )
        return rows, missing, altered

    def _tell(self, what: str, query: str) -> int:
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
        return sql.SQL("(SELECT {} FROM {} WHERE {})").format(
            sql.SQL(", ").join([*keys, hash_]), self._staged.target, self._live
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
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(own, other) for own, other in zip(self._of(side), others, strict=True)
        )


def begin(warehouse: Connection, table: Table) -> bool:
    """Begin a transaction that sees one moment of the table and keeps it in its place; False if it is gone.

    Loads may go on merging into it meanwhile, and wait with no more than what takes its place.
    """
    warehouse.rollback()
    warehouse.set_session(isolation_level="REPEATABLE READ", autocommit=False)
    lock = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(Staged(table, "").target)
    try:
        # Before anything else: only then is the moment one in which the table is what its name says.
        postgres.rows(warehouse, lock)
    except (postgres.UndefinedTable, postgres.InvalidSchemaName):
        warehouse.rollback()
        return False
    return ledger.watermark(warehouse, table.source, table.name) is not None
