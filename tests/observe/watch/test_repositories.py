"""What watch thinks of a repository of pgBackRest: old backups, old WAL, damaged pages, its own words."""

from datetime import datetime

from pipeline.backup.pgbackrest.repository import Repository, Stored
from pipeline.observe.observed.observations import Observations
from tests.observe.watch.samples import DAY, HOUR, NOW, ledger, observations, only, settings, told


def beside(
    taken_at: datetime | None = NOW - 2 * DAY,
    archived_at: datetime | None = NOW - HOUR,
    *,
    is_damaged: bool = False,
    problem: str | None = None,
) -> Observations:
    """Return facts of a repository; all else is well."""
    stored = Stored("20261122-020000F", "full", taken_at, 1, "0/1", is_damaged) if taken_at else None
    found = Repository("main", problem, "7", "17", stored, "0" * 24, archived_at)
    return observations(
        declared=None, ledger=ledger(run=None, tables={}), keys=(), repositories={"hr": found}
    )


def test_a_fresh_one_is_well() -> None:
    assert told(beside()) == {}


def test_a_backup_and_wal_that_are_too_old_are_told() -> None:
    late = only(beside(taken_at=NOW - 8 * DAY))
    assert (late.key, late.severity) == ("watch/pgbackrest/hr", "stale")
    assert late.command == "pgbackrest --stanza=main info"
    assert late.summary == (
        "hr: pgBackRest full of 2026-11-16 14:00 UTC, 8 days 0 h ago; WAL until 2026-11-24 13:00 UTC, "
        "1 h 00 min ago; the limit for a backup is 170 h"
    )
    late = only(beside(archived_at=NOW - 27 * HOUR))
    assert "the limit for WAL is 26 h: check archive_command there" in late.summary
    late = only(beside(None, None))
    assert late.severity == "stale"
    assert late.summary.startswith("hr: pgBackRest: no backup; no WAL; ")


def test_the_limits_are_those_of_the_settings() -> None:
    own = settings(pgbackrest={"backup_hours": 24, "wal_hours": 1})
    assert "the limit for a backup is 24 h" in only(beside(), configured=own).summary


def test_a_moment_far_ahead_is_no_fresh_one() -> None:
    assert only(beside(archived_at=NOW + 3 * HOUR)).severity == "stale"


def test_damaged_pages_and_what_pgbackrest_says_itself_are_a_warning() -> None:
    late = only(beside(is_damaged=True))
    assert late.severity == "warning"
    assert "backup 20261122-020000F has pages with a wrong checksum" in late.summary
    late = only(beside(problem="repo1: other"))
    assert late.severity == "warning"
    assert "pgBackRest reports for stanza main: repo1: other" in late.summary
