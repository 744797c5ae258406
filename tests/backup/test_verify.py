"""VerifyBackup and the list of backups: only what was read back as it was sent is one, to every command."""

from datetime import timedelta

import pytest

from pipeline import access, postgres
from pipeline.backup import dump, encrypt, upload, verify
from pipeline.backup.store import backups, choice
from pipeline.errors import CheckError, UsageError
from pipeline.ledger import migrations
from tests.support.archive import SMALL, Archive, whole
from tests.support.night import next_run


@pytest.fixture
def shop(archive: Archive) -> Archive:
    archive.source("shop", SMALL)
    return archive


def uploaded(archive: Archive) -> str:
    """Return a run that is uploaded."""
    run = next_run()
    for step in (dump.dump_database, encrypt.encrypt_dump, upload.upload_backup):
        step(archive.settings, "shop", run)
    return run


def verified(archive: Archive) -> str:
    """Return a run that is verified."""
    run = uploaded(archive)
    verify.verify_backup(archive.settings, "shop", run)
    return run


def test_everything_is_read_back_before_the_manifest_is_written(shop: Archive) -> None:
    run = uploaded(shop)
    shop.control.clear()
    verify.verify_backup(shop.settings, "shop", run)
    moved = ("b2_download_file", "b2_upload_file")
    assert [call["call"] for call in shop.control.calls() if call["call"] in moved] == [
        "b2_download_file",
        "b2_download_file",
        "b2_upload_file",
    ]
    assert shop.names() == whole("shop", run)
    assert not shop.work("shop", run).folder.exists()
    manifest = shop.manifest("shop", run)
    assert (manifest.verification.method, manifest.times.upload_seconds > 0) == ("all", True)


@pytest.mark.parametrize("name", ["shop.dump.gpg", "globals.sql.gpg"])
@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_what_is_damaged_gets_no_manifest(shop: Archive, name: str, damage: str) -> None:
    run = uploaded(shop)
    if damage == "flipped":
        shop.control.corrupt(shop.bucket_name, f"shop/{run}/{name}", offset=40)
    else:
        shop.control.truncate(shop.bucket_name, f"shop/{run}/{name}", size_bytes=40)
    with pytest.raises(CheckError, match=f"shop/{run}/{name} is damaged"):
        verify.verify_backup(shop.settings, "shop", run)
    assert not backups.is_verified(shop.settings, "shop", run)
    with shop.bucket() as opened:
        listing = backups.find(opened, shop.settings)
    assert (listing.backups, listing.incomplete) == ((), (("shop", run),))


def test_huge_objects_can_be_read_back_in_samples(shop: Archive) -> None:
    run = uploaded(shop)
    settings = shop.settings
    backup = settings.require_backup().model_copy(update={"sample_above_gib": 0})
    verify.verify_backup(settings.model_copy(update={"backup": backup}), "shop", run)
    assert shop.manifest("shop", run).verification.method == "sample"


@pytest.mark.endurance
def test_an_attempt_that_was_killed_after_the_manifest_makes_no_second_one(shop: Archive) -> None:
    run = uploaded(shop)
    folder = shop.work("shop", run)
    kept = {path.name: path.read_bytes() for path in folder.folder.iterdir()}
    verify.verify_backup(shop.settings, "shop", run)
    folder.prepare()
    for name, data in kept.items():
        (folder.folder / name).write_bytes(data)
    verify.verify_backup(shop.settings, "shop", run)
    assert shop.names() == whole("shop", run)


def test_a_key_that_expires_soon_is_in_the_manifest_and_the_log(
    shop: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    shop.add_key("safe", expires="20d")
    run = verified(shop)
    (warning,) = shop.manifest("shop", run).warnings
    assert warning.startswith("key safe <safe@test.invalid>")
    assert warning in caplog.text


def test_backups_are_listed_from_the_bucket_alone(shop: Archive) -> None:
    """With their change in size and their lock, oldest first; what has no manifest is none of them."""
    first = verified(shop)
    with shop.platform.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO item SELECT n, sha512(n::text::bytea) FROM generate_series(2000, 4000) AS n"
        )
    second = verified(shop)
    third = uploaded(shop)
    with shop.bucket() as opened:
        listing = backups.find(opened, shop.settings, "shop")
        assert backups.find(opened, shop.settings, "other").backups == ()
    assert [backup.run for backup in listing.backups] == [first, second]
    assert listing.incomplete == (("shop", third),)
    one, two = listing.backups
    assert listing.change(one) is None
    change = listing.change(two)
    assert change is not None
    assert change == pytest.approx(two.size_bytes / one.size_bytes - 1)
    assert change > 1
    assert one.verified
    assert one.locked_until is not None
    assert timedelta(days=29) < one.locked_until - one.taken_at < timedelta(days=31)
    assert one.taken_at == shop.manifest("shop", first).taken_at


