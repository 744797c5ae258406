"""EncryptDump: the plaintext lives exactly as long as it must, and only a whole ciphertext counts."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.backup import dump, encrypt
from pipeline.backup.work import records
from pipeline.errors import ProblemsError, StepError
from tests.support.archive import SMALL, Archive, may_mount, script, small_disk
from tests.support.night import next_run

GPG = "/usr/bin/gpg"


@pytest.fixture
def shop(archive: Archive) -> Archive:
    archive.source("shop", SMALL)
    return archive


@pytest.fixture
def run(shop: Archive) -> str:
    """A run whose dump is made."""
    made = next_run()
    dump.dump_database(shop.settings, "shop", made)
    return made


def in_the_clear(archive: Archive, run: str) -> list[Path]:
    folder = archive.work("shop", run)
    return [path for path in (folder.dump, folder.globals) if path.exists()]


def test_the_plaintext_goes_when_the_ciphertext_is_there(shop: Archive, run: str) -> None:
    assert len(in_the_clear(shop, run)) == 2
    encrypt.encrypt_dump(shop.settings, "shop", run)
    assert in_the_clear(shop, run) == []
    record = records.encrypted(shop.work("shop", run))
    assert record is not None
    assert [one.user_id for one in record.recipients] == [
        "school <school@test.invalid>",
        "safe <safe@test.invalid>",
    ]


def test_what_is_encrypted_is_not_encrypted_again(shop: Archive, run: str) -> None:
    encrypt.encrypt_dump(shop.settings, "shop", run)
    first = records.encrypted(shop.work("shop", run))
    encrypt.encrypt_dump(shop.settings, "shop", run)
    assert records.encrypted(shop.work("shop", run)) == first


def test_half_a_ciphertext_does_not_count(shop: Archive, run: str) -> None:
    encrypt.encrypt_dump(shop.settings, "shop", run)
    folder = shop.work("shop", run)
    path = folder.encrypted(folder.dump)
    path.write_bytes(path.read_bytes()[:-1])
    assert records.encrypted(folder) is None


def test_a_key_that_has_gone_bad_since_the_dump_leaves_nothing_in_the_clear(shop: Archive, run: str) -> None:
    (shop.folder / "safe.asc").write_text("damaged")
    with pytest.raises(ProblemsError, match=r"safe\.asc: holds no public key"):
        encrypt.encrypt_dump(shop.settings, "shop", run)
    assert in_the_clear(shop, run) == []


@pytest.fixture
def bad_gpg(shop: Archive, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A gpg that dies as soon as it has written something."""
    text = f'case "$*" in *--encrypt*) {GPG} "$@" | head -c 100; kill -9 $$;; esac\nexec {GPG} "$@"'
    made = script(shop.folder, "gpg", text)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(made), prepend=":")
        yield


@pytest.mark.usefixtures("bad_gpg")
def test_a_killed_gpg_leaves_nothing_in_the_clear(shop: Archive, run: str) -> None:
    with pytest.raises(StepError, match=r"shop\.dump could not be encrypted: gpg was killed by signal 9"):
        encrypt.encrypt_dump(shop.settings, "shop", run)
    assert in_the_clear(shop, run) == []
    assert records.encrypted(shop.work("shop", run)) is None


def test_a_dump_that_has_changed_since_is_not_believed(shop: Archive, run: str) -> None:
    """A disk that loses bits must not make a backup that nobody can restore."""
    path = shop.work("shop", run).dump
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StepError, match=r"shop\.dump: has changed since it was dumped"):
        encrypt.encrypt_dump(shop.settings, "shop", run)
    assert in_the_clear(shop, run) == []


@pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
def test_a_full_disk_leaves_nothing_in_the_clear(shop: Archive, tmp_path: Path) -> None:
    with small_disk(tmp_path, 48 * 2**20) as disk:
        shop.write_settings(work_dir=str(disk))
        with shop.platform.connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE noise AS SELECT sha512(n::text::bytea) FROM generate_series(1, 9000) AS n"
            )
        run = next_run()
        dump.dump_database(shop.settings, "shop", run)
        # Enough for the keys, not for the ciphertext.
        (disk / "other").write_bytes(bytes(shutil.disk_usage(disk).free - 256 * 1024))
        with pytest.raises(StepError, match="No space left on device; make room in"):
            encrypt.encrypt_dump(shop.settings, "shop", run)
        assert in_the_clear(shop, run) == []
