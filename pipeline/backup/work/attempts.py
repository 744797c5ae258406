"""What the work folder of this machine tells of backups and drills: which go on, failed, or were killed.

It only looks: no folder is made and no lock is taken, so that it is in nobody's way.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import chains
from pipeline.backup.work.work_folder import ARCHIVE_LOCK, DRILLS, FINISHED, STEP_LOCK, Work
from pipeline.settings import BackupSettings
from pipeline.step import State, Step, StepKey
from pipeline.system import file_lock, process_tree

BACKUP, DRILL, ARCHIVE_DRILL = chains.BACKUP.root, chains.DRILL_TASK, chains.ARCHIVE_DRILL_TASK
# What the name of a drill's folder ends with where pgBackRest's archive is restored.
ARCHIVES = "-pgbackrest"
KILLED = "its process was killed"


def backups(settings: BackupSettings, database: str) -> list[Step]:
    """Return the backups of a database that are not complete, the oldest first, as the ledger would."""
    home = settings.work_dir / database
    steps = [_step(Work(settings, database, run), database, run, BACKUP) for run in _runs(home)]
    return [step for step in steps if step]


def drills(settings: BackupSettings) -> list[Step]:
    """Return the drills that go on, or that did not hold or were killed, by database."""
    steps = []
    for name in _runs(settings.work_dir / DRILLS):
        work = Work(settings, DRILLS, name)
        database, _, month = name.partition("-")
        if not (work.folder / FINISHED).exists():
            task = DRILL
            if month.endswith(ARCHIVES):
                task, work.run_lock = ARCHIVE_DRILL, ARCHIVE_LOCK
            steps.append(_step(work, database, month.removesuffix(ARCHIVES), task))
    return [step for step in steps if step]


def _runs(home: Path) -> Iterator[str]:
    try:
        folders = sorted(path.name for path in home.iterdir() if path.is_dir())
    except OSError:  # none yet, or another user's
        return
    yield from folders


def _step(work: Work, name: str, run: str, root: str) -> Step | None:
    """Return how far a run has come; None if it has just ended well, and its folder is gone."""
    progress, failure = work.waits() or work.read_progress(), work.failure()
    # A command that was killed may have left a step at work; one that is at work may try a failed step again.
    holder = _holder(work, work.run_lock) or (None if failure else _holder(work, STEP_LOCK))
    if holder:
        since = _moment(holder["since"])
        key = StepKey(run, progress.step if progress else root, name)
        message = progress.message if progress else ""
        return Step(key, State.RUNNING, since, None, None, None, None, progress=message, pid=holder["pid"])
    if failure:
        key, at = StepKey(run, failure.step, name), failure.at
        hint, again = failure.hint or None, failure.again or None
        return Step(key, State.FAILED, at, at, None, failure.error, failure.exit_code, hint, again)
    try:
        at = datetime.fromtimestamp(work.folder.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
    key = StepKey(run, progress.step if progress else root, name)
    return Step(key, State.FAILED, at, None, None, KILLED, None)


def _holder(work: Work, lock: str) -> dict[str, Any] | None:
    """Return who is at work on this run, by what he wrote into the lock: run, pid and since."""
    try:
        signed: dict[str, Any] = json.loads((work.home / lock).read_bytes())
        if signed["host"] == process_tree.place():
            is_at_work = process_tree.is_at_work(signed["pid"], _moment(signed["since"]).timestamp())
        else:  # in another container: no number of ours is its
            is_at_work = file_lock.is_held(work.home / lock)
    except (OSError, ValueError, KeyError):
        return None
    return signed if is_at_work and signed["run"] == work.run else None


def _moment(since: str) -> datetime:
    """Return when a lock was taken, which says so to the minute."""
    return datetime.strptime(since, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
