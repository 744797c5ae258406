"""UploadBackup: the bucket has just what was encrypted, or it is said why not."""

import pytest

from pipeline.backup import dump, encrypt, upload
from pipeline.bucket import roles
from pipeline.errors import StepError, UnreachableError
from tests.support.archive import SMALL, Archive
from tests.support.night import next_run


@pytest.fixture
def shop(archive: Archive) -> Archive:
    archive.source("shop", SMALL)
    return archive


@pytest.fixture
def run(shop: Archive) -> str:
    """A run whose dump is encrypted."""
    made = next_run()
    encrypted(shop, made)
    return made


def encrypted(archive: Archive, run: str) -> None:
    dump.dump_database(archive.settings, "shop", run)
    encrypt.encrypt_dump(archive.settings, "shop", run)


def use_key(archive: Archive, *capabilities: str, valid_seconds: int | None = None) -> str:
    """Put another writing key into Vault, and return its id."""
    key = archive.control.create_key(
        "other", capabilities, bucket=archive.bucket_name, valid_seconds=valid_seconds
    )
    entry = {"key_id": key.key_id, "application_key": key.application_key}
    archive.platform.sandbox.vault.write(f"{archive.entries}b2/writer", entry)
    return key.key_id


def test_both_files_are_there_and_still_no_manifest(shop: Archive, run: str) -> None:
    assert not upload.is_uploaded(shop.settings, "shop", run)
    upload.upload_backup(shop.settings, "shop", run)
    assert upload.is_uploaded(shop.settings, "shop", run)
    assert shop.names() == [
        ("upload", f"shop/{run}/globals.sql.gpg"),
        ("upload", f"shop/{run}/shop.dump.gpg"),
    ]


def test_uploading_again_sends_nothing(shop: Archive, run: str) -> None:
    upload.upload_backup(shop.settings, "shop", run)
    shop.control.clear()
    upload.upload_backup(shop.settings, "shop", run)
    assert shop.control.calls("b2_upload_file") == []


def test_what_is_not_the_same_does_not_count_as_uploaded(shop: Archive, run: str) -> None:
    upload.upload_backup(shop.settings, "shop", run)
    shop.control.truncate(shop.bucket_name, f"shop/{run}/shop.dump.gpg", size_bytes=10)
    assert not upload.is_uploaded(shop.settings, "shop", run)


def test_another_backup_under_the_same_run_is_not_overwritten(shop: Archive, run: str) -> None:
    """As when the work folder was lost: what is in the bucket may be locked, and may be all there is."""
    upload.upload_backup(shop.settings, "shop", run)
    shop.work("shop", run).remove()
    encrypted(shop, run)
    with pytest.raises(StepError, match=r"exists already with other content .* leave it there"):
        upload.upload_backup(shop.settings, "shop", run)


def test_an_expired_key_is_told(shop: Archive, run: str) -> None:
    key_id = use_key(shop, *roles.WRITER, valid_seconds=60)
    shop.control.advance_seconds(61)
    with pytest.raises(UnreachableError, match=f"B2 refuses key {key_id}: it is wrong, deleted or expired"):
        upload.upload_backup(shop.settings, "shop", run)


def test_a_key_that_may_not_write_is_told(shop: Archive, run: str) -> None:
    key_id = use_key(shop, "listFiles")
    with pytest.raises(UnreachableError, match=f"key {key_id} may not upload .*: it lacks writeFiles"):
        upload.upload_backup(shop.settings, "shop", run)


def test_a_bucket_that_vanished_is_told(shop: Archive, run: str) -> None:
    shop.control.remove_bucket(shop.bucket_name)
    try:
        with pytest.raises(UnreachableError, match=f"bucket {shop.bucket_name}: there is no such bucket"):
            upload.upload_backup(shop.settings, "shop", run)
    finally:
        shop.control.create_bucket(shop.bucket_name)


def test_a_key_without_its_secret_half_is_told(shop: Archive, run: str) -> None:
    shop.platform.sandbox.vault.write(f"{shop.entries}b2/writer", {"key_id": "k"})
    with pytest.raises(
        UnreachableError, match="b2/writer has no application_key; write the values from B2 there"
    ):
        upload.upload_backup(shop.settings, "shop", run)
