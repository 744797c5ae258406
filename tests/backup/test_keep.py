"""Backups that do not go by their age: if backups stop, the last ones stay, and one of each month."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from pipeline import access
from pipeline.backup.drills import drill
from pipeline.backup.store import backups, retention
from pipeline.backup.store.backups import Backup
from pipeline.bucket import KEPT, WRITER, Bucket, copying
from pipeline.errors import UnreachableError
from pipeline.sandbox.b2.control import Control
from pipeline.sandbox.b2.process import running
from pipeline.sandbox.servers import backup_store
from pipeline.sandbox.servers.vault_server import administrator
from tests.support.archive import SMALL, Archive
from tests.support.hooks import Hook
from tests.support.restores import Restores

RUNS = ("2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24")
MONTH = "2026-11"


def made(run: str, *, verified: bool = True) -> Backup:
    moment = datetime.fromisoformat(f"{run}T02:00:00+00:00")
    return Backup("shop", run, moment, moment, 1, verified, None)


def test_the_newest_are_kept_and_the_first_of_each_month() -> None:
    days = [f"2026-{month:02}-{day:02}" for month in range(1, 13) for day in (3, 4, 28)]
    there = [made(day) for day in ("2025-11-30", *days)]
    kept = retention.wanted(there, last=3, months=12)
    assert kept == {f"2026-{month:02}-03" for month in range(1, 13)} | {"2026-12-04", "2026-12-28"}
    assert retention.wanted(there, last=1, months=0) == {"2026-12-28"}
    assert retention.wanted(there, last=0, months=0) == frozenset()
    assert retention.wanted([], last=3, months=12) == frozenset()
    # What is not what was verified takes nobody's place.
    assert retention.wanted([made("2026-12-01"), made("2026-12-02", verified=False)], last=1, months=0) == {
        "2026-12-01"
    }


@pytest.fixture
def shop(restores: Restores) -> Restores:
    restores.source("shop", SMALL)
    return restores


@pytest.fixture
def aging(shop: Restores) -> Iterator[Control]:
    """An emulator of this test's own, whose clock it may move."""
    archive = shop.archive
    vault = administrator(archive.platform.sandbox.home)
    with running(archive.folder / "own-b2") as control:
        control.create_bucket(archive.bucket_name, lock=True)
        for entry, capabilities in backup_store.KEYS.items():
            made = control.create_key("k", capabilities, bucket=archive.bucket_name)
            keys = {"key_id": made.key_id, "application_key": made.application_key}
            vault.write(archive.entries + entry, keys)
        archive.write_settings(realm=control.url)
        admin = archive.entries + backup_store.ADMIN
        with access.opened(archive.settings) as databases, databases.bucket(admin) as bucket:
            bucket.apply(keep_days=30, lock_days=30)
        yield control
        access.end_brief()


def listed(archive: Archive) -> list[Backup]:
    with archive.bucket() as bucket:
        return list(backups.find(bucket, archive.settings, "shop").backups)


def copies(archive: Archive) -> list[str]:
    """Return the runs of which anything is kept."""
    with archive.bucket() as bucket:
        return sorted({stored.name.split("/")[2] for stored in bucket.list(f"{KEPT}shop/")})


def test_backups_stop_for_90_days_and_the_last_three_are_there_and_restore(
    shop: Restores, aging: Control
) -> None:
    archive = shop.archive
    for run in RUNS:
        shop.back_up("shop", run)
    assert [(one.run, one.kept, one.place) for one in listed(archive)] == [(run, True, "") for run in RUNS]
    with archive.bucket() as bucket:
        assert {stored.retention_mode for stored in bucket.list(KEPT)} == {"compliance"}
    aging.advance(days=90)
    access.end_brief()
    there = listed(archive)
    # The first of the month as well.
    assert [(one.run, one.verified, one.place) for one in there] == [(run, True, KEPT) for run in RUNS]
    assert [one for one in aging.versions(archive.bucket_name) if not one["name"].startswith(KEPT)] == []
    found = drill.drill_database(archive.settings, "shop", MONTH)
    assert (found.run, found.grade) == (RUNS[-1], "A")
    ended = archive.run("backups", "shop", "--json")
    assert ended.out.count('"kept": true') == 4


@pytest.mark.endurance
def test_a_copy_that_newer_ones_have_superseded_goes_once_its_lock_has_ended(
    shop: Restores, aging: Control
) -> None:
    archive = shop.archive
    archive.write_settings(keep_last="1", keep_months="0")
    shop.back_up("shop", RUNS[0])
    shop.back_up("shop", RUNS[1])
    # It is locked: to hide it would be of no use, and be taken for a theft.
    assert copies(archive) == list(RUNS[:2])
    aging.advance(days=31)
    access.end_brief()
    with archive.bucket() as reading, archive.writing() as writing, pytest.MonkeyPatch.context() as patched:
        patched.setattr(retention, "_now", lambda: datetime.now(UTC) + timedelta(days=31))
        retention.keep(reading, writing, archive.settings, "shop")
    assert copies(archive) == [RUNS[1]]
    aging.advance(days=2)
    names = [one["name"] for one in aging.versions(archive.bucket_name) if one["action"] == "upload"]
    assert not [name for name in names if name.startswith(f"{KEPT}shop/{RUNS[0]}")]


@pytest.mark.endurance
def test_a_copy_that_was_cut_is_no_backup_and_is_finished_by_the_next(
    shop: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is copied last."""
    real = Bucket.copy
    done: list[str] = []

    def cut(bucket: Bucket, source: object, name: str) -> object:
        if done:
            raise UnreachableError("cut")
        done.append(name)
        return real(bucket, source, name)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "copy", cut)
        shop.back_up("shop", RUNS[0])
    (one,) = listed(shop.archive)
    assert (one.verified, one.kept) == (True, False)
    shop.back_up("shop", RUNS[1])
    assert [(one.run, one.kept) for one in listed(shop.archive)] == [(RUNS[0], True), (RUNS[1], True)]


def test_a_key_that_may_not_copy_is_told_and_costs_no_backup(shop: Restores, hook: Hook) -> None:
    archive = shop.archive
    archive.write_settings()
    old = archive.control.create_key("old", WRITER - {"readFiles"}, bucket=archive.bucket_name)
    vault = administrator(archive.platform.sandbox.home)
    entry = f"{archive.entries}{backup_store.WRITER}"
    before = vault.read(entry)
    vault.write(entry, {"key_id": old.key_id, "application_key": old.application_key})
    shop.back_up("shop", RUNS[0])
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key) == ("warning", "watch/kept/shop")
    assert "readFiles" in alert.summary
    assert before is not None
    vault.write(entry, before)
    access.end_brief()
    shop.back_up("shop", RUNS[1])
    assert hook.received()[1:] == [("recovered", "watch/kept/shop")]
    assert copies(archive) == list(RUNS[:2])


def test_what_is_too_large_for_one_copy_goes_by_parts(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "LARGEST_BYTES", 8_000_000)
    monkeypatch.setattr(copying, "PART_BYTES", 5_000_000)
    path = archive.folder / "large"
    path.write_bytes(bytes(range(256)) * 48_000)
    with archive.writing() as writing:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        source = writing.upload(path, "shop/large", sha256=sha256, info={"database": "shop"})
        for _ in range(2):
            copied = writing.copy(source, f"{KEPT}shop/large")
        assert (copied.sha256, copied.size_bytes, copied.info["database"]) == (
            sha256,
            path.stat().st_size,
            "shop",
        )
        writing.verify(copied.name, sha256=sha256)
    assert [one["action"] for one in archive.versions() if one["name"] == copied.name] == ["upload"]
