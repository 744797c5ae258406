"""Listing: which tables a source has, for one that declares all of them by `*`.

The source is asked once for a run, as that begins, and the ledger keeps what it said: every step of the run,
on whichever machine, goes by that. Where no run is meant, what was said last counts.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline import access, alerts, ledger, postgres
from pipeline.access import Access
from pipeline.alerts import Alert
from pipeline.catalog import Catalog, RelationKind, Source
from pipeline.catalog.as_written import ALL
from pipeline.catalog.source_files import everything
from pipeline.catalog.source_files.everything import LeftOut, Listed
from pipeline.catalog.source_files.guesses import Relation
from pipeline.errors import PipelineError
from pipeline.postgres import Connection
from pipeline.redact import redact
from pipeline.settings import Settings

logger = logging.getLogger(__name__)

# So many are named, more are counted.
FEW = 10


def survey(connection: Connection, source: str) -> list[Relation]:
    """Return the tables and views of a live source, as its role sees them."""
    with postgres.explained(f"source {source}"):
        return postgres.read(connection, postgres.statement("loading/survey"), _relation)


def _relation(
    *, kind: str, key: Sequence[str], indexed: Sequence[str], columns: Sequence[Sequence[str]], **fields: Any
) -> Relation:
    return Relation(
        kind=RelationKind(kind),
        key=tuple(key),
        indexed=frozenset(indexed),
        columns=tuple((name, type_name) for name, type_name in columns),
        **fields,
    )


def of_run(settings: Settings, declared: Catalog, name: str, run: str) -> Source:
    """Return a source with the tables that this run loads. Ask it for them if the run has not done so yet.

    If it is out of reach, with those that it had when it was asked last, and perhaps none: the step that
    opens its snapshot tells why.
    """
    source = declared.source(name)
    if source.everything is None:
        return source
    databases = access.brief(settings)
    with databases.asking() as warehouse:
        ledger.require_migrated(warehouse)
        entries = ledger.listing(warehouse, name, run)
        there = (
            _listed(entries) if entries is not None else _asked(databases, warehouse, declared, source, run)
        )
    return everything.expanded(source, there, declared.sources.values())[0]


def known(settings: Settings, declared: Catalog) -> Catalog:
    """Return the catalog with the tables that each source had when it was asked last, as the ledger knows."""
    if not any(source.everything for source in declared.sources.values()):
        return declared
    with access.brief(settings).asking() as warehouse:
        ledger.require_migrated(warehouse)
        return known_to(warehouse, declared)


def known_to(warehouse: Connection, declared: Catalog) -> Catalog:
    """Return the same, for who has a connection."""
    sources = {
        source.name: everything.expanded(source, last(warehouse, source.name), declared.sources.values())[0]
        for source in declared.sources.values()
        if source.everything is not None
    }
    return with_sources(declared, sources)


def with_sources(declared: Catalog, sources: Mapping[str, Source]) -> Catalog:
    """Return the catalog with these sources in place of its own of the same names."""
    places = {
        f"{source.name}.{table.name}": declared.places.get(f"{source.name}.{ALL}", "")
        for source in sources.values()
        for table in source.tables.values()
        if table.by_wildcard
    }
    return declared.model_copy(
        update={"sources": {**declared.sources, **sources}, "places": {**places, **declared.places}}
    )


def last(warehouse: Connection, name: str) -> list[Listed]:
    """Return the tables that a source had when it was asked last."""
    return _listed(ledger.last_listing(warehouse, name) or ())


def now(
    warehouse: Connection, theirs: Connection, declared: Catalog, source: Source
) -> tuple[Source, list[LeftOut]]:
    """Return a source with the tables that it has at this moment, and what it cannot be loaded with."""
    there = _merged(warehouse, source, survey(theirs, source.name))
    return everything.expanded(source, there, declared.sources.values())


def _asked(
    databases: Access, warehouse: Connection, declared: Catalog, source: Source, run: str
) -> list[Listed]:
    before = ledger.last_listing(warehouse, source.name)
    try:
        with databases.source(source.name) as theirs:
            relations = survey(theirs, source.name)
    except PipelineError as error:
        logger.warning("source %s: its tables could not be listed: %s", source.name, redact(str(error)))
        return _listed(before or ())
    there = _merged(warehouse, source, relations)
    if ledger.keep_listing(warehouse, source.name, run, [_entry(one) for one in there]):
        _send_notice(databases.settings, declared, source, _listed(before or ()), there)
        return there
    return _listed(ledger.listing(warehouse, source.name, run) or ())


def _merged(warehouse: Connection, source: Source, relations: Sequence[Relation]) -> list[Listed]:
    """Return what is there, and what was there and was loaded: that it is gone is not passed over."""
    loaded = ledger.loaded_tables(warehouse, source.name)
    before = {_name(one): one for one in last(warehouse, source.name)}
    listed = [
        Listed(
            relation,
            before[name].since if (name := _of(relation)) in before else datetime.now(UTC),
            loaded=relation.name in loaded,
        )
        for relation in relations
        if relation.kind in everything.KINDS and relation.extension is None
    ]
    there = {_name(one) for one in listed}
    gone = [
        one
        for name, one in before.items()
        if name not in there and one.relation.name in loaded and everything.meant(source, one.relation)
    ]
    return [*listed, *gone]


def _of(relation: Relation) -> tuple[str, str]:
    return relation.schema, relation.name


def _name(listed: Listed) -> tuple[str, str]:
    return _of(listed.relation)


def _entry(listed: Listed) -> ledger.Entry:
    relation = listed.relation
    return {
        "schema": relation.schema,
        "name": relation.name,
        "kind": relation.kind,
        "readable": relation.readable,
        "key": relation.key,
        "key_is_primary": relation.key_is_primary,
        "columns": relation.columns,
        "since": listed.since.isoformat(),
        "loaded": listed.loaded,
    }


def _listed(entries: Sequence[ledger.Entry]) -> list[Listed]:
    return [
        Listed(
            Relation(
                one["schema"],
                one["name"],
                RelationKind(one["kind"]),
                readable=one["readable"],
                key=tuple(one["key"]),
                key_is_primary=one["key_is_primary"],
                columns=tuple((column, type_name) for column, type_name in one["columns"]),
            ),
            datetime.fromisoformat(one["since"]),
            loaded=one["loaded"],
        )
        for one in entries
    ]


def _send_notice(
    settings: Settings, declared: Catalog, source: Source, before: Sequence[Listed], there: Sequence[Listed]
) -> None:
    """Tell which tables have come, what of them is masked, and which cannot be loaded: nobody named them."""
    others = declared.sources.values()
    (was, left_before), (now_, left) = (
        everything.expanded(source, listed, others) for listed in (before, there)
    )
    new = sorted(now_.tables.keys() - was.tables.keys())
    masked = sorted(guessed(now_) - guessed(was))
    left = [one for one in left if one not in left_before]
    lines = [f'tables included by "{ALL}": {_few(new)}'] if new else []
    lines += [f"columns that look personal and are masked: {_few(masked)}"] if masked else []
    lines += (
        [f"tables that are left out: {_few([f'{one.name} ({one.why})' for one in left])}"] if left else []
    )
    if lines:
        alerts.send(settings, _notice(source, "; ".join(lines)))


def _notice(source: Source, summary: str) -> Alert:
    return Alert(
        key=f"found/{source.name}",
        kind=alerts.Kind.NOTICE,
        summary=f"{source.name}: new: {summary}",
        hint=f"to keep a table out, write its name under leave in sources/{source.name}.yaml; to choose "
        "its masks, give it a line of its own",
        command=f"pipeline plan {source.name}",
    )


def guessed(source: Source) -> set[str]:
    """Return the columns that are masked in tables which nobody described, each with its mask."""
    return {
        f"{table.name}.{name} ({column.mask})"
        for table in source.tables.values()
        if table.by_wildcard
        for name, column in table.columns.items()
        if column.mask
    }


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more
