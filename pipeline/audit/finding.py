"""Findings: what an audit of a table, or of a part of it, has seen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from psycopg2 import sql

from pipeline.postgres import Composable


class Outcome(StrEnum):
    """Whether a table, or a part of it, has what its source has."""

    EQUAL = "equal"
    DIFFERS = "differs"
    INCOMPARABLE = "not comparable"
    # Given up, for it took longer than the night has room for: nothing is known of it.
    STOPPED = "put off"


@dataclass(frozen=True)
class Part:
    """Which of how many parts of a table is looked at: by its key, or by the source's blocks.

    By key it begins at the key `first` and ends before `after`, or is open there. By blocks it is a share of
    them; there were so many `blocks` when the first part was looked at. `storage` tells what the table is cut
    by from another key, and those files from others.
    """

    number: int = 1
    of: int = 1
    blocks: int = 0
    storage: str = ""
    first: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def by_key(self) -> bool:
        return bool(self.storage) and not self.blocks

    @property
    def by_sums(self) -> bool:
        """Whether both sides can tell the sums of its rows."""
        return self.whole or self.by_key

    @property
    def whole(self) -> bool:
        return self.of == 1

    @property
    def last(self) -> bool:
        return self.number == self.of

    def smaller(self, times: int) -> "Part":
        """Return what begins as this one does, of a table in twice as many parts; so often.

        >>> Part(3, 4).smaller(0), Part(3, 4, 100).smaller(2).number, Part(3, 4).smaller(2).of
        (Part(number=3, of=4, blocks=0, storage='', first=(), after=()), 9, 16)
        """
        return replace(self, number=(self.number - 1) * 2**times + 1, of=self.of * 2**times)

    @property
    def condition(self) -> Composable:
        """Return the condition under which a row of the source is in it, if it is one by blocks.

        The last one is open at its end.
        """
        first, after = (self.blocks * number // self.of for number in (self.number - 1, self.number))
        begin = sql.SQL("ctid >= {}::tid").format(sql.Literal(f"({first},0)"))
        end = sql.SQL("ctid < {}::tid").format(sql.Literal(f"({after},0)"))
        if self.whole:
            return sql.SQL("true")
        return begin if self.last else sql.SQL(" AND ").join([begin, end])


@dataclass(frozen=True)
class Finding:
    """What was seen. `rows` of the source were compared; `newer` were written since the table was loaded.

    `missing` rows are not in the warehouse, `altered` ones not the same there; `surplus` is how many rows
    there are more than the load left, less than 0 if there are fewer. `clear` has the masked columns that
    show values, and how many.
    """

    result: Outcome
    reason: str = ""
    rows: int = 0
    newer: int = 0
    missing: int = 0
    altered: int = 0
    surplus: int = 0
    clear: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.result == Outcome.EQUAL:
            later = f", {self.newer:,} written since it was loaded" if self.newer else ""
            return f"equal, {self.rows:,} rows{later}"
        return f"{self.result}: {self.reason}"


def judged(
    *, rows: int, newer: int, missing: int, altered: int, surplus: int, clear: Mapping[str, int]
) -> Finding:
    """Return what the numbers mean.

    >>> print(judged(rows=9, newer=0, missing=1, altered=2, surplus=-1, clear={}))
    differs: 1 row of the source is missing, 2 rows are different, 1 row fewer than the load left
    """
    lines = []
    if missing:
        lines.append(f"{_rows(missing)} of the source {'is' if missing == 1 else 'are'} missing")
    if altered:
        lines.append(f"{_rows(altered)} {'is' if altered == 1 else 'are'} different")
    if surplus:
        lines.append(f"{_rows(abs(surplus))} {'more' if surplus > 0 else 'fewer'} than the load left")
    for column, count in clear.items():
        values = "1 value is" if count == 1 else f"{count:,} values are"
        lines.append(f'column "{column}" is masked, and {values} not the mask')
    result = Outcome.DIFFERS if lines else Outcome.EQUAL
    return Finding(result, ", ".join(lines), rows, newer, missing, altered, surplus, clear)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
