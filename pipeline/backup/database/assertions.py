"""A restored database against the manifest of its backup: every sentence of it, each held or not."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from psycopg2 import sql
from pydantic import BaseModel, ConfigDict

from pipeline import postgres
from pipeline.backup.database import contents, index_health, partitions
from pipeline.backup.database.contents import TableShape
from pipeline.backup.database.counting import Counting, Open
from pipeline.backup.database.partitions import Roots
from pipeline.backup.store.manifest import Contents, Database, LargeObjects, Objects, Table
from pipeline.backup.store.manifest import Sequence as SequenceState
from pipeline.postgres import Connection

SHOWN = 5


class Assertion(BaseModel):
    """One sentence of the proof. `held` is None where it could not be checked, or need not hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str
    held: bool | None
    detail: str


def compare(
    opened: Open,
    wanted: Contents,
    wait: Callable[[Counting], None],
    *,
    only: str | None = None,
    shared: bool = False,
) -> list[Assertion]:
    """Compare a restored database with what was backed up; `only` is one table of it (schema.name).

    `opened` opens a connection in the manifest's session settings that commits each statement, `wait` waits
    for the checksums. In a `shared` database may be more than the backup had.
    """
    with opened() as connection:
        shapes = contents.tables(connection)
        tables, roots = wanted.tables, partitions.roots(shapes)
        if only is not None:
            tables = _with_partitions(connection, tables, only, roots)
            names = {table.full_name for table in tables}
            shapes = [shape for shape in shapes if f"{shape.schema_name}.{shape.name}" in names]
        shapes, moved = _in_order(tables, shapes)
        with Counting(opened, shapes, wanted.large_objects.piece_bytes) as counting:
            wait(counting)
            counted, large = counting.result()
        held = tables_held(tables, counted, roots, others=shared)
        assertions = [held.model_copy(update={"detail": held.detail + moved}) if held.held else held]
        if only is not None:
            return assertions
        assertions += _rest(connection, wanted, large)
    lax = {"objects", "large objects"} if shared else set()
    return [
        one.model_copy(update={"held": one.held or None}) if one.name in lax else one for one in assertions
    ]


def _in_order(tables: Sequence[Table], shapes: Sequence[TableShape]) -> tuple[list[TableShape], str]:
    """Return shapes with their columns in the order that they had, and which have another now, in words.

    pg_dump makes a table that inherits with its parent's columns first, wherever they were.
    """
    order = {table.full_name: table.columns for table in tables}
    made, moved = [], []
    for shape in shapes:
        name = f"{shape.schema_name}.{shape.name}"
        columns = order.get(name, shape.columns)
        if columns != shape.columns and sorted(columns) == sorted(shape.columns):
            moved.append(name)
            made.append(replace(shape, columns=columns))
        else:
            made.append(shape)
    listed = f"; columns in another order, because of inheritance: {', '.join(moved[:SHOWN])}"
    remark = listed if moved else ""
    return made, remark


def _with_partitions(
    connection: Connection, tables: Sequence[Table], only: str, roots: Roots
) -> tuple[Table, ...]:
    query = """
        SELECT n.nspname || '.' || c.relname
        FROM pg_partition_tree(%s::text::regclass) AS p
        JOIN pg_class AS c ON c.oid = p.relid JOIN pg_namespace AS n ON n.oid = c.relnamespace
        """
    schema, _, name = only.partition(".")
    quoted = sql.Identifier(schema, name).as_string(connection)
    names = {partition for (partition,) in postgres.rows(connection, query, (quoted,))}
    names |= partitions.together(only, roots)
    return tuple(table for table in tables if table.full_name in names)


def _rest(connection: Connection, wanted: Contents, large: LargeObjects) -> list[Assertion]:
    return [
        _sequences(wanted.sequences, contents.sequences(connection)),
        _large_objects(wanted.large_objects, large),
        _objects(wanted, contents.objects(connection)),
        _constraints(connection),
        *indexes(connection),
        _extensions(wanted, connection),
        _roles(connection, wanted.roles),
        *_database(wanted.database, contents.database(connection)),
    ]


