"""How long what failed is tried again: backoff with full jitter, Retry-After, and an end.

The one way of trying again: requests to Vault and to B2, and whole steps, which do not fail for what passes.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline import outage
from pipeline.errors import ConflictError, LostError, StoppedError

T = TypeVar("T")

logger = logging.getLogger(__name__)

# What passes by itself. All else (a wrong password, a table that is missing, a full disk) is for a person.
PASSING = (ConflictError, LostError)


@dataclass(frozen=True)
class RetryPolicy:
    """A request that keeps failing is given up `give_up_after_seconds` after it first failed.

    Waits grow from `first_wait_seconds` to `longest_wait_seconds`, each a random share of that, so that many
    clients do not come back at once. A server's Retry-After is the least that is waited. B2 has to answer
    each request within `answer_seconds`.
    """

    give_up_after_seconds: float = 900.0
    answer_seconds: float = 180.0
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0


# A server that restarts, a line that is cut, a deadlock. What takes longer is for Luigi's own second try.
STEP = RetryPolicy(give_up_after_seconds=30.0, first_wait_seconds=1.0, longest_wait_seconds=10.0)
# Somebody, or a clock of a few minutes, waits for the answer: that there is none is one as well.
ASKED = RetryPolicy(give_up_after_seconds=20.0, answer_seconds=20.0, longest_wait_seconds=5.0)


def call(
    work: Callable[[], T], log_retry: Callable[[str], object] | None = None, policy: RetryPolicy | None = None
) -> T:
    """Return what `work` does, after other tries if it failed by what passes; `log_retry` is told of each.

    A try begins anew: what it needs, such as a connection, it opens itself. Raise what the last one raised.
    The policy is STEP's where none is given.
    """
    attempts = Attempts(policy or STEP)
    while True:
        try:
            return work()
        except PASSING as error:
            # Many steps may wait for one server.
            level = logging.WARNING if outage.is_news(error.fact, error.outage) else logging.DEBUG
            logger.log(level, "%s; trying again", error.fact)
            if log_retry:
                log_retry(f"{error.fact}; trying again")
            if not attempts.wait(None):
                raise


class Attempts:
    """The attempts of one request. `stop` ends a wait early, because another part of the work has failed."""

    def __init__(
        self,
        policy: RetryPolicy,
        stop: threading.Event | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._stop = stop or threading.Event()
        self._clock = clock
        self._jitter = jitter
        self._failed_since: float | None = None
        self._longest = policy.first_wait_seconds

    def progressed(self) -> None:
        """Start afresh: the request got further than before."""
        self._failed_since = None
        self._longest = self._policy.first_wait_seconds

    @property
    def failing_seconds(self) -> float:
        """For how long it has failed by now."""
        return 0.0 if self._failed_since is None else self._clock() - self._failed_since

    def wait(self, retry_after_seconds: float | None) -> bool:
        """Wait before the next attempt; return False, at once, when there should be none.

        Raise StoppedError if `stop` is set meanwhile.
        """
        if self._failed_since is None:
            self._failed_since = self._clock()
        seconds = self._longest * self._jitter() + (retry_after_seconds or 0.0)
        self._longest = min(self._longest * 2, self._policy.longest_wait_seconds)
        if self.failing_seconds + seconds > self._policy.give_up_after_seconds:
            return False
        if self._stop.wait(seconds):
            raise StoppedError("another part of the transfer failed, so this one was stopped")
        return True
