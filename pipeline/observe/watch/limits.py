"""How old each thing may grow: [watch], or what its own section says instead."""

from datetime import datetime, timedelta

from pipeline import durations
from pipeline.settings import Settings

# Two machines' clocks may differ so much. What is further ahead would count as new for as long.
AHEAD = timedelta(hours=1)


def table(settings: Settings, source: str) -> timedelta:
    """Return how old a table of this source may be."""
    own = settings.sources[source].table_hours if source in settings.sources else None
    return timedelta(hours=own or settings.watch.table_hours)


def run(settings: Settings) -> timedelta:
    """Return how long ago the last load may have begun: as its most impatient source wants it."""
    return min((table(settings, source) for source in settings.sources), default=table(settings, ""))


def backup(settings: Settings, database: str) -> timedelta:
    """Return how old the newest backup of this database may be."""
    return timedelta(hours=settings.databases[database].backup_hours or settings.watch.backup_hours)


def program(settings: Settings) -> timedelta:
    """Return how long ago a file of the analysts' own tasks may have been done."""
    return timedelta(hours=settings.watch.task_hours)


def drill(settings: Settings, database: str) -> timedelta:
    """Return how old the newest drill of this database that held may be."""
    return timedelta(days=settings.databases[database].drill_days or settings.watch.drill_days)


def exceeded(now: datetime, moment: datetime, allowed: timedelta) -> bool:
    """Whether a moment is too long ago, or so far ahead that a clock is wrong."""
    return not -AHEAD <= now - moment <= allowed


def ago(now: datetime, moment: datetime) -> str:
    """Return how long ago a moment was, for people."""
    if moment - now > AHEAD:
        return f"{durations.rough(moment - now)} ahead of this machine's clock"
    return f"{durations.rough(max(now - moment, timedelta()))} ago"
