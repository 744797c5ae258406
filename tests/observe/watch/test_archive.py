"""What watch thinks of the bucket: old backups and drills, strange sizes, rules that were changed."""

from datetime import timedelta
from typing import Any

import pytest

from pipeline.backup.store.signature import Signature
from pipeline.observe.observed.observations import Observations
from pipeline.settings import Settings
from tests.observe.watch.samples import (
    DAY,
    HOUR,
    LAST_NIGHT,
    NOW,
    backup,
    bucket,
    drill,
    judged,
    ledger,
    nights,
    observations,
    only,
    settings,
    told,
)

MEGABYTE = 1_000_000


def archive_only(**changes: object) -> Observations:
    """Return facts of a bucket; loads are another's business."""
    return observations(**{"declared": None, "ledger": ledger(run=None, tables={}), "keys": (), **changes})


def test_a_backup_that_was_not_made_is_told() -> None:
    assert told(archive_only(), LAST_NIGHT + timedelta(hours=26)) == {}
    late = only(archive_only(), NOW + DAY)
    assert (late.key, late.severity, late.command) == ("watch/backup/hr", "stale", "pipeline run backup hr")
    assert late.summary == (
        "backup of hr: the newest verified one, run 2026-11-24, was taken at 2026-11-24 02:15 UTC, "
        "35 h 45 min ago; the limit is 26 h"
    )
    assert late.since == LAST_NIGHT + timedelta(hours=26)


def test_all_that_is_well_is_judged_too() -> None:
    """For what was told must be told to be over."""
    found = judged(archive_only())
    keys = {f"watch/{what}/hr" for what in ("backup", "changed", "size", "drill")} | {"watch/rules"}
    assert {found[key].severity for key in keys} == {"ok"}


def test_a_backup_that_is_not_ours_is_told_and_over_once_it_is_gone() -> None:
    """Also where none that is left is signed: they are from before we did."""
    before = [backup(days, signature=Signature.UNSIGNED) for days in (2, 1, 0)]
    forged = backup(run="2026-11-25", signature=Signature.WRONG)
    late = told(archive_only(bucket=bucket(backups=(*before, forged))))["watch/signature/hr"]
    assert "1 of 4 are not ours: the newest, run 2026-11-25" in late.summary
    assert judged(archive_only(bucket=bucket(backups=tuple(before))))["watch/signature/hr"].severity == "ok"


def test_a_database_that_nobody_backed_up_yet_has_no_drill_to_miss() -> None:
    known = ledger(run=None, tables={}, drills={}, first_backups={})
    late = only(archive_only(bucket=bucket(backups=(), drills={}), ledger=known))
    assert late.key == "watch/backup/hr"


def test_a_database_may_have_limits_of_its_own() -> None:
    weekly = settings(databases={"hr": {"secret": "database/hr", "backup_hours": 170, "drill_days": 100}})
    assert told(archive_only(), NOW + 6 * DAY, weekly) == {}
    assert "the limit is 170 h" in told(archive_only(), NOW + 7 * DAY, weekly)["watch/backup/hr"].summary
    assert "watch/drill/hr" not in told(archive_only(), NOW + 60 * DAY, weekly)


def test_where_a_drill_is_due_more_than_once_a_month_the_command_makes_another() -> None:
    """That of the month would say that it held already, and end with 0."""
    held = {"hr": drill(month=f"{NOW:%Y-%m}", finished_at=NOW - 9 * DAY, held_at=NOW - 9 * DAY)}
    databases = {"hr": {"secret": "database/hr", "pgbackrest": "main", "drill_days": 7}}
    late = told(
        archive_only(bucket=bucket(drills=held, archive_drills=held)), NOW, with_archive(databases=databases)
    )
    assert late["watch/drill/hr"].command == f"pipeline run drill hr --month {NOW:%Y-%m-%d}"
    assert late[KEY].command == f"pipeline run drill hr --from pgbackrest --month {NOW:%Y-%m-%d}"
    # In the next month its own is still to be made.
    later = told(archive_only(bucket=bucket(drills=held)), NOW + 20 * DAY, settings(databases=databases))
    assert later["watch/drill/hr"].command == "pipeline run drill hr"


