"""One login of a process, shared by its short questions and by the steps that it does one after the other."""

import contextlib
import multiprocessing.util
import os
import time
from collections.abc import Iterator

from pipeline.access.databases import Access, opened
from pipeline.settings import Settings

# Luigi asks each task whether it is complete, one after the other: one login serves so many seconds of that.
BRIEF_SECONDS = 30.0


class _Brief:
    """The login that short questions share. It belongs to one process: a fork must not use or end it."""

    def __init__(self, settings: Settings) -> None:
        self._stack = contextlib.ExitStack()
        self.access = self._stack.enter_context(opened(settings))
        self.access.keeps_spare = True
        self._pid, self._until, self._steps = os.getpid(), time.monotonic() + BRIEF_SECONDS, 0
        multiprocessing.util.Finalize(self, self.close, exitpriority=10)

    def serves(self, settings: Settings) -> bool:
        return self.mine and self.access.settings is settings and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether it has served for its time, and no step uses it."""
        return not self._steps and time.monotonic() >= self._until

    @contextlib.contextmanager
    def used(self) -> Iterator[Access]:
        """Keep it for as long as the block takes, and for the questions after it."""
        self._steps += 1
        try:
            yield self.access
        finally:
            self._steps -= 1
            # A source is told how many sessions it has of us: none outlives the step.
            self.access.end_sources()
            self._until = time.monotonic() + BRIEF_SECONDS
            if _brief is not self:
                self.close()

    def close(self) -> None:
        """End it; while a step uses it, that does so."""
        if self.mine and not self._steps:
            self._stack.close()

    @property
    def mine(self) -> bool:
        """Whether this process made it, and not the one that this was forked from."""
        return self._pid == os.getpid()


_brief: _Brief | None = None
# Logins of the process that this one was forked from. To let go of one would end it there as well.
_inherited: list[_Brief] = []
# Whether this process is at a step, and what it asks is asked for that.
_at_step = False


def brief(settings: Settings) -> Access:
    """Return a way to the databases for one short question, over a login shared with the last ones."""
    return _shared(settings).access


@contextlib.contextmanager
def one_step() -> Iterator[None]:
    """Do one step in the block, and what is asked before it: that may keep its session of a source for it."""
    global _at_step  # noqa: PLW0603 - one process is at one step
    _at_step = True
    try:
        yield
    finally:
        _at_step = False
        if _brief is not None and _brief.mine:
            _brief.access.end_sources()


@contextlib.contextmanager
def for_step(settings: Settings) -> Iterator[Access]:
    """As `opened`, over the login by which it is asked whether the step is done, before it and after.

    The next try of a step that failed has a login of its own.
    """
    try:
        with _shared(settings).used() as databases:
            yield databases
    except BaseException:
        end_brief()
        raise


def _shared(settings: Settings) -> _Brief:
    global _brief  # noqa: PLW0603 - one process has one
    if _brief is None or not _brief.serves(settings):
        if _brief is not None:
            _brief.close()
            if not _brief.mine:
                _inherited.append(_brief)
        _brief = _Brief(settings)
    _brief.access.keeps_sources = _at_step
    return _brief


def end_brief() -> None:
    """End the login that short questions share, where that is to be before the end of the process."""
    global _brief  # noqa: PLW0603 - one process has one
    if _brief is not None and _brief.mine:
        _brief.close()
        _brief = None


def end_idle() -> None:
    """End the login that short questions share if it has served for its time: the next may come late."""
    if _brief is not None and _brief.is_over:
        end_brief()
