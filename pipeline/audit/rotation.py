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
# A part is compared row by row, and a whole table by sums first: about so many times as long for as many rows
# (measured with two million rows of four columns).
BY_ROWS = 3


@dataclass(frozen=True)
class Turn:
    """A table whose turn it is. `parts` is how many to look at it in, if it is to be begun anew."""

    name: str
    parts: int
    following: Part | None


def budget_seconds(night_seconds: float | None, share: float) -> float:
    """Return how long an audit may take tonight.

    >>> budget_seconds(600, 0.1), budget_seconds(None, 0.1)
    (60.0, 60.0)
    """
    return UNKNOWN_SECONDS if night_seconds is None else night_seconds * share


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
    # Of what was never looked at in parts it is known how long it took as a whole.
    if parts > 1 and (proof.last is None or proof.last.whole):
        parts = math.ceil(proof.seconds * BY_ROWS / budget)
    return Turn(proof.name, min(MAXIMUM_PARTS, max(1, parts)), proof.following)


def nights(proofs: Mapping[str, Proof], names: Sequence[str], budget: float) -> int:
    """Return in how many nights every table has its turn.

    >>> nights({}, [], 60)
    1
    """
    total = sum(proofs[name].seconds for name in names if name in proofs)
    return max(1, math.ceil(total / budget)) if budget > 0 else 1
