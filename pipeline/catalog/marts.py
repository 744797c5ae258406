"""Reads marts/NAME.sql: one SELECT each, and the tables and marts that it reads."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipeline import names
from pipeline.catalog import heading, queries
from pipeline.catalog.check_kinds import Check
from pipeline.catalog.source_files.columns import Column
from pipeline.catalog.source_files.relations import SCHEMA, Sources, relation_problem
from pipeline.catalog.values import Materialize

FOLDER = "marts"
Problem = tuple[int, str]


class Mart(BaseModel):
    """One mart: a view or a table `mart.NAME` made by a SELECT."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str
    # The SELECT as it is written, with its comments and without a ; at its end.
    sql: str
    # What it is, in the words of the comment that the file begins with.
    description: str = ""
    materialize: Materialize = Materialize.VIEW
    # With materialize: table, the columns of each index.
    indexes: tuple[tuple[str, ...], ...] = ()
    # What must hold before anybody sees the rows.
    rules: Mapping[str, Column] = {}
    checks: tuple[Check, ...] = ()
    # The relations that the SELECT names, as they are named.
    relations: tuple[str, ...] = ()
    # What must be loaded or built before: `hr.employee` (for its history as well), `mart.x`.
    reads: tuple[str, ...] = ()
    # Every column name that the SELECT contains, of whichever table; "*" if there is one.
    columns: frozenset[str] = frozenset()
    # What it gives, `mart.staff.*` for all columns of another relation; None where files do not tell.
    gives: tuple[str, ...] | None = None

    @property
    def file(self) -> str:
        """Where it is declared, in the analysts' repository."""
        return f"{FOLDER}/{self.name}.sql"

    @property
    def digest(self) -> str:
        """What tells this declaration from any other of the same name."""
        parts = self.model_dump(
            mode="json", exclude={"columns", "reads", "relations", "description", "gives"}
        )
        return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()


def read(directory: Path, sources: Sources) -> tuple[dict[str, Mart], list[str]]:
    """Return the marts of a repository by name, and the problems of their files."""
    folder = directory / FOLDER
    problems = [
        f"{path.relative_to(directory)}:1: is in a subfolder, which is not read; move it to {FOLDER}/"
        for path in sorted(folder.glob("*/**/*.sql"))
    ]
    known = named(directory)
    marts: dict[str, Mart] = {}
    for path in sorted(folder.glob("*.sql")):
        wrong, mart = _read_mart(path, sources, known)
        problems += [f"{FOLDER}/{path.name}:{line}: {what}" for line, what in wrong]
        if mart is not None:
            marts[mart.name] = mart
    problems += _cycles(marts)
    return marts, problems


def named(directory: Path) -> set[str]:
    """Return the names of all marts, readable or not."""
    return {path.stem for path in (directory / FOLDER).glob("*.sql")}


def _read_mart(path: Path, sources: Sources, known: set[str]) -> tuple[list[Problem], Mart | None]:
    problems: list[Problem] = [(1, problem)] if (problem := _name_problem(path.stem)) else []
    try:
        # Editors of Windows begin a file with a mark, which the server takes for SQL.
        text = path.read_text(encoding="utf-8-sig").rstrip().rstrip(";")
        query = queries.parse(text)
    except (OSError, UnicodeDecodeError):
        return [(1, "cannot be read as UTF-8 text; correct the file or its permissions")], None
    except queries.QueryError as error:
        return [*problems, (error.line, error.problem)], None
    prose, declared, wrong, named_by_checks = heading.read(text)
    problems += wrong
    reads: dict[str, None] = {}
    relations: dict[str, None] = {}
    own = [(relation.line, relation) for relation in query.relations]
    for line, relation in (*own, *named_by_checks):
        if problem := _relation_problem(relation, sources, known):
            problems.append((line, f"{relation}: {problem}"))
        else:
            reads[_dependency(relation, sources)] = None
    relations.update((str(relation), None) for relation in query.relations)
    mart = Mart(
        name=path.stem,
        sql=text,
        description=prose,
        materialize=declared.materialize,
        indexes=declared.indexes,
        rules=declared.columns,
        checks=declared.checks,
        relations=tuple(relations),
        reads=tuple(reads),
        columns=query.columns,
        gives=query.gives,
    )
    return problems, mart


def _name_problem(name: str) -> str | None:
    # A mart is not bound to the names that schemas of the warehouse have.
    return None if name in names.RESERVED else names.problem(name)


def _relation_problem(relation: queries.Relation, sources: Sources, known: set[str]) -> str | None:
    if not relation.schema:
        owners = [source.name for source in sources.read.values() if relation.name in source.tables]
        owners += [SCHEMA] if relation.name in known else []
        example = f"{owners[0] if owners else 'hr'}.{relation.name}"
        return f"is named without a schema; write its source or {SCHEMA} before it, such as {example}"
    return relation_problem(relation, sources, known)


def _dependency(relation: queries.Relation, sources: Sources) -> str:
    source = sources.read.get(relation.schema)
    if source is None or relation.name in source.tables:
        return str(relation)
    table = relation.name.removesuffix("_history")
    # Of tables that only the source knows, one may be called so.
    like = source.tables.get(table, source.everything)
    is_one = source.everything is not None and like is not None and not like.history
    return str(relation) if is_one else f"{relation.schema}.{table}"


def _cycles(marts: Mapping[str, Mart]) -> Iterator[str]:
    """Tell each circle once, in the file of its first mart."""
    reported: set[str] = set()
    for name in sorted(marts):
        circle = _way_back(name, marts)
        if circle and not reported.intersection(circle):
            reported.update(circle)
            by_way_of = " by way of " + ", ".join(f"{SCHEMA}.{each}" for each in circle[1:])
            yield (
                f"{FOLDER}/{name}.sql:1: reads itself{by_way_of if circle[1:] else ''}; "
                "take one of these out of the other's SELECT"
            )


def _way_back(start: str, marts: Mapping[str, Mart]) -> list[str]:
    """Return the marts from `start` to one that reads it, or none if there is no such way."""
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop(0)
        for read_by_it in marts[way[-1]].reads:
            schema, _, name = read_by_it.partition(".")
            if schema != SCHEMA or name not in marts:
                continue
            if name == start:
                return way
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []
