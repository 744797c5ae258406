"""Written: values as people read them, with units, thousands separators and dates."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pipeline.catalog import Format
from pipeline.catalog.dashboard_files.board import DateUnit

NOTHING = "\N{EN DASH}"
_DATES = {
    DateUnit.DAY: "%-d %b %Y",
    DateUnit.WEEK: "%-d %b %Y",
    DateUnit.MONTH: "%b %Y",
    DateUnit.YEAR: "%Y",
    DateUnit.MINUTE: "%-d %b %Y, %H:%M",
}
# Digits behind the point where nothing is said: enough to tell values apart, and no more.
_DIGITS = 2
# Between a number and its unit; no line is broken there.
_SPACE = "\u00a0"


def text(value: Any, how: Format, *, unit: bool = True) -> str:
    """Return a value as it is read; without `unit` where the heading has that.

    >>> text(1234567, Format(unit="km")).replace(_SPACE, " ")
    '1,234,567 km'
    >>> text(0.9314, Format(percent=True)), text(2026, Format(thousands=False)), text(True, Format())
    ('93.1%', '2026', 'yes')
    >>> text(Decimal("NaN"), Format())
    'NaN'
    """
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value != value:  # noqa: PLR0124 - NaN, of which a Decimal cannot even be compared
        return "NaN"
    if isinstance(value, int | float | Decimal):
        behind = f"{_SPACE}{how.unit}" if how.unit and unit else ""
        sign = "-" if value < 0 else ""
        return f"{sign}{how.prefix}{number(-value if value < 0 else value, how)}{behind}"
    if isinstance(value, date):
        return day(value, how)
    return str(value)


def number(value: float | Decimal, how: Format) -> str:
    """Return a number without its unit."""
    digits = how.decimals
    if how.percent:
        value = value * 100
        digits = 1 if digits is None else digits
    elif digits is None:
        digits = 0 if isinstance(value, int) else _DIGITS
    shown = f"{value:,.{digits}f}" if how.thousands else f"{value:.{digits}f}"
    if how.decimals is None and "." in shown and not how.percent:
        shown = shown.rstrip("0").rstrip(".")
    return f"{shown}%" if how.percent else shown


def day(value: date, how: Format) -> str:
    """Return a date as exact as it is to be.

    >>> day(date(2026, 11, 2), Format()), day(date(2026, 11, 2), Format(date=DateUnit.QUARTER))
    ('2 Nov 2026', '2026 Q4')
    """
    unit = how.date or (DateUnit.MINUTE if isinstance(value, datetime) else DateUnit.DAY)
    if unit == DateUnit.QUARTER:
        return f"{value.year} Q{(value.month + 2) // 3}"
    return value.strftime(_DATES[unit])


def heading(how: Format) -> str:
    """Return what stands above values whose unit it has.

    >>> heading(Format(title="Fees", prefix="€")), heading(Format(title="Time", unit="h"))
    ('Fees', 'Time (h)')
    """
    return f"{how.title} ({how.unit})" if how.unit else how.title
