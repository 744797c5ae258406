"""`rows: {min, max, change}`: how many there may be, and by which share of what is usual that may change."""

from collections.abc import Iterator
from statistics import median

from pydantic import model_validator

from pipeline.catalog.check_kinds.kind import TableCheck
from pipeline.catalog.check_kinds.outcome import Result, Rows
from pipeline.catalog.declared import Declared
from pipeline.catalog.values import Change, Count

# With so many earlier loads is a row count compared: their median is not moved by one odd night.
COMPARED_LOADS = 10


class RowsRule(Declared):
    """How many rows there may be, and by which share of what is usual that may change."""

    min: Count | None = None
    """The least number of rows."""
    max: Count | None = None
    """The greatest number of rows."""
    change: Change | None = None
    """By how much the number of rows may differ from what is usual, such as 50%."""

    @model_validator(mode="after")
    def _sensible(self) -> "RowsRule":
        if self.min is None and self.max is None and self.change is None:
            raise ValueError("has no effect; write min, max or change")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is more than max; swap them")
        return self


class RowsCheck(TableCheck):
    """The table's number of rows."""

    usage = "rows: {min, max, change}"
    holds_if = (
        "the table has between `min` and `max` rows, and differs by at most `change` from the "
        "median of its last loads"
    )
    names_rows = False

    rows: RowsRule
    """The least and the greatest number of rows, and by how much it may change: {min, max, change}."""

    def evaluate(self, rows: Rows) -> Iterator[Result]:
        """Compare with the bounds, and with the median of the loads before."""
        rule, level, count = self.rows, self.level, rows.count
        if rule.min is not None:
            least = f"at least {rule.min:,}"
            yield Result("rows min", level, count >= rule.min, f"{count:,} rows", least, count)
        if rule.max is not None:
            most = f"at most {rule.max:,}"
            yield Result("rows max", level, count <= rule.max, f"{count:,} rows", most, count)
        if rule.change is not None and rows.history:
            usual = median(rows.history[:COMPARED_LOADS])
            change = abs(count - usual) / usual if usual else float(count > 0)
            observed = f"{count:,} rows instead of the usual {usual:,.0f} ({change:.0%} off)"
            most = f"at most {rule.change:.0%}"
            yield Result("rows change", level, change <= rule.change, observed, most, change)
