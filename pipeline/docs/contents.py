"""Contents: all that the page tells, from the analysts' files and, where there is one, from the warehouse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline import postgres
from pipeline.access import Access
from pipeline.catalog import Check, Column, Mart, Repository, Table, lineage
from pipeline.ledger import checks as checks_of
from pipeline.ledger.checks import PastResult
from pipeline.loading import checking
from pipeline.marts.build import Built
from pipeline.observe import overview
from pipeline.observe.overview import Status
from pipeline.postgres import Connection
from pipeline.warehouse import roles

MART = roles.MART


@dataclass(frozen=True)
class ColumnEntry:
    """A column of the warehouse, or one that is only declared: then its type is not known."""

    name: str
    type: str = ""
    required: bool = False
    description: str = ""
    mask: str = ""


@dataclass(frozen=True)
class CheckEntry:
    """A check with its last results, the oldest first: whether it held, in which run, and what was seen."""

    name: str
    level: str
    past: Sequence[tuple[bool, str, str]] = ()
    # When it was looked at last.
    at: datetime | None = None

    @property
    def holds(self) -> bool | None:
        """Whether it held the last time; None if it was never looked at."""
        return self.past[-1][0] if self.past else None


@dataclass(frozen=True)
class Relation:
    """A table or a mart: what it is, how it is, what it is made of and who uses it.

    `reads` are the columns that a mart reads of each relation, by the server's account.
    """

    name: str
    description: str
    kind: str
    columns: Sequence[ColumnEntry]
    checks: Sequence[CheckEntry]
    made_of: Sequence[str]
    used_by: Sequence[str]
    how: Sequence[str] = ()
    sql: str = ""
    rows: int | None = None
    as_of: datetime | None = None
    state: str = ""
    reads: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """Everything on the page. `seen` is whether the warehouse could be looked at."""

    relations: Sequence[Relation]
    dashboards: Mapping[str, str]
    lineage: lineage.Lineage
    made_at: datetime
    seen: bool

    @property
    def groups(self) -> Mapping[str, Sequence[Relation]]:
        """Return the things by schema, marts last."""
        by_schema: dict[str, list[Relation]] = {}
        for entry in sorted(self.relations, key=lambda one: (one.kind == MART, one.name)):
            by_schema.setdefault(entry.name.partition(".")[0], []).append(entry)
        return by_schema


@dataclass(frozen=True)
class _Seen:
    """What the warehouse knows."""

    columns: Mapping[str, Sequence[ColumnEntry]] = field(default_factory=dict)
    described: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Sequence[CheckEntry]] = field(default_factory=dict)
    tables: Mapping[str, overview.Table] = field(default_factory=dict)


def gather(repository: Repository, databases: Access | None) -> Contents:
    """Return what there is to tell; without `databases` what the files alone say."""
    seen = _Seen()
    if databases is not None:
        with databases.warehouse(autocommit=True) as warehouse:
            seen = _read(databases, warehouse, sorted({*repository.catalog.sources, MART}))
    known = lineage.of(repository.catalog, repository.dashboards)
    relations = [
        *(
            _table(one, seen, known)
            for source in repository.catalog.sources.values()
            for one in source.tables.values()
        ),
        *(_mart(one, seen, known) for one in repository.catalog.marts.values()),
    ]
    titles = {name: one.title for name, one in repository.dashboards.items()}
    return Contents(relations, titles, known, datetime.now(UTC), databases is not None)


def _read(databases: Access, warehouse: Connection, schemas: Sequence[str]) -> _Seen:
    columns: dict[str, list[ColumnEntry]] = {}
    described: dict[str, str] = {}
    for row in postgres.records(warehouse, postgres.statement("docs/described_columns"), (list(schemas),)):
        relation, of_relation = row.pop("relation"), row.pop("of_relation")
        columns.setdefault(relation, []).append(ColumnEntry(**row))
        described[relation] = of_relation
    past: dict[tuple[str, str], list[PastResult]] = {}
    for one in checks_of.history(warehouse):
        past.setdefault((one.name, one.check), []).append(one)
    checks: dict[str, list[CheckEntry]] = {}
    for (name, check), results in past.items():
        last = results[-1]
        seen = [(one.passed, one.run, one.observed) for one in results]
        checks.setdefault(name, []).append(CheckEntry(check, last.level, seen, last.at))
    tables = {one.name: one for one in overview.summarize(databases, warehouse, None).tables}
    return _Seen(columns, described, checks, tables)


def _table(table: Table, seen: _Seen, known: lineage.Lineage) -> Relation:
    name = f"{table.source}.{table.name}"
    how = [f"changes: {table.changes}" + (f" by {table.cursor}" if table.cursor else "")]
    how += [f"deletes: {table.deletes}", *(["every version is kept"] if table.history else [])]
    how += ['included by "*": its masks are guessed from column names'] if table.by_wildcard else []
    origin = f"{table.schema_name}.{table.relation}"
    if origin != f"public.{table.name}":
        how.append(f"is {origin} in the source")
    return _relation(name, table.description or "", "table", table.columns, table.checks, seen, known, how)


def _mart(mart: Mart, seen: _Seen, known: lineage.Lineage) -> Relation:
    how = [f"a {mart.materialize}", *(f"index on {', '.join(columns)}" for columns in mart.indexes)]
    name = f"{MART}.{mart.name}"
    return _relation(
        name, mart.description, MART, mart.rules, mart.checks, seen, known, how, mart.sql.strip()
    )


def _relation(
    name: str,
    description: str,
    kind: str,
    rules: Mapping[str, Column],
    checks: Sequence[Check],
    seen: _Seen,
    known: lineage.Lineage,
    how: Sequence[str],
    sql: str = "",
) -> Relation:
    now = seen.tables.get(name)
    built = Built.of(now.last) if now else None
    return Relation(
        name,
        description or seen.described.get(name, ""),
        kind,
        _columns(name, rules, seen),
        _checks(name, rules, checks, seen),
        tuple(known.get(name, ())),
        sorted(one for one in known if name in known[one]),
        tuple(how),
        sql,
        now.rows if now else None,
        now.as_of if now else None,
        _state(now),
        built.reads if built else {},
    )


def _state(now: overview.Table | None) -> str:
    """Return how a thing is; one that has its first night before it is not fresh, but not late either."""
    if now is None:
        return ""
    return "new" if now.state == Status.OK and now.as_of is None else now.state


def _columns(name: str, rules: Mapping[str, Column], seen: _Seen) -> list[ColumnEntry]:
    """Return the columns that there are, with what is declared of them, and those that are only declared."""
    there = {column.name: column for column in seen.columns.get(name, ())}
    only = {column: ColumnEntry(column) for column in rules if column not in there}
    columns = []
    for column in (*there.values(), *only.values()):
        rule = rules.get(column.name)
        text = (rule.description if rule else None) or column.description
        mask = (rule.mask if rule else None) or ""
        columns.append(ColumnEntry(column.name, column.type, column.required, text, mask))
    return columns


def _checks(name: str, rules: Mapping[str, Column], checks: Sequence[Check], seen: _Seen) -> list[CheckEntry]:
    """Return the checks with their past; where nothing was looked at yet, what is declared."""
    if with_past := seen.checks.get(name):
        # What is told of a table's shape is there only on the day it changed, and then may be all there is.
        others = [one for one in with_past if not one.name.startswith(checking.DRIFT)]
        counted = {_latest(with_past), _latest(others)}
        return [one for one in with_past if one.past[-1][1] in counted]
    declared = [CheckEntry(_words(check), check.level) for check in checks]
    for column, rule in rules.items():
        for kind in ("null_rate", "accepted", "range"):
            if one := getattr(rule, kind):
                declared.append(CheckEntry(f"{column} {kind.replace('_', ' ')}", one.level))
    return declared


def _latest(checks: Sequence[CheckEntry]) -> str | None:
    """Return the run in which a table was looked at last: all its results of a run are written together."""
    looked = [(one.at, one.past[-1][1]) for one in checks if one.at]
    return max(looked)[1] if looked else None


def _words(check: Check) -> str:
    declared = check.model_dump(exclude_defaults=True, exclude={"level", "quarantine"})
    value = declared.get(check.kind, "")
    if isinstance(value, dict):
        return f"{check.kind} " + ", ".join(f"{key} {one}" for key, one in value.items())
    return f"{check.kind} " + (", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value))
