"""Signed backups: who has the key that writes to the bucket, and no other, adds none that counts."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline import crypt, vault
from pipeline.backup import dump
from pipeline.backup.drills import attempt, drill
from pipeline.backup.store import backups, choice, manifest, retention, signature
from pipeline.backup.store.backups import Backup, Listing
from pipeline.backup.store.manifest import Manifest
from pipeline.backup.store.signature import Signature
from pipeline.bucket import KEPT
from pipeline.bucket.objects import SHA256_INFO, Stored
from pipeline.crypt import Signers
from pipeline.errors import ANOTHER_RUN, CheckError, ProblemsError, StepError, UnreachableError
from pipeline.observe.observed import archive as shown
from pipeline.observe.observed.observations import BucketObservations, Observations
from pipeline.observe.watch import archive as judged
from pipeline.observe.watch.finding import Finding
from pipeline.sandbox.servers.vault_server import administrator
from pipeline.settings import Settings
from tests.support.archive import SMALL, Archive
from tests.support.marks import in_depth
from tests.support.restores import RUN, Restores

FORGED = "2026-11-30"


@pytest.fixture
def shop(restores: Restores) -> Restores:
    """A database with one backup, which is signed."""
    restores.source("shop", SMALL)
    restores.back_up("shop")
    return restores


def forge(archive: Archive, run: str, labels: Mapping[str, str | None]) -> None:
    """Add a backup with the writer's key alone: the objects of a real one, for the right recipients.

    Its manifest says what it must to be taken; `labels` are those of the real one, but for these.
    """
    with archive.writing() as bucket:
        proof = bucket.find(manifest.manifest_name("shop", RUN))
        assert proof is not None
        proven = Manifest.from_bytes(bucket.read_small(proof.name), "real")
        names = (manifest.dump_name("shop", run), manifest.globals_name("shop", run))
        for file, name in zip((proven.dump, proven.globals), names, strict=True):
            stored = bucket.find(file.name)
            assert stored is not None
            bucket.copy(stored, name)
        forged = proven.model_copy(
            update={
                "run": run,
                "taken_at": proven.taken_at + timedelta(hours=1),
                "dump": proven.dump.model_copy(update={"name": names[0]}),
                "globals": proven.globals.model_copy(update={"name": names[1]}),
            }
        )
        data = forged.to_bytes()
        real = {name: value for name, value in proof.info.items() if name != SHA256_INFO}
        said = {**real, **signature.labels(forged, data), **labels}
        bucket.write_small(
            manifest.manifest_name("shop", run),
            data,
            content_type=manifest.CONTENT_TYPE,
            replace=True,
            info={name: value for name, value in said.items() if value is not None},
        )


KEY = Ed25519PrivateKey.generate()
SIGNERS = Signers(Path("signers"), {"shop": {3: KEY.public_key().public_bytes_raw()}})
LABELS = dict.fromkeys(signature.LABELS, "said") | {SHA256_INFO: "00"}


def signed(**changes: str) -> Stored:
    """Return a manifest's object as it was signed, with what was changed since."""
    data = signature.statement("shop", RUN, LABELS, LABELS[SHA256_INFO])
    written = f"vault:v3:{base64.b64encode(KEY.sign(data)).decode()}"
    info = {**LABELS, signature.LABEL: written, **changes}
    moment = datetime.now(UTC)
    return Stored("m", "id", 1, info[SHA256_INFO], "", info, moment, None, None, info[signature.SHA1])


@pytest.mark.parametrize("label", [*LABELS, signature.LABEL])
def test_what_a_signed_backup_is_said_to_be_cannot_be_said_otherwise(label: str) -> None:
    """With another moment it would be the newest, or one of another month."""
    assert signature.judge(SIGNERS, "shop", RUN, signed()) is Signature.SIGNED
    assert signature.judge(SIGNERS, "shop", RUN, signed(**{label: "else"})) is Signature.WRONG
    for other in ("shop", FORGED), ("other", RUN):
        assert signature.judge(SIGNERS, *other, signed()) is Signature.WRONG


def test_a_signature_counts_by_the_line_of_its_own_database_and_version_alone() -> None:
    (key,) = SIGNERS.keys["shop"].values()
    for keys in ({"shop": {4: key}}, {"other": {3: key}}, {"shop": {3: b"x" * 32}}, {}):
        assert signature.judge(Signers(Path("s"), keys), "shop", RUN, signed()) is Signature.WRONG
    newer: dict[str, dict[int, bytes]] = {"shop": {3: key, 4: b"x" * 32}}
    assert signature.judge(Signers(Path("s"), newer), "shop", RUN, signed()) is Signature.SIGNED
    assert Signers(Path("s"), newer).newest("shop") == 4


