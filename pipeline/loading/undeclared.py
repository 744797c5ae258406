"""Undeclared: tables that are new in a source and that nobody declared. They are told once a week.

What was there when a source was first looked at is known to whoever wrote its file, and so is what that file
says is to stay where it is.
"""

import logging
from collections.abc import Sequence

from pipeline import alerts, postgres
from pipeline.access import Access
from pipeline.alerts import Alert
from pipeline.catalog import Source
from pipeline.errors import PipelineError
from pipeline.ledger import sources
from pipeline.ledger.sources import Name
from pipeline.names import in_yaml
from pipeline.postgres import Connection
from pipeline.redact import redact

logger = logging.getLogger(__name__)

# A nightly run is not at the very same minute each time.
AGAIN_AFTER = "6 days 12 hours"
# So many are told at once; the others have their turn in the next run.
AT_ONCE = 10

# No relation is called so. It stands for the source itself: that it was looked at, whatever was found there.
LOOKED_AT = Name("", "")


def send_notice(databases: Access, source: Source) -> None:
    """Tell of tables that are new in a source and not declared, each once a week. Raise nothing."""
    try:
        with databases.source(source.name) as theirs, databases.warehouse(autocommit=True) as ours:
            there = set(postgres.read(theirs, postgres.statement("loading/relations"), Name))
            _remember(ours, source.name, there)
            due = sources.due_relations(ours, source.name, AGAIN_AFTER)
            due = [name for name in due if name in there and not is_declared(source, *name)][:AT_ONCE]
            if due and alerts.send(databases.settings, notice(source, due)):
                sources.record_notices(ours, source.name, due)
    except (PipelineError, postgres.Error) as error:
        # What is out of reach is told by the steps that need it.
        logger.warning("source %s: new tables could not be listed: %s", source.name, redact(str(error)))


def is_declared(source: Source, schema: str, name: str) -> bool:
    """Whether a relation is loaded, or is to stay, by what the file of its source says."""
    if any((table.schema_name, table.relation) == (schema, name) for table in source.tables.values()):
        return True
    return source.leaves(schema, name)


def notice(source: Source, names: Sequence[Name]) -> Alert:
    """Return what is told of such tables."""
    counted = "a table is" if len(names) == 1 else f"{len(names)} tables are"
    listed = ", ".join(f"{schema}.{name}" for schema, name in names)
    lines = ", ".join(f"'{_line(source, schema, name)}'" for schema, name in names)
    return Alert(
        key=f"new/{source.name}",
        kind=alerts.Kind.NOTICE,
        summary=f"{source.name}: {counted} new in the source and not loaded: {listed}",
        hint=f"to load them, write {lines} under tables in sources/{source.name}.yaml, or the name "
        "under leave",
        command=f"pipeline plan {source.name}",
    )


def _line(source: Source, schema: str, name: str) -> str:
    return (
        f"{in_yaml(name)}:"
        if schema == source.schema_name
        else f"{in_yaml(name)}: {{schema: {in_yaml(schema)}}}"
    )


def _remember(ours: Connection, source: str, there: set[Name]) -> None:
    """Add what was not known. Nothing is forgotten: what is not there, or not readable, now may be back."""
    known = sources.known_relations(ours, source)
    new = (there | {LOOKED_AT}) - known
    sources.remember_relations(ours, source, new, {LOOKED_AT} if known else new)
