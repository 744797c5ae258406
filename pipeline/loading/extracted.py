"""What an extraction leaves for the steps after it, as the ledger keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.ledger.sources import Witnesses
from pipeline.postgres.snapshot import Snapshot
from pipeline.step import Record
from pipeline.warehouse.shape import Shape


class Mode(StrEnum):
    """How a table is read."""

    # It is new in the warehouse.
    FIRST = "first"
    # All rows, merged into the table.
    FULL = "full"
    # All rows, into a new table that takes the old one's place.
    REBUILD = "rebuild"
    # What changed.
    INCREMENT = "increment"
    # Nothing, until a person has decided.
    BLOCKED = "blocked"

    @property
    def into_new_table(self) -> bool:
        """Whether the staged table becomes the final one."""
        return self in (Mode.FIRST, Mode.REBUILD)


@dataclass(frozen=True)
class Extracted(Record):
    """The record of one extraction: what was read, and by what the next steps know that it is still there.

    `source_rows` are those of the snapshot, `deleted` how many the source has no more. `staged_oid` is the
    staged table, by which a later one of the same name is told from it; `gone_staged` whether the keys of
    deleted rows are staged beside it. `base` is the load before, by run and moment; `declared` a digest of
    what was declared of the table. `renamed` has old names in the warehouse by new ones.
    """

    mode: Mode
    reason: str
    key: tuple[str, ...]
    snapshot: Snapshot
    source_rows: int
    deleted: int
    gone_staged: bool
    staged_oid: int | None
    base: tuple[str, str] | None
    cursor_value: str | None
    shape: Shape
    renamed: Mapping[str, str]
    declared: str
    witnesses: Witnesses | None

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data, for the ledger."""
        return {
            **super().to_json(),
            "snapshot": self.snapshot.to_json(),
            "shape": self.shape.to_json(),
            "witnesses": self.witnesses and self.witnesses.to_json(),
        }

    @classmethod
    def _typed(cls, values: dict[str, Any]) -> dict[str, Any] | None:
        base, snapshot = values["base"], Snapshot.from_json(values["snapshot"])
        witnesses = values["witnesses"]
        if snapshot is None:
            return None
        return {
            **values,
            "mode": Mode(values["mode"]),
            "key": tuple(values["key"]),
            "snapshot": snapshot,
            "base": None if base is None else (base[0], base[1]),
            "shape": Shape.from_json(values["shape"]),
            "witnesses": Witnesses.from_json(witnesses) if witnesses else None,
        }
