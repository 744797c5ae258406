"""The analysts' own tasks: when each file was last done, and what failed since, as this machine knows.

The ledger does not have them: what runs them has no more of the warehouse than they.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline import sync
from pipeline.chains import PROGRAM_TASK
from pipeline.observe.observed.observations import Program
from pipeline.programs import confined
from pipeline.programs import run as programs
from pipeline.settings import Settings
from pipeline.step import State, Step, StepKey
from pipeline.system import process_tree


def observe(settings: Settings, run: str | None) -> Iterator[Program]:
    """Yield what is known of each file of tasks that is there now; of one run alone if it is named."""
    if settings.analysts is None:
        return
    folder, records = sync.folder(settings.analysts.checkout), programs.records(settings)
    # Without it, or if it is another user's, another machine or user runs them.
    ran_here = os.access(records, os.R_OK | os.X_OK)
    for name in confined.named(folder):
        declared_at = _written(folder / confined.FOLDER / f"{name}.py")
        if declared_at is None:
            continue
        known = [one for one in programs.latest(settings, name) if run in (None, one[0])]
        done = [(key, at) for key, at, how in known if how.get("ok")]
        last, done_at = done[0] if done else (None, None)
        minutes = settings.analysts.task_minutes
        step = _step(name, minutes, *known[0]) if known and not known[0][2].get("ok") else None
        # Whoever sees it end takes its process out of the record.
        is_unseen = step is not None and step.state == State.FAILED and "pid" in known[0][2]
        yield Program(
            name,
            declared_at,
            last,
            done_at,
            step,
            records=records if ran_here else None,
            was_killed=is_unseen and not programs.is_running(settings),
        )


def _written(path: Path) -> datetime | None:
    """Return when a file was written; None if a sync has removed it just now."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def _step(name: str, minutes: float, run: str, at: datetime, how: dict[str, object]) -> Step:
    """Return what is not done as a step; it may take so many minutes."""
    pid, here = how.get("pid"), process_tree.place()
    if not isinstance(pid, int):
        going = False
    elif how.get("place", here) == here:
        going = process_tree.is_at_work(pid, at.timestamp())
    else:  # in another container: it is ended when its time is up
        going = datetime.now(UTC) - at < timedelta(minutes=minutes)
    state = State.RUNNING if going else State.FAILED
    error, code, hint = how.get("error"), how.get("exit_code"), how.get("hint")
    return Step(
        StepKey(run, PROGRAM_TASK, name),
        state,
        at,
        None if going else at,
        None,
        None if going else str(error),
        code if isinstance(code, int) else None,
        str(hint) if hint else None,
    )
