"""What the analysts declare: tables and marts, each with when its file was written."""

from datetime import UTC, datetime
from pathlib import Path

from pipeline import catalog
from pipeline.catalog import Catalog
from pipeline.loading import listing
from pipeline.observe.observed.observations import Declared
from pipeline.postgres import Connection
from pipeline.settings import Settings


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


def _written(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
