"""Everything: the tables that `*` stands for, by what the source says that it has."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline import names
from pipeline.catalog.as_written import EMPTYING
from pipeline.catalog.source_files import guesses
from pipeline.catalog.source_files.columns import Column
from pipeline.catalog.source_files.guesses import Relation
from pipeline.catalog.source_files.rules import HISTORY
from pipeline.catalog.source_files.tables import Source, Table, with_masks
from pipeline.catalog.values import Changes, Mask, RelationKind
from pipeline.names import in_yaml

# Tables, partitioned ones too. A view is read in full every night and may show anything: it has its own line.
KINDS = (RelationKind.TABLE, RelationKind.PARTITIONED)


@dataclass(frozen=True)
class Listed:
    """A table of a source: since when it is known, and whether it was ever loaded.

    One that was loaded is never left out for being gone, or closed to us: its step says so.
    """

    relation: Relation
    since: datetime
    loaded: bool = False


@dataclass(frozen=True)
class LeftOut:
    """A table that `*` means and that cannot be loaded, with why, and what to do."""

    name: str
    why: str


def meant(source: Source, relation: Relation) -> bool:
    """Whether `*` means a table: it has no line of its own, and is not to stay in the source."""
    like = source.everything
    return (
        like is not None
        and relation.kind in KINDS
        and relation.schema == like.schema_name
        and relation.extension is None
        and not source.leaves(relation.schema, relation.name)
        and all(
            (one.schema_name, one.relation) != (relation.schema, relation.name) for one in by_name(source)
        )
    )


def by_name(source: Source) -> Iterator[Table]:
    """Yield the tables that have a line of their own."""
    return (table for table in source.tables.values() if not table.by_wildcard)


def expanded(
    source: Source, there: Sequence[Listed], others: Iterable[Source] = ()
) -> tuple[Source, list[LeftOut]]:
    """Return the source with every table that it has of those that `*` means, and what is left out.

    `others` are the other sources: rows of two tables must not be set aside under one name.
    """
    if source.everything is None:
        return source, []
    tables = {table.name: table for table in by_name(source)}
    left = []
    for listed in there:
        if not meant(source, listed.relation):
            continue
        table = _table(source, source.everything, listed.relation)
        if why := _obstacle(listed, table, tables, others):
            left.append(LeftOut(f"{listed.relation.schema}.{listed.relation.name}", why))
        else:
            tables[table.name] = table
    return source.model_copy(update={"tables": with_masks(tables)}), left


def _obstacle(listed: Listed, table: Table, taken: dict[str, Table], others: Iterable[Source]) -> str | None:
    """Return why a table cannot be loaded as it is called, if it cannot."""
    if not (listed.relation.readable or listed.loaded):
        return "the source's role may not read it; GRANT SELECT on it, or write it under leave"
    name, schema = table.name, table.schema_name
    own = f"write {in_yaml(f'{schema}_{name}')}: {{schema: {in_yaml(schema)}, table: {in_yaml(name)}}}"
    if name in taken:
        return f"the name {name} is taken by {taken[name].schema_name}.{taken[name].relation}; {own}"
    kept = {f"{one.name}{HISTORY}" for one in taken.values() if one.history}
    if name in kept or (table.history and f"{name}{HISTORY}" in taken):
        return f"the name of a history is taken by it; {own}"
    if table.history and len(f"{name}{HISTORY}".encode()) > names.MAXIMUM_BYTES:
        return f"its name is too long for its history; {own}, or a shorter name"
    if any(_set_aside_alike(table, other) for other in others):
        return f"quarantine.{table.source}_{name} belongs to a table of another source; {own}"
    return None


def _set_aside_alike(table: Table, other: Source) -> bool:
    aside, prefix = f"{table.source}_{table.name}", f"{other.name}_"
    if other.name == table.source or not aside.startswith(prefix):
        return False
    return other.everything is not None or aside.removeprefix(prefix) in other.tables


def _table(source: Source, like: Table, relation: Relation) -> Table:
    """Return a table that nobody has described: its key, and its masks, as they are guessed."""
    there = {name for name, _ in relation.columns}
    by_cursor = like.changes == Changes.CURSOR and like.cursor in there
    changes = Changes.XMIN if like.changes == Changes.CURSOR and not by_cursor else like.changes
    columns = {name: Column(mask=mask) for name, mask in guesses.personal(relation).items()}
    columns |= {name: column for name, column in like.columns.items() if name in there}
    for name in relation.key:
        if name in columns and columns[name].mask in EMPTYING:
            columns[name] = columns[name].model_copy(update={"mask": Mask.HASH})
    if by_cursor and like.cursor in columns and columns[like.cursor].mask:
        changes, by_cursor = Changes.XMIN, False  # its greatest value would be remembered
    history = like.history and bool(relation.key)
    reserved = guesses.reserved(relation, history=history)
    columns |= {name: Column(mask=Mask.EXCLUDE) for name in reserved}
    return like.model_copy(
        update={
            "source": source.name,
            "name": relation.name,
            "relation": relation.name,
            "key": relation.key if relation.key and not relation.key_is_primary else None,
            "changes": changes if relation.key else Changes.FULL,
            "cursor": like.cursor if by_cursor and relation.key else None,
            "columns": columns,
            "history": history,
            "by_wildcard": True,
        }
    )
