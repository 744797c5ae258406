"""What the analysts declare: tables and marts, each with when its file was written."""

from collections.abc import Container, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from psycopg2 import sql

from pipeline import catalog, chains
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
    return Declared(tables, marts)


def no_longer(warehouse: Connection, declared: Container[str], last: Mapping[str, Step]) -> Iterator[str]:
    """Yield what is to be said of each mart that is still there though nobody declares or builds it."""
    for name, step in sorted(last.items()):
        mart = name.partition(".")[2]
        if step.key.task != chains.BUILD_TASK or mart in declared:
            continue
        target = sql.Identifier(chains.MART.schema, mart)
        if (kind := relation.kind(warehouse, target)) is None:
            continue
        what = "VIEW" if kind == RelationKind.VIEW else "TABLE"
        built = f", last built {step.finished_at:%Y-%m-%d %H:%M} UTC" if step.finished_at else ""
        yield (
            f"{name}: is no longer declared, and people still read it{built}; "
            f"DROP {what} {target.as_string(warehouse)} in the warehouse, or write marts/{mart}.sql again"
        )


def _written(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
