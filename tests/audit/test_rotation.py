"""Rotation: what is looked at in a night, so that everything has its turn within its budget."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.audit import parts, rotation
from pipeline.audit.finding import DIFFERS, EQUAL, Part
from pipeline.audit.proofs import Proof
from pipeline.audit.rotation import Turn

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


def proof(name: str, seconds: float, days: float = 1, result: str = EQUAL, last: Part | None = None) -> Proof:
    """Return what is known of a table that was last looked at so many days ago."""
    looked_at = NOW - timedelta(days=days)
    last = last or Part()
    return Proof(name, 100, NOW - timedelta(days=90), looked_at, looked_at, result, "", last, seconds)


class Nights:
    """Nights of audits, with a clock that only the looking moves.

    What is in parts is compared by sums, as a whole is; or `by_rows`, which takes longer.
    """

    def __init__(self, *proofs: Proof, by_rows: bool = False) -> None:
        self.known = {one.name: one for one in proofs}
        self._longer = parts.BY_ROWS if by_rows else 1
        self._whole = {
            one.name: one.seconds / (1 if one.last is None or one.last.whole else self._longer)
            for one in proofs
        }
        self._now = NOW

    def night(self, budget: float) -> list[tuple[str, int, int]]:
        """Look at what has its turn; return the tables, each with its part and of how many."""
        seen: list[tuple[str, int, int]] = []
        took: list[float] = []
        for turn in rotation.turns(self.known, list(self.known), budget, lambda: sum(took)):
            before = self.known[turn.name]
            part = turn.following or self._first(turn)
            seconds = self._whole[turn.name] * (1 if part.of == 1 else self._longer)
            took.append(seconds / part.of)
            seen.append((turn.name, part.number, part.of))
            looked_at = self._now + timedelta(seconds=sum(took)) if part.last else before.looked_at
            self.known[turn.name] = Proof(
                turn.name,
                before.rows,
                before.loaded_since,
                looked_at,
                looked_at,
                EQUAL,
                "",
                part,
                seconds,
            )
        assert sum(took) <= budget
        self._now += timedelta(days=1)
        return seen

    def _first(self, turn: Turn) -> Part:
        if self._longer == 1 and turn.careful > 1:
            return Part(1, max(turn.parts, turn.careful), storage="by id")
        if turn.parts == 1:
            return Part()
        return Part(1, turn.parts * (self._longer if turn.by_sums else 1), 1000, "one")


def test_what_differs_comes_first_and_then_what_was_not_looked_at_for_longest() -> None:
    nights = Nights(proof("a", 1, 2), proof("b", 1, 5), proof("c", 1, 0, DIFFERS), proof("d", 1, 3))
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


def test_a_table_in_parts_goes_on_where_it_was_left() -> None:
    nights = Nights(proof("large", 10), by_rows=True)
    assert [nights.night(9) for _ in range(5)] == [
        [("large", 1, 6)], [("large", 2, 6)], [("large", 3, 6)], [("large", 4, 6)], [("large", 5, 6)]
    ]  # fmt: skip


def test_a_part_that_differed_is_begun_anew() -> None:
    nights = Nights(proof("large", 30, 1, DIFFERS, Part(2, 3, 1000, "one")), by_rows=True)
    assert nights.night(10) == [("large", 1, 3)]


@pytest.mark.parametrize(("of", "blocks"), [(1, 0), (3, 10), (7, 1000), (4, 3)])
def test_the_parts_of_a_table_are_all_of_it_and_none_twice(of: int, blocks: int) -> None:
    bounds = [Part(number, of, blocks, "").blocks * number // of for number in range(1, of + 1)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == blocks