def tables_held(
    wanted: Sequence[Table], restored: Sequence[Table], roots: Roots, *, others: bool = False
) -> Assertion:
    """Say whether every table has the rows, the checksum and the owner that it had.

    Partitions that have a root in `roots` have their rows together. Tables that were not backed up do not
    hold, unless `others` may be there.
    """
    by_name = {table.full_name: table for table in partitions.summed(restored, roots)}
    before = partitions.summed(wanted, roots)
    problems = [
        problem for table in before if (problem := _table_problem(table, by_name.get(table.full_name)))
    ]
    if not others:
        more = sorted(by_name.keys() - {table.full_name for table in before})
        problems += [f"{name} was not in the backup" for name in more]
    rows = sum(table.rows for table in wanted)
    return _assertion("tables", problems, f"{len(wanted)} tables, {rows:,} rows: counts and checksums equal")


def _table_problem(wanted: Table, restored: Table | None) -> str | None:
    """Return in what a table differs from the one that was backed up, None if in nothing."""
    name = wanted.full_name
    if restored is None:
        return f"{name} is missing"
    if restored.columns != wanted.columns:
        return f"{name} has the columns {', '.join(restored.columns)} instead of {', '.join(wanted.columns)}"
    if restored.rows != wanted.rows:
        return f"{name} has {restored.rows:,} rows instead of {wanted.rows:,}"
    if restored.checksum != wanted.checksum:
        return f"{name} has other rows: their checksum is {restored.checksum} instead of {wanted.checksum}"
    if restored.owner != wanted.owner:
        return f"{name} belongs to {restored.owner} instead of {wanted.owner}"
    return None


def _sequences(wanted: Sequence[SequenceState], restored: Sequence[SequenceState]) -> Assertion:
    values = {(one.schema_name, one.name): one for one in restored}
    problems = []
    for one in wanted:
        there = values.get((one.schema_name, one.name))
        if there is None:
            problems.append(f"{one.schema_name}.{one.name} is missing")
        elif one.last_value is not None and not _as_far(one.last_value, there.last_value):
            problems.append(f"{one.schema_name}.{one.name} is at {there.last_value}, before {one.last_value}")
    return _assertion("sequences", problems, f"{len(wanted)} sequences, each at least as far as it was")


def _as_far(wanted: int, restored: int | None) -> bool:
    # A sequence that counts down, or has begun again, is told by its sign alone.
    return restored is not None and (restored >= wanted if wanted >= 0 else restored <= wanted)


def _large_objects(wanted: LargeObjects, restored: LargeObjects) -> Assertion:
    problems = []
    if restored.count != wanted.count:
        problems.append(f"{restored.count:,} instead of {wanted.count:,}")
    elif restored.checksum != wanted.checksum:
        problems.append(f"their checksum is {restored.checksum} instead of {wanted.checksum}")
    return _assertion("large objects", problems, f"{wanted.count:,}: number and checksum equal")


def _objects(wanted: Contents, restored: Collection[Objects]) -> Assertion:
    before = {(one.kind, one.owner): one.count for one in wanted.objects}
    now = {(one.kind, one.owner): one.count for one in restored}
    problems = [
        f"{owner} owns {now.get((kind, owner), 0)} of kind {kind} instead of {before.get((kind, owner), 0)}"
        for kind, owner in sorted(before.keys() | now.keys())
        if before.get((kind, owner), 0) != now.get((kind, owner), 0)
    ]
    return _assertion(
        "objects", problems, f"{sum(before.values()):,} of {len(before)} kinds and owners equal"
    )


