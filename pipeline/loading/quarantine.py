"""Quarantine: failing rows, kept with the run and the reason where a person can look at them."""

from collections.abc import Sequence

from psycopg2 import sql

from pipeline import postgres
from pipeline.loading import staging
from pipeline.loading.checking import Candidate
from pipeline.loading.staging import Staged
from pipeline.postgres import Composable, Connection
from pipeline.quality import Result

# Where a whole table is held back, so many of its failing rows are enough to see what is wrong.
HELD_ROWS = 1000
# As jsonb these would lose keys that are there twice, or be refused for what is no text (\\u0000).
AS_TEXT = frozenset({"json", "json[]"})


def fill(warehouse: Connection, staged: Staged, results: Sequence[Result], loaded: Candidate | None) -> int:
    """Copy the rows that failed into the table's quarantine; return how many are set aside.

    Where a check sets rows aside, all of them are kept, and their places noted for the load; so are rows that
    were loaded before and would stay, by `loaded` (None for a new table). Of a table that is held back, the
    first of each reason are.
    """
    failed = [
        (result, result.wrong)
        for result in results
        if not result.passed and result.level == "error" and result.wrong is not None
    ]
    _clear(warehouse, staged, bool(failed))
    if not failed:
        return 0
    place = sql.SQL("CREATE UNLOGGED TABLE {} (place tid NOT NULL)").format(staged.bad)
    postgres.rows(warehouse, place)
    for result, wrong in failed:
        _copy(warehouse, staged, staged.rows, result, wrong)
        if result.sets_aside:
            postgres.rows(
                warehouse,
                sql.SQL("INSERT INTO {} SELECT c.ctid FROM {} AS c WHERE {}").format(
                    staged.bad, staged.rows, wrong
                ),
            )
    if loaded is not None and loaded.key:
        _set_loaded_aside(warehouse, loaded, [(result, wrong) for result, wrong in failed if result.of_row])
    return count(warehouse, staged)


def _set_loaded_aside(
    warehouse: Connection, loaded: Candidate, failed: Sequence[tuple[Result, Composable]]
) -> None:
    """Keep rows that are loaded, would stay, and are not good by what is declared now.

    Note the keys of those that are to be set aside.
    """
    staged, key = loaded.staged, postgres.columns(loaded.key)
    standing = sql.SQL("({})").format(loaded.standing(warehouse))
    if any(result.sets_aside for result, _ in failed):
        nothing = sql.SQL("CREATE UNLOGGED TABLE {} AS SELECT {} FROM {} AS c LIMIT 0")
        postgres.rows(warehouse, nothing.format(staged.fallen, key, standing))
    for result, wrong in failed:
        _copy(warehouse, staged, standing, result, wrong)
        if not result.sets_aside:
            continue
        query = sql.SQL("INSERT INTO {} SELECT {} FROM {} AS c WHERE {}")
        postgres.rows(warehouse, query.format(staged.fallen, key, standing, wrong))


def count(warehouse: Connection, staged: Staged) -> int:
    """Return how many rows are set aside."""
    if staging.oid(warehouse, staged.bad) is None:
        return 0
    query = sql.SQL("SELECT count(DISTINCT place) FROM {}").format(staged.bad)
    counted: int = postgres.value(warehouse, query)
    return counted + staging.fallen_unread(warehouse, staged)


def where(warehouse: Connection, staged: Staged) -> str | None:
    """Return where failing rows of the run are kept, None if there are none."""
    if staging.oid(warehouse, staged.quarantine) is None:
        return None
    query = sql.SQL("SELECT EXISTS (SELECT 1 FROM {} WHERE run = {})")
    found = postgres.value(warehouse, query.format(staged.quarantine, sql.Literal(staged.run)))
    return ".".join(staged.quarantine.strings) if found else None


def _clear(warehouse: Connection, staged: Staged, needed: bool) -> None:
    """Forget what an earlier try of the same run left; make the table if it is needed."""
    for name in (staged.bad, staged.fallen):
        postgres.rows(warehouse, sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    if staging.oid(warehouse, staged.quarantine) is not None:
        postgres.rows(
            warehouse,
            sql.SQL("DELETE FROM {} WHERE run = {}").format(staged.quarantine, sql.Literal(staged.run)),
        )
    elif needed:
        postgres.rows(
            warehouse,
            sql.SQL(
                "CREATE TABLE {} (run text NOT NULL, reason text NOT NULL, "
                "quarantined_at timestamptz NOT NULL DEFAULT now(), content jsonb NOT NULL)"
            ).format(staged.quarantine),
        )


def _copy(warehouse: Connection, staged: Staged, rows: Composable, result: Result, wrong: Composable) -> None:
    limit = sql.SQL("" if result.sets_aside else f" LIMIT {HELD_ROWS}")
    postgres.rows(
        warehouse,
        sql.SQL("INSERT INTO {} (run, reason, content) SELECT {}, {}, {} FROM {} AS c WHERE {}{}").format(
            staged.quarantine,
            sql.Literal(staged.run),
            sql.Literal(str(result)),
            _content(warehouse, staged),
            rows,
            wrong,
            limit,
        ),
    )


def _content(warehouse: Connection, staged: Staged) -> Composable:
    """Return the SQL of a row, called "c", as it is kept."""
    types = {
        name: type_
        for name, type_ in staging.column_types(warehouse, staged.rows).items()
        if name != staging.LOADED_AT
    }
    if not set(types.values()) & AS_TEXT:
        return sql.SQL("to_jsonb(c.*)")
    values = (
        sql.SQL("c.{0}::{1} AS {0}" if type_ in AS_TEXT else "c.{0}").format(
            sql.Identifier(name), sql.SQL("text[]" if type_.endswith("[]") else "text")
        )
        for name, type_ in types.items()
    )
    return sql.SQL("(SELECT to_jsonb(r.*) FROM (SELECT {}) AS r)").format(sql.SQL(", ").join(values))


def purge(warehouse: Connection, staged: Staged) -> None:
    """Delete what earlier runs put into the table's quarantine: what is masked from now on may be in it."""
    if staging.oid(warehouse, staged.quarantine) is not None:
        delete = sql.SQL("DELETE FROM {} WHERE run <> {}")
        postgres.rows(warehouse, delete.format(staged.quarantine, sql.Literal(staged.run)))
