"""What is written in the files, taken for what it should be: the form of each value is told elsewhere."""

from collections.abc import Iterator
from typing import Any

from pipeline.catalog.values import Mask

# Masks that leave nothing to tell rows apart by.
EMPTYING = (Mask.NULL, Mask.EXCLUDE)
# In place of a table's name: every table of its schema that has no line of its own.
ALL = "*"


def mapping(value: Any) -> dict[str, Any]:
    """Return what is written as a mapping; an empty one where it is none, which is told elsewhere."""
    return value if isinstance(value, dict) else {}


def named(value: Any) -> list[str]:
    """Return one name, or a list of them, as a list."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    return [name for name in listed if isinstance(name, str)]


def listed(checks: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each check with its place in the list."""
    for index, check in enumerate(checks if isinstance(checks, list) else ()):
        yield index, mapping(check)


def masks_of(table: dict[str, Any]) -> dict[str, str]:
    """Return the mask of each masked column."""
    masks = {}
    for name, column in mapping(table.get("columns")).items():
        if "mask" in mapping(column):
            masks[name] = str(column["mask"] or "null")
    return masks