def test_what_b2_itself_says_of_the_bytes_counts() -> None:
    """Whoever writes other bytes says of them what he likes, but for their SHA-1."""
    changed = replace(signed(), sha1="0" * 40)
    assert signature.judge(SIGNERS, "shop", RUN, changed) is Signature.WRONG


def test_whatever_somebody_writes_beside_a_manifest_the_others_are_listed() -> None:
    """One label that cannot be read would end every list, and so every restore."""
    endless = signed(**{signature.LABEL: f"vault:v{'9' * 5000}:{'A' * 86}=="})
    assert signature.judge(SIGNERS, "shop", RUN, endless) is Signature.WRONG
    moment = {"taken-at": "2026-11-22T02:00:00+00:00", "verified-at": "9999-12-31T23:59:59-14:00"}
    strange = replace(signed(**moment), name=manifest.manifest_name("shop", RUN))
    assert backups.listed([strange], SIGNERS).backups == ()


def test_an_object_of_which_nobody_says_what_it_is_is_not_what_was_verified() -> None:
    """Neither the object nor the manifest has its SHA-256: nothing is equal to nothing."""
    moment = dict.fromkeys(("taken-at", "verified-at"), "2026-11-22T02:00:00+00:00")
    proof = replace(signed(), name=manifest.manifest_name("shop", RUN), info=moment)
    names = manifest.dump_name("shop", RUN), manifest.globals_name("shop", RUN)
    objects = [proof, *(replace(proof, name=name, sha256=None) for name in names)]
    (one,) = backups.listed(objects, None).backups
    assert (one.verified, one.sound) == (False, False)


def test_all_that_is_wrong_in_the_file_of_keys_is_told_with_its_line(tmp_path: Path) -> None:
    (key,) = SIGNERS.keys["shop"].values()
    good = crypt.line("shop", 1, base64.b64encode(key).decode())
    path = tmp_path / "signers"
    path.write_text(f"# ours\n{good} # since May\n\n{good}\nshop two {good.split()[2]}\nshop 3 AAAA\nshop\n")
    with pytest.raises(ProblemsError) as told:
        crypt.read_signers(path)
    assert [problem.split(": ")[0] for problem in told.value.problems] == [
        f"{path}:{number}" for number in (4, 5, 6, 7)
    ]
    path.write_text(f"# ours\n{good} # since May\n")
    assert crypt.read_signers(path).keys == {"shop": {1: key}}
    with pytest.raises(ProblemsError, match="cannot be read"):
        crypt.read_signers(tmp_path / "none")


def listed(archive: Archive, settings: Settings | None = None, database: str = "shop") -> Listing:
    with archive.bucket() as bucket:
        return backups.find(bucket, settings or archive.settings, database)


def thought(archive: Archive, key: str) -> Finding:
    """Return what watch thinks of the bucket."""
    settings, listing = archive.settings, listed(archive)
    seen = Observations(bucket=BucketObservations(archive.bucket_name, listing.backups, listing.incomplete))
    (found,) = (one for one in judged.judge(settings, seen, datetime.now(UTC)) if one.key == key)
    return found


def without(settings: Settings) -> Settings:
    """Return settings by which nothing is signed."""
    backup = settings.require_backup().model_copy(update={"signers": None})
    return settings.model_copy(update={"backup": backup})


