"""Quarantine: failing rows, kept with the run and the reason where a person can look at them."""

from collections.abc import Sequence
from dataclasses import replace

from psycopg2 import sql

from pipeline import postgres, quality
from pipeline.catalog import Level, Quarantine
from pipeline.loading.checking import Candidate
from pipeline.postgres import Composable, Connection
from pipeline.quality import Result
from pipeline.warehouse import staging
from pipeline.warehouse.staging import Staged

# Where a whole table is held back, so many of its failing rows are enough to see what is wrong.
HELD_ROWS = 1000
# What is left is looked at so often; a check that does not hold then stops the table.
ROUNDS = 10
# As jsonb these would lose keys that are there twice, or be refused for what is not text (\\u0000).
AS_TEXT = frozenset({"json", "json[]"})


def fill(warehouse: Connection, candidate: Candidate, results: Sequence[Result]) -> tuple[list[Result], int]:
    """Copy the rows that failed into the table's quarantine; return the results and how many rows go there.

    Where a check sets rows aside, all of them are kept, and noted for the load; so are rows that were loaded
    before and would stay, if any can. What is left is looked at again, for a check may
    be of several rows together. One that does not hold even so stops the table. Of a table that is held back,
    the first rows of each reason are kept.
    """
    failed = [result for result in results if _fails(result)]
    staged = candidate.staged
    _clear(warehouse, staged, bool(failed))
    if not failed:
        return list(results), 0
    place = sql.SQL("CREATE UNLOGGED TABLE {} (place tid NOT NULL)").format(staged.rejected)
    postgres.rows(warehouse, place)
    stays = candidate.lasting is not None and bool(candidate.key)
    if stays:
        nothing = sql.SQL("CREATE UNLOGGED TABLE {} AS SELECT {} FROM {} LIMIT 0")
        key = postgres.columns(candidate.key)
        postgres.rows(warehouse, nothing.format(staged.superseded, key, staged.rows))
    everywhere = sql.SQL("true")
    for result in failed:
        _read_aside(warehouse, staged, result, everywhere)
        if stays and not result.sets_aside:
            _copy(warehouse, staged, candidate.standing(warehouse), result, everywhere)
    if any(result.stops for result in results):
        return list(results), count(warehouse, staged)
    return _settle(warehouse, candidate, results, stays=stays), count(warehouse, staged)


def _fails(result: Result) -> bool:
    return not result.passed and result.level == Level.ERROR and result.wrong is not None


def _settle(
    warehouse: Connection, candidate: Candidate, results: Sequence[Result], *, stays: bool
) -> list[Result]:
    """Set aside what is wrong among the rows that are left, until all hold; return how each check came out.

    A row that was loaded before a check was declared is as wrong as it would be today; and one may be wrong
    only since another was set aside.
    """
    held = {result.name for result in results if result.passed}
    later: dict[str, Result] = {}
    left = sql.SQL("NOT EXISTS (SELECT 1 FROM {} AS b WHERE b.place = c.ctid)").format(
        candidate.staged.rejected
    )
    for attempt in range(ROUNDS):
        candidate.create(warehouse, settled=True, stays=stays)
        failed = [
            result for result in quality.check(warehouse, candidate.subject(warehouse)) if _fails(result)
        ]
        for result in failed:
            if attempt == ROUNDS - 1:
                later[result.name] = replace(result, quarantine=Quarantine.HOLD)
                continue
            if result.name in held:
                later.setdefault(result.name, result)
            # What was loaded gives way to what is read: without it, that may be right.
            if not (stays and _standing_aside(warehouse, candidate, result)):
                _read_aside(warehouse, candidate.staged, result, left)
        if not failed or any(result.stops for result in later.values()):
            break
    return [later.get(result.name, result) for result in results]


def _read_aside(warehouse: Connection, staged: Staged, result: Result, which: Composable) -> None:
    """Keep the staged rows that failed a check; note the places of those that are to be set aside."""
    _copy(warehouse, staged, staged.rows, result, which)
    if result.sets_aside:
        query = sql.SQL("INSERT INTO {} SELECT c.ctid FROM {} AS c WHERE {} AND {}")
        postgres.rows(warehouse, query.format(staged.rejected, staged.rows, which, _wrong(result)))


def _standing_aside(warehouse: Connection, candidate: Candidate, result: Result) -> bool:
    """Keep the rows that are loaded, would stay, and failed; note their keys, and say if there are any."""
    standing = candidate.standing(warehouse)
    _copy(warehouse, candidate.staged, standing, result, sql.SQL("true"))
    before = staging.count(warehouse, candidate.staged.superseded)
    if result.sets_aside:
        query = sql.SQL("INSERT INTO {} SELECT {} FROM {} AS c WHERE {}")
        key = postgres.columns(candidate.key, "c")
        postgres.rows(warehouse, query.format(candidate.staged.superseded, key, standing, _wrong(result)))
    return staging.count(warehouse, candidate.staged.superseded) > before


def _wrong(result: Result) -> Composable:
    return sql.SQL("({})").format(result.wrong or sql.SQL("false"))


def count(warehouse: Connection, staged: Staged) -> int:
    """Return how many rows are set aside."""
    if staging.oid(warehouse, staged.rejected) is None:
        return 0
    query = sql.SQL("SELECT count(DISTINCT place) FROM {}").format(staged.rejected)
    counted: int = postgres.value(warehouse, query)
    return counted + staging.superseded_unread(warehouse, staged)


def where(warehouse: Connection, staged: Staged) -> str | None:
    """Return where failing rows of the run are kept, None if there are none."""
    if staging.oid(warehouse, staged.quarantine) is None:
        return None
    query = sql.SQL("SELECT EXISTS (SELECT 1 FROM {} WHERE run = {})")
    any_kept = postgres.value(warehouse, query.format(staged.quarantine, sql.Literal(staged.run)))
    return ".".join(staged.quarantine.strings) if any_kept else None


def _clear(warehouse: Connection, staged: Staged, needed: bool) -> None:
    """Forget what an earlier try of the same run left; make the table if it is needed."""
    drop = sql.SQL("DROP TABLE IF EXISTS {}, {}").format(staged.rejected, staged.superseded)
    postgres.rows(warehouse, drop)
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


def _copy(warehouse: Connection, staged: Staged, rows: Composable, result: Result, which: Composable) -> None:
    limit = sql.SQL("" if result.sets_aside else f" LIMIT {HELD_ROWS}")
    query = "INSERT INTO {} (run, reason, content) SELECT {}, {}, {} FROM {} AS c WHERE {} AND {}{}"
    parts = (
        staged.quarantine,
        sql.Literal(staged.run),
        sql.Literal(str(result)),
        _content(warehouse, staged),
        rows,
        which,
        _wrong(result),
        limit,
    )
    postgres.rows(warehouse, sql.SQL(query).format(*parts))


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
