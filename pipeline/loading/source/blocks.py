"""Which keys a table has, told in short, so that both sides can be compared without a copy of every key.

Whole numbers are told exactly: one bit for each number of a block of 64. Any other key is told by buckets of
a hash: how many keys each has, and the sum of their hashes; then the keys of those buckets alone are read in
which both sides differ.

Both sides are what is there: the source in the snapshot of the run, and the warehouse as it will be once the
staged rows are in it. Two servers that write or hash a value differently make buckets differ that are the
same: then more keys are read, and what is found is the same. A deleted key is overlooked only if another one
has come to its bucket that was not read, and the hashes of what came and of what went have the same sum: with
64 bits that is one case in 2**64 for such a bucket (a fixed sum is met by one value of the last hash). Where
changes are found by xmin nothing comes unread, and the number of rows proves what was found: if it is another
than it must be, every key is read.
"""

import math
from collections.abc import Sequence

from psycopg2 import sql

from pipeline import postgres
from pipeline.loading.plan import Plan, expression
from pipeline.loading.shapes import filtering
from pipeline.loading.source.reading import Reading
from pipeline.postgres import Composable, Connection
from pipeline.warehouse import staging
from pipeline.warehouse.staging import Staged

# Whole numbers of these types are the same on both sides, whichever of them each has.
WHOLE_NUMBERS = frozenset({"smallint", "integer", "bigint"})
BITS = 64
# With fewer keys than this to a block, blocks are no shorter than the keys themselves.
FEWEST_IN_BLOCK = 4
# Fewer rows than this are told fastest by their keys.
FEW_ROWS = 10_000
# As many keys to a bucket, at least and at the most, and as many buckets at the most.
SMALLEST, LARGEST, MOST_BUCKETS = 16, 1024, 2**17
# Where so many of all buckets differ, every key is read.
MOST_DIFFERING = 0.5

THEIRS, DIFFERING = sql.Identifier("pg_temp", "told by the source"), sql.Identifier("pg_temp", "differing")


def stage_gone(
    warehouse: Connection,
    reading: Reading,
    planned: Plan,
    staged: Staged,
    source_rows: int,
    deleted: int | None,
) -> bool | None:
    """Stage the keys that are gone from the source; return whether that can be done in short.

    `deleted`: how many there must be, where that is known. Return None if the source has rows that the
    warehouse would lack.
    """
    if source_rows < FEW_ROWS:
        return False
    if _is_dense(warehouse, planned, staged, source_rows):
        return _by_blocks(warehouse, reading, planned, staged)
    expected = source_rows // LARGEST if deleted is None else deleted
    return _by_buckets(warehouse, reading, planned, staged, source_rows, max(1, expected))


def create_gone(warehouse: Connection, planned: Plan, staged: Staged) -> None:
    """Make the empty table of the keys that are gone."""
    staging.create(warehouse, staged.gone, planned.table.source, planned.key_columns)


def _is_dense(warehouse: Connection, planned: Plan, staged: Staged, source_rows: int) -> bool:
    """Whether the key is a whole number on both sides, and most numbers of its range are there."""
    columns = planned.key_columns
    if len(columns) != 1 or columns[0].mask or columns[0].type not in WHOLE_NUMBERS:
        return False
    (name,) = _target_key(planned)
    if staging.column_types(warehouse, staged.target).get(name) not in WHOLE_NUMBERS:
        return False
    query = sql.SQL("SELECT max({0})::numeric - min({0}) FROM {1}").format(
        sql.Identifier(name), staged.target
    )
    spread = postgres.value(warehouse, query)
    return spread is not None and int(spread) / BITS * FEWEST_IN_BLOCK <= source_rows


def _by_blocks(warehouse: Connection, reading: Reading, planned: Plan, staged: Staged) -> bool | None:
    (column,) = planned.key_columns
    bits = sql.SQL(
        "SELECT k >> 6 AS block, bit_or(1::bigint << (k & 63)::integer) AS bits FROM ({}) AS n GROUP BY 1"
    )
    number = sql.SQL("SELECT {}::bigint AS k FROM {}")
    theirs = number.format(sql.Identifier(column.name), planned.relation)
    source = bits.format(theirs + filtering.restricted(planned.table))
    _drop(warehouse)
    postgres.rows(warehouse, sql.SQL("CREATE TEMPORARY TABLE {} (block bigint, bits bigint)").format(THEIRS))
    reading.into(source, THEIRS)
    live = staging.live(warehouse, staged.target, planned.table)
    (target_key,) = _target_key(planned)
    target = number.format(sql.Identifier(target_key), staged.target) + sql.SQL(" WHERE {}").format(live)
    ours = bits.format(
        target + sql.SQL(" UNION ALL ") + number.format(sql.Identifier(column.name), staged.rows)
    )
    postgres.rows(
        warehouse,
        sql.SQL(
            "CREATE TEMPORARY TABLE {} AS SELECT block,"
            " coalesce(ours.bits, 0) & ~coalesce(theirs.bits, 0) AS gone,"
            " coalesce(theirs.bits, 0) & ~coalesce(ours.bits, 0) AS lacking"
            " FROM ({}) AS ours FULL JOIN {} AS theirs USING (block)"
            " WHERE ours.bits IS DISTINCT FROM theirs.bits"
        ).format(DIFFERING, ours, THEIRS),
    )
    if postgres.value(
        warehouse, sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE lacking <> 0)").format(DIFFERING)
    ):
        return None
    create_gone(warehouse, planned, staged)
    postgres.rows(
        warehouse,
        sql.SQL(
            "INSERT INTO {} SELECT block * 64 + bit FROM {} AS d CROSS JOIN generate_series(0, 63) AS bit"
            " WHERE d.gone >> bit & 1 = 1"
        ).format(staged.gone, DIFFERING),
    )
    return True


