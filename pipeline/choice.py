"""Choices: the words that one place of a file may have, as an enumeration that code compares with."""

from enum import StrEnum
from typing import Any

from pydantic_core import CoreSchema, core_schema


class Choice(StrEnum):
    """One of some words. Read from a file, it is validated and described as `Literal` of its words is."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        words = core_schema.literal_schema([one.value for one in cls])
        return core_schema.no_info_after_validator_function(cls, words)
