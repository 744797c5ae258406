"""The manifest's own promises: it comes back as it was, and what is not a manifest is told."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.backup.store import manifest
from pipeline.backup.store.manifest import (
    Contents,
    Database,
    File,
    LargeObjects,
    Manifest,
    Table,
    Times,
    Verification,
)
from pipeline.crypt import Digest, Recipient
from pipeline.errors import CheckError

MOMENT = datetime(2026, 11, 22, 1, 30, tzinfo=UTC)


def a_manifest() -> Manifest:
    database = Database(
        name="hr",
        owner="hr_owner",
        encoding="UTF8",
        collate="C",
        ctype="C",
        locale_provider="c",
        locale=None,
        size_bytes=1,
        version="17.10",
        version_number=170010,
    )
    table = Table(
        schema_name="public",
        name='odd "name"',
        owner="hr_owner",
        columns=("id", "größe"),
        rows=3,
        checksum="-98765432109876543210",
    )
    file = File(
        name=manifest.dump_name("hr", "2026-11-22"),
        plain=Digest(size_bytes=1, sha256="00"),
        encrypted=Digest(size_bytes=2, sha256="01"),
    )
    contents = Contents(
        database=database,
        session={"TimeZone": "UTC"},
        tables=(table,),
        sequences=(),
        extensions=(),
        objects=(),
        large_objects=LargeObjects(count=0, checksum="0"),
        roles=("hr_owner",),
    )
    times = Times(
        dump_started_at=MOMENT,
        dump_seconds=1,
        contents_seconds=1,
        encrypt_seconds=1,
        upload_seconds=1,
        verify_seconds=1,
    )
    return Manifest(
        database="hr",
        run="2026-11-22",
        taken_at=MOMENT,
        client_version="17.10",
        compression="zstd:1",
        contents=contents,
        dump=file,
        globals=file,
        recipients=(),
        times=times,
        verification=Verification(method="all", verified_at=MOMENT),
        warnings=("soon",),
    )


def test_it_comes_back_as_it_was() -> None:
    made = a_manifest()
    assert Manifest.from_bytes(made.to_bytes(), "m") == made


def test_a_checksum_is_exact_to_every_reader() -> None:
    """It is larger than the numbers that many JSON readers keep exactly, so it is text."""
    data = json.loads(a_manifest().to_bytes())
    assert data["contents"]["tables"][0]["checksum"] == "-98765432109876543210"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 2}, r"m is not a manifest that this version can read \(version: "),
        ({"database": None}, "database: "),
        ({"more": 1}, "more: "),
    ],
)
def test_another_format_is_refused(change: dict[str, object], told: str) -> None:
    """A restore must not go by half of what a later version wrote."""
    data = {**json.loads(a_manifest().to_bytes()), **change}
    with pytest.raises(CheckError, match=told):
        Manifest.from_bytes(json.dumps(data).encode(), "m")


def test_what_is_cut_short_is_refused() -> None:
    with pytest.raises(CheckError, match="m is not a manifest"):
        Manifest.from_bytes(a_manifest().to_bytes()[:-20], "m")


def test_objects_are_called_as_the_readme_says() -> None:
    assert manifest.dump_name("hr", "2026-11-22") == "hr/2026-11-22/hr.dump.gpg"
    assert manifest.globals_name("hr", "2026-11-22") == "hr/2026-11-22/globals.sql.gpg"
    assert manifest.manifest_name("hr", "2026-11-22") == "hr/2026-11-22/manifest.json"


def test_a_key_that_was_replaced_or_renewed_makes_other_recipients_and_their_order_does_not() -> None:
    """A renewed one has the fingerprint that it had, and may have another part that decrypts."""
    school = Recipient(fingerprint="A" * 40, user_id="School", expires_at=MOMENT)
    safe = Recipient(fingerprint="B" * 40, user_id="Safe", expires_at=None)

    def digest(*recipients: Recipient) -> str:
        return a_manifest().model_copy(update={"recipients": recipients}).recipients_sha256

    renewed = school.model_copy(update={"expires_at": MOMENT + timedelta(days=700)})
    replaced = school.model_copy(update={"fingerprint": "C" * 40})
    assert digest(school, safe) == digest(safe, school)
    assert len({digest(*each) for each in ((school, safe), (renewed, safe), (replaced, safe), (safe,))}) == 4
