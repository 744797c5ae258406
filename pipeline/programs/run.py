"""Run: the analysts' own tasks, file by file, each confined, and what is known of how that ended.

It is kept beside the checkout and not in the ledger: what runs them has no more of the warehouse than they.
"""

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import access
from pipeline.errors import PipelineError, StepError, UsageError
from pipeline.ledger import runs
from pipeline.names import advice
from pipeline.programs import confined
from pipeline.progress import Show, no_progress
from pipeline.redact import redact
from pipeline.settings import Settings
from pipeline.system import beside, file_lock, process_tree

logger = logging.getLogger(__name__)

DAY_SECONDS = 24 * 3600
DAY_CHARACTERS = len("2026-11-22")
# What is known of a file while it is at work, and stays so if nobody is left to say how it ended.
KILLED = "it was killed"


def run_program(settings: Settings, folder: Path, name: str, run: str, show: Show = no_progress) -> None:
    """Run the tasks of the file `name` of a repository in `folder`. Raise StepError with what failed."""
    record = _record(settings, name, run)
    began = time.monotonic()
    who = {"pid": os.getpid(), "place": process_tree.place()}
    beside.write(record, {**who, "ok": False, "error": KILLED, "exit_code": 3})
    try:
        tasks = _done(settings, folder, name, run, show)
        seconds = time.monotonic() - began
        beside.write(record, {"ok": True, "at": datetime.now(UTC).isoformat(), "seconds": round(seconds, 1)})
    except BaseException as error:
        _remember(record, error)
        raise
    show(100, f"{tasks} tasks in {seconds:,.0f} s")


def _done(settings: Settings, folder: Path, name: str, run: str, show: Show) -> int:
    """Run them, and return how many there are."""
    analysts = settings.require_analysts()
    with access.opened(settings) as databases:
        result = confined.run(folder, name, run[:DAY_CHARACTERS], analysts, databases, _listener(show))
    if result.problems:
        raise StepError("\n".join(result.problems), hint="correct that, and push it", retryable=False)
    return result.tasks


def _listener(show: Show) -> Any:
    def listen(line: str) -> None:
        logger.info("%s", line)
        show(None, line)

    return listen


def is_done(settings: Settings, name: str, run: str) -> bool:
    """Whether the tasks of that file were done in a run."""
    return bool(outcome(settings, name, run).get("ok"))


def outcome(settings: Settings, name: str, run: str) -> dict[str, Any]:
    """Return how a file's tasks ended in a run: ok, error, hint, exit_code; nothing if they never began."""
    try:
        recorded = json.loads(_record(settings, name, run).read_text())
    except (OSError, ValueError):
        return {}
    return recorded if isinstance(recorded, dict) else {}


def latest(settings: Settings, name: str) -> list[tuple[str, datetime, dict[str, Any]]]:
    """Return how a file's tasks ended in the runs that this machine knows: run, when, and what `outcome` has.

    The newest first.
    """
    outcomes = []
    with contextlib.suppress(OSError):
        for record in records(settings).glob(f"*/{name}.json"):
            written_at = datetime.fromtimestamp(record.stat().st_mtime, UTC)
            outcomes.append((record.parent.name, written_at, outcome(settings, name, record.parent.name)))
    return sorted(outcomes, key=lambda one: one[1], reverse=True)


def fail_step_of(settings: Settings, names: Sequence[str], run: str, pid: int, error: PipelineError) -> None:
    """Remember how a file's tasks ended that process `pid` was at, which could not say so itself."""
    for name in names:
        if outcome(settings, name, run).get("pid") == pid:
            _remember(_record(settings, name, run), error)


def fail_killed(settings: Settings, names: Sequence[str], run: str) -> None:
    """Remember of the files whose process has ended without a trace that somebody has seen it: us."""
    for name in names:
        if "pid" in outcome(settings, name, run):
            _remember(_record(settings, name, run), StepError(KILLED))


def clear_outcomes(settings: Settings, names: Sequence[str], run: str) -> None:
    """Let what ended badly before not be taken for what is done now."""
    for name in names:
        _record(settings, name, run).unlink(missing_ok=True)


def wanted(folder: Path, name: str | None) -> list[str]:
    """Return the files to run: all, or the one of that name. Raise UsageError if there is none."""
    names = confined.named(folder)
    if name is not None and name not in names:
        raise UsageError(f"{name}: no such file ({advice(name, names)}); to add it, write tasks/{name}.py")
    return [name] if name is not None else names


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[None]:
    """Keep others off. Raise AlreadyRunningError if one is at work; remove what is known of old runs."""
    home = records(settings)
    with beside.alone(home, "the analysts' tasks are already running"):
        oldest = time.time() - settings.logs.keep_days * DAY_SECONDS
        for old in home.iterdir():
            if old.is_dir() and old.stat().st_mtime < oldest:
                shutil.rmtree(old, ignore_errors=True)
        yield


def is_running(settings: Settings) -> bool:
    """Whether a command is at work, which sees how each file ends."""
    return file_lock.is_held(records(settings) / beside.LOCK)


def records(settings: Settings) -> Path:
    """Return the folder where this machine keeps how each file ended; there is none if it never ran any."""
    return beside.place(settings.require_analysts().checkout, "runs")


def _record(settings: Settings, name: str, run: str) -> Path:
    return records(settings) / runs.parse(run) / f"{name}.json"


def _remember(record: Path, error: BaseException) -> None:
    """Remember how a file's tasks failed, by a bug of ours as well; what is to be fixed stands apart."""
    if isinstance(error, PipelineError):
        fact, hint, code = error.fact, error.hint, error.exit_code
    else:
        fact, hint, code = f"{type(error).__name__}: {error}".removesuffix(": "), "", 1
    with contextlib.suppress(StepError):  # what failed is what is told, and not that this has no room as well
        beside.write(record, {"ok": False, "error": redact(fact), "hint": redact(hint), "exit_code": code})
