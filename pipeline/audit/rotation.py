"""Rotation: which tables, and which parts of large ones, are looked at tonight, within a night's budget."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
PLANNED, LEAST = 0.8, 0.1
# And so much of it is left for its end.
TO_END = 0.05
# No look is given up sooner: there would be no end to it.
SHORTEST_SECONDS = 0.1
# A part takes from so much of a night to so much: one that takes twice as long as was thought fits into it as
# well, and what takes many nights leaves room for others.
SMALLEST, LARGEST = 0.1, 0.5
# What takes more of a week than this has only one part a night, so that others have their turn.
ALONE = 0.7
# So much of a week is kept free: looks take longer than was thought, nights are shorter.
SPARE = 0.35


@dataclass(frozen=True)
class Turn:
    """A table whose turn it is; `seconds` is what this look may take.

    `parts` is how many to look at it in, from the first on or from the one that is `following` on. That is
    right for looking `by_sums`, or as it was looked at before.
    """

    name: str
    parts: int
    following: Part | None
    by_sums: bool = True
    seconds: float = 0.0


def budget_seconds(night_seconds: float | None, share: float) -> float:
    """Return how long an audit may take tonight.

    >>> budget_seconds(600, 0.1), budget_seconds(None, 0.1)
    (60.0, 60.0)
    """
    return UNKNOWN_SECONDS if night_seconds is None else night_seconds * share


def for_looking(budget: float, spent: float) -> float:
    """Return how long an audit is to look at tables, which took so many seconds to begin.

    >>> for_looking(60, 10), for_looking(1, 0.9)
    (40.0, 0.1)
    """
    return max((budget - spent) * PLANNED, budget * LEAST)


def most_seconds(budget: float, spent: float) -> float:
    """Return after how many seconds a look that begins now is given up, so much being spent of a budget.

    >>> most_seconds(60, 20), most_seconds(1, 0.99), most_seconds(0.1, 0)
    (37.0, 0.1, 0.1)
    """
    return max(budget * (1 - TO_END) - spent, budget * LEAST, SHORTEST_SECONDS)


def turns(
    proofs: Mapping[str, Proof], names: Sequence[str], budget: float, elapsed: Callable[[], float]
) -> Iterator[Turn]:
    """Yield what to look at, one after the other, for as long as `elapsed` leaves room for it.

    First comes what differed when it was last looked at, then what was not looked at for longest: it is gone
    on with where it was left, night after night, and of what no longer fits into a night comes a part that
    does. At least one is looked at. `proofs` has to tell by then what was seen of it.
    """
    ready = sorted((proofs[name] for name in names if name in proofs), key=_urgency)
    begun = False
    while ready:
        later = []
        for proof in ready:
            name = proof.name
            while turn := _turn(proofs[name], budget, max(0.0, budget - elapsed()), first=not begun):
                begun, before = True, proofs[name]
                yield turn
                if proofs[name] is before or not proofs[name].following:
                    break
                if _is_endless(proofs[name], budget):
                    # Others have their turn as well.
                    later.append(proofs[name])
                    break
        ready = later


def _urgency(proof: Proof) -> tuple[bool, float, str]:
    since = proof.looked_at or proof.loaded_since
    return not proof.differs, since.timestamp(), proof.name


def _is_endless(proof: Proof, budget: float) -> bool:
    """Whether a table takes so much of a week that others had no turn within it."""
    return proof.seconds > budget * NIGHTS * ALONE


def _turn(proof: Proof, budget: float, left: float, *, first: bool) -> Turn | None:
    """Return what fits of a table into what is `left` of a budget; of the first one of a night, something."""
    by_sums = proof.last is None or proof.last.by_sums
    following, fixed = proof.following, min(proof.fixed_seconds, proof.seconds)
    if following is not None and not following.by_key:
        # Where its parts begin is where the source's files have them.
        seconds = proof.part_seconds(following.of)
        turn = Turn(proof.name, following.of, following, by_sums, seconds)
        return turn if first or seconds <= left else None
    done = (following.number - 1) / following.of if following else 0.0
    rest, most = (proof.seconds - fixed) * (1 - done), min(left, budget * LARGEST)
    if fixed + rest <= most or (first and rest <= 0):
        last = replace(following, number=following.of) if following else None
        return Turn(proof.name, following.of if following else 1, last, by_sums, fixed + rest)
    if not first and most < max(budget * SMALLEST, 2 * fixed):
        return None
    room = max(most - fixed, budget * SMALLEST)
    parts = min(MAXIMUM_PARTS, math.ceil((proof.seconds - fixed) / room)) if room > 0 else 1
    if following:
        # Neither the first, which has all before it, nor the last, which has all behind it.
        number = max(2, math.floor(done * parts) + 1)
        parts = max(parts, number + 1)
        following = replace(following, number=number, of=parts)
    return Turn(proof.name, parts, following, by_sums, proof.part_seconds(parts))


def nights(proofs: Mapping[str, Proof], names: Sequence[str], budget: float) -> int:
    """Return in how many nights every table has its turn.

    >>> nights({}, [], 60)
    1
    """
    seconds = [proofs[name].seconds for name in names if name in proofs]
    if sum(seconds) <= budget or budget <= 0:
        return 1
    alone = max(one / (budget * LARGEST) if one > budget * NIGHTS * ALONE else 0 for one in seconds)
    return math.ceil(max(alone, sum(seconds) / (budget * (1 - SPARE))))


def share_for_a_week(
    proofs: Mapping[str, Proof], names: Sequence[str], night_seconds: float, began: float
) -> float:
    """Return the share of a night that is enough for every table to have its turn within a week.

    `began` is how long it takes to begin. More than 1 where a night is too short for it.

    >>> share_for_a_week({}, [], 100, 5)
    0.05
    """
    seconds = [proofs[name].seconds for name in names if name in proofs]
    looking = max(sum(seconds) / NIGHTS / (1 - SPARE), max(seconds, default=0) / NIGHTS / ALONE)
    return (began + looking / PLANNED) / night_seconds
