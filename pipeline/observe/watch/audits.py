"""Judges audits: whether each table was proved equal to its source within a week, and a day."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from pipeline import durations
from pipeline.observe.watch import limits
from pipeline.observe.watch.facts import Facts, ProofFacts
from pipeline.observe.watch.verdict import Verdict, at
from pipeline.settings import Settings

ALLOWED = timedelta(days=8)
KEY = "watch/audit"
COMMAND = "pipeline audit"


def judge(settings: Settings, facts: Facts, now: datetime) -> Iterator[Verdict]:
    """Yield what is to be thought of each loaded and declared table, or once where none was proved."""
    if facts.ledger is None:
        return
    found = {
        name: proof for name, proof in facts.ledger.proofs.items() if _is_declared(settings, facts, name)
    }
    late = {name for name, proof in found.items() if limits.exceeded(now, _since(proof), ALLOWED)}
    if len(late) > 1 and len(late) == len(found):
        newest = max(_since(proof) for proof in found.values())
        within = durations.exact(ALLOWED)
        summary = f"audit: none of {len(found)} tables was proved equal to its source within {within}"
        yield Verdict(KEY, "stale", summary, COMMAND, since=newest + ALLOWED)
        return
    if found:
        yield Verdict(KEY, "well", f"audit: {len(found) - len(late)} of {len(found)} tables are proved equal")
    for name, proof in sorted(found.items()):
        yield _table(name, proof, now, late=name in late)


def _is_declared(settings: Settings, facts: Facts, name: str) -> bool:
    source, _, table = name.partition(".")
    declared = facts.declared is None or table in facts.declared.get(source, {})
    return source in settings.sources and declared


def _since(proof: ProofFacts) -> datetime:
    """Return the moment from which a table is not proved: what cannot be compared was looked at at least."""
    looked = proof.looked_at if proof.result == "not comparable" else None
    return max((one for one in (proof.proved_at, looked) if one), default=proof.loaded_since)


def _table(name: str, proof: ProofFacts, now: datetime, *, late: bool) -> Verdict:
    key = f"{KEY}/{name}"
    if proof.proved_at:
        what = f"was proved equal to its source at {at(proof.proved_at)}, {limits.ago(now, proof.proved_at)}"
    else:
        what = (
            f"was never proved equal to its source, and is loaded since {limits.ago(now, proof.loaded_since)}"
        )
    summary = f"{name}: {what}; the limit is {durations.exact(ALLOWED)}"
    source, _, table = name.partition(".")
    found = Verdict(key, "stale", summary, f"{COMMAND} {source} --table {table}", proof.reason or None)
    return replace(found, since=_since(proof) + ALLOWED) if late else Verdict(key, "well", summary)
