"""Layout: where cards stand on the grid. Those with a place have it; the others flow around them."""

from collections.abc import Sequence
from itertools import count

from pipeline.catalog.dashboard_files.board import COLUMNS, Place
from pipeline.catalog.dashboard_files.cards import DeclaredCard


def places(cards: Sequence[DeclaredCard]) -> list[Place]:
    """Return the place of each card: the first, row by row, that is free and not before the card above it.

    Cards that flow keep their order, as words do.
    """
    fixed = {id(card): Place(card.left, card.top, *card.size) for card in cards if _is_placed(card)}  # type: ignore[arg-type]
    taken = {cell for place in fixed.values() for cell in place.cells}
    chosen: list[Place] = []
    row = 0
    for card in cards:
        place = fixed.get(id(card)) or _next_free(card.size, taken, row)
        if id(card) not in fixed:
            taken |= place.cells
            row = place.top
        chosen.append(place)
    return chosen


def _is_placed(card: DeclaredCard) -> bool:
    return card.left is not None and card.top is not None


def _next_free(size: tuple[int, int], taken: set[tuple[int, int]], first_row: int) -> Place:
    width, height = size
    for row in count(first_row):
        for column in range(COLUMNS - width + 1):
            place = Place(column, row, width, height)
            if not place.cells & taken:
                return place
    raise AssertionError("the grid has no last row")


def overlaps(cards: Sequence[DeclaredCard]) -> list[tuple[int, int]]:
    """Return pairs of cards, by their numbers, whose given places overlap; the later one first."""
    placed = [(number, place) for number, place in enumerate(places(cards)) if _is_placed(cards[number])]
    return [
        (later, earlier)
        for index, (later, place) in enumerate(placed)
        for earlier, other in placed[:index]
        if place.cells & other.cells
    ]
