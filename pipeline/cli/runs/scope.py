"""What a load is asked to do: of all that is declared, or of a part of it."""

import contextlib
import json
from collections.abc import Container, Sequence
from dataclasses import dataclass

from pipeline import chains
from pipeline.catalog import Catalog, Mart, Table
from pipeline.chains import BUILD_TASK, LOAD_TASK, SOURCE_TASK
from pipeline.errors import UsageError
from pipeline.loading import listing, load
from pipeline.marts import build
from pipeline.settings import Settings

STEPS_PER_TABLE = len(chains.ETL.steps_of(chains.TABLE))


@dataclass(frozen=True)
class Scope:
    """The tables to load and the marts to build, and Luigi's module and root task for that."""

    tables: Sequence[Table]
    marts: Sequence[Mart]
    module: str
    root: tuple[str, ...]
    # Sources that have to say which tables they have, and that say none.
    empty: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """Return what the ledger calls each table and mart."""
        marts = [f"{build.SCHEMA}.{mart.name}" for mart in self.marts]
        return [*(f"{table.source}.{table.name}" for table in self.tables), *marts]

    @property
    def sources(self) -> list[str]:
        return sorted({*(table.source for table in self.tables), *self.empty})

    @property
    def steps(self) -> int:
        """Return how many steps it takes."""
        return len(self.tables) * STEPS_PER_TABLE + len(self.marts)

    def lacking(self, done: Container[str], failed: Container[str]) -> dict[str, list[str]]:
        """Return, by mart that is neither, what of that which it reads is not done."""
        missing = {
            f"{build.SCHEMA}.{mart.name}": [name for name in mart.reads if name not in done]
            for mart in self.marts
        }
        waiting = [name for name in missing if name not in done and name not in failed]
        return {name: missing[name] for name in waiting if missing[name]}

    def done(self, settings: Settings, run: str) -> bool:
        """Whether a run has done all of it."""
        if self.empty:
            return False
        return load.are_loaded(settings, self.tables, run) and build.are_built(settings, self.marts, run)


def of_load(configured: Settings, declared: Catalog, source: str | None, names: Sequence[str] = ()) -> Scope:
    """Return everything, or a source or some of its tables alone."""
    if names and not source:
        raise UsageError("--table needs --source as well")
    if source:
        # Of a whole night one that luigi.cfg lacks fails alone, at its snapshot.
        configured.source(source)
    module = chains.ETL.module
    if source and names:
        chosen = [declared.source(source).table(name) for name in names]
        only = (chains.ETL.family(LOAD_TASK), "--source", source, "--table", names[0])
        if len(chosen) > 1:
            listed = json.dumps([table.name for table in chosen])
            only = (chains.ETL.family(SOURCE_TASK), "--source", source, "--only", listed)
        return Scope(chosen, [], module, only)
    if source:
        whole = (chains.ETL.family(SOURCE_TASK), "--source", source)
        return Scope(
            list(declared.source(source).tables.values()), [], module, whole, _empty(declared, source)
        )
    tables = [table_of_it for one in declared.sources.values() for table_of_it in one.tables.values()]
    empty = _empty(declared, *declared.sources)
    return Scope(tables, list(declared.marts.values()), module, (chains.ETL.root,), empty)


def _empty(declared: Catalog, *names: str) -> list[str]:
    return [name for name in names if not declared.source(name).tables]


def of_mart(configured: Settings, declared: Catalog, name: str) -> Scope:
    """Return a mart, with the tables and marts that it reads."""
    tables: dict[str, Table] = {}
    marts: dict[str, Mart] = {}
    ahead = [name]
    while ahead:
        mart = declared.mart(ahead.pop())
        marts[mart.name] = mart
        for read in mart.reads:
            schema, _, table = read.partition(".")
            if schema == build.SCHEMA:
                ahead += [] if table in marts else [table]
            else:
                configured.source(schema)
                tables[read] = declared.source(schema).table(table)
    root = (chains.MARTS.family(BUILD_TASK), "--mart", name)
    return Scope(list(tables.values()), list(marts.values()), chains.MARTS.module, root)


def of_run(configured: Settings, declared: Catalog, names: Sequence[str]) -> Scope:
    """Return what a run was to do, by the names in the ledger, as far as that is declared; none is all."""
    if not names:
        return of_load(configured, declared, None)
    tables: dict[str, Table] = {}
    marts: dict[str, Mart] = {}
    empty: list[str] = []
    for name in names:
        schema, _, own = name.partition(".")
        # What is no longer declared is nobody's business any more.
        with contextlib.suppress(UsageError):
            is_mart = schema == build.SCHEMA
            alone = [own] if own else []
            part = (
                of_mart(configured, declared, own)
                if is_mart
                else of_load(configured, declared, schema, alone)
            )
            tables |= {f"{table.source}.{table.name}": table for table in part.tables}
            marts |= {mart.name: mart for mart in part.marts}
            empty += part.empty
    return Scope(list(tables.values()), list(marts.values()), chains.ETL.module, (), empty)


def with_tables(configured: Settings, declared: Catalog, names: Sequence[str], run: str) -> Catalog:
    """Return the catalog with the tables that a run loads of sources which alone know what `*` stands for.

    `names` are those of the ledger, of what is to be done; none is all. What is not of them is left as it is.
    """
    schemas = {name.partition(".")[0] for name in names} or set(declared.sources)
    if build.SCHEMA in schemas:
        schemas |= {read.partition(".")[0] for mart in declared.marts.values() for read in mart.reads}
    expanded = {
        name: listing.of_run(configured, declared, name, run)
        for name, source in declared.sources.items()
        if name in schemas and source.everything
    }
    return listing.with_sources(declared, expanded)
