"""What can be read by name: the tables of the sources, as far as their files could be read, and the marts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline import names
from pipeline.catalog import queries
from pipeline.catalog.source_files.tables import Source, Table

# Where marts are.
SCHEMA = "mart"
# What the platform itself shows to dashboards, with its columns.
PLATFORM: dict[str, tuple[str, ...]] = {
    "platform.tables": ("name", "source", "rows", "quarantined", "as_of", "loaded_at", "age_hours"),
    "platform.marts": ("name", "run", "kind", "rows", "built_at", "as_of", "age_hours"),
    "platform.runs": ("run", "name", "day", "state", "started_at", "finished_at", "attempts", "minutes"),
    "platform.loads": (
        "run",
        "day",
        "name",
        "source",
        "mode",
        "rows",
        "new",
        "changed",
        "deleted",
        "loaded_at",
    ),
    "platform.checks": (
        "run",
        "day",
        "name",
        "check_name",
        "level",
        "passed",
        "observed",
        "expected",
        "checked_at",
    ),
    "platform.backups": (
        "database",
        "run",
        "day",
        "taken_at",
        "verified_at",
        "size_mb",
        "database_mb",
        "tables",
        "rows",
        "seconds",
        "age_hours",
    ),
    "platform.drills": (
        "database",
        "month",
        "held",
        "grade",
        "recovery_minutes",
        "deadline_minutes",
        "finished_at",
    ),
    "platform.archive_drills": (
        "database",
        "month",
        "held",
        "grade",
        "recovery_minutes",
        "deadline_minutes",
        "finished_at",
    ),
    "platform.alerts": ("key", "kind", "summary", "run", "since", "told_at", "open"),
    "platform.audits": ("name", "source", "result", "rows", "missing", "altered", "surplus", "audited_at"),
}


@dataclass
class Sources:
    """The sources of a repository, those whose files could not be read as they should be, and why."""

    read: dict[str, Source] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    # Of source and table.
    lines: dict[tuple[str, str], int] = field(default_factory=dict)
    # What sql checks read beside their own tables, each with its file, line and place.
    named: list[tuple[str, queries.Relation]] = field(default_factory=list)


def relation_problem(relation: queries.Relation, sources: "Sources", marts: set[str]) -> str | None:
    """Return why nothing of that schema and name can be read, with what to do, or None if it can."""
    if relation.schema == SCHEMA:
        return None if relation.name in marts else f"no such mart; {names.advice(relation.name, marts)}"
    if relation.schema in sources.faulty:
        return None  # what is wrong there is told already
    if relation.schema not in sources.read:
        return f"no such source; {names.advice(relation.schema, [*sources.read, SCHEMA])}"
    tables = sources.read[relation.schema].tables
    there = [*tables, *(f"{table.name}_history" for table in tables.values() if table.history)]
    if relation.name in there:
        return None
    if (like := sources.read[relation.schema].everything) is not None:
        # Which tables there are only the source knows.
        stays = sources.read[relation.schema].leaves(like.schema_name, relation.name)
        file = f"sources/{relation.schema}.yaml"
        return f"stays in the source; remove it from leave in {file}" if stays else None
    return _undeclared(relation, tables, there)


def _undeclared(relation: queries.Relation, tables: Mapping[str, Table], there: Sequence[str]) -> str:
    if relation.name.removesuffix("_history") in tables:
        table = relation.name.removesuffix("_history")
        return f"no history is kept; write 'history: true' under {table} in sources/{relation.schema}.yaml"
    return (
        f"no such table ({names.advice(relation.name, there)}); "
        f"to load it, add it to sources/{relation.schema}.yaml"
    )