def test_a_database_without_any_verified_backup_is_told_at_once() -> None:
    late = only(archive_only(bucket=bucket(backups=())))
    assert (late.key, late.severity) == ("watch/backup/hr", "stale")
    assert "bucket backups has none that is verified; the limit is 26 h" in late.summary
    begun = bucket(backups=(), incomplete=(("hr", "2026-11-24"),))
    assert "only the unfinished run 2026-11-24" in only(archive_only(bucket=begun)).summary


def test_backups_of_before_they_were_signed_are_named_where_there_is_none_that_counts() -> None:
    """As on the day on which [backup] signers was written into luigi.cfg: each has been verified."""
    before = tuple(backup(days, signature=Signature.UNSIGNED) for days in (2, 1, 0))
    late = told(archive_only(bucket=bucket(backups=before)))["watch/backup/hr"]
    assert (
        f"has none that is verified and signed: run {before[-1].run} was made before backups were signed, or "
        "by somebody else; the limit is 26 h" in late.summary
    )
    # The name of today is taken: what to type is not refused because of that, and tomorrow's is as ever.
    assert late.command == f"pipeline run backup hr --run {NOW:%Y-%m-%dT%H%M}"
    assert told(archive_only(bucket=bucket(backups=before)), NOW + DAY)["watch/backup/hr"].command == (
        "pipeline run backup hr"
    )


def test_an_upload_without_a_manifest_is_no_backup() -> None:
    begun = bucket(backups=nights(*[80 * MEGABYTE] * 9)[:-2], incomplete=(("hr", "2026-11-24"),))
    late = only(archive_only(bucket=begun))
    assert late.key == "watch/backup/hr"
    assert late.summary.endswith("the limit is 26 h; run 2026-11-24 was begun and has no manifest")


def test_a_backup_that_is_not_what_was_verified_is_told_and_does_not_count() -> None:
    replaced = (backup(9, verified=False), *nights(*[80 * MEGABYTE] * 9)[:-1], backup(verified=False))
    found = told(archive_only(bucket=bucket(backups=replaced)))
    assert found.keys() == {"watch/changed/hr", "watch/backup/hr"}
    assert (
        "2 of 10 differ from the verified ones; the newest, run 2026-11-24"
        in found["watch/changed/hr"].summary
    )
    assert "run 2026-11-23" in found["watch/backup/hr"].summary


def test_a_backup_may_come_apart_on_the_day_on_which_it_is_removed() -> None:
    """The lifecycle hides the dump, which is older by minutes, a day before the manifest."""
    leaving = (backup(30, verified=False), *nights(*[80 * MEGABYTE] * 9))
    assert told(archive_only(bucket=bucket(backups=leaving))) == {}


@pytest.mark.parametrize(
    ("size", "strange"),
    [(80, False), (84, False), (76, False), (95, True), (65, True), (0.05, True), (500, True)],
)
def test_a_size_unlike_the_others_is_told(size: float, strange: bool) -> None:
    """All before it were alike, so that the MAD alone, which is 0, would call every other size strange."""
    there = nights(*[80 * MEGABYTE] * 14, int(size * MEGABYTE))
    assert list(told(archive_only(bucket=bucket(backups=there)))) == ["watch/size/hr"] * strange


def test_a_strange_size_is_told_with_what_is_usual() -> None:
    sizes = [78, 79, 80, 81, 82, 80, 80, 12]
    late = only(archive_only(bucket=bucket(backups=nights(*[size * MEGABYTE for size in sizes]))))
    assert (late.key, late.severity, late.command) == ("watch/size/hr", "warning", "pipeline backups hr")
    assert late.summary == (
        "backup of hr: run 2026-11-24, taken 11 h 45 min ago, has 12.00 MB; the 7 before it had a "
        "median of 80.00 MB "
        "(modified z-score -28.7, the limit is 3.5); find out which rows were lost or added"
    )


def test_sizes_that_vary_by_themselves_may_vary() -> None:
    sizes = [60, 100, 70, 90, 80, 65, 95, 110]
    assert told(archive_only(bucket=bucket(backups=nights(*[size * MEGABYTE for size in sizes])))) == {}


def test_a_database_that_grows_steadily_is_not_strange() -> None:
    grown = nights(*[int(80 * MEGABYTE * 1.02**day) for day in range(30)])
    assert told(archive_only(bucket=bucket(backups=grown))) == {}


