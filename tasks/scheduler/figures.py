"""What the ledger says, as figures for Prometheus: how fresh each table is, the last good backup, drill."""

import logging
from collections.abc import Iterator

import sqlalchemy
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from pipeline.ledger import archive, watermarks

logger = logging.getLogger(__name__)

# Each with what it is about, its name, and the rows that it is made of: whose it is, and a moment.
FIGURES = (
    (
        "pipeline_table_fresh_as_of_timestamp_seconds",
        "the moment of the source that a table of the warehouse shows",
        "table",
        watermarks.TABLES_FRESH_AS_OF,
    ),
    (
        "pipeline_backup_taken_timestamp_seconds",
        "the moment of the newest verified backup of a database",
        "database",
        archive.BACKUPS_TAKEN,
    ),
    (
        "pipeline_drill_held_timestamp_seconds",
        "when a database was last restored and proved equal to its backup",
        "database",
        archive.DRILLS_HELD,
    ),
    (
        "pipeline_archive_drill_held_timestamp_seconds",
        "when what pgBackRest has of a database's server was last restored and proven",
        "database",
        archive.ARCHIVE_DRILLS_HELD,
    ),
)


class LedgerFigures(Collector):
    """Read anew each time that Prometheus asks; not in the scheduler's own thread."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: to name them, the ledger need not be asked."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what the ledger says, and whether it could be read."""
        try:
            yield from self._read()
            readable = 1
        except SQLAlchemyError as error:
            logger.warning("the ledger cannot be read for /metrics (%s)", type(error).__name__)
            readable = 0
        yield GaugeMetricFamily("pipeline_ledger_readable", "1 if the ledger could be read", readable)

    def _read(self) -> list[GaugeMetricFamily]:
        metrics = []
        with self._engine.connect() as connection:
            for name, meaning, label, query in FIGURES:
                family = GaugeMetricFamily(name, f"{meaning}, in seconds since 1970", labels=[label])
                for whose, moment in connection.execute(sqlalchemy.text(query)):
                    family.add_metric([whose], float(moment))
                metrics.append(family)
        return metrics
