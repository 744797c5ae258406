"""Deletes: how many rows of the warehouse are gone from the source, and whether an increment missed any."""

from psycopg2 import sql

from pipeline import postgres
from pipeline.errors import CheckError
from pipeline.loading import filtering, staging
from pipeline.loading.plan import Plan
from pipeline.loading.reading import Reading
from pipeline.loading.staging import Staged
from pipeline.postgres import Connection


def gone(
    warehouse: Connection, reading: Reading, planned: Plan, staged: Staged, source_rows: int
) -> int | None:
    """Return how many rows of the target are gone from the source; None if the target would lack any.

    Raise CheckError if its key does not tell its rows apart.
    """
    table = planned.table
    # What may begin to be wanted without being written anew is found by its key alone.
    trusted = table.changes == "xmin" and filtering.is_steady(table)
    if table.deletes == "ignore" and trusted:
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
    if trusted and planned.key_is_enforced and before + new == source_rows:
        return 0
    reading.keys(planned, staged)
    _require_unique_keys(warehouse, planned, staged)
    if _lacks_any(warehouse, planned, staged):
        return None
    if table.deletes == "ignore":
        return 0
    return absent(warehouse, planned, staged, staged.keys)


def _require_unique_keys(warehouse: Connection, planned: Plan, staged: Staged) -> None:
    query = sql.SQL("SELECT EXISTS (SELECT 1 FROM {} GROUP BY {} HAVING count(*) > 1)")
    if postgres.value(warehouse, query.format(staged.keys, postgres.columns(planned.key))):
        raise CheckError(
            f"its key ({', '.join(planned.key)}) has values that the source has more than once; its last "
            "good rows stay up",
            hint=f"write the key that tells its rows apart under {planned.table.name} in "
            f"sources/{planned.table.source}.yaml",
        )


def _lacks_any(warehouse: Connection, planned: Plan, staged: Staged) -> bool:
    query = sql.SQL(
        """
        SELECT EXISTS (
            SELECT 1 FROM {keys} AS k
            WHERE NOT EXISTS (SELECT 1 FROM {staged} AS s WHERE {same_staged})
              AND NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {same_target} AND {live}))
        """
    ).format(
        keys=staged.keys, staged=staged.rows, target=staged.target,
        same_staged=staging.same_key(planned.key, "s", "k"),
        same_target=staging.same_key(planned.key, "t", "k", planned.renamed),
        live=staging.live(warehouse, staged.target, planned.table, "t"),
    )  # fmt: skip
    return bool(postgres.value(warehouse, query))


def absent(warehouse: Connection, planned: Plan, staged: Staged, present: sql.Identifier) -> int:
    """Return how many rows of the target have none of the same key among those that are present."""
    query = sql.SQL(
        "SELECT count(*) FROM {} AS t WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})"
    ).format(
        staged.target,
        staging.live(warehouse, staged.target, planned.table, "t"),
        present,
        staging.same_key(planned.key, "t", "p", planned.renamed),
    )
    counted: int = postgres.value(warehouse, query)
    return counted