@in_depth(
    ("label", "found"),
    [({"signature": None}, Signature.UNSIGNED), ({}, Signature.WRONG)],
    ids=["without a signature", "with a borrowed one"],
)
def test_who_has_the_writers_key_alone_adds_no_backup_that_counts(
    shop: Restores, label: dict[str, str | None], found: Signature
) -> None:
    """It is newer, whole, of the right format and for the right recipients."""
    archive = shop.archive
    forge(archive, FORGED, label)
    there = listed(archive).of("shop")
    assert [(one.run, one.verified, one.signature, one.sound) for one in there] == [
        (RUN, True, Signature.SIGNED, True),
        (FORGED, True, found, False),
    ]
    with archive.bucket() as bucket:
        with pytest.raises(CheckError, match=f"of run {FORGED}, .* sign.*add --at {RUN}"):
            choice.choose(bucket, archive.settings, "shop")
        with pytest.raises(CheckError, match="sign"):
            choice.choose(bucket, archive.settings, "shop", FORGED)
        manifest_, remarks = attempt.newest(bucket, archive.settings, "shop")
        assert (manifest_.run, len(remarks)) == (RUN, 1)
    assert [one.run for one in shown.in_bucket(archive.settings)] == [RUN]
    assert not backups.is_verified(archive.settings, "shop", FORGED)
    of_age, of_signature = (thought(archive, f"watch/{what}/shop") for what in ("backup", "signature"))
    assert (of_age.severity, of_signature.severity) == ("ok", "warning")
    assert FORGED in thought(archive, "watch/signature/shop").summary
    # Without signatures it would have been the newest, and restored.
    with archive.bucket() as bucket:
        assert choice.choose(bucket, without(archive.settings), "shop").run == FORGED


@pytest.mark.endurance
def test_a_manifest_that_says_something_else_under_the_same_signature_is_told_without_being_read(
    shop: Restores,
) -> None:
    archive = shop.archive
    name = manifest.manifest_name("shop", RUN)
    with archive.writing() as bucket:
        proof = bucket.find(name)
        assert proof is not None
        data = bucket.read_small(name).replace(b'"rows": 1000', b'"rows": 9999')
        bucket.write_small(name, data, content_type="application/json", info=proof.info, replace=True)
    assert thought(archive, "watch/signature/shop").severity == "warning"
    with archive.bucket() as bucket:
        chosen = choice.choose(bucket, archive.settings, "shop", RUN)
    # The copy that is kept, which says what was signed.
    assert chosen.dump.name.startswith(KEPT)
    assert 9999 not in [table.rows for table in chosen.contents.tables]


@pytest.mark.endurance
@pytest.mark.parametrize(("database", "run"), [("other", RUN), ("shop", FORGED)])
def test_a_backup_that_was_moved_to_another_database_or_run_is_not_ours(
    shop: Restores, database: str, run: str
) -> None:
    archive = shop.archive
    archive.source("other", SMALL)
    with archive.writing() as bucket:
        for stored in list(bucket.list(manifest.prefix("shop", RUN))):
            kind = stored.name.rpartition("/")[2].replace("shop.dump", f"{database}.dump")
            bucket.copy(stored, manifest.prefix(database, run) + kind)
    (one,) = (one for one in listed(archive, database=database).of(database) if one.run == run)
    assert one.signature is Signature.WRONG
    # And where nothing is signed, its manifest says of what it is.
    with archive.bucket() as bucket, pytest.raises(CheckError, match=f"holds shop {RUN} and is in the wrong"):
        choice.choose(bucket, without(archive.settings), database, run)


@pytest.mark.endurance
def test_a_key_that_was_changed_signs_once_its_line_is_there_and_the_old_one_still_counts(
    shop: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = shop.archive
    path = archive.settings.require_backup().signers
    assert path is not None
    key = archive.settings.vault.signing_key("shop")
    before = max(signature.signers(archive.settings).keys["shop"])  # type: ignore[union-attr]
    administrator(shop.home).call("POST", f"transit/keys/{key}/rotate")
    # Nobody has written its line yet: the night goes on with the one before.
    shop.back_up("shop", "2026-11-23")
    with vault.session(archive.settings.vault) as session:
        newest = session.transit.public_keys("shop")[before + 1]
    with path.open("a") as file:
        file.write(f"shop {before + 1} {newest}\n")
    shop.back_up("shop", "2026-11-24")
    assert [one.signature for one in listed(archive).of("shop")] == [Signature.SIGNED] * 3
    # What a stolen key has signed counts no more, once its line is gone.
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"shop {before} ")]
    path.write_text("\n".join(lines))
    assert [one.sound for one in listed(archive).of("shop")] == [False, False, True]
    # But nobody gives up the copies of it for that: the line may be put back.
    monkeypatch.setattr(retention, "_now", lambda: datetime.now(UTC) + timedelta(days=31))
    with archive.bucket() as reading, archive.writing() as writing:
        retention.keep(reading, writing, archive.settings, "shop")
        kept = {stored.name.split("/")[2] for stored in reading.list(f"{KEPT}shop/")}
    assert kept == {RUN, "2026-11-23", "2026-11-24"}


