"""Reads sources/*.yaml: the tables to load, and what is wrong in each file and between the files."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.catalog import document
from pipeline.catalog.queries import TABLE
from pipeline.catalog.source_files import rules, selection
from pipeline.catalog.source_files.relations import Sources, relation_problem
from pipeline.catalog.source_files.tables import DeclaredSource, Source, Table
from pipeline.catalog.source_files.validation import validated

FOLDER = "sources"


def read(directory: Path, *, queries: bool = True) -> Sources:
    """Read all files of sources/ in `directory`, an analysts' repository; without `queries` no SQL."""
    folder = directory / FOLDER
    sources = Sources()
    for path in sorted(folder.glob("*.yml")):
        sources.problems.append(f"{FOLDER}/{path.name}:1: must end in .yaml; rename it")
        sources.faulty.add(path.stem)
    for path in sorted(folder.glob("*.yaml")):
        source = _read_source(path, sources, queries=queries)
        if source is not None:
            sources.read[source.name] = source
        else:
            sources.faulty.add(path.stem)
    if not sources.read and not sources.faulty:
        sources.problems.append(
            f"{folder}: holds no .yaml file; write one for each source, or name another folder"
        )
    sources.problems += _clashes(sources)
    return sources


def _read_source(path: Path, sources: Sources, *, queries: bool) -> Source | None:
    shown = f"{FOLDER}/{path.name}"
    try:
        written = document.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        sources.problems.append(
            f"{shown}:1: cannot be read as UTF-8 text; correct the file or its permissions"
        )
        return None
    problems = list(written.problems)
    declared = None
    if not (problems and written.value is None):
        declared, more = validated(written, DeclaredSource)
        wrong_queries, named = rules.query_problems(written) if queries else ([], [])
        problems += [*more, *rules.problems(written, path.stem), *wrong_queries]
        problems += selection.problems(written)
        sources.named += [(f"{shown}:{line}: {place}", relation) for line, place, relation in named]
    tables = declared.tables if declared else {}
    sources.lines |= {(path.stem, name): written.line(("tables", name)) for name in tables}
    sources.problems += [f"{shown}:{line}: {what}" for line, what in sorted(set(problems))]
    return _placed(declared.resolved(), written) if declared and not problems else None


def _placed(source: Source, written: document.Document) -> Source:
    """Return the source, with the line of each condition: what a server finds in it is told with that."""
    tables = {
        name: table.model_copy(
            update={"where": table.where.model_copy(update={"line": written.line(("tables", name, "where"))})}
        )
        if table.where
        else table
        for name, table in source.tables.items()
    }
    return source.model_copy(update={"tables": tables})


def unknown_relations(sources: Sources, built: set[str]) -> Iterator[str]:
    """Find what sql checks read that is not a table of any source and none of the marts `built`."""
    for place, relation in sources.named:
        if not relation.schema:
            what = f"is named without a schema; write {TABLE}, or its source before it"
        else:
            what = relation_problem(relation, sources, built) or ""
        if what:
            yield f"{place}: {relation}: {what}"


def _clashes(sources: Sources) -> Iterator[str]:
    """Find tables whose failing rows would be set aside under one name: a.b_c and a_b.c."""
    taken: dict[str, Table] = {}
    for source in sources.read.values():
        for table in source.tables.values():
            name = f"{table.source}_{table.name}"
            other = taken.setdefault(name, table)
            if other is not table:
                yield (
                    f"{FOLDER}/{source.name}.yaml:{sources.lines[source.name, table.name]}: "
                    f"tables.{table.name}: quarantine.{name} belongs to "
                    f"{other.source}.{other.name} already; give it another name, and table: its own"
                )
