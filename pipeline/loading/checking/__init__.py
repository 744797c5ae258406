"""Quality: what is declared of a table's rows, looked at before anyone sees them.

Every check looks at the table as it will be once the staged rows are in it, so that a rate means the same
after a full load and after a night with three changes.
"""

from collections.abc import Iterator, Sequence

from psycopg2 import sql

from pipeline import postgres, quality
from pipeline.catalog import DriftAction, DriftKind, Level, Table
from pipeline.loading.checking.candidate import Candidate
from pipeline.loading.shapes.drift import Change
from pipeline.loading.shapes.kinds import FixedKind
from pipeline.postgres import Connection
from pipeline.quality import Result, duplicates, naming
from pipeline.warehouse import staging

__all__ = ["Candidate", "check", "of_drift"]

# So begins the name of a result that tells a change of the table's shape.
DRIFT = "drift "
# Fewer deletes than this are never suspicious by their share alone, unless nothing would be left.
DELETES_UNSUSPICIOUS = 20


def of_drift(changes: Sequence[Change], table: Table) -> list[Result]:
    """Return the changes of a table's shape as results, as they are recorded."""
    results = []
    for change in changes:
        fact, hint, level = change.fact, change.hint(table), Level.ERROR
        if change.kind == DriftKind.DROPPED and not change.blocks and change.action != DriftAction.IGNORE:
            fact, level = f"{fact}; it stays empty in new rows", Level.WARN
        if change.kind == FixedKind.MASK_KEPT:
            fact, hint, level = change.describe(table), "", Level.WARN
        passed = level == Level.ERROR and not change.blocks
        results.append(Result(f"{DRIFT}{change.kind}", level, passed, fact, "", hint=hint))
    return results


def check(warehouse: Connection, candidate: Candidate) -> list[Result]:
    """Return how every check of the table came out."""
    if not candidate.columns:
        return list(_deletes(candidate))
    candidate.create(warehouse)
    return [
        *_key(warehouse, candidate),
        *_deletes(candidate),
        *quality.check(warehouse, candidate.subject(warehouse)),
    ]


def _key(warehouse: Connection, candidate: Candidate) -> Iterator[Result]:
    if not candidate.key:
        return
    key, rows = postgres.columns(candidate.key), candidate.staged.rows
    name = f"key ({', '.join(candidate.key)})"
    # The index that a new table needs for its key proves that, where it can be made.
    indexed = candidate.is_new and staging.index_key(warehouse, rows, candidate.key)
    missing = sql.SQL(" OR ").join(
        sql.SQL("{} IS NULL").format(sql.Identifier(column)) for column in candidate.key
    )
    nulls = staging.count(warehouse, rows, missing)
    duplicated = 0
    if nulls or not indexed:
        with naming(name, candidate.declared_in):
            duplicated = duplicates(warehouse, rows, key)
    words = f"{duplicated:,} duplicated values"
    other = (
        f"none; write the key that tells its rows apart under {candidate.table.name} in "
        f"{candidate.table.file}"
    )
    yield Result(f"{name} is unique", Level.ERROR, not duplicated, words, other, duplicated)
    yield Result(f"{name} is not null", Level.ERROR, not nulls, f"{nulls:,} rows without a key", other, nulls)


def _deletes(candidate: Candidate) -> Iterator[Result]:
    if not candidate.history or not candidate.history[0]:
        return
    last = candidate.history[0]
    gone = candidate.deleted if candidate.key else max(0, last - candidate.source_rows)
    share, most = gone / last, candidate.table.max_deleted
    # Whoever declares that other rows are wanted means it, unless none is left.
    few = (gone < DELETES_UNSUSPICIOUS or candidate.filtered_anew) and candidate.source_rows > 0
    yield Result(
        "deletes",
        Level.ERROR,
        share <= most or few,
        f"{gone:,} of {last:,} rows ({share:.0%}) are gone from the source",
        f"at most {most:.0%}; if that is right, write 'max_deleted: {min(1, share + 0.005):.0%}' "
        f"under {candidate.table.name} in {candidate.table.file}",
        share,
    )
