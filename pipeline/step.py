"""Steps: what identifies one, and what is known of one, whether the ledger has it or the work folder."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pipeline.errors import Outage


class State(StrEnum):
    """How far a step, or a run, is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class StepKey:
    """What identifies a step: the run (its logical date), the task's class, and the thing it is about."""

    run: str
    task: str
    name: str


@dataclass(frozen=True)
class Step:
    """What is known of a step: how it stands, and what it left (`detail`, which is read as a `Record`)."""

    key: StepKey
    state: State
    started_at: datetime
    finished_at: datetime | None
    rows: int | None
    error: str | None
    exit_code: int | None
    # What is to be fixed before it is tried again.
    hint: str | None = None
    # From which step on it is to be done again, where its own work once more would fail as well.
    again: str | None = None
    # The server that was not to be had, where it failed for want of one.
    outage: Outage | None = None
    # How far it is while it runs, or for whom it waits, in words; None where it did not say so.
    progress: str | None = None
    # The process at work, where it is one of this machine.
    pid: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.state == State.DONE


@dataclass(frozen=True)
class Record:
    """What a step leaves once it is done, for whoever comes after it: the ledger keeps it as JSON.

    A subclass is a frozen dataclass, and its fields are the keys. A field that has a default may be missing
    in what another version left.
    """

    def to_json(self) -> dict[str, Any]:
        """Return the record as the ledger keeps it; what JSON does not have is written as text."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self | None:
        """Return the record that `to_json` gave; None where another version left another form of it.

        Keys that are not the record's are ignored.
        """
        values = {}
        for one in fields(cls):
            if one.name in data:
                values[one.name] = data[one.name]
            elif one.default is MISSING and one.default_factory is MISSING:
                return None
        typed = cls._typed(values)
        return None if typed is None else cls(**typed)

    @classmethod
    def _typed(cls, values: dict[str, Any]) -> dict[str, Any] | None:
        """Return the values of the fields as their types have them; `values` are as JSON has them.

        None where a record that is a part of this one has another form.
        """
        return values

    @classmethod
    def of(cls, step: Step | None) -> Self | None:
        """Return what a step left; None if it is not done, or another version left another form of it."""
        return cls.from_json(step.detail) if step is not None and step.done else None
