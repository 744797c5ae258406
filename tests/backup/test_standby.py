"""A standby that is backed up in its primary's place: what it does not have is not in a backup of tonight."""

from pathlib import Path

import pytest

from pipeline.backup import dump
from pipeline.backup.work import records
from pipeline.postgres import snapshot
from tests.support import standbys
from tests.support.archive import SMALL, Archive
from tests.support.night import next_run
from tests.support.standbys import Standby

pytestmark = pytest.mark.endurance


def test_a_backup_of_a_standby_that_stopped_is_as_old_as_what_it_has(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It was of tonight, whatever it had: it was the newest, never too old, and each drill of it held."""
    archive.source("shop", SMALL)
    with standbys.following(archive.platform.sandbox, tmp_path / "standby") as server:
        standby = Standby(archive.platform, server)
        standby.become("shop")
        standby.catch_up("shop")
        # Seconds are to count as hours do.
        monkeypatch.setattr(snapshot, "LAG_HOURS", 0)
        with standby.stopped("shop", "INSERT INTO item VALUES (9999) RETURNING id"):
            stopped = _dumped(archive)
        standby.catch_up("shop")
        followed = _dumped(archive)
    assert [table.rows for table in stopped.contents.tables] == [1000]
    assert stopped.taken_at < stopped.started_at
    (warning,) = stopped.warnings
    assert warning.startswith("database shop: its server is a standby that has stopped its replay, and shows")
    assert "UTC: the backup has nothing later, and has that date; resume its replication" in warning
    assert [table.rows for table in followed.contents.tables] == [1001]
    assert followed.warnings == ()
    assert followed.taken_at > followed.started_at


def _dumped(archive: Archive) -> records.Dumped:
    run = next_run()
    dump.dump_database(archive.settings, "shop", run)
    record = records.dumped(archive.work("shop", run))
    assert record is not None
    return record
