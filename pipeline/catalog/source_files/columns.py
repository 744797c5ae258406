"""What can be declared of one column: how it is read, and what its values must be."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.catalog.declared import Declared
from pipeline.catalog.ruled import Ruled
from pipeline.catalog.values import Description, Mask, Name, Scalar, Share


class NullRate(Ruled):
    """The greatest share of nulls in a column. `null_rate: 2%` is short for `null_rate: {max: 2%}`."""

    max: Share
    """The greatest share of nulls: a percentage such as 2%, or a number from 0 to 1."""


class Accepted(Ruled):
    """All values that a column may have. `accepted: [a, b]` is short for `accepted: {values: [a, b]}`."""

    values: Annotated[tuple[Scalar, ...], Field(min_length=1)]
    """The allowed values. Nulls are checked by null_rate."""


class Range(Ruled):
    """The least and the greatest value of a column, both allowed."""

    min: Scalar | None = None
    """The least value that may be there."""
    max: Scalar | None = None
    """The greatest value that may be there."""

    @model_validator(mode="after")
    def _sensible(self) -> "Range":
        if self.min is None and self.max is None:
            raise ValueError("has no effect; write min or max")
        if type(self.min) is type(self.max) and self.min > self.max:  # type: ignore[operator]
            raise ValueError("min is more than max; swap them")
        return self


def _short_null_rate(value: Any) -> Any:
    return {"max": value} if isinstance(value, int | float | str) else value


def _short_accepted(value: Any) -> Any:
    return {"values": value} if isinstance(value, list | tuple) else value


class Column(Declared):
    """What is declared of a column; a column without a declaration is simply loaded."""

    description: Description | None = None
    """What it is, in a sentence: it becomes the column's COMMENT in the warehouse."""
    mask: Mask | None = None
    """Done in the source's own SELECT, so that the value never leaves the source.

    hash: a keyed hash, the same for the same value in every run, so that joins still work;
    null: empty; exclude: the column is not there.
    """
    unmasked: Literal["reviewed"] | None = None
    """reviewed: a person has reviewed the column, and it may be loaded as it is declared here.

    Only needed where it was masked before, or shows what is masked in another column.
    """
    type: Literal["text"] | None = None
    """text: load a type that is defined in the source as text, and do not create it in the warehouse."""
    renamed_from: Name | None = None
    """Its name in the source before it was renamed: the rename is then accepted."""
    null_rate: (
        Annotated[NullRate, BeforeValidator(_short_null_rate, json_schema_input_type=Share | NullRate)] | None
    ) = None
    """The greatest share of nulls, such as 2%; long form {max, level, quarantine}."""
    accepted: (
        Annotated[
            Accepted,
            BeforeValidator(
                _short_accepted,
                json_schema_input_type=Annotated[list[Scalar], Field(min_length=1)] | Accepted,
            ),
        ]
        | None
    ) = None
    """All values that may be there, as a list; long form {values, level, quarantine}."""
    range: Range | None = None
    """The least and the greatest value, both allowed: {min, max, level, quarantine}."""
