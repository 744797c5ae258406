"""Rotation: which tables, and which parts of large ones, are looked at tonight, within a night's budget."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pipeline.audit.finding import Part
from pipeline.audit.proofs import Proof

# By default so much of the night's time.
SHARE = 0.1
# A week is seven nights. What is not proved by then, `pipeline watch` tells a day later.
NIGHTS = 7
LIMIT = timedelta(days=NIGHTS + 1)
# Where no night is known to be measured by.
UNKNOWN_SECONDS = 60.0
MAXIMUM_PARTS = 1000
# What is left of a budget once an audit has begun is not planned to the full: a look may take longer than the
# last one did. However short the night was, this share of the budget is for looking.
PLANNED, LEAST = 0.8, 0.4


@dataclass(frozen=True)
class Turn:
    """A table whose turn it is. `parts` is how many to look at it in, if it is to be begun anew.

    That is right for looking `by_sums`, or as it was looked at before; by key it is better looked at in
    `careful` parts.
    """

    name: str
    parts: int
    following: Part | None
    by_sums: bool = True
    careful: int = 1


def budget_seconds(night_seconds: float | None, share: float) -> float:
    """Return how long an audit may take tonight.

    >>> budget_seconds(600, 0.1), budget_seconds(None, 0.1)
    (60.0, 60.0)
    """
    return UNKNOWN_SECONDS if night_seconds is None else night_seconds * share


def for_looking(budget: float, spent: float) -> float:
    """Return how long an audit is to look at tables, which took so many seconds to begin.

    >>> for_looking(60, 10), for_looking(1, 0.9)
    (40.0, 0.4)
    """
    return max((budget - spent) * PLANNED, budget * LEAST)


def turns(
    proofs: Mapping[str, Proof], names: Sequence[str], budget: float, elapsed: Callable[[], float]
) -> Iterator[Turn]:
    """Yield what to look at, one after the other, for as long as `elapsed` leaves room for it.

    First comes what differed when it was last looked at, then what was not looked at for longest. At least
    one is looked at.
    """
    known = sorted((proofs[name] for name in names if name in proofs), key=_urgency)
    begun = False
    for proof in known:
        turn = _turn(proof, budget)
        seconds = proof.seconds / (turn.following.of if turn.following else turn.parts)
        if begun and elapsed() + seconds > budget:
            continue
        begun = True
        yield turn


def _urgency(proof: Proof) -> tuple[bool, float, str]:
    since = proof.looked_at or proof.loaded_since
    return not proof.differs, since.timestamp(), proof.name


def _turn(proof: Proof, budget: float) -> Turn:
    parts = math.ceil(proof.seconds / budget) if budget > 0 else 1
    # A part that takes twice as long as was thought fits into the night as well; but all within a week.
    careful = math.ceil(2 * proof.seconds / budget) if budget > 0 else 1
    by_sums = proof.last is None or proof.last.by_sums
    parts = min(MAXIMUM_PARTS, max(1, parts))
    return Turn(proof.name, parts, proof.following, by_sums, careful if careful < NIGHTS else parts)


def nights(proofs: Mapping[str, Proof], names: Sequence[str], budget: float) -> int:
    """Return in how many nights every table has its turn.

    >>> nights({}, [], 60)
    1
    """
    total = sum(proofs[name].seconds for name in names if name in proofs)
    return max(1, math.ceil(total / budget)) if budget > 0 else 1
