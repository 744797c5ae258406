"""Keeps a token or a lease alive for as long as a step works: a dump of three hours outlives most of them."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline import outage
from pipeline.errors import UnreachableError

logger = logging.getLogger(__name__)

# Renewed after half its life, and tried again each time half of the rest is gone.
_PART = 0.5
# With less than this left, its longest life is reached and renewing is over.
_LEAST_SECONDS = 1.0


@contextmanager
def renewed(what: str, life_seconds: float, renew: Callable[[], float]) -> Iterator[None]:
    """Call `renew` in the background, in time, until the body ends. It returns the new life in seconds.

    A life of 0 is without end, and nothing is done. A failure is logged: the body's own next use will tell.
    """
    if life_seconds <= 0:
        yield
        return
    ended = threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(what, life_seconds, renew, ended), name=f"renewal of {what}", daemon=True
    )
    keeper.start()
    try:
        yield
    finally:
        ended.set()


def _keep(what: str, life_seconds: float, renew: Callable[[], float], ended: threading.Event) -> None:
    ends_at = time.monotonic() + life_seconds
    while not ended.wait((ends_at - time.monotonic()) * _PART):
        try:
            ends_at = time.monotonic() + renew()
        except UnreachableError as error:
            if not ended.is_set():
                # Tried again ever faster, and by every step that has one.
                level = logging.WARNING if outage.is_news(str(error), error.outage) else logging.DEBUG
                logger.log(level, "%s could not be renewed: %s", what, error)
        if ends_at - time.monotonic() < _LEAST_SECONDS:
            logger.warning("%s has reached its max_ttl and ends; raise max_ttl in Vault", what)
            return