def test_a_few_backups_are_no_measure() -> None:
    assert told(archive_only(bucket=bucket(backups=nights(*[80 * MEGABYTE] * 6, 1 * MEGABYTE)))) == {}
    assert told(archive_only(bucket=bucket(backups=nights(*[80 * MEGABYTE] * 7, 1 * MEGABYTE)))) != {}


def test_a_new_size_is_the_usual_one_after_a_week() -> None:
    """What was meant is not told for ever."""
    for days in range(1, 7):
        there = nights(*[80 * MEGABYTE] * 14, *[200 * MEGABYTE] * days)
        assert "watch/size/hr" in told(archive_only(bucket=bucket(backups=there))), days
    there = nights(*[80 * MEGABYTE] * 14, *[200 * MEGABYTE] * 9)
    assert told(archive_only(bucket=bucket(backups=there))) == {}


def test_a_few_kilobytes_of_a_tiny_database_are_nothing() -> None:
    assert told(archive_only(bucket=bucket(backups=nights(*[30_000] * 14, 45_000)))) == {}
    assert told(archive_only(bucket=bucket(backups=nights(*[30_000] * 14, 55_000)))) != {}


def test_a_drill_that_was_not_made_is_told() -> None:
    assert "watch/drill/hr" not in told(archive_only(), NOW + 25 * DAY)
    late = told(archive_only(), NOW + 25 * DAY + HOUR)["watch/drill/hr"]
    assert (late.severity, late.command) == ("stale", "pipeline run drill hr")
    assert late.summary == ("drill of hr: the last that held was 35 days 1 h ago; the limit is 35 days")


def test_a_drill_that_did_not_hold_is_told_though_an_earlier_one_did() -> None:
    failed = drill(month="2026-11-again", grade="F", held=False, finished_at=NOW - HOUR)
    late = only(archive_only(bucket=bucket(drills={"hr": failed})))
    assert (late.key, late.severity) == ("watch/drill/hr", "warning")
    assert "the last that held was 10 days 0 h ago" in late.summary
    assert "the latest, for 2026-11-again, has grade F: it did not hold" in late.summary


def test_the_warehouse_remembers_drills_that_the_bucket_has_removed() -> None:
    """The bucket keeps them for as long as the backups, which is less than a month and its grace."""
    kept = drill(finished_at=NOW - 33 * DAY, held_at=NOW - 33 * DAY)
    found = archive_only(bucket=bucket(drills={}), ledger=ledger(run=None, tables={}, drills={"hr": kept}))
    assert told(found) == {}
    # While the warehouse is out of reach nobody can tell, so nobody is told of drills.
    assert "watch/drill/hr" not in judged(archive_only(bucket=bucket(drills={}), ledger=None))


def test_a_database_that_was_never_drilled_is_told_a_month_after_its_first_backup() -> None:
    def found(first_days_ago: int) -> Observations:
        first = {"hr": NOW - first_days_ago * DAY}
        known = ledger(run=None, tables={}, drills={}, first_backups=first)
        return archive_only(bucket=bucket(drills={}, backups=nights(*[80 * MEGABYTE] * 9)), ledger=known)

    assert told(found(35)) == {}
    late = only(found(36))
    assert (late.key, late.severity) == ("watch/drill/hr", "stale")
    assert "there was none yet, and our first backup is of 2026-10-19" in late.summary
    assert "the limit is 35 days" in late.summary


def test_a_first_drill_that_did_not_hold_is_told_at_once() -> None:
    failed = drill(grade="C", held=False, held_at=None)
    known = ledger(run=None, tables={}, drills={}, first_backups={})
    backups = nights(*[80 * MEGABYTE] * 3)
    found = archive_only(bucket=bucket(drills={"hr": failed}, backups=backups), ledger=known)
    assert "none held yet (grade C in 2026-11)" in only(found).summary


def test_without_a_warehouse_the_bucket_alone_is_asked() -> None:
    alone = settings(warehouse=None, sources={})
    assert told(archive_only(ledger=None), NOW, alone) == {}
    undrilled = archive_only(ledger=None, bucket=bucket(drills={}, backups=nights(*[80 * MEGABYTE] * 31)))
    assert "the limit is 30 days" in told(undrilled, NOW, alone)["watch/drill/hr"].summary


def test_without_a_drill_server_nothing_is_said_of_drills() -> None:
    assert not [key for key in judged(archive_only(), NOW, settings(drill=None)) if "drill/" in key]


