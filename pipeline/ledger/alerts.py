"""Alerts that were told, for dashboards. What counts is the spool."""

from collections.abc import Iterable, Mapping

from pipeline import postgres
from pipeline.postgres import Connection


def record_alerts(connection: Connection, alerts: Iterable[Mapping[str, object]]) -> None:
    """Write alerts down, by the columns of the table; nothing where the ledger is older than it."""
    if postgres.value(connection, "SELECT to_regclass('ops.alert')") is None:
        return
    for alert in alerts:
        postgres.rows(connection, postgres.statement("ledger/alert"), alert)
