"""What every `pipeline run` does: Luigi in a child process, its progress shown, its process tree ended."""

import argparse
import contextlib
import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import psutil
from rich.progress import Progress

from pipeline import alerts, log
from pipeline.cli import terminal
from pipeline.errors import PipelineError, StepError, StoppedError, UsageError
from pipeline.scheduler import step_logs
from pipeline.settings import RunSettings, Settings
from pipeline.system import command, process_tree

logger = logging.getLogger(__name__)

# How often its progress is shown; and how often all processes of the machine are gone through for its own.
SHOW_SECONDS, POLL_SECONDS = 0.5, 2.0
GRACE_SECONDS = 10.0
# What Luigi leaves behind, such as who holds a snapshot, gives its login back and ends within so long.
LEAVE_SECONDS = 5.0
SECONDS_PER_MINUTE = 60
# How much of Luigi's log is told when it failed before any step began.
TAIL_LINES = 40

# Returns how many of all steps are done, and what is being done.
Current = Callable[[], tuple[float | None, str]]
# Records how the step failed on which this process was at work.
Fail = Callable[[int, PipelineError], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a chain that has runs."""
    parser.add_argument("--run", help="the logical date, such as 2026-11-22 (default: today, UTC)")
    add_log_file(parser)


def add_log_file(parser: argparse.ArgumentParser) -> None:
    """Add the argument that every chain has."""
    parser.add_argument(
        "--log-file",
        type=Path,
        metavar="FILE",
        help="append all log lines to FILE, and show only warnings (default: Luigi's own lines go into a "
        "file in [logs] folder)",
    )
    log.add_argument(parser)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says how much is done at once."""
    parser.add_argument(
        "--workers", type=_workers, default=2, metavar="N", help="tasks in parallel (default: %(default)s)"
    )


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of workers; write 1 or more")
    return int(text)


def luigi(module: str, root: Sequence[str], run: str, *more: str) -> list[str]:
    """Return the command line that runs a chain."""
    return luigi_root(module, [*root, "--run", run, *more])


def luigi_root(module: str, root: Sequence[str]) -> list[str]:
    """Return the command line that runs a root task with these arguments."""
    return command.python("tasks.worker.run", "--module", module, *root)


@dataclass(frozen=True)
class LogFile:
    """Where all lines go. Where nobody `asked` for it, what is not Luigi's is shown as well."""

    file: TextIO
    asked: bool


@contextlib.contextmanager
def log_file(path: Path | None, configured: Settings, run: str) -> Iterator[LogFile | None]:
    """Open the file to which all lines are added: `path`, or one of the run in [logs] folder.

    Raise UsageError if `path` cannot be written; yield None if that of the run cannot.
    """
    if path is None:
        with _of_run(configured, run) as file:
            yield None if file is None else LogFile(file, asked=False)
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}; name another --log-file") from None
    with _closing(descriptor, path) as file:
        yield LogFile(file, asked=True)


@contextlib.contextmanager
def _of_run(configured: Settings, run: str) -> Iterator[TextIO | None]:
    """Open the file of Luigi's lines of a run; None if that cannot be: `check` tells of it, and each run."""
    try:
        path = step_logs.path(configured, run, "luigi")
        descriptor = step_logs.opened(path)
    except (OSError, UsageError):
        yield None
        return
    with _closing(descriptor, path) as file:
        yield file


@contextlib.contextmanager
def _closing(descriptor: int, path: Path) -> Iterator[TextIO]:
    # Line by line, so that whoever follows the file sees each as it comes.
    file = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")
    try:
        yield file
    finally:
        try:
            file.close()
        except OSError as error:
            # The run itself went on without it.
            logger.warning("%s is not complete: %s", path, error.strerror)


def _unrecorded(_pid: int, _error: PipelineError) -> None:
    """Record nothing."""


