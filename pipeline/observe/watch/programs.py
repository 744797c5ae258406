"""Judges the analysts' own tasks, on the machine that runs them: when each file was last done.

Each that fails tells so. What nobody tells of is that none is begun, or that all was killed at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from pipeline import chains, durations, outage
from pipeline.alerts import hints
from pipeline.alerts.message import one_line
from pipeline.observe.observed.observations import Observations, Program
from pipeline.observe.watch import limits
from pipeline.observe.watch.finding import Finding, Severity, at
from pipeline.settings import Settings
from pipeline.step import State

KEY = "watch/analysts"
# A machine that never ran any cannot know whether another one does.
ELSEWHERE = "watch/tasks"
WHOLE = "the analysts' own tasks"


def judge(settings: Settings, observations: Observations, now: datetime) -> Iterator[Finding]:
    """Yield what is to be thought of each file, or once where none was even begun."""
    every = observations.programs or ()
    here = [one for one in every if one.records is not None]
    if names := [one.file for one in every if one.records is None]:
        summary = f"{outage.few(names)}: never run on this machine, so watched only on the one that runs them"
        yield Finding(ELSEWHERE, Severity.INFO, summary, chains.ANALYSTS.command())
    allowed = durations.exact(limits.program(settings))
    late = [one for one in here if is_late(settings, one, now)]
    idle = [one for one in late if one.step is None]
    if len(idle) > 1 and len(idle) == len(here):
        yield _all_late(settings, idle, now)
        return
    if len(late) < len(here):
        in_time = f"{len(here) - len(late)} of {len(here)} files are within the limit of {allowed}"
        yield Finding(KEY, Severity.OK, f"{WHOLE}: {in_time}")
    for one in here:
        if one in late:
            yield _late(settings, one, now)
        elif one.done_at and not _is_overdue(settings, one, now):
            summary = f"{one.file}: {_age(one, now)}; the limit is {allowed}"
            yield Finding(f"{KEY}/{one.name}", Severity.OK, summary)


def judged(settings: Settings, programs: Sequence[Program], now: datetime) -> list[Program]:
    """Return the same, each with whether it is late."""
    return [replace(one, is_stale=is_late(settings, one, now)) for one in programs]


def is_late(settings: Settings, program: Program, now: datetime) -> bool:
    """Whether this machine runs it, has not done it within its limit, and is not at it."""
    is_running = program.step is not None and program.step.state == State.RUNNING
    return program.records is not None and not is_running and _is_overdue(settings, program, now)


def _is_overdue(settings: Settings, program: Program, now: datetime) -> bool:
    return limits.exceeded(now, _since(program), limits.program(settings))


def _since(program: Program) -> datetime:
    """Return the moment from which its age counts: a new file may wait for its night like any other."""
    return program.done_at or program.declared_at


def _age(program: Program, now: datetime) -> str:
    if program.done_at:
        return f"last done {at(program.done_at)}, {limits.ago(now, program.done_at)}"
    return f"never done, first possible {limits.ago(now, program.declared_at)}"


def _all_late(settings: Settings, late: Sequence[Program], now: datetime) -> Finding:
    allowed, newest = limits.program(settings), max(late, key=_since)
    summary = (
        f"{WHOLE}: none of {len(late)} files was done within {durations.exact(allowed)}; the newest, "
        f"{newest.file}: {_age(newest, now)}"
    )
    command, since = chains.ANALYSTS.command(), _since(newest) + allowed
    return Finding(KEY, Severity.STALE, summary, command, since=since, hint=_hint(newest))


def _late(settings: Settings, program: Program, now: datetime) -> Finding:
    allowed, last = limits.program(settings), program.step
    finding = Finding(
        f"{KEY}/{program.name}",
        Severity.STALE,
        f"{program.file}: {_age(program, now)}; the limit is {durations.exact(allowed)}",
        chains.ANALYSTS.command(None, program.name),
        since=_since(program) + allowed,
        hint=_hint(program),
    )
    if last is None:
        return finding
    fix = hints.of_step(last)
    return replace(
        finding,
        command=fix.command,
        error=one_line(f"{last.key.task} failed: {last.error}"),
        # A file that was killed need not be changed.
        hint="" if program.was_killed else fix.before,
    )


def _hint(program: Program) -> str:
    return (
        "check the line in the crontab, the timer or the job that runs them (or, if another machine does so "
        f"now, remove {program.records} here)"
    )