def _constraints(connection: Connection) -> Assertion:
    """Those that are valid no more are found among the objects; here it is told how many there are."""
    query = """
        SELECT count(*) FILTER (WHERE convalidated), count(*) FILTER (WHERE NOT convalidated)
        FROM pg_constraint AS k JOIN pg_namespace AS n ON n.oid = k.connamespace
        WHERE k.contype IN ('c', 'f', 'p', 'u', 'x')
          AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        """
    valid, invalid = postgres.rows(connection, query)[0]
    more = f"; {invalid:,} not validated, as in the source" if invalid else ""
    return Assertion(name="constraints", held=True, detail=f"{valid:,} valid{more}")


def indexes(connection: Connection) -> list[Assertion]:
    """Say whether the indexes are valid and, by amcheck, in order and complete; nothing is changed."""
    health = index_health.check(connection)
    valid = _assertion("indexes", health.broken, f"{health.valid:,} valid")
    if health.reason is not None:
        detail = f"not checked: amcheck cannot be used: {health.reason}"
        return [valid, Assertion(name="amcheck", held=None, detail=detail)]
    more = f"; {health.others} indexes of other kinds, which amcheck does not know" if health.others else ""
    detail = f"{health.trees - len(health.unchecked):,} B-trees in order, with every row in them{more}"
    judged = _assertion("amcheck", [*health.broken, *health.unchecked], detail)
    if health.unchecked and not health.broken:
        judged = judged.model_copy(update={"held": None, "detail": f"{detail}; {judged.detail}"})
    return [valid, judged]


def _extensions(wanted: Contents, connection: Connection) -> Assertion:
    now = {one.name: one for one in contents.extensions(connection)}
    problems, newer = [], []
    for one in wanted.extensions:
        there = now.get(one.name)
        if there is None:
            problems.append(f"{one.name} is missing")
        elif there.schema_name != one.schema_name:
            problems.append(f"{one.name} is in schema {there.schema_name} instead of {one.schema_name}")
        elif _numbers(there.version) < _numbers(one.version):
            problems.append(f"{one.name} is {there.version}, older than {one.version}")
        elif there.version != one.version:
            newer.append(f"{one.name} {there.version} instead of {one.version}")
    if newer and not problems:
        return Assertion(name="extensions", held=None, detail=f"newer on this server: {', '.join(newer)}")
    detail = ", ".join(f"{one.name} {one.version}" for one in wanted.extensions)
    return _assertion("extensions", problems, detail or "none")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _roles(connection: Connection, wanted: Collection[str]) -> Assertion:
    there = {name for (name,) in postgres.rows(connection, "SELECT rolname FROM pg_roles")}
    problems = [f"{name} is missing" for name in wanted if name not in there]
    return _assertion("roles", problems, f"{len(wanted)} that own or may use something")


def _database(wanted: Database, restored: Database) -> list[Assertion]:
    problems = []
    if restored.encoding != wanted.encoding:
        problems.append(f"the encoding is {restored.encoding} instead of {wanted.encoding}")
    for what in ("collate", "ctype", "locale_provider", "locale"):
        before, now = getattr(wanted, what), getattr(restored, what)
        if _spelt(before) != _spelt(now):
            problems.append(f"{what} is {now} instead of {before}")
    if restored.icu_rules != wanted.icu_rules:
        problems.append(f"icu_rules is {restored.icu_rules} instead of {wanted.icu_rules}")
    owner = [] if restored.owner == wanted.owner else [f"it is {restored.owner} instead of {wanted.owner}"]
    detail = f"{wanted.encoding}, {wanted.collate}"
    return [
        _assertion("encoding and locale", problems, detail),
        _assertion("database owner", owner, wanted.owner),
    ]


def _spelt(locale: str | None) -> str:
    """Return a locale as all systems spell it: en_US.UTF-8 is en_US.utf8."""
    return (locale or "").lower().replace("-", "")


def _assertion(name: str, problems: Sequence[str], held: str) -> Assertion:
    if not problems:
        return Assertion(name=name, held=True, detail=held)
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return Assertion(name=name, held=False, detail="; ".join(problems[:SHOWN]) + more)
