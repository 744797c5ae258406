"""`pipeline check` finds, before the night does, what would stop it; `--fix` sets what the bucket lacks."""

import json
from pathlib import Path

from pipeline.sandbox import backup_store
from tests.archive import Archive
from tests.night import Night


def test_all_is_well_on_a_platform_that_stands(night: Night) -> None:
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    checked = night.run("check")
    assert checked.code == 0, checked.out + checked.err
    things = [line.removesuffix(": fine") for line in checked.out.splitlines()]
    assert {
        "scheduler",
        "Vault",
        "warehouse",
        "source shop",
        "database shop",
        "recipients",
        "bucket backups",
        "key b2/writer",
        "key b2/verifier",
    } <= set(things)


def test_everything_that_is_wrong_is_told_at_once(night: Night) -> None:
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    night.platform.declare("shop", "source: shop\ntables: {item: {chnages: full}}\n")
    broken = night.platform.settings_file.read_text().replace(
        "keep_days = 30", "keep_days = 60\nlock_days = 30"
    )
    night.platform.settings_file.write_text(broken)
    night.ask("shop", f'ALTER ROLE "{night.platform.reader("shop")}" NOLOGIN')
    checked = night.run("check", "--json")
    assert checked.code == 4
    wrong = {each["thing"]: each["problems"] for each in json.loads(checked.out) if each["problems"]}
    assert set(wrong) == {"catalog", "source shop", "bucket backups"}
    assert "did you mean changes?" in wrong["catalog"][0]
    assert "run 'pipeline check --fix' with an admin key" in wrong["bucket backups"][0]


def test_fix_sets_rules_and_lock_with_the_admin_key_alone(night: Night, tmp_path: Path) -> None:
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    assert night.run("check", "--fix").code == 2
    home = night.platform.sandbox.home
    token = json.loads((home.vault_keys / "init.json").read_text())["root_token"]
    file = tmp_path / "token"
    file.write_text(token)
    file.chmod(0o600)
    refused = night.run("check", "--fix", "--admin-secret", backup_store.WRITER, "--token-file", str(file))
    assert refused.code == 5
    fixed = night.run("check", "--fix", "--admin-secret", backup_store.ADMIN, "--token-file", str(file))
    assert fixed.code == 0, fixed.out + fixed.err
    assert "bucket backups keeps backups for 30 days, and locks what comes for 30 days" in fixed.out


def test_a_key_of_the_bucket_that_a_night_cannot_use_is_told(archive: Archive) -> None:
    """Too little is found before the night, and so is a key that is not let in any more."""
    archive.source("shop", "CREATE TABLE item (id int PRIMARY KEY)")
    control, bucket, vault = archive.control, archive.bucket_name, archive.platform.sandbox.vault
    lesser = control.create_key("lesser", ["readFiles", "listFiles"], bucket=bucket)
    gone = control.create_key("gone", backup_store.KEYS[backup_store.WRITER], bucket=bucket, valid_seconds=60)
    control.delete_key(gone.key_id)
    for entry, key in ((backup_store.VERIFIER, lesser), (backup_store.WRITER, gone)):
        vault.write(archive.entries + entry, {"key_id": key.key_id, "application_key": key.application_key})
    checked = archive.run("check", "--json")
    assert checked.code == 4, checked.out + checked.err
    wrong = {each["thing"]: each["problems"] for each in json.loads(checked.out) if each["problems"]}
    assert "it lacks readFileRetentions" in wrong[f"key {archive.entries}{backup_store.VERIFIER}"][0]
    assert "wrong, deleted or expired" in wrong[f"key {archive.entries}{backup_store.WRITER}"][0]
