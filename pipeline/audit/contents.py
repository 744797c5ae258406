"""Contents: what is asked of both sides, so that the same rows give the same answer on every server."""

from collections.abc import Iterator, Sequence

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Mask
from pipeline.loading import plan
from pipeline.loading.plan import Plan
from pipeline.loading.shapes import filtering
from pipeline.postgres import Composable, Connection
from pipeline.warehouse import staging
from pipeline.warehouse.shape import Column

# Not of ASCII: a server of another encoding hashes other bytes.
_PROBE = "SELECT hashtextextended('é' COLLATE \"C\", 0)"
# How a value is hashed without its text, by type: only where every server keeps the same bits for what has
# the same text, and where different values have different hashes, as far as 64 bits can tell. The server's
# own hash of a long number looks at 32 bits; the other half tells the rest. That of a decimal is of no use:
# it is the same for -1 and 1, plain numbers for 0 and NaN, and close by for 1 and 10000.
HASHES = {
    "smallint": "hashint4extended({value}, {place})",
    "integer": "hashint4extended({value}, {place})",
    "bigint": "hashint8extended({value}, {place}) # hashint8extended({value} >> 32, {other})",
    "uuid": "uuid_hash_extended({value}, {place})",
}
BY_TEXT = 'hashtextextended(({value})::text COLLATE "C", {place})'
# What a hash mask leaves of a value.
HASH = "^[0-9a-f]{64}$"


def hash_alike(warehouse: Connection, source: Connection) -> bool:
    """Whether both servers give the same text the same hash by the fast way: not by every encoding."""
    return bool(postgres.value(warehouse, _PROBE) == postgres.value(source, _PROBE))


def of_source(planned: Plan, alike: bool) -> Composable:
    """Return the SQL of a row's hash in the source: of the row as it is loaded, masks and all."""
    return _hash([(plan.expression(column), column) for column in planned.columns], alike)


def of_warehouse(planned: Plan, alike: bool) -> Composable:
    """Return the SQL of a row's hash in the warehouse."""
    return _hash([(_loaded(column), column) for column in planned.columns], alike)


def _loaded(column: Column) -> Composable:
    # What was read as something else, such as xml as its text, is compared so.
    return sql.Identifier(column.name) if column.text or column.mask else column.expression()


def _hash(values: Sequence[tuple[Composable, Column]], alike: bool) -> Composable:
    # Byte by byte, in the text that every server writes for it: 1.0 is not 1.00 here.
    if alike and values:
        # Each value by itself, in its place: that takes a quarter of the time of the text of a row.
        hashes = [_hash_of(value, column, place) for place, (value, column) in enumerate(values, start=1)]
        return sql.SQL("({})").format(sql.SQL(" # ").join(hashes))
    row = sql.SQL("ROW({})::text").format(sql.SQL(", ").join(value for value, _ in values))
    if alike:
        return sql.SQL('hashtextextended({} COLLATE "C", 0)').format(row)
    return sql.SQL(
        "('x' || left(encode(sha256(convert_to({}, 'UTF8')), 'hex'), 16))::bit(64)::bigint"
    ).format(row)


def _hash_of(value: Composable, column: Column, place: int) -> Composable:
    # Without a mask, that is: with one, and for what is read as text, it is a text.
    plain = "" if column.mask or column.text else column.type
    query = HASHES.get(plain, BY_TEXT)
    hashed = sql.SQL(query).format(value=value, place=sql.Literal(place), other=sql.Literal(-place))
    return sql.SQL("coalesce({}, {})").format(hashed, sql.Literal(place))


def sums(hash_: Composable) -> Composable:
    """Return the SQL of what rows have in common: by their hashes, and by those hashed once more.

    The hash of a row is made of those of its values, so that values which change places between rows could
    leave the first sum as it was.
    """
    return sql.SQL("coalesce(sum({hash}), 0), coalesce(sum(hashint8extended({hash}, 0)), 0)").format(
        hash=hash_
    )


def unchanged(planned: Plan) -> Composable:
    """Return the condition under which a row is loaded, and is as it was when the table was loaded."""
    unwritten = sql.SQL("NOT ({})").format(planned.written()) if planned.shape.has_xmin else sql.SQL("true")
    return sql.SQL("{} AND {}").format(unwritten, filtering.condition(planned.table))


def in_clear(planned: Plan, known: Sequence[str]) -> dict[str, Composable]:
    """Return, by column of the warehouse's table that is masked, when a value of it is not its mask.

    `known` are the columns that the table has.
    """
    declared = planned.table.columns
    masks = {column.name: column.mask for column in planned.columns if column.mask}
    masks |= {column.name: Mask.EXCLUDE for column in planned.shape.excluded}
    masks |= {
        name: Mask.EXCLUDE for name in known if name in declared and declared[name].mask == Mask.EXCLUDE
    }
    conditions: dict[str, Composable] = {}
    for name, mask in masks.items():
        if name in known:
            column = sql.Identifier(name)
            hashed = sql.SQL(" AND {} !~ {}").format(column, sql.Literal(HASH))
            conditions[name] = sql.SQL("{} IS NOT NULL").format(column)
            if mask == Mask.HASH:
                conditions[name] += hashed
    return conditions


def values_in_clear(
    warehouse: Connection, planned: Plan, relations: Sequence[sql.Identifier]
) -> Iterator[tuple[str, int]]:
    """Yield the masked columns of these relations that hold values in clear, and in how many rows."""
    for relation in relations:
        wrong = in_clear(planned, staging.column_names(warehouse, relation))
        if wrong:
            counts = [sql.SQL("count(*) FILTER (WHERE {})").format(condition) for condition in wrong.values()]
            query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(counts), relation)
            name = relation.strings[-1]
            for column, count in zip(wrong, postgres.rows(warehouse, query)[0], strict=True):
                if count:
                    yield (column if name == planned.table.name else f"{name}.{column}"), count
