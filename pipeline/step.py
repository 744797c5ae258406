"""Steps: what identifies one, and what is known of one, whether the ledger has it or the work folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


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
    """What is known of a step. `detail` is what the next steps need to know of it."""

    key: StepKey
    state: State
    started_at: datetime
    finished_at: datetime | None
    rows: int | None
    detail: Mapping[str, Any]
    error: str | None
    exit_code: int | None
    # What is to be fixed before it is tried again.
    hint: str | None = None

    @property
    def done(self) -> bool:
        return self.state == State.DONE
