"""What the analysts declare: reads their repository and tells all problems at once, with file and line."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.catalog import marts
from pipeline.catalog.check_kinds import Check
from pipeline.catalog.dashboard_files.board import Card, Dashboard, Filter, Format, Past, Place, Reach, Tab
from pipeline.catalog.marts import Mart
from pipeline.catalog.source_files import sources
from pipeline.catalog.source_files.columns import Accepted, Column, NullRate, Range
from pipeline.catalog.source_files.conditions import Condition
from pipeline.catalog.source_files.relations import SCHEMA, Sources
from pipeline.catalog.source_files.tables import Source, Table
from pipeline.catalog.values import (
    Changes,
    Deletes,
    DriftAction,
    DriftKind,
    Level,
    Mask,
    Materialize,
    Quarantine,
    RelationKind,
)
from pipeline.catalog.whole import Catalog
from pipeline.errors import ProblemsError

__all__ = [
    "Accepted",
    "Card",
    "Catalog",
    "Changes",
    "Check",
    "Column",
    "Condition",
    "Dashboard",
    "Deletes",
    "DriftAction",
    "DriftKind",
    "Filter",
    "Format",
    "Level",
    "Mart",
    "Mask",
    "Materialize",
    "NullRate",
    "Past",
    "Place",
    "Quarantine",
    "Range",
    "Reach",
    "RelationKind",
    "Repository",
    "Source",
    "Tab",
    "Table",
    "read",
    "read_repository",
    "read_sources",
]

# What is read: files of this ending, each directly in its folder.
_ENDINGS = {"sources": ".yaml", "marts": ".sql", "dashboards": ".yaml", "tasks": ".py"}
# A task may import what lies below its folder; a mart there is told by who reads marts.
_WITHOUT_SUBFOLDERS = ("sources", "dashboards")


@dataclass(frozen=True)
class Repository:
    """All that an analysts' repository holds; `tasks` are the names of the files in tasks/."""

    catalog: Catalog
    dashboards: dict[str, Dashboard]
    tasks: tuple[str, ...]


def read(directory: Path) -> Catalog:
    """Return what `directory`, an analysts' repository, declares to be loaded and built.

    Raise ProblemsError with the problems of all sources and marts, each as
    `sources/hr.yaml:12: what: to do`. Dashboards and tasks are no reason not to load.
    """
    _, catalog, problems = _read(directory)
    if problems:
        raise ProblemsError(problems)
    return catalog


def read_sources(directory: Path) -> Catalog:
    """Return the sources alone that `directory` declares, for who runs no SQL of the analysts.

    SQL is not read at all, so that what is wrong in it, or in marts, stops nobody. Raise ProblemsError.
    """
    declared = sources.read(directory, queries=False)
    if declared.problems:
        raise ProblemsError(declared.problems)
    return Catalog(sources=declared.read)


def read_repository(directory: Path) -> Repository:
    """Return all that an analysts' repository holds. Raise ProblemsError with the problems of every file."""
    from pipeline.catalog.dashboard_files import dashboards  # noqa: PLC0415 - no load has need of them

    declared, catalog, problems = _read(directory)
    shown, more = dashboards.read(directory, declared, catalog.marts, marts.named(directory))
    tasks = sorted((directory / "tasks").rglob("*.py"))
    problems += [*more, *(problem for path in tasks if (problem := _compiles(path, directory)))]
    problems += _strays(directory)
    if problems:
        raise ProblemsError(problems)
    return Repository(catalog, shown, tuple(str(path.relative_to(directory)) for path in tasks))


def _read(directory: Path) -> tuple[Sources, Catalog, list[str]]:
    declared = sources.read(directory)
    built, problems = marts.read(directory, declared)
    problems = [*declared.problems, *sources.unknown_relations(declared, marts.named(directory)), *problems]
    lines = declared.lines.items()
    places = {f"{source}.{name}": f"{sources.FOLDER}/{source}.yaml:{line}" for (source, name), line in lines}
    places |= {f"{SCHEMA}.{mart.name}": f"{mart.file}:1" for mart in built.values()}
    return declared, Catalog(sources=declared.read, marts=built, places=places), problems


def _compiles(path: Path, directory: Path) -> str | None:
    """Return what is wrong with a Python file as far as can be told without running it."""
    shown = path.relative_to(directory)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(path.read_bytes(), str(shown), "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"{shown}:{error.lineno or 1}: is not valid Python: {error.msg}; correct it"
    except (OSError, ValueError):
        return f"{shown}:1: cannot be read as Python; correct the file or its permissions"
    return None


def _strays(directory: Path) -> Iterator[str]:
    """Yield each file that looks as if it declared something, and stands where nobody reads it.

    By names as on a file system that does not tell upper from lower case: what an analyst's own machine
    reads, the server's may not.
    """
    for path in sorted(directory.glob("*")):
        lower = path.name.lower()
        if lower in _ENDINGS and path.name != lower and path.is_dir():
            yield f"{path.name}:1: is not read; rename it to {lower}"
    for folder, ending in _ENDINGS.items():
        for path in sorted((directory / folder).rglob("*")):
            inside = path.relative_to(directory / folder)
            if path.suffix.lower() != ending or any(part.startswith((".", "__")) for part in inside.parts):
                continue
            if len(inside.parts) > 1 and folder in _WITHOUT_SUBFOLDERS:
                yield f"{folder}/{inside}:1: is in a subfolder, which is not read; move it to {folder}/"
            elif len(inside.parts) == 1 and path.suffix != ending:
                yield f"{folder}/{inside}:1: must end in {ending}; rename it"
