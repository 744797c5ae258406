"""Continuity: whether a source is the one that was loaded, or an earlier copy of it that was put back.

Such a copy (a snapshot of a virtual machine or of its storage, a cold copy of the data folder) has the same
identity. Once it has used up as many transaction ids as were lost, nothing in them tells. So facts are
remembered that it cannot have: counts that only grow, and row versions that were just read. Each moment is in
one history of the source; where a fact does not hold, another has begun, and all is read in full.

It cannot tell where every count has grown past what it was, and no row version that was remembered has been
replaced by another of the lost time. An audit finds what that leaves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import RelationKind
from pipeline.ledger import sources
from pipeline.ledger.sources import History, Witness, Witnesses
from pipeline.loading.plan import HALF_CIRCLE, Plan
from pipeline.loading.source.horizon import held_back
from pipeline.postgres import Composable, Connection, snapshot
from pipeline.postgres.snapshot import Snapshot
from pipeline.warehouse import shape

# So many row versions of a table are remembered, and at most so many of the last of its blocks.
WITNESSES = 32
CIRCLE = 2**32
TAIL = """
    ctid = ANY (ARRAY(
        SELECT format('(%s,%s)', greatest(0, pg_relation_size({oid}) / {block} - 1), line)::tid
        FROM generate_series(1, {count}) AS line))
"""


def take(warehouse: Connection, source: Connection, name: str, *, remember: bool = True) -> Snapshot:
    """Take a snapshot of a source, and say in which of its histories it is.

    What is remembered of the source is then what it shows now, in a transaction of `warehouse`, which commits
    by itself; unless it is not to be remembered, for who only looks.
    """
    taken = snapshot.take(source)
    marks = next(iter(postgres.records(source, postgres.statement("loading/marks"))), None)
    before = sources.history(warehouse, name)
    now = replace(before, marks=marks)
    for reason in _contradictions(warehouse, source, name, before.marks, marks):
        now = History(before.history + 1, marks, reason)
        break
    if remember:
        sources.save_history(warehouse, name, now)
    taken = replace(taken, history=now.history, history_reason=now.reason)
    return replace(taken, held_back=held_back(warehouse, source, name, taken))


def _contradictions(
    warehouse: Connection,
    source: Connection,
    name: str,
    before: Mapping[str, int] | None,
    marks: Mapping[str, int] | None,
) -> Iterator[str]:
    """Yield what of the source cannot follow from what is remembered of it."""
    for what in sorted(before.keys() & marks.keys()) if before and marks else ():
        if before is not None and marks is not None and marks[what] < before[what]:
            yield f"the source's counters ({what}) went backwards: it was restored, or it crashed"
    for table in sources.witnesses(warehouse, name):
        if _is_contradicted(source, table.horizon, table.witnesses):
            yield f"rows of {table.table} are older than the rows that were read: the source was restored"


def _is_contradicted(source: Connection, horizon: int, witnesses: Witnesses) -> bool:
    """Whether a place that held a row version holds another one now that was written before that was read."""
    current = _written(source, witnesses.oid)
    if current is None or current.storage != witnesses.storage:
        return False  # written anew since, so that each row has another place
    if witnesses.written_as not in (None, current.written_as):
        return False  # another column or label: the same version has another text, which its load tells
    known = {one.place: one for one in witnesses.rows}
    places = sql.SQL("ctid = ANY ({}::tid[])").format(sql.Literal(list(known)))
    postgres.rows(source, "SAVEPOINT witnesses")
    try:
        relation = sql.Identifier(current.schema_name, current.name)
        rows = postgres.read(source, _versions(relation, witnesses.columns, places), Witness)
    except postgres.Error:
        rows = []  # its columns have changed, or it may not be read any more, which its load tells
    # The snapshot is held for as long as its source is read; kept until then, the lock on the table would let
    # a change of its shape wait, and behind that everybody else who uses it.
    postgres.rows(source, "ROLLBACK TO SAVEPOINT witnesses")
    return any(one != known[one.place] and (one.xmin - horizon) % CIRCLE >= HALF_CIRCLE for one in rows)


@dataclass(frozen=True)
class _Written:
    """Where a table's rows are, and what tells how they are written as text."""

    schema_name: str
    name: str
    storage: int
    written_as: str


def _written(source: Connection, oid: int) -> _Written | None:
    query = postgres.statement("loading/written_as")
    return next(iter(postgres.read(source, query, _Written, (oid,))), None)


def witnesses(source: Connection, planned: Plan) -> Witnesses | None:
    """Return row versions of a table that were written of late, and where; None if they tell nothing.

    None of it is a value: of what is not masked there is a digest.
    """
    current = planned.shape
    if current.kind != RelationKind.TABLE or shape.is_inherited_from(source, current):
        return None
    if not (current.xmin_readable and current.ctid_readable):
        return None  # the role may read single columns only
    columns = [column.name for column in planned.columns if column.mask is None]
    tail = {
        "oid": sql.Literal(current.oid),
        "count": sql.Literal(WITNESSES),
        "block": sql.SQL("current_setting('block_size')::bigint"),
    }
    where: list[Composable] = [sql.SQL(TAIL).format(**tail)]
    if planned.since is not None:
        where.append(planned.written())
    rows = {
        one.place: one
        for condition in where
        for one in postgres.read(source, _versions(planned.relation, columns, condition), Witness)
    }
    written = _written(source, current.oid)
    if written is None:
        return None
    return Witnesses(current.oid, written.storage, columns, list(rows.values()), written.written_as)


def _versions(relation: sql.Identifier, columns: Sequence[str], condition: Composable) -> Composable:
    return sql.SQL(
        "SELECT ctid::text AS place, xmin::text::bigint AS xmin, "
        "hashtextextended(ROW({})::text, 0) AS digest FROM {} WHERE {} LIMIT {}"
    ).format(postgres.columns(columns), relation, condition, sql.Literal(WITNESSES))