@pytest.mark.endurance
def test_a_backup_of_before_they_were_signed_is_restored_at_a_persons_word_alone(
    restores: Restores, caplog: pytest.LogCaptureFixture
) -> None:
    archive = restores.archive
    restores.source("shop", SMALL)
    signed = archive.settings.require_backup().signers
    archive.write_settings(signers="")
    restores.back_up("shop")
    archive.write_settings(signers=str(signed))
    (one,) = listed(archive).of("shop")
    assert (one.signature, one.verified, one.sound) == (Signature.UNSIGNED, True, False)
    with archive.bucket() as bucket:
        with pytest.raises(CheckError, match="is not signed"):
            choice.choose(bucket, archive.settings, "shop")
        with pytest.raises(CheckError, match="add --unsigned"):
            choice.choose(bucket, archive.settings, "shop", RUN)
        assert choice.choose(bucket, archive.settings, "shop", RUN, unsigned=True).run == RUN
    assert "is not signed: nothing shows that it is ours" in caplog.text
    # Until there is one that is, this is what there is; and then it is nobody's fault.
    assert [(one.run, one.verified) for one in shown.in_bucket(archive.settings)] == [(RUN, False)]
    restores.back_up("shop", "2026-11-23")
    assert thought(archive, "watch/signature/shop").severity == "ok"
    assert {one.run: (one.kept, one.sound) for one in listed(archive).of("shop")} == {
        RUN: (True, False),
        "2026-11-23": (True, True),
    }


@pytest.mark.endurance
def test_tonights_name_taken_by_somebody_else_is_told_before_the_dump(shop: Restores) -> None:
    """A manifest of that name made the run complete before it had begun."""
    forge(shop.archive, "2026-12-01", {})
    with pytest.raises(StepError, match="is not signed by us; find out who wrote it") as caught:
        dump.dump_database(shop.archive.settings, "shop", "2026-12-01")
    assert (caught.value.again, caught.value.retryable) == (ANOTHER_RUN, False)


@pytest.mark.endurance
def test_tonights_name_taken_by_a_backup_of_before_they_were_signed_blames_nobody(shop: Restores) -> None:
    """As on the day on which [backup] signers was written into luigi.cfg."""
    forge(shop.archive, "2026-12-01", {"signature": None})
    with pytest.raises(
        StepError, match="is not signed: it was made before backups were signed, or"
    ) as caught:
        dump.dump_database(shop.archive.settings, "shop", "2026-12-01")
    assert (caught.value.again, caught.value.retryable) == (ANOTHER_RUN, False)


@pytest.mark.endurance
def test_without_a_key_in_vault_the_night_says_at_once_what_to_type(shop: Restores) -> None:
    archive = shop.archive
    read = archive.settings
    nowhere = read.model_copy(update={"vault": read.vault.model_copy(update={"prefix": "pipeline/backup-x"})})
    with vault.session(read.vault) as session:
        session.transit._settings = nowhere.vault
        with pytest.raises(UnreachableError, match="bao write -f transit/keys/pipeline-backup-x-backup-shop"):
            session.transit.sign("shop", 1, b"")
    path = read.require_backup().signers
    assert path is not None
    path.write_text("# none yet\n")
    with pytest.raises(StepError, match="has no key of shop, so its backups cannot be signed"):
        dump.dump_database(read, "shop", "2026-12-01")


def made(run: str, found: Signature | None = Signature.SIGNED) -> Backup:
    moment = datetime.fromisoformat(f"{run}T02:00:00+00:00")
    return Backup("shop", run, moment, moment, 1, True, None, signature=found)


def test_what_is_not_signed_takes_nobodys_place_among_those_that_are_kept() -> None:
    real = [made("2026-11-01"), made("2026-11-21"), made("2026-11-22")]
    others = [made("2026-10-02", Signature.UNSIGNED), made("2027-02-02", Signature.WRONG)]
    assert retention.wanted([*real, *others], last=2, months=2) == {one.run for one in real}


def test_a_copy_whose_key_has_no_line_any_more_stays_for_its_months_and_no_longer() -> None:
    since = retention._month(made("2026-10-01").taken_at)
    for found in Signature.UNSIGNED, Signature.WRONG:
        assert retention._is_spared(made("2026-11-01", found), since)
        assert not retention._is_spared(made("2026-10-31", found), since)
    assert not retention._is_spared(made("2026-11-01"), since)


