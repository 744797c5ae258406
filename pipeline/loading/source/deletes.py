"""Deletes: how many rows of the warehouse are gone from the source, and whether an increment missed any."""

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import Changes, Deletes
from pipeline.errors import CheckError
from pipeline.loading.plan import Plan
from pipeline.loading.shapes import filtering
from pipeline.loading.source import blocks
from pipeline.loading.source.reading import Reading
from pipeline.postgres import Composable, Connection
from pipeline.warehouse import staging
from pipeline.warehouse.staging import Staged


def gone(
    warehouse: Connection, reading: Reading, planned: Plan, staged: Staged, source_rows: int
) -> int | None:
    """Return how many rows of the target are gone from the source; None if the target would lack any.

    Raise CheckError if its key does not tell its rows apart.
    """
    table = planned.table
    # What may begin to be wanted without being written anew is found by its key alone.
    trusted = table.changes == Changes.XMIN and filtering.is_steady(table)
    if table.deletes == Deletes.IGNORE and trusted:
        return 0
    before = staging.count(warehouse, staged.target, staging.live(warehouse, staged.target, table))
    new = postgres.value(
        warehouse,
        sql.SQL(
            "SELECT count(*) FROM {staged} AS s"
            " WHERE NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {same} AND {live})"
        ).format(
            staged=staged.rows,
            target=staged.target,
            live=staging.live(warehouse, staged.target, table, "t"),
            same=staging.same_key(planned.key, "t", "s", planned.renamed),
        ),
    )
    # By xmin nothing is missed, so after the merge the target holds every key of the source: as many
    # rows are the same rows, if the source itself allows each key only once. A cursor can miss one row
    # and keep another that is gone.
    proven = trusted and planned.key_is_enforced
    expected = before + new - source_rows
    if proven and not expected:
        return 0
    if planned.key_is_enforced:
        narrowed = blocks.stage_gone(
            warehouse, reading, planned, staged, source_rows, expected if proven else None
        )
        if narrowed is None:
            return None
        if narrowed:
            deleted = staging.count(warehouse, staged.gone)
            if not proven or deleted == expected:
                return _unless_ignored(warehouse, planned, staged, deleted)
            for name in (staged.gone, staged.keys):
                postgres.rows(warehouse, sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    return _by_every_key(warehouse, reading, planned, staged)


def _by_every_key(warehouse: Connection, reading: Reading, planned: Plan, staged: Staged) -> int | None:
    reading.keys(planned, staged)
    _require_unique_keys(warehouse, planned, staged)
    if blocks.lacks_any(warehouse, planned, staged):
        return None
    blocks.create_gone(warehouse, planned, staged)
    query = sql.SQL("INSERT INTO {} SELECT {} FROM {}").format(
        staged.gone, blocks.target_key(planned), _absent(warehouse, planned, staged, staged.keys)
    )
    with warehouse.cursor() as cursor:
        cursor.execute(query)
        return _unless_ignored(warehouse, planned, staged, cursor.rowcount)


def _unless_ignored(warehouse: Connection, planned: Plan, staged: Staged, deleted: int) -> int:
    postgres.rows(warehouse, sql.SQL("DROP TABLE IF EXISTS {}").format(staged.keys))
    if planned.table.deletes != Deletes.IGNORE:
        postgres.rows(warehouse, sql.SQL("ANALYZE {}").format(staged.gone))
        return deleted
    postgres.rows(warehouse, sql.SQL("DROP TABLE {}").format(staged.gone))
    return 0


def _require_unique_keys(warehouse: Connection, planned: Plan, staged: Staged) -> None:
    query = sql.SQL("SELECT EXISTS (SELECT 1 FROM {} GROUP BY {} HAVING count(*) > 1)")
    if postgres.value(warehouse, query.format(staged.keys, postgres.columns(planned.key))):
        raise CheckError(
            f"its key ({', '.join(planned.key)}) is not unique in the source; its last good rows stay up",
            hint=f"write the key that tells its rows apart under {planned.table.name} in "
            f"{planned.table.file}",
        )


def absent(warehouse: Connection, planned: Plan, staged: Staged, present: sql.Identifier) -> int:
    """Return how many rows of the target have none of the same key among those that are present."""
    query = sql.SQL("SELECT count(*) FROM {}").format(_absent(warehouse, planned, staged, present))
    counted: int = postgres.value(warehouse, query)
    return counted


def _absent(warehouse: Connection, planned: Plan, staged: Staged, present: sql.Identifier) -> Composable:
    """Return what stands after FROM for the rows of the target, called "t", that are not present."""
    return sql.SQL("{} AS t WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})").format(
        staged.target,
        staging.live(warehouse, staged.target, planned.table, "t"),
        present,
        staging.same_key(planned.key, "t", "p", planned.renamed),
    )
