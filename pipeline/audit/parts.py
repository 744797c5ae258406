"""Parts: which part of a large table is looked at tonight, and which rows of each side are in it.

A table with a key is cut by its key, so that both sides can tell the sums of the same rows: a part is
compared by sums, as a whole table is. Any other is cut by the blocks of the source's files: only the source
can tell which rows those are, so all of them are read and compared one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg2 import sql

from pipeline import postgres
from pipeline.audit.finding import Part
from pipeline.audit.rotation import Turn
from pipeline.loading.plan import Plan
from pipeline.postgres import Composable, Connection
from pipeline.warehouse import staging
from pipeline.warehouse.shape import Column
from pipeline.warehouse.staging import Staged

# From this version on a server reads a range of a table's blocks without reading the others.
READS_RANGES = 14
BLOCKS = 8
# Row by row takes about so many times as long as by sums (measured with two million rows of four columns).
BY_ROWS = 3
# Types whose values have the same order on every server; texts too, if the bytes are the same and compared.
ORDERED = frozenset(
    {
        "smallint",
        "integer",
        "bigint",
        "numeric",
        "uuid",
        "date",
        "timestamp without time zone",
        "timestamp with time zone",
    }
)
TEXTS = frozenset({"text", "character varying"})
# Where a part ends is seen in a sample of so many rows, and so many for each part.
SAMPLE, SAMPLE_OF_PART = 50_000, 5_000


def chosen(warehouse: Connection, source: Connection, planned: Plan, turn: Turn, alike: bool) -> Part:
    """Return the part of a table that is looked at now: the one that follows, or the first.

    `alike`: whether a text has the same bytes on both sides.
    """
    ordered = _is_ordered(planned, alike)
    if turn.following is None and turn.parts == 1:
        return Part()
    return _by_key(warehouse, planned, turn) if ordered else _by_blocks(source, planned, turn)


def _by_key(warehouse: Connection, planned: Plan, turn: Turn) -> Part:
    types = ", ".join(f'"{column.name}" {column.type}' for column in _key(planned))
    part = Part(1, turn.parts, storage=f"by {types}")
    if turn.following is not None and turn.following.storage == part.storage:
        part = turn.following
    if part.last:
        return part
    after = _end(warehouse, planned, part)
    # With nothing behind it, this one is the last.
    return replace(part, after=after) if after else replace(part, of=part.number)


def _end(warehouse: Connection, planned: Plan, part: Part) -> tuple[str, ...]:
    """Return the key at which the part after this one begins, about as many rows on as each part has."""
    assert planned.since is not None  # noqa: S101 - what is not loaded is not audited
    rows = max(1, planned.since.rows)
    share = min(1.0, max(SAMPLE, SAMPLE_OF_PART * part.of) / rows)
    target = Staged(planned.table, "").target
    # With the table before it: a name alone would be that of the text.
    key = [sql.SQL("t.{}").format(_ordered(column)) for column in _key(planned)]
    query = sql.SQL(
        "SELECT {} FROM {} AS t TABLESAMPLE SYSTEM ({}) WHERE {} AND {} ORDER BY {} OFFSET {} LIMIT 1"
    ).format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in planned.key),
        target,
        sql.Literal(share * 100),
        staging.live(warehouse, target, planned.table),
        rows_in(planned, part),
        sql.SQL(", ").join(key),
        sql.Literal(max(1, int(rows / part.of * share))),
    )
    return postgres.row(warehouse, query) or ()


def rows_in(planned: Plan, part: Part) -> Composable:
    """Return the condition under which a row is in the part; of either side, if the part is one by key."""
    if not part.by_key:
        return part.condition
    bounds = [
        sql.SQL("{} {} {}").format(_row(planned), sql.SQL(operator), _bound(planned, bound))
        for operator, bound in ((">=", part.first), ("<", part.after))
        if bound
    ]
    return sql.SQL(" AND ").join(bounds) if bounds else sql.SQL("true")


@dataclass(frozen=True)
class _Extent:
    """How large a table is on disk, and which files it has; 0 and nothing where it has none."""

    blocks: int
    storage: str


def _by_blocks(source: Connection, planned: Plan, turn: Turn) -> Part:
    """Return the part by blocks. The parts go on as long as the table's files are the same."""
    table = planned.table
    place = (table.schema_name, table.relation)
    (extent,) = postgres.read(source, postgres.statement("audit/extent"), _Extent, place)
    blocks, storage = extent.blocks, extent.storage
    if turn.following is not None and turn.following.storage == storage:
        return turn.following
    parts = min(turn.parts * (BY_ROWS if turn.by_sums else 1), blocks // BLOCKS)
    if parts <= 1 or source.server_version // 10000 < READS_RANGES:
        return Part()
    return Part(1, parts, blocks, storage)


def _is_ordered(planned: Plan, alike: bool) -> bool:
    """Whether the keys have the same order on both sides."""
    ordered = planned.shape.has_xmin and bool(planned.key)
    return ordered and all(_has_order(column, alike) for column in _key(planned))


def _has_order(column: Column, alike: bool) -> bool:
    built_in = column.built_in and not column.array and column.type_class == "b"
    types = ORDERED | TEXTS if alike else ORDERED
    return built_in and column.mask is None and not column.text and _plain(column) in types


def _plain(column: Column) -> str:
    """Return the name of its type without what stands in brackets: numeric(10,2) is numeric."""
    before, _, rest = column.type.partition("(")
    return before + rest.partition(")")[2]


def _key(planned: Plan) -> Sequence[Column]:
    columns = {column.name: column for column in planned.columns}
    return [columns[name] for name in planned.key]


def _ordered(column: Column) -> Composable:
    collated = sql.SQL(' COLLATE "C"' if _plain(column) in TEXTS else "")
    return sql.SQL("{}{}").format(sql.Identifier(column.name), collated)


def _row(planned: Plan) -> Composable:
    return sql.SQL("({})").format(sql.SQL(", ").join(map(_ordered, _key(planned))))


def _bound(planned: Plan, bound: Sequence[str]) -> Composable:
    values = [
        sql.SQL("{}::{}").format(sql.Literal(value), sql.SQL(_plain(column)))
        for value, column in zip(bound, _key(planned), strict=True)
    ]
    return sql.SQL("({})").format(sql.SQL(", ").join(values))