class Supervision:
    """One Luigi child: its output passed on, its progress shown, its limits kept, all ended with it."""

    def __init__(
        self,
        name: str,
        total: float,
        progress: Current,
        log: LogFile | None,
        limits: RunSettings | None = None,
        fail: Fail = _unrecorded,
        finish_seconds: float = 0.0,
    ) -> None:
        """`finish_seconds`: so long the child has for its steps, after it alone was told to stop."""
        self._name, self._total, self._progress, self._log = name, total, progress, log
        self._limits, self._fail, self._finish_seconds = limits or RunSettings(), fail, finish_seconds
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._seen: dict[tuple[psutil.Process, str], float] = {}

    def run(self, arguments: Sequence[str]) -> tuple[int, list[str]]:
        """Run it to its end. Return its exit code and the last lines it wrote.

        Raise StepError if it is over the limit of a run. In any case nothing of it is left when this returns.
        """
        with terminal.progress() as bar, process_tree.adopting() as everyone:
            # Its steps may tell of what passes in the end; that all was told is for this process to say.
            environment = {name: value for name, value in os.environ.items() if name != alerts.CRON_ALERTED}
            process, reader = command.start(
                arguments, environment=environment, on_line=lambda line: self._pass_on(line, bar)
            )
            task = bar.add_task("", name=self._name, total=self._total)
            ends_at = time.monotonic() + self._limits.run_minutes * SECONDS_PER_MINUTE
            try:
                polls_at = time.monotonic()
                while not _ended_within(process, SHOW_SECONDS):
                    self._show(bar, task)
                    if time.monotonic() > ends_at:
                        raise self._over_limit()
                    if time.monotonic() > polls_at:
                        self._end_overdue(process.pid)
                        everyone.reap(process.pid)
                        polls_at = time.monotonic() + POLL_SECONDS
                everyone.leave(LEAVE_SECONDS)
            except PipelineError as error:
                if isinstance(error, StoppedError) and self._finish_seconds:
                    process.terminate()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(self._finish_seconds)
                for pid in self._end_all(everyone, process.pid):
                    self._fail(pid, error)
                raise
            finally:
                left = everyone.end(GRACE_SECONDS)
                everyone.reap(process.pid)
                process.poll()
                for one in left:
                    logger.error("process %d cannot be stopped, and may still be running", one.pid)
            reader.join(GRACE_SECONDS)
        return process.wait(), list(self._tail)

    def _end_all(self, everyone: process_tree.ProcessTree, luigi: int) -> set[int]:
        """End everyone; return who may have been at work on a step.

        Also who was idle, and who was made meanwhile: they can begin one until they hear that all is over.
        """
        at_work: set[int] = set()

        def members() -> list[psutil.Process]:
            at_work.update(one.pid for one in _children(luigi))
            return everyone.members()

        process_tree.end(members, GRACE_SECONDS)
        return at_work

    def _end_overdue(self, luigi: int) -> None:
        """End the steps that are over their limit, each a child of Luigi's with all that it has started."""
        minutes = self._limits.step_minutes
        for step in _steps(luigi):
            # Not by its time of creation, which goes by a clock that can be set. One process does many steps.
            seen_at = self._seen.setdefault((step, _name(step)), time.monotonic())
            if time.monotonic() - seen_at > minutes * SECONDS_PER_MINUTE:
                process_tree.end(process_tree.of(step.pid), GRACE_SECONDS)
                self._fail(
                    step.pid,
                    StepError(
                        f"over its limit of {minutes:g} minutes ([run] step_minutes), so it was stopped; "
                        "find out what it waited for, then run it again"
                    ),
                )

    def _over_limit(self) -> StepError:
        minutes = self._limits.run_minutes
        return StepError(
            f"{self._name}: over its limit of {minutes:g} minutes ([run] run_minutes), so it was stopped; "
            "finished steps stay, and the same command continues there"
        )

    def _pass_on(self, line: str, bar: Progress) -> None:
        line = log.whole(line)
        self._tail.append(line)
        level, asked = log.level(line), self._log is not None and self._log.asked
        # Its reader is gone, the disk is full, or the file is closed. Luigi must not wait: we read on.
        with contextlib.suppress(OSError, ValueError):
            if self._log is not None:
                self._log.file.write(line + "\n")
        with contextlib.suppress(OSError, ValueError):
            if bar.disable and not asked and level != log.QUIET:
                sys.stderr.write(line + "\n")
            elif level in log.LOUD:
                # Above the bar if there is one.
                bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show(self, bar: Progress, task: Any) -> None:
        if not bar.disable:
            completed, description = self._progress()
            bar.update(task, completed=completed, description=description)


def _ended_within(process: subprocess.Popen[str], seconds: float) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


def _steps(luigi: int) -> list[psutil.Process]:
    """Return the processes that are at work on a step, all of them made by Luigi."""
    return [one for one in _children(luigi) if _name(one) != process_tree.IDLE]


def _children(luigi: int) -> list[psutil.Process]:
    """Return the processes that Luigi has made."""
    try:
        return [one for one in psutil.Process(luigi).children() if process_tree.lives(one)]
    except psutil.NoSuchProcess:
        return []


def _name(process: psutil.Process) -> str:
    """Return how a process calls itself at this moment: by its step, where it does several."""
    try:
        return str(process.name())
    except psutil.Error:
        return ""
