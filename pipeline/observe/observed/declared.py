"""What the analysts declare: tables and marts, each with when its file was written."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from psycopg2 import sql

from pipeline import catalog, chains, outage
from pipeline.catalog import Catalog, RelationKind
from pipeline.loading import listing
from pipeline.observe.observed.observations import Declared
from pipeline.postgres import Connection
from pipeline.settings import Settings
from pipeline.step import Step
from pipeline.warehouse import relation


def read(settings: Settings, warehouse: Connection) -> Declared:
    """Return the declared tables and marts, those that `*` brings among them. Raise as the catalog does."""
    checkout = settings.require_analysts().checkout
    return of(checkout, catalog.read(checkout), warehouse)


def of(checkout: Path, catalog: Catalog, warehouse: Connection | None = None) -> Declared:
    """Return what a catalog that was read there declares, each with when its file was written.

    With `warehouse` those tables too that `*` brings, each since it is known.
    """
    tables: dict[str, dict[str, datetime]] = {}
    complete = listing.known_to(warehouse, catalog) if warehouse is not None else catalog
    for source in catalog.sources.values():
        # Whoever declares a new table may wait for the next night like everybody else.
        written = _written(checkout / "sources" / f"{source.name}.yaml")
        tables[source.name] = dict.fromkeys(source.tables, written)
        if source.everything and warehouse is not None:
            since = {one.relation.name: one.since for one in listing.last(warehouse, source.name)}
            names = complete.source(source.name).tables
            tables[source.name] = {name: max(written, since.get(name, written)) for name in names}
    marts = {mart.name: _written(checkout / mart.file) for mart in catalog.marts.values()}
    reads = {mart.name: mart.reads for mart in catalog.marts.values()}
    return Declared(tables, marts, catalog.sources, reads)


def no_longer(warehouse: Connection, declared: Declared, last: Mapping[str, Step]) -> Iterator[str]:
    """Yield what is to be said of each table and mart that is still there and is no longer declared.

    What `leave` names stays as somebody wants it to. `last` is how each was last loaded, or built.
    """
    tables: dict[str, list[Step]] = {}
    for name, step in sorted(last.items()):
        schema, _, table = name.partition(".")
        target = sql.Identifier(schema, table)
        if step.key.task == chains.BUILD_TASK:
            if table not in declared.marts and (kind := relation.kind(warehouse, target)) is not None:
                what = "VIEW" if kind == RelationKind.VIEW else "TABLE"
                yield (
                    f"{name}: is no longer declared, and analysts can still read it, last built {_at(step)}; "
                    f"DROP {what} {target.as_string(warehouse)} in the warehouse, or write marts/{table}.sql "
                    "again"
                )
            continue
        source = declared.sources.get(schema)
        wanted = table in declared.tables.get(schema, ()) or (
            source is not None and source.leaves(source.schema_name, table)
        )
        if not wanted and relation.oid(warehouse, target) is not None:
            tables.setdefault(schema, []).append(step)
    for schema, steps in tables.items():
        oldest = min(steps, key=_at)
        names = outage.few([step.key.name for step in steps])
        yield (
            f"{names}: no longer declared, and analysts can still read their rows, last loaded "
            f"{_at(oldest)}; DROP TABLE in the warehouse, or write it into sources/{schema}.yaml again, "
            "under tables or leave"
        )


def _at(step: Step) -> str:
    return f"{step.finished_at:%Y-%m-%d %H:%M} UTC" if step.finished_at else "at an unknown time"


def _written(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
