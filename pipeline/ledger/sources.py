"""Sources: what is remembered of each, to tell whether it is still the same and what is new in it."""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline import postgres
from pipeline.postgres import Connection
from pipeline.step import Record

# A relation of a source: its schema and its name.


class Name(NamedTuple):
    """What a relation of a source is called."""

    schema_name: str
    name: str


class Witness(NamedTuple):
    """A row version: its place in the table's file, who wrote it, and a digest of what is not masked."""

    place: str
    xmin: int
    digest: int


@dataclass(frozen=True)
class Witnesses(Record):
    """Row versions that a table had when it was read, by which its source is known again.

    They compare only in the same file (`storage`), by the same `columns`; and with the same text, which
    `written_as` tells, where it is known.
    """

    oid: int
    storage: int
    columns: Sequence[str]
    rows: Sequence[Witness]
    written_as: str | None = None

    @classmethod
    def _typed(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "rows": [Witness(*one) for one in values["rows"]]}


@dataclass(frozen=True)
class History:
    """In which of its histories a source is, why that began, and what it counted when last seen."""

    history: int = 0
    marks: Mapping[str, int] | None = None
    reason: str = ""


def history(connection: Connection, source: str) -> History:
    """Return in which history a source is: the first, if it was never seen."""
    query = "SELECT history, marks, reason FROM ops.source_history WHERE source = %s"
    return next(iter(postgres.read(connection, query, History, (source,))), History())


def save_history(connection: Connection, source: str, now: History) -> None:
    """Remember in which history a source is, and what it counts now."""
    postgres.rows(
        connection,
        """
        INSERT INTO ops.source_history (source, history, marks, reason) VALUES (%s, %s, %s, %s)
        ON CONFLICT (source) DO UPDATE
        SET history = excluded.history, marks = excluded.marks, reason = excluded.reason,
            seen_at = clock_timestamp()
        """,
        (source, now.history, json.dumps(now.marks), now.reason),
    )


@dataclass(frozen=True)
class Remembered:
    """A table of a source of which row versions are remembered, and the horizon of the moment they are of."""

    table: str
    horizon: int
    witnesses: Witnesses


def witnesses(connection: Connection, source: str) -> Iterator[Remembered]:
    """Yield the tables of a source that row versions are remembered of."""
    for row in postgres.records(connection, postgres.statement("ledger/witnesses"), (source,)):
        if (known := Witnesses.from_json(row["witnesses"])) is not None:
            yield Remembered(row["table_name"], row["horizon"], known)


def known_relations(connection: Connection, source: str) -> set[Name]:
    """Return the relations of a source that were ever seen."""
    query = "SELECT schema_name, name FROM ops.source_relation WHERE source = %s"
    return set(postgres.read(connection, query, Name, (source,)))


def remember_relations(
    connection: Connection, source: str, names: Set[Name], there_before: Set[Name]
) -> None:
    """Remember relations that were seen, and which of them were there before anybody looked."""
    query = """
        INSERT INTO ops.source_relation (source, schema_name, name, there_before) VALUES (%s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """
    for name in sorted(names):
        postgres.rows(connection, query, (source, *name, name in there_before))


def due_relations(connection: Connection, source: str, again_after: str) -> list[Name]:
    """Return the relations that are new, and not told within that interval, those never told first."""
    query = """
        SELECT schema_name, name FROM ops.source_relation
        WHERE source = %s AND NOT there_before
          AND (told_at IS NULL OR told_at < clock_timestamp() - %s::interval)
        ORDER BY told_at NULLS FIRST, 1, 2
        """
    return postgres.read(connection, query, Name, (source, again_after))


def record_notices(connection: Connection, source: str, names: Sequence[Name]) -> None:
    """Note that people were told of relations."""
    query = """
        UPDATE ops.source_relation SET told_at = clock_timestamp()
        WHERE source = %s AND schema_name = %s AND name = %s
        """
    for name in names:
        postgres.rows(connection, query, (source, *name))


def loaded(connection: Connection) -> list[str]:
    """Return the schemas of the warehouse that were loaded into."""
    query = """
        SELECT nspname FROM pg_namespace
        WHERE nspname IN (SELECT source FROM ops.table_shape UNION SELECT source FROM ops.watermark)
        ORDER BY 1
        """
    return [schema for (schema,) in postgres.rows(connection, query)]