def _by_buckets(
    warehouse: Connection, reading: Reading, planned: Plan, staged: Staged, source_rows: int, expected: int
) -> bool | None:
    size = min(LARGEST, max(SMALLEST, math.isqrt(source_rows // expected)))
    buckets = min(MOST_BUCKETS, 2 ** (source_rows // size).bit_length())
    source_hash = _hash([expression(column) for column in planned.key_columns])
    source = _sums_by_bucket(source_hash, planned.relation, filtering.restricted(planned.table), buckets)
    _drop(warehouse)
    postgres.rows(
        warehouse,
        sql.SQL("CREATE TEMPORARY TABLE {} (bucket integer, keys bigint, hashes numeric)").format(THEIRS),
    )
    reading.into(source, THEIRS)
    target_hash = _hash([sql.Identifier("t", name) for name in _target_key(planned)])
    live = staging.live(warehouse, staged.target, planned.table, "t")
    same = staging.same_key(planned.key, "t", "s", planned.renamed)
    read_again = sql.SQL("JOIN {} AS s ON {} WHERE {}").format(staged.rows, same, live)
    ours = sql.SQL(" UNION ALL ").join(
        [
            _sums_by_bucket(target_hash, staged.target, sql.SQL("WHERE {}").format(live), buckets, alias="t"),
            # What was read again is as it was read, and not as it is still in the table.
            _sums_by_bucket(target_hash, staged.target, read_again, buckets, sign="-", alias="t"),
            _sums_by_bucket(
                _hash([sql.Identifier("s", column.name) for column in planned.key_columns]),
                staged.rows,
                sql.SQL(""),
                buckets,
                alias="s",
            ),
        ]
    )
    postgres.rows(
        warehouse,
        sql.SQL(
            "CREATE TEMPORARY TABLE {} AS SELECT bucket FROM"
            " (SELECT bucket, sum(keys) AS keys, sum(hashes) AS hashes FROM ({}) AS u GROUP BY 1) AS ours"
            " FULL JOIN {} AS theirs USING (bucket)"
            " WHERE (coalesce(ours.keys, 0), coalesce(ours.hashes, 0))"
            " IS DISTINCT FROM (coalesce(theirs.keys, 0), coalesce(theirs.hashes, 0))"
        ).format(DIFFERING, ours, THEIRS),
    )
    differing = [bucket for (bucket,) in postgres.rows(warehouse, sql.SQL("TABLE {}").format(DIFFERING))]
    if len(differing) > buckets * MOST_DIFFERING:
        return False
    # Without a name of our own beside the source's table and columns, which may be called anything.
    among = sql.SQL("{} IN (SELECT unnest({}::integer[]))").format(
        _bucket(source_hash, buckets), sql.Literal(differing)
    )
    reading.keys(planned, staged, among)
    if lacks_any(warehouse, planned, staged):
        return None
    create_gone(warehouse, planned, staged)
    postgres.rows(
        warehouse,
        sql.SQL(
            "INSERT INTO {gone} SELECT {key} FROM {target} AS t JOIN {differing} AS d ON d.bucket = {bucket}"
            " WHERE {live} AND NOT EXISTS (SELECT FROM {keys} AS k WHERE {same_keys})"
            " AND NOT EXISTS (SELECT FROM {rows} AS s WHERE {same})"
        ).format(
            gone=staged.gone,
            key=target_key(planned),
            target=staged.target,
            differing=DIFFERING,
            bucket=_bucket(target_hash, buckets),
            live=live,
            keys=staged.keys,
            same_keys=staging.same_key(planned.key, "t", "k", planned.renamed),
            rows=staged.rows,
            same=same,
        ),
    )
    return True


def lacks_any(warehouse: Connection, planned: Plan, staged: Staged) -> bool:
    """Whether the source has one of the keys that were read, and the warehouse would not."""
    query = sql.SQL(
        """
        SELECT EXISTS (
            SELECT 1 FROM {keys} AS k
            WHERE NOT EXISTS (SELECT 1 FROM {staged} AS s WHERE {same_staged})
              AND NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {same_target} AND {live}))
        """
    ).format(
        keys=staged.keys,
        staged=staged.rows,
        target=staged.target,
        same_staged=staging.same_key(planned.key, "s", "k"),
        same_target=staging.same_key(planned.key, "t", "k", planned.renamed),
        live=staging.live(warehouse, staged.target, planned.table, "t"),
    )
    return bool(postgres.value(warehouse, query))


def _target_key(planned: Plan) -> list[str]:
    """Return what the warehouse's table calls the columns of the key, in the order of `key_columns`."""
    return [planned.renamed.get(column.name, column.name) for column in planned.key_columns]


def target_key(planned: Plan) -> Composable:
    """Return the key of the target, called "t", as columns of a query."""
    return postgres.columns(_target_key(planned), "t")


def _hash(key: Sequence[Composable]) -> Composable:
    """Return the 64 bits of a key, of the text that every server writes for it, byte by byte."""
    return sql.SQL('hashtextextended(ROW({})::text COLLATE "C", 0)').format(sql.SQL(", ").join(key))


def _bucket(hash_: Composable, buckets: int) -> Composable:
    return sql.SQL("({} & {})::integer").format(hash_, sql.Literal(buckets - 1))


def _sums_by_bucket(
    hash_: Composable, relation: Composable, rest: Composable, buckets: int, alias: str = "", sign: str = ""
) -> Composable:
    """Return the query that tells the keys of a relation by buckets."""
    return sql.SQL(
        "SELECT {bucket} AS bucket, {sign}count(*) AS keys, {sign}sum(h) AS hashes"
        " FROM (SELECT {hash} AS h FROM {relation} {alias} {rest}) AS x GROUP BY 1"
    ).format(
        bucket=_bucket(sql.SQL("h"), buckets),
        sign=sql.SQL(sign),
        hash=hash_,
        relation=relation,
        alias=sql.SQL(alias),
        rest=rest,
    )


def _drop(warehouse: Connection) -> None:
    for name in (THEIRS, DIFFERING):
        postgres.rows(warehouse, sql.SQL("DROP TABLE IF EXISTS {}").format(name))