def test_an_object_that_was_replaced_later_is_not_shown_as_verified(shop: Archive) -> None:
    run = verified(shop)
    with shop.bucket() as opened:
        assert backups.find(opened, shop.settings).backups[0].verified
    with access.opened(shop.settings) as databases, databases.bucket(f"{shop.entries}b2/writer") as opened:
        opened.write_small(
            f"shop/{run}/shop.dump.gpg", b"mine", content_type="application/octet-stream", replace=True
        )
    with shop.bucket() as opened:
        assert not backups.find(opened, shop.settings).backups[0].verified


@pytest.mark.endurance
def test_what_others_put_into_the_bucket_is_no_backup_and_in_nobodys_way(shop: Archive) -> None:
    run = verified(shop)
    moment = "2026-11-18T00:00:00+00:00"
    told = {"taken-at": moment, "verified-at": moment}
    with shop.writing() as opened:
        for name, info in {
            "readme.txt": {},
            "manifest.json": told,
            "shop/manifest.json": told,
            "shop/2026-11-19/deeper/manifest.json": told,
            "shop/2026-11-18/notes.txt": {},
            "shop/2026-11-17/manifest.json": {},
            "shop/2026-11-16/manifest.json": {**told, "taken-at": "yesterday"},
            "shop/2026-11-15/manifest.json": {**told, "verified-at": "2026-11-15T00:00:00"},
        }.items():
            opened.write_small(name, b"somebody's", content_type="text/plain", info=info)
        with pytest.raises(UsageError, match=r"no backup of shopp for any run; did you mean shop\?"):
            choice.choose(opened, shop.settings, "shopp")
    with shop.bucket() as opened:
        assert [backup.run for backup in backups.find(opened, shop.settings).backups] == [run]
        assert backups.find(opened, shop.settings).incomplete == ()
        assert choice.choose(opened, shop.settings, "shop").run == run


@pytest.mark.endurance
def test_a_newest_backup_that_was_changed_is_not_taken_and_the_newest_sound_one_is_named(
    shop: Archive,
) -> None:
    first, second = verified(shop), verified(shop)
    with shop.writing() as opened:
        opened.write_small(f"shop/{second}/shop.dump.gpg", b"x", content_type="text/plain", replace=True)
    with shop.bucket() as opened:
        with pytest.raises(CheckError, match=f"{second}, differs from the verified.*add --at {first}"):
            choice.choose(opened, shop.settings, "shop")
        assert choice.choose(opened, shop.settings, "shop", first).run == first


def test_the_newest_or_the_named_backup_is_chosen(shop: Archive) -> None:
    first, second = verified(shop), verified(shop)
    with shop.bucket() as opened:
        assert choice.choose(opened, shop.settings, "shop").run == second
        assert choice.choose(opened, shop.settings, "shop", first).run == first
        with pytest.raises(
            UsageError, match=f"no backup of shop for run 1999-01-01; known: {first}, {second}"
        ):
            choice.choose(opened, shop.settings, "shop", "1999-01-01")


def test_a_manifest_that_was_tampered_with_is_told(shop: Archive) -> None:
    run = verified(shop)
    shop.control.corrupt(shop.bucket_name, f"shop/{run}/manifest.json", offset=3)
    with shop.bucket() as opened, pytest.raises(CheckError, match=r"manifest\.json is damaged"):
        choice.choose(opened, shop.settings, "shop", run)


def test_the_warehouse_is_told_where_it_is_up(shop: Archive) -> None:
    with access.opened(shop.settings) as databases:
        migrations.migrate(databases.warehouse_uri())
    run = verified(shop)
    proven = shop.manifest("shop", run)
    query = "SELECT database, run, verified_at, tables, rows, warnings FROM ops.backup"
    with shop.platform.connect("warehouse") as connection:
        assert postgres.rows(connection, query) == [
            ("shop", run, proven.verification.verified_at, 1, 1000, [])
        ]


def test_a_warehouse_without_a_ledger_or_that_is_gone_is_no_failure(
    shop: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    run = verified(shop)
    assert "the warehouse has no record of it: the ledger: relation" in caplog.text
    assert backups.is_verified(shop.settings, "shop", run)
    shop.platform.sandbox.vault.remove(shop.platform.database("warehouse"))
    run = verified(shop)
    assert backups.is_verified(shop.settings, "shop", run)
