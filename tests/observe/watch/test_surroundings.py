"""What watch thinks of what is out of reach, of keys, of backups on this machine, and of unsent alerts."""

from dataclasses import replace
from datetime import datetime

import pytest

from pipeline.backup.store.signature import Signature
from pipeline.observe.observed.observations import KeyObservations, Observations, Unseen, Work
from pipeline.observe.watch import surroundings
from tests.observe.watch.samples import (
    DAY,
    HOUR,
    NOW,
    backup,
    bucket,
    judged,
    key,
    nights,
    observations,
    only,
    told,
)


def test_what_cannot_be_looked_at_is_told_and_hides_nothing_else() -> None:
    found = observations(
        ledger=None,
        seen=("Vault", "bucket backups"),
        unseen=(Unseen("the warehouse", "no connection: refused"),),
        bucket=bucket(backups=()),
    )
    findings = told(found)
    assert findings.keys() == {"watch/reach/the warehouse", "watch/backup/hr"}
    unreachable = findings["watch/reach/the warehouse"]
    assert (unreachable.severity, unreachable.command) == ("unreachable", "pipeline check")
    assert unreachable.text == (
        "the warehouse: could not be observed (2026-11-24 14:00 UTC): no connection: refused; "
        "next: pipeline check"
    )
    assert judged(found)["watch/reach/Vault"].severity == "ok"


@pytest.mark.parametrize(
    ("expires_at", "words"),
    [
        (None, None),
        (NOW + 31 * DAY, None),
        (NOW + 29 * DAY, "expires on 2026-12-23 14:00 UTC, in 29 days 0 h; the limit is 30 days before"),
        (NOW - DAY, "expired on 2026-11-23 14:00 UTC, 24 h 00 min ago; the limit is 30 days before"),
    ],
)
def test_a_key_near_its_end_is_told(expires_at: datetime | None, words: str | None) -> None:
    found = observations(keys=(key(expires_at=expires_at), key("safe.asc")))
    if words is None:
        assert told(found) == {}
        return
    late = only(found)
    assert (late.key, late.severity, late.command) == ("watch/key/school.asc", "warning", "pipeline check")
    assert late.summary == (
        f"key school.asc, School <it@school.invalid>: {words}; put a longer-lived public key into school.asc"
        ", and its private half where the old one is"
    )


def test_a_key_that_cannot_be_used_is_told() -> None:
    broken = KeyObservations(
        "school.asc", None, "School: expired on 2026-11-01; put another public key there"
    )
    late = only(observations(keys=(broken, key("safe.asc"))))
    assert late.summary == "key school.asc: School: expired on 2026-11-01; put another public key there"


def working(**changes: object) -> Observations:
    """Return facts with a backup of hr at work on this machine since five hours."""
    there = {"run": "2026-11-25", "since": NOW - 5 * HOUR, "alive": True, "place": "in /work/hr"}
    return observations(work=(Work("backup hr", **{**there, **changes}),))  # type: ignore[arg-type]


def test_a_backup_that_was_killed_is_told() -> None:
    late = only(working(alive=False))
    assert (late.key, late.severity) == ("backup/hr", "failed")
    assert "run 2026-11-25, in /work/hr, was killed 5 h 00 min ago or later" in late.summary
    assert late.command == "pipeline run backup hr --run 2026-11-25"
    # Another one has made up for it.
    assert told(working(alive=False, run="2026-11-23")) == {}
    assert told(working(alive=True, run="2026-11-23")) != {}


def test_a_backup_that_is_not_ours_has_not_made_up_for_one_that_was_killed() -> None:
    forged = backup(run="2026-11-26", signature=Signature.WRONG)
    assert forged.verified
    there = bucket(backups=(*nights(80_000_000), forged))
    assert "backup/hr" in told(replace(working(alive=False), bucket=there))


def test_a_backup_that_goes_on_much_longer_than_usual_is_told() -> None:
    """Ten minutes are usual here."""
    assert told(working(since=NOW - HOUR)) == {}
    late = only(working())
    assert "began 5 h 00 min ago; the limit is 1 h 00 min, it usually takes 10 min" in late.summary
    assert judged(observations())["watch/going/backup/hr"].severity == "ok"
    # On a machine that makes no backups nothing is known of them, and nothing said.
    assert "watch/going/backup/hr" not in judged(observations(work=None))


def test_alerts_that_could_not_be_sent_are_told() -> None:
    late = surroundings.spool(3)
    assert (late.key, late.severity, late.command) == ("watch/spool", "unreachable", "pipeline watch")
    assert late.summary.startswith("alerts not sent: 3, and the limit is 0")
    assert surroundings.spool(0).severity == "ok"