def with_archive(**changed: Any) -> Settings:
    """Return settings that name a stanza of pgBackRest, and may restore."""
    databases = {"hr": {"secret": "database/hr", "pgbackrest": "main"}}
    return settings(**{"databases": databases, "restore": {"secret": "b2", "key_secret": "key"}, **changed})


KEY = "watch/drill/hr/pgbackrest"


def test_a_drill_of_what_pgbackrest_has_and_one_of_our_backup_prove_nothing_of_each_other() -> None:
    ours = archive_only()
    late = only(ours, NOW, with_archive())
    assert (late.key, late.severity, late.command) == (
        KEY,
        "stale",
        "pipeline run drill hr --from pgbackrest",
    )
    assert "drill of hr from pgBackRest: there was none yet, and our first backup is of" in late.summary
    proven = {"hr": drill()}
    theirs = archive_only(
        bucket=bucket(drills={}, archive_drills=proven),
        ledger=ledger(run=None, tables={}, drills={}, archive_drills=proven),
    )
    assert only(theirs, NOW, with_archive()).key == "watch/drill/hr"
    both = archive_only(bucket=bucket(archive_drills=proven))
    assert judged(both, NOW, with_archive())[KEY].severity == "ok"


def test_a_drill_of_what_pgbackrest_has_that_is_too_old_or_did_not_hold_is_told() -> None:
    old = {"hr": drill(finished_at=NOW - 36 * DAY, held_at=NOW - 36 * DAY)}
    late = only(archive_only(bucket=bucket(archive_drills=old)), NOW, with_archive())
    assert (late.key, late.severity) == (KEY, "stale")
    assert late.summary == (
        "drill of hr from pgBackRest: the last that held was 36 days 0 h ago; the limit is 35 days"
    )
    failed = {"hr": drill(grade="F", held=False)}
    found = only(archive_only(bucket=bucket(archive_drills=failed)), NOW, with_archive())
    assert (found.key, found.severity) == (KEY, "warning")
    # The limit is that of our own drills.
    databases = {"hr": {"secret": "database/hr", "pgbackrest": "main", "drill_days": 100}}
    seen = archive_only(bucket=bucket(archive_drills=old))
    assert told(seen, NOW, with_archive(databases=databases)) == {}
    # Also where nobody drills our own backups.
    assert only(seen, NOW, with_archive(drill=None)).key == KEY


def test_of_a_database_without_a_stanza_or_where_nobody_may_restore_no_such_drill_is_missed() -> None:
    assert KEY not in judged(archive_only())
    assert KEY not in judged(archive_only(), NOW, with_archive(restore=None))


def test_what_nobody_backs_up_any_more_is_to_know_and_not_to_be_told() -> None:
    old = backup(12, database="old")
    found = archive_only(bucket=bucket(backups=(*nights(*[80 * MEGABYTE] * 3), old)))
    assert told(found) == {}
    info = judged(found)["watch/undeclared/old"]
    assert info.severity == "info"
    assert info.summary == (
        "bucket backups: backups of old: 1, the newest taken 12 days 11 h ago; "
        "luigi.cfg has no [database.old]"
    )


def test_rules_and_lock_that_are_not_as_they_should_be_are_told() -> None:
    loose = bucket(rule_problems=("bucket backups: Object Lock is off",))
    late = only(archive_only(bucket=loose))
    assert (late.key, late.severity) == ("watch/rules", "warning")
    assert late.command == "pipeline check --fix --admin-secret PATH"
    # Without a key that may read them they are not judged; `pipeline check` says so.
    assert "watch/rules" not in judged(archive_only(bucket=bucket(rule_problems=None)))


def test_a_backup_of_the_future_is_not_believed() -> None:
    ahead = (*nights(*[80 * MEGABYTE] * 3), backup(-30))
    found = told(archive_only(bucket=bucket(backups=ahead)))
    assert "ahead of this machine's clock" in found["watch/backup/hr"].summary


def test_nothing_is_said_of_a_bucket_that_could_not_be_looked_at() -> None:
    found = judged(archive_only(bucket=None))
    names = ("backup", "changed", "size", "drill", "rules", "undeclared")
    assert not [key for key in found if key.startswith(tuple(f"watch/{name}" for name in names))]
