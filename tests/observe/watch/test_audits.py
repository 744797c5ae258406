"""What watch thinks of audits: a table that was not proved for too long, or none."""

from datetime import datetime

from pipeline.audit.finding import Outcome
from pipeline.audit.proofs import Proof
from tests.observe.watch.samples import DAY, LONG_AGO, NOW, TABLES, judged, ledger, observations, only, told


def proof(
    loaded_since: datetime,
    proved_at: datetime | None = None,
    looked_at: datetime | None = None,
    result: Outcome | None = None,
    reason: str = "",
) -> Proof:
    """Return what is known of a table of ten rows."""
    return Proof("hr.table", 10, loaded_since, proved_at, looked_at, result, reason, None, 0.1)


def proofs(**changed: Proof) -> dict[str, Proof]:
    """Return all tables of hr as proved three days ago, but for these."""
    well = proof(LONG_AGO, NOW - 3 * DAY, NOW - 3 * DAY, Outcome.EQUAL)
    return {f"hr.{name}": changed.get(name, well) for name in TABLES}


def test_a_table_that_was_not_proved_for_eight_days_is_told() -> None:
    old = proof(LONG_AGO, NOW - 9 * DAY, NOW - DAY, Outcome.DIFFERS, "1 row is different")
    late = only(observations(ledger=ledger(proofs=proofs(employee=old))))
    assert (late.key, late.severity) == ("watch/audit/hr.employee", "stale")
    assert late.command == "pipeline audit hr --table employee"
    assert late.error == "1 row is different"
    assert late.since == NOW - DAY
    assert late.summary.startswith(
        "hr.employee: was proved equal to its source at 2026-11-15 14:00 UTC, 9 days"
    )


def test_a_table_that_was_never_proved_counts_from_its_first_load() -> None:
    new = proofs(employee=proof(NOW - 7 * DAY))
    assert told(observations(ledger=ledger(proofs=new))) == {}
    late = only(observations(ledger=ledger(proofs=proofs(employee=proof(NOW - 9 * DAY)))))
    assert "was never proved equal to its source" in late.summary


def test_where_nothing_was_audited_it_is_told_once() -> None:
    never = {f"hr.{name}": proof(LONG_AGO) for name in TABLES}
    late = only(observations(ledger=ledger(proofs=never)))
    assert (late.key, late.command) == ("watch/audit", "pipeline audit")
    assert late.summary == "audit: none of 3 tables was proved equal to its source within 8 days"


def test_what_cannot_be_compared_was_looked_at_and_what_is_proved_is_well() -> None:
    view = proof(LONG_AGO, None, NOW - DAY, Outcome.INCOMPARABLE, "a view does not show which rows changed")
    found = observations(ledger=ledger(proofs=proofs(employee=view)))
    assert told(found) == {}
    assert {"watch/audit", "watch/audit/hr.employee", "watch/audit/hr.department"} <= judged(found).keys()
