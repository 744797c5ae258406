"""Rotation: what is looked at in a night, so that everything has its turn within its budget."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from pipeline.audit import parts, rotation
from pipeline.audit.finding import Outcome, Part
from pipeline.audit.proofs import Pace, Proof
from pipeline.audit.rotation import Turn

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


def proof(
    name: str, seconds: float, days: float = 1, result: Outcome = Outcome.EQUAL, last: Part | None = None
) -> Proof:
    """Return what is known of a table that was last looked at so many days ago."""
    looked_at = NOW - timedelta(days=days)
    last = last or Part()
    return Proof(name, 100, NOW - timedelta(days=90), looked_at, looked_at, result, "", last, seconds)


class Nights:
    """Nights of audits, with a clock that only the looking moves; what is known of tables is what it took.

    What is in parts is compared by sums, as a whole is; or `by_rows`, which takes longer. Each look takes
    `fixed` seconds beside, and then as many times as long as `noise` says.
    """

    def __init__(
        self, *proofs: Proof, by_rows: bool = False, fixed: float = 0, noise: Callable[[], float] = lambda: 1
    ) -> None:
        self.known = {one.name: one for one in proofs}
        self._longer, self._fixed, self._noise = parts.BY_ROWS if by_rows else 1, fixed, noise
        self._whole = {
            one.name: one.seconds / (1 if one.last is None or one.last.whole else self._longer)
            for one in proofs
        }
        self._done: dict[str, float] = {}
        self._looks: dict[str, list[tuple[float, float]]] = {}
        self._now = NOW

    def night(self, budget: float, most: float | None = None) -> list[tuple[str, int, int]]:
        """Look at what has its turn; return the tables, each with its part and of how many.

        What is not over within `most` seconds is given up. Fail if all of it takes longer than that.
        """
        seen: list[tuple[str, int, int]] = []
        took: list[float] = []
        for turn in rotation.turns(self.known, list(self.known), budget, lambda: sum(took)):
            part, share = self._looked_at(turn)
            seconds = self._whole[turn.name] * (1 if part.by_sums else self._longer)
            took.append((self._fixed + seconds * share) * self._noise())
            before = self.known[turn.name]
            if most and took[-1] > (limit := rotation.most_seconds(most, sum(took[:-1]))):
                took[-1] = limit
                longer = self._fixed + max(0, 2 * limit - self._fixed) / share
                self.known[turn.name] = replace(
                    before, seconds=max(before.seconds, longer), stopped=before.stopped + 1
                )
                continue
            seen.append((turn.name, part.number, part.of))
            self._done[turn.name] = (self._done.get(turn.name, 0.0) if turn.following else 0.0) + share
            looked_at = self._now + timedelta(seconds=sum(took)) if part.last else before.looked_at
            self.known[turn.name] = replace(
                before,
                looked_at=looked_at,
                proved_at=looked_at,
                result=Outcome.EQUAL,
                last=part,
                stopped=0,
                seconds=self._known_seconds(turn.name, took[-1], share),
                fixed_seconds=self._fixed,
            )
        assert sum(took) <= (most or budget) + 1e-6, (took, budget)
        self._now += timedelta(days=1)
        return seen

    def _known_seconds(self, name: str, took: float, share: float) -> float:
        """Return what a look at all of a table takes, as far as its last three looks tell."""
        looks = self._looks.setdefault(name, [])
        looks.append((took - self._fixed, share))
        del looks[:-3]
        rows_seconds = sum(seconds for seconds, _ in looks)
        return self._fixed + max(rows_seconds, took / 10) / max(sum(share for _, share in looks), 0.001)

    def _looked_at(self, turn: Turn) -> tuple[Part, float]:
        """Return the part that is looked at, and which share of the table it is."""
        part = turn.following or Part(1, turn.parts, storage="by id" if turn.parts > 1 else "")
        if self._longer > 1 and turn.parts > 1:
            of = turn.parts * (self._longer if turn.by_sums else 1)
            part = turn.following or Part(1, of, 1000, "one")
        done = self._done.get(turn.name, 0.0) if turn.following else 0.0
        share = 1 - done if part.last else min(1 / part.of, 1 - done)
        if done + share > 0.999:
            part = replace(part, of=part.number)
        return part, share


def test_what_differs_comes_first_and_then_what_was_not_looked_at_for_longest() -> None:
    nights = Nights(proof("a", 1, 2), proof("b", 1, 5), proof("c", 1, 0, Outcome.DIFFERS), proof("d", 1, 3))
    assert [name for name, _, _ in nights.night(3)] == ["c", "b", "d"]
    assert [name for name, _, _ in nights.night(3)] == ["a", "c", "b"]


@pytest.mark.parametrize("by_rows", [False, True])
def test_every_table_has_its_turn_within_a_week_if_a_week_has_room_for_all(by_rows: bool) -> None:
    """Large ones in parts. No night takes longer than its budget."""
    small = (proof(f"small{number}", 0.9) for number in range(20))
    nights = Nights(proof("large", 10), *small, by_rows=by_rows)
    begun = dict.fromkeys(nights.known, 0)
    for night in range(1, 40):
        for name, number, of in nights.night(8):
            if number == of:
                begun[name] = night
        if night > 7:
            assert min(begun.values()) > night - 8, (night, begun)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_looks_take_every_table_has_its_turn_within_a_week_and_no_night_takes_too_long(
    seed: int,
) -> None:
    """As full a week as is said to have room for all; no look takes as long as another, nor does a night."""
    random = Random(seed)  # noqa: S311 - the same numbers each time
    sizes = [random.paretovariate(0.8) for _ in range(random.randint(1, 30))]
    fixed = 0.05
    # No table for which a week has no room.
    sizes = [min(size, sum(sizes) / 3) for size in sizes]
    proofs = [proof(f"t{number}", size, random.uniform(0, 6)) for number, size in enumerate(sizes)]
    nights = Nights(*proofs, fixed=fixed, noise=lambda: random.choice([0.7, 0.9, 1, 1, 1.1, 1.6]))
    budget = (sum(sizes) + 2 * fixed * len(sizes)) / 7 / (1 - rotation.SPARE) / rotation.PLANNED
    assert rotation.nights(nights.known, list(nights.known), budget * rotation.PLANNED) <= 7
    last = dict.fromkeys(nights.known, 0)
    for night in range(1, 60):
        tonight = budget * random.uniform(0.85, 1.15)
        for name, number, of in nights.night(tonight * rotation.PLANNED, most=tonight):
            if number == of:
                last[name] = night
        if night > 7:
            assert min(last.values()) >= night - 7, (night, last)


def test_what_no_week_has_room_for_leaves_room_for_others() -> None:
    nights = Nights(proof("endless", 1000), *(proof(f"t{number}", 1) for number in range(10)))
    found = [name for _ in range(7) for name, _, _ in nights.night(8)]
    assert {f"t{number}" for number in range(10)} < set(found)
    assert found.count("endless") >= 7


@pytest.mark.parametrize("nights_seconds", [20.0, 200.0])
def test_the_share_that_is_named_is_enough_for_a_week(nights_seconds: float) -> None:
    known = [proof(f"t{number}", 1.5, 1 + number / 100) for number in range(40)]
    began = 0.9
    share = rotation.share_for_a_week(
        {one.name: one for one in known}, [one.name for one in known], nights_seconds, began
    )
    nights = Nights(*known)
    budget = rotation.for_looking(nights_seconds * share, began)
    assert {name for _ in range(7) for name, _, _ in nights.night(budget)} == set(nights.known)


def test_however_short_a_night_was_there_is_one_short_look() -> None:
    """Its start took longer than all of it may: a tenth of that is for looking, and no more."""
    budget = 1.0
    nights = Nights(proof("large", 3), proof("small", 2, 0.5))
    assert nights.night(rotation.for_looking(budget, 1.2))[0] == ("large", 1, 60)
    assert rotation.for_looking(budget, 1.2) == rotation.most_seconds(budget, 1.2) == budget * rotation.LEAST


def test_tables_without_rows_say_nothing_of_what_a_row_takes() -> None:
    """A few looks at tiny ones, and what is not measured yet seemed to take minutes for a thousand rows."""
    pace = Pace.of([(12, 0.3), (30, 0.28), (0, 0.2)])
    assert pace.whole(220_000, None, None) < 2


def test_a_table_in_parts_goes_on_where_it_was_left() -> None:
    """By key as large a part as there is room for, and at last what is left; by files what was begun."""
    nights = Nights(proof("large", 10), proof("small", 1, 2))
    assert [nights.night(4) for _ in range(3)] == [
        [("small", 1, 1), ("large", 1, 5), ("large", 3, 10)],
        [("large", 2, 5), ("large", 3, 5)],
        [("large", 4, 5), ("large", 5, 5), ("small", 1, 2), ("small", 2, 3)],
    ]
    nights = Nights(proof("large", 10), by_rows=True)
    assert [nights.night(6) for _ in range(3)] == [
        [("large", 1, 12), ("large", 2, 12)],
        [("large", 3, 12), ("large", 4, 12)],
        [("large", 5, 12), ("large", 6, 12)],
    ]


def test_a_part_that_differed_is_begun_anew() -> None:
    nights = Nights(proof("large", 30, 1, Outcome.DIFFERS, Part(2, 3, 1000, "one")), by_rows=True)
    assert nights.night(10)[0] == ("large", 1, 6)


@pytest.mark.parametrize(("of", "blocks"), [(1, 0), (3, 10), (7, 1000), (4, 3)])
def test_the_parts_of_a_table_are_all_of_it_and_none_twice(of: int, blocks: int) -> None:
    bounds = [Part(number, of, blocks, "").blocks * number // of for number in range(1, of + 1)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == blocks
