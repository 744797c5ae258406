"""A database whose definitions or recipients changed is drilled the same night; one that did not is not."""

from datetime import UTC, datetime

import pytest

from pipeline import postgres
from pipeline.backup.drills import drill, due, report
from pipeline.backup.drills.report import Origin
from tests.support.archive import SMALL
from tests.support.restores import RUN, Restores

# Each takes seconds.
pytestmark = pytest.mark.endurance


def test_a_database_is_drilled_when_its_definitions_changed_and_once_a_month(restores: Restores) -> None:
    restores.source("shop", SMALL)
    restores.back_up("shop")

    this_month = f"{datetime.now(UTC):%Y-%m}"

    def tonight(month: str = this_month) -> list[str]:
        return due.due(restores.archive.settings, ["shop"], month)

    assert tonight() == ["shop"]
    drill.drill_database(restores.archive.settings, "shop", f"{this_month}-first")
    assert tonight() == []
    assert tonight("2999-12") == ["shop"]
    with restores.archive.platform.connect("shop") as connection:
        postgres.rows(connection, "INSERT INTO item VALUES (5000, 'rows alone')")
        restores.back_up("shop", "2026-11-23")
        assert tonight() == []
        postgres.rows(connection, "CREATE INDEX item_name ON item (name)")
    restores.back_up("shop", "2026-11-24")
    assert tonight() == ["shop"]
    done = restores.archive.run("run", "drill", "--changed")
    assert done.code == 0, done.out + done.err
    assert tonight() == []
    again = restores.archive.run("run", "drill", "--changed")
    assert again.code == 0, again.out + again.err
    assert "its definitions have not changed since" in again.out


def test_a_database_is_drilled_when_a_recipient_was_replaced_though_vault_kept_the_old_private_key(
    restores: Restores,
) -> None:
    restores.source("shop", SMALL)
    restores.back_up("shop")
    this_month = f"{datetime.now(UTC):%Y-%m}"

    def tonight() -> list[str]:
        return due.due(restores.archive.settings, ["shop"], this_month)

    drill.drill_database(restores.archive.settings, "shop", f"{this_month}-first")
    assert tonight() == []
    restores.archive.add_key("school", expires="2y")
    assert tonight() == [], "what is in the bucket is as it was"
    restores.back_up("shop", "2026-11-23")
    assert tonight() == ["shop"]
    done = restores.archive.run("run", "drill", "--changed")
    assert done.code == 4, done.out + done.err
    assert "is not encrypted to this private key" in " ".join(done.err.split())
    restores.keep("restore/key", private_key=restores.archive.private_keys["school"])
    done = restores.archive.run("run", "drill", "--changed")
    assert done.code == 0, done.out + done.err
    assert tonight() == []


def test_a_report_that_does_not_say_who_could_open_the_backup_is_followed_by_another_drill(
    restores: Restores,
) -> None:
    """As those of before did not."""
    restores.source("shop", SMALL)
    restores.back_up("shop")
    this_month = f"{datetime.now(UTC):%Y-%m}"
    result = drill.drill_database(restores.archive.settings, "shop", this_month)
    with restores.archive.writing() as bucket:
        report.write(bucket, result.model_copy(update={"recipients_sha256": None}))
    assert due.due(restores.archive.settings, ["shop"], this_month) == ["shop"]
    drill.drill_database(restores.archive.settings, "shop", this_month)
    assert due.due(restores.archive.settings, ["shop"], this_month) == []


def test_a_drill_for_a_change_that_did_not_hold_is_made_again_by_the_command_that_is_told(
    restores: Restores,
) -> None:
    """Though the month's own drill held: that was before the change."""
    restores.source("shop", SMALL)
    restores.back_up("shop")
    drill.drill_database(restores.archive.settings, "shop", f"{datetime.now(UTC):%Y-%m}")
    contents = restores.archive.manifest("shop", RUN).contents
    tables = tuple(one.model_copy(update={"rows": one.rows + 1}) for one in contents.tables)
    restores.change_manifest(
        "shop", contents=contents.model_copy(update={"tables": tables, "schema_sha256": "changed"})
    )
    done = restores.archive.run("run", "drill", "--changed")
    assert done.code == 4, done.out + done.err
    assert "next: fix that, then pipeline run drill shop" in " ".join(done.err.split())
    restores.change_manifest("shop", contents=contents)
    done = restores.archive.run("run", "drill", "shop")
    assert done.code == 0, done.out + done.err
    assert restores.report("shop", f"{datetime.now(UTC):%Y-%m-%d}").held


def test_a_backup_that_this_version_cannot_read_keeps_no_other_database_from_its_drill(
    restores: Restores,
) -> None:
    """Its own drill fails, and says so; before, none was made."""
    restores.source("shop", SMALL)
    restores.back_up("shop")
    this_month = f"{datetime.now(UTC):%Y-%m}"
    drill.drill_database(restores.archive.settings, "shop", this_month)
    restores.change_manifest("shop", version=99)
    assert due.due(restores.archive.settings, ["shop", "other"], this_month) == ["shop", "other"]


def test_a_drill_of_what_pgbackrest_has_that_did_not_hold_is_made_again_and_keeps_no_other_from_its_own(
    restores: Restores,
) -> None:
    """Whatever the drills of our backups found, and though its first one of the month held."""
    settings = restores.archive.settings

    def put(database: str, name: str, month: str, grade: str, day: int) -> None:
        info = {"month": month, "grade": grade, "finished-at": f"2026-11-{day:02}T06:40:00+00:00"}
        with restores.archive.writing() as bucket:
            report = f"{database}/2026-11-01/{name}-{month}.json"
            bucket.write_small(report, b"{}", content_type="x", info=info)

    def again(origin: Origin) -> list[str]:
        return due.failed_since(settings, ["other", "shop", "third"], "2026-11", origin)

    put("shop", "pgbackrest", "2026-11", "A", 1)
    put("third", "pgbackrest", "2026-11", "A", 1)
    put("shop", "drill", "2026-11-again", "F", 2)
    assert again(Origin.PGBACKREST) == []
    put("shop", "pgbackrest", "2026-11-again", "F", 3)
    assert again(Origin.PGBACKREST) == ["other", "shop"]
    assert again(Origin.BACKUP) == []
