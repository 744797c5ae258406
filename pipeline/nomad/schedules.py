"""What a periodic job's schedule has to be like, so that Nomad begins it when people read that it does.

Nomad registers other ones without a word, too. Its library (github.com/hashicorp/cronexpr 1.1.3) leaves out
Sunday of a range that ends with it: 5-7 and sat-sun never begin on a Sunday.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Name, least and greatest value, and words for values from the least on.
_FIELDS: tuple[tuple[str, int, int, Sequence[str]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _DAYS),
)
# What the library has beyond a crontab's: the last day, the working day next to one, the last or nth weekday.
_SPECIAL = {"day": re.compile(r"l|lw|\d\d?w"), "weekday": re.compile(r"[0-7]l|[0-7]#[1-5]")}
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")
SUNDAY = 7


def of_a_job(job: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the schedules of a job, as `nomad job run -output` prints it."""
    periodic = job.get("Periodic") or {}
    for text in (periodic.get("Spec"), *(periodic.get("Specs") or ())):
        if text:
            yield from (f'schedule "{text}": {problem}' for problem in problems(text))


def problems(text: str) -> Iterator[str]:
    """Yield what is wrong with a schedule.

    >>> list(problems("15 2 * * 1-5")), list(problems("*/5 * * * *")), list(problems("0 3 LW * *"))
    ([], [], [])
    >>> list(problems("0 2 * * sat-sun"))
    ['weekday sat-sun: Nomad skips Sunday here; write 0,6']
    >>> list(problems("0 22-2 * * *"))
    ['hour 22-2: goes backwards; write 0-2,22-23']
    >>> list(problems("0 25 * * * 2026"))
    ['expected minute, hour, day, month and weekday, got 6 fields']
    >>> list(problems("61 x * * *"))
    ['minute 61: expected 0 to 59', 'hour x: expected 0 to 23']
    """
    fields = text.lower().split()
    if len(fields) != len(_FIELDS):
        yield f"expected minute, hour, day, month and weekday, got {len(fields)} fields"
        return
    for field, (name, least, greatest, words) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            problem = _problem(part, name, least, greatest, words)
            if problem:
                yield f"{name} {part}: {problem}"


def _problem(part: str, name: str, least: int, greatest: int, words: Sequence[str]) -> str:
    if name in _SPECIAL and _SPECIAL[name].fullmatch(part):
        return ""
    match = _PART.fullmatch(part)
    ends = [_value(text, least, words) for text in match.group("first", "last") if text] if match else [-1]
    if (match and match["step"] and int(match["step"]) == 0) or not all(
        least <= value <= greatest for value in ends
    ):
        return f"expected {least} to {greatest}"
    step = int(match["step"] or 1) if match else 1
    return _problem_of_range(ends[0], ends[1], step, name, least, greatest) if len(ends) > 1 else ""


def _problem_of_range(first: int, last: int, step: int, name: str, least: int, greatest: int) -> str:
    if name == "weekday" and last in (0, SUNDAY) and first > 0:
        days = sorted({value % SUNDAY for value in range(first, SUNDAY + 1, step)})
        return f"Nomad skips Sunday here; write {','.join(map(str, days))}"
    if first > last:
        end = SUNDAY - 1 if name == "weekday" else greatest
        return f"goes backwards; write {_both(least, last)},{_both(first, end)}"
    return ""


def _value(text: str, least: int, words: Sequence[str]) -> int:
    if text in words:
        return words.index(text) + least
    return int(text) if text.isdecimal() else -1


def _both(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
