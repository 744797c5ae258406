"""Durations, as people read them: how long something is, roughly; and a limit, exactly as it was set."""

from datetime import timedelta

_DAY = 86_400
_UNITS = (("days", _DAY), ("h", 3_600), ("min", 60))


def rough(length: timedelta) -> str:
    """Return how long something took, or is ago, to the minute; to the hour from two days on.

    >>> rough(timedelta(minutes=5)), rough(timedelta(hours=27, minutes=4)), rough(timedelta(days=3, hours=4))
    ('5 min', '27 h 04 min', '3 days 4 h')
    """
    minutes = int(length.total_seconds()) // 60
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:  # noqa: PLR2004 - two days
        return f"{hours // 24} days {hours % 24} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def exact(length: timedelta) -> str:
    """Return a length in the largest unit in which it is a whole number; in days from two on.

    >>> [exact(timedelta(hours=hours)) for hours in (24, 26, 48, 35 * 24)]
    ['24 h', '26 h', '2 days', '35 days']
    >>> exact(timedelta(minutes=90)), exact(timedelta(seconds=0.5)), exact(timedelta())
    ('90 min', '0.5 s', '0 s')
    """
    seconds = length.total_seconds()
    for unit, size in _UNITS:
        if seconds and seconds % size == 0 and (size != _DAY or seconds > size):
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
