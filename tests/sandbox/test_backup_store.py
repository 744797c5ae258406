"""The sandbox's backups: who may read which key, and what the bucket does with what is in it."""

import gnupg
import pytest

from pipeline import access, bucket, settings, vault
from pipeline.errors import UnreachableError
from pipeline.sandbox.servers import backup_store
from pipeline.settings import Settings, VaultSettings
from tests.support.platforms import Sandbox


def configured(sandbox: Sandbox) -> Settings:
    return settings.read([sandbox.home.settings_file])


def restore_login(found: Settings) -> VaultSettings:
    own = found.require_restore()
    return found.vault.model_copy(update={"role": own.role, "credential_file": own.credential_file})


@pytest.mark.parametrize(
    "entry", [*backup_store.RECIPIENTS.values(), backup_store.RESTORER, backup_store.ADMIN]
)
def test_the_nightly_login_cannot_read_what_opens_or_unlocks_backups(sandbox: Sandbox, entry: str) -> None:
    """Who takes over the machine of the nightly run gets neither the old backups nor a way to remove them."""
    with (
        vault.session(configured(sandbox).vault) as nightly,
        pytest.raises(UnreachableError, match=f"may not read secret/data/pipeline/{entry}"),
    ):
        nightly.read(entry)


def test_a_restore_can_read_the_key_and_little_else(sandbox: Sandbox) -> None:
    found = configured(sandbox)
    with vault.session(restore_login(found)) as restoring:
        assert "PRIVATE KEY" in restoring.read(found.require_restore().key_secret)["private_key"]
        for entry in ("database/hr", "source/hr", backup_store.ADMIN):
            with pytest.raises(UnreachableError, match="may not read"):
                restoring.read(entry)


def test_no_private_key_is_in_a_file(sandbox: Sandbox) -> None:
    """Not even in Vault's own storage in the clear; the public ones are where the settings say."""
    marks = [b"PRIVATE KEY BLOCK"]
    for folder in (sandbox.home.path, sandbox.home.servers("vault")):
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                assert not any(mark in data for mark in marks), path
    for path in configured(sandbox).require_backup().recipients:
        (key,) = gnupg.GPG(gnupghome=str(sandbox.home.path / "keys")).scan_keys(str(path))
        assert key["type"] == "pub"


def test_each_key_has_the_least_it_needs(sandbox: Sandbox) -> None:
    for entry, capabilities in backup_store.KEYS.items():
        key = sandbox.vault.read(entry)
        assert key is not None
        with bucket.connect(
            key["key_id"], key["application_key"], backup_store.BUCKET, realm=backup_store.realm(sandbox.home)
        ) as opened:
            assert opened.capabilities == capabilities


def test_the_bucket_keeps_and_locks_as_the_settings_say(sandbox: Sandbox) -> None:
    found = configured(sandbox)
    backup = found.require_backup()
    with access.opened(found) as databases, databases.bucket(backup_store.AUDITOR) as opened:
        assert opened.inspect().problems(keep_days=backup.keep_days, lock_days=backup.lock_days) == []
