"""Settings and facts of a small institution where all is well at NOW; tests change what they are about."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.backup.store.backups import Backup
from pipeline.chains import ARCHIVE_DRILL_TASK, DRILL_TASK
from pipeline.crypt import Recipient
from pipeline.ledger.runs import Run
from pipeline.observe import watch
from pipeline.observe.observed.observations import (
    BucketObservations,
    DrillObservations,
    KeyObservations,
    LedgerObservations,
    Observations,
    TableObservations,
)
from pipeline.observe.watch.finding import Finding
from pipeline.settings import Settings

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
LAST_NIGHT = NOW - timedelta(hours=11, minutes=45)
LONG_AGO = NOW - timedelta(days=200)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
TABLES = ("department", "employee", "leave_request")


def settings(**sections: Any) -> Settings:
    """Return settings with one source and one database, both called hr, and these sections in their place."""
    whole = {
        "vault": {"url": "http://127.0.0.1:8200", "auth": "token"},
        "warehouse": {"secret": "warehouse"},
        "sources": {"hr": {"secret": "source/hr"}},
        "databases": {"hr": {"secret": "database/hr"}},
        "backup": {"bucket": "backups", "secret": "b2/writer", "recipients": ("school.asc", "safe.asc")},
        "drill": {"secret": "drill"},
        **sections,
    }
    return Settings.model_validate(whole)


def run(**changes: Any) -> Run:
    """Return last night's load."""
    found = {
        "run": "2026-11-24",
        "name": "etl",
        "state": "done",
        "started_at": LAST_NIGHT,
        "attempted_at": changes.get("started_at", LAST_NIGHT),
        "attempts": 1,
        "scope": [],
        "finished_at": LAST_NIGHT + timedelta(minutes=20),
        "host": "node1",
        "pid": 4711,
        "error": None,
        "alive": False,
        **changes,
    }
    return Run(**found)


def table(**changes: Any) -> TableObservations:
    """Return a table that was loaded last night."""
    found = {
        "fresh_as_of": LAST_NIGHT,
        "loaded_at": LAST_NIGHT + timedelta(minutes=5),
        "first_tried_at": LONG_AGO,
        **changes,
    }
    return TableObservations(**found)


def tables(**changed: TableObservations) -> dict[str, TableObservations]:
    """Return all tables of hr, these instead of those that were loaded last night."""
    return {f"hr.{name}": changed.get(name, table()) for name in TABLES}


def ledger(**changes: Any) -> LedgerObservations:
    """Return the ledger after a good night."""
    found = {
        "run": run(),
        "tables": tables(),
        "drills": {"hr": drill()},
        "first_backups": {"hr": LONG_AGO},
        "seconds": {"etl": (1200.0,) * 14, "backup hr": (600.0,) * 14},
        **changes,
    }
    found["drills"] = _by_task(found)
    last = found["run"]
    return LedgerObservations(going=last if last and last.state == "running" else None, **found)


def _by_task(found: dict[str, Any]) -> dict[str, Any]:
    """Return the drills of our backups, `drills`, and of what pgBackRest has, `archive_drills`."""
    return {DRILL_TASK: found["drills"], ARCHIVE_DRILL_TASK: found.pop("archive_drills", {})}


def drill(**changes: Any) -> DrillObservations:
    """Return a drill that held ten days ago."""
    ended = NOW - 10 * DAY
    found = {
        "month": "2026-11",
        "grade": "A",
        "held": True,
        "finished_at": ended,
        "held_at": ended,
        **changes,
    }
    return DrillObservations(**found)


def backup(days_ago: int = 0, size_bytes: int = 80_000_000, **changes: Any) -> Backup:
    """Return a backup of hr, by default last night's."""
    taken_at = LAST_NIGHT - days_ago * DAY
    found = {
        "database": "hr",
        "run": f"{taken_at:%Y-%m-%d}",
        "taken_at": taken_at,
        "verified_at": taken_at,
        "size_bytes": size_bytes,
        "verified": True,
        "locked_until": taken_at + 30 * DAY,
        **changes,
    }
    return Backup(**found)


def nights(*sizes: int) -> tuple[Backup, ...]:
    """Return one backup for each size, a night apart; the last of them is last night's."""
    return tuple(backup(len(sizes) - 1 - number, size) for number, size in enumerate(sizes))


def bucket(**changes: Any) -> BucketObservations:
    """Return the bucket after a good month."""
    month = nights(*[80_000_000] * 30)
    found = {"name": "backups", "backups": month, "drills": {"hr": drill()}, "rule_problems": (), **changes}
    found["drills"] = _by_task(found)
    return BucketObservations(**found)


def key(file: str = "school.asc", expires_at: datetime | None = None) -> KeyObservations:
    """Return a usable public key."""
    recipient = Recipient(fingerprint="A" * 40, user_id="School <it@school.invalid>", expires_at=expires_at)
    return KeyObservations(file, recipient, None)


def observations(**changes: Any) -> Observations:
    """Return all that is known after a good night."""
    found = {
        "declared": {"hr": dict.fromkeys(TABLES, LONG_AGO)},
        "ledger": ledger(),
        "bucket": bucket(),
        "keys": (key(), key("safe.asc")),
        "work": (),
        "seen": ("Vault", "the warehouse", "bucket backups"),
        **changes,
    }
    return Observations(**found)


def judged(
    found: Observations, now: datetime = NOW, configured: Settings | None = None
) -> dict[str, Finding]:
    """Return everything that is judged of these facts, by key."""
    findings = watch.judge(configured or settings(), found, now)
    by_key = {one.key: one for one in findings}
    assert len(by_key) == len(findings), "two findings on one thing"
    return by_key


def told(found: Observations, now: datetime = NOW, configured: Settings | None = None) -> dict[str, Finding]:
    """Return what somebody is told of these facts, by key."""
    return {key: one for key, one in judged(found, now, configured).items() if one.is_alert}


def only(found: Observations, now: datetime = NOW, configured: Settings | None = None) -> Finding:
    """Return the one thing that is told of these facts."""
    (finding,) = told(found, now, configured).values()
    return finding
