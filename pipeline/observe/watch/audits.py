"""Judges audits: whether each table was proved equal to its source within a week, and a day."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from pipeline import durations
from pipeline.audit.finding import Outcome
from pipeline.audit.proofs import Proof
from pipeline.observe.observed.observations import Observations
from pipeline.observe.watch import limits
from pipeline.observe.watch.finding import Finding, Severity, at
from pipeline.settings import Settings

ALLOWED = timedelta(days=8)
KEY = "watch/audit"
COMMAND = "pipeline audit"


def judge(settings: Settings, observations: Observations, now: datetime) -> Iterator[Finding]:
    """Yield what is to be thought of each loaded and declared table, or once where none was proved."""
    if observations.ledger is None:
        return
    proofs = {
        name: proof
        for name, proof in observations.ledger.proofs.items()
        if _is_declared(settings, observations, name)
    }
    late = {name for name, proof in proofs.items() if limits.exceeded(now, _since(proof), ALLOWED)}
    if len(late) > 1 and len(late) == len(proofs):
        newest = max(_since(proof) for proof in proofs.values())
        within = durations.exact(ALLOWED)
        summary = f"audit: none of {len(proofs)} tables was proved equal to its source within {within}"
        yield Finding(KEY, Severity.STALE, summary, COMMAND, since=newest + ALLOWED)
        return
    if proofs:
        yield Finding(
            KEY, Severity.OK, f"audit: {len(proofs) - len(late)} of {len(proofs)} tables are proved equal"
        )
    for name, proof in sorted(proofs.items()):
        yield _table(name, proof, now, late=name in late)


def _is_declared(settings: Settings, observations: Observations, name: str) -> bool:
    source, _, table = name.partition(".")
    declared = observations.declared is None or table in observations.declared.get(source, {})
    return source in settings.sources and declared


def _since(proof: Proof) -> datetime:
    """Return the moment from which a table is not proved: what cannot be compared was looked at at least."""
    looked = proof.looked_at if proof.result == Outcome.INCOMPARABLE else None
    return max((one for one in (proof.proved_at, looked) if one), default=proof.loaded_since)


def _table(name: str, proof: Proof, now: datetime, *, late: bool) -> Finding:
    key = f"{KEY}/{name}"
    if proof.proved_at:
        what = f"was proved equal to its source at {at(proof.proved_at)}, {limits.ago(now, proof.proved_at)}"
    else:
        what = (
            f"was never proved equal to its source, and is loaded since {limits.ago(now, proof.loaded_since)}"
        )
    summary = f"{name}: {what}; the limit is {durations.exact(ALLOWED)}"
    source, _, table = name.partition(".")
    finding = Finding(
        key, Severity.STALE, summary, f"{COMMAND} {source} --table {table}", proof.reason or None
    )
    return replace(finding, since=_since(proof) + ALLOWED) if late else Finding(key, Severity.OK, summary)
