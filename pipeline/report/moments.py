"""Moments: as of when each card is. A mart that could not be built stays as it was, and is drawn so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg2.errors

from pipeline import postgres
from pipeline.catalog import Card, Dashboard
from pipeline.ledger import steps
from pipeline.postgres import Connection
from pipeline.report import rows

# All sources of a night are read within so long of each other: what is older by more is of an earlier night.
NIGHT = timedelta(hours=12)

# The moment of its sources that each mart and each table shows, by schema.name.
Moments = Mapping[str, datetime]


@dataclass(frozen=True)
class Ages:
    """As of when a dashboard is, but for what is `older`. None where it shows nothing that was loaded."""

    moment: datetime | None = None
    older: Moments = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What is said of the whole dashboard; nothing where nothing is known.

        >>> Ages(datetime(2026, 11, 29, 1, 2, tzinfo=UTC)).sentence
        'As of 29 November 2026, 01:02 UTC.'
        """
        if self.moment is None:
            return ""
        return f"As of {_written(self.moment)}{', except where a card says otherwise' if self.older else ''}."

    def sentence_of(self, card: Card) -> str:
        """Return what is said of a card that is older than its dashboard; nothing of any other."""
        moment = min((self.older[name] for name in card.reads if name in self.older), default=None)
        return f"As of {_written(moment)}." if moment else ""


def read(connection: Connection) -> Moments:
    """Return as of when each mart and each table is.

    Raise StepError where the warehouse's own tables are of an earlier version.
    """
    query = "SELECT name, as_of FROM platform.marts UNION ALL SELECT name, as_of FROM platform.tables"
    try:
        with rows.apart(connection):
            return dict(postgres.rows(connection, query))
    except psycopg2.errors.UndefinedTable:
        raise steps.outdated() from None


def of(dashboard: Dashboard, known: Moments) -> Ages:
    """Return as of when a dashboard is, by the night of its newest card, and what in it is older.

    >>> of(Dashboard("b", "B", ()), {})
    Ages(moment=None, older={})
    """
    shown = {name: known[name] for card in dashboard.cards for name in card.reads if name in known}
    newest = max(shown.values(), default=None)
    if newest is None:
        return Ages()
    older = {name: moment for name, moment in shown.items() if newest - moment > NIGHT}
    # What is said of the whole must hold for each of the others.
    return Ages(min(moment for name, moment in shown.items() if name not in older), older)


def _written(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%-d %B %Y, %H:%M} UTC"
