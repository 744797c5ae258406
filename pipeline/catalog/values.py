"""The kinds of values that analysts write: shares, durations, lists of columns.

Each says what may be written, for the JSON Schema, beside what it is turned into.
"""

import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from pipeline.choice import Choice

_PERCENTAGE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(second|minute|hour|day|week)s?")


class Level(Choice):
    """What a rule that does not hold leads to: nothing is loaded of it, or it is only told."""

    ERROR = "error"
    WARN = "warn"


class Quarantine(Choice):
    """What an error holds back: the whole table, or the failing rows alone."""

    HOLD = "hold"
    ROWS = "rows"


class Mask(Choice):
    """What becomes of a value before it leaves the source."""

    HASH = "hash"
    NULL = "null"
    EXCLUDE = "exclude"


class RelationKind(Choice):
    """What a relation of a source is, as PostgreSQL has it in pg_class.relkind."""

    TABLE = "r"
    PARTITIONED = "p"
    VIEW = "v"
    MATERIALIZED = "m"
    FOREIGN = "f"


class Changes(Choice):
    """How the rows that changed are found."""

    XMIN = "xmin"
    CURSOR = "cursor"
    FULL = "full"


class Deletes(Choice):
    """What becomes of rows that are gone from the source."""

    HARD = "hard"
    SOFT = "soft"
    IGNORE = "ignore"


class Materialize(Choice):
    """What a mart is in the warehouse."""

    VIEW = "view"
    TABLE = "table"


class DriftKind(Choice):
    """In what a table's shape differs from the one that was loaded."""

    ADDED = "added"
    ADDED_WITH_DEFAULT = "added_with_default"
    DROPPED = "dropped"
    RENAMED = "renamed"
    WIDENED = "widened"
    NARROWED = "narrowed"
    TYPE = "type"
    NULLABLE = "nullable"
    KEY = "key"
    RECREATED = "recreated"
    ENUM = "enum"
    ORDER = "order"
    PARTITION = "partition"
    MASK = "mask"


class DriftAction(Choice):
    """What a difference leads to."""

    EVOLVE = "evolve"
    REFRESH = "refresh"
    IGNORE = "ignore"
    BLOCK = "block"


def _share(value: Any) -> Any:
    if isinstance(value, str) and (match := _PERCENTAGE.fullmatch(value.strip())):
        return float(match[1]) / 100
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise ValueError("is not a valid share; write a percentage such as 50%, or a number from 0 to 1")


def _whole_at_most(value: float) -> float:
    if value > 1:
        raise ValueError("is more than 100%; lower it")
    return value


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip().lower())):
        return timedelta(**{f"{match[2]}s": float(match[1])})
    raise ValueError(
        "is not a valid duration; write a number and a unit, such as 15 minutes, 2 hours or 1 day"
    )


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) < len(value):
        raise ValueError("names a column twice; keep one")
    return value


def _single(value: Any) -> Any:
    if isinstance(value, bool | int | float | date | str):
        return value
    raise ValueError("is not a single value; write a number, a date or text")


_WrittenPercentage = Annotated[str, Field(pattern=rf"^\s*{_PERCENTAGE.pattern}\s*$")]
_WrittenShare = Annotated[float, Field(ge=0, le=1)] | _WrittenPercentage
_WrittenDuration = Annotated[str, Field(pattern=rf"^\s*{_DURATION.pattern}\s*$")]

Count = Annotated[int, Field(ge=0, strict=True)]
Name = Annotated[str, StringConstraints(min_length=1, strict=True)]
# Words for people.
Description = Annotated[
    str, StringConstraints(min_length=1, max_length=2000, strict=True, strip_whitespace=True)
]
# A share of which more than the whole makes sense (a change), and one of which it does not. 1.0 is the whole.
Change = Annotated[float, BeforeValidator(_share, json_schema_input_type=_WrittenShare)]
Share = Annotated[
    float, BeforeValidator(_share, json_schema_input_type=_WrittenShare), AfterValidator(_whole_at_most)
]
Duration = Annotated[timedelta, BeforeValidator(_duration, json_schema_input_type=_WrittenDuration)]
ColumnNames = Annotated[
    tuple[Name, ...],
    Field(min_length=1),
    AfterValidator(_distinct),
    BeforeValidator(
        _several,
        json_schema_input_type=Name
        | Annotated[list[Name], Field(min_length=1, json_schema_extra={"uniqueItems": True})],
    ),
]
# What a cell can be compared with.
Scalar = Annotated[
    bool | int | float | datetime | date | str,
    BeforeValidator(_single, json_schema_input_type=bool | int | float | str),
]