@pytest.mark.endurance
def test_a_good_copy_stays_whatever_is_put_before_it(shop: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who writes another manifest over the daily one would have the good copy of it removed."""
    archive = shop.archive
    archive.write_settings(keep_last="2", keep_months="0")
    shop.back_up("shop", "2026-11-23")
    forge(archive, RUN, {})
    monkeypatch.setattr(retention, "_now", lambda: datetime.now(UTC) + timedelta(days=31))
    with archive.bucket() as reading, archive.writing() as writing:
        retention.keep(reading, writing, archive.settings, "shop")
        copies = {stored.name for stored in reading.list(f"{KEPT}shop/{RUN}/")}
        assert len(copies) == 3
        # And it is what a restore takes, whose place the list shows as taken by another.
        (there,) = (one for one in backups.find(reading, archive.settings, "shop").backups if one.run == RUN)
        assert (there.signature, there.kept, there.place) == (Signature.WRONG, True, "")
        assert choice.choose(reading, archive.settings, "shop", RUN).dump.name.startswith(KEPT)


@pytest.mark.endurance
def test_the_whole_way_of_a_forged_backup(shop: Restores) -> None:
    """Each command: the list shows it, no restore and no drill takes it, and the next night is as ever."""
    archive = shop.archive
    forge(archive, FORGED, {})
    ended = archive.run("backups", "shop")
    assert "NO: not ours" in ended.out
    target = shop.name("restored")
    for arguments, code, said in (
        ((), 4, f"add --at {RUN}"),
        (("--at", FORGED), 4, "has an invalid signature"),
        (("--at", FORGED, "--unsigned"), 4, "has an invalid signature"),
        (("--unsigned",), 2, "needs --at RUN"),
    ):
        ended = archive.run("restore", "shop", "--into-new", target, *arguments)
        assert (ended.code, said in ended.err) == (code, True), ended.err
    assert archive.run("restore", "shop", "--into-new", target, "--at", RUN).code == 0
    found = drill.drill_database(archive.settings, "shop", "2026-11")
    assert (found.run, found.grade) == (RUN, "B")
    assert "invalid signature" in found.remarks[0]
    ended = archive.backup("shop", FORGED)
    assert ended.code == 3, ended.err
    assert "is not signed by us" in ended.err
    assert archive.backup("shop", f"{FORGED}T0400").code == 0


@pytest.mark.endurance
def test_check_tells_the_line_that_the_file_lacks(shop: Restores) -> None:
    archive = shop.archive
    path = archive.settings.require_backup().signers
    assert path is not None
    line = path.read_text().splitlines()[-1]
    path.write_text("")
    ended = archive.run("check")
    assert ended.code == 4
    assert " ".join(line.split()) in " ".join(ended.out.split())
    # A Vault that was restored from before the key was changed.
    path.write_text(f"{line}\nshop 99 {line.split()[2]}\n")
    ended = archive.run("check")
    assert ended.code == 4
    assert "until it has version 100" in " ".join(ended.out.split())
    # One that was set up anew has another key under the same number.
    other = base64.b64encode(b"o" * 32).decode()
    path.write_text(f"shop {line.split()[1]} {other}\n")
    ended = archive.run("check")
    assert ended.code == 4
    assert f"until it has version {int(line.split()[1]) + 1}" in " ".join(ended.out.split())


@pytest.mark.endurance
def test_signatures_are_no_matter_where_none_are_asked_for(shop: Restores) -> None:
    read = without(shop.archive.settings)
    (one,) = listed(shop.archive, read).of("shop")
    assert (one.signature, one.sound, replace(one, verified=False).sound) == (None, True, False)


def test_that_nobody_verifies_who_made_backups_is_said_wherever_they_are_shown_or_restored(
    archive: Archive,
) -> None:
    """A line that is missing in luigi.cfg looks as if all were well."""
    archive.source("shop", SMALL)
    typed = (("backups",), ("status",), ("restore", "shop", "--into-new", "none"))
    quiet = [archive.run(*one) for one in typed]
    assert not any(signature.NOBODY in ended.out for ended in quiet)
    archive.write_settings(signers="")
    said = [archive.run(*one) for one in typed]
    assert [f"warning: {signature.NOBODY}" in ended.out for ended in said] == [True] * 3
    assert [ended.code for ended in said] == [ended.code for ended in quiet]
    assert json.loads(archive.run("status", "--json").out)["warnings"] == [signature.NOBODY]
