"""A limit on bytes per second that several threads share."""

import threading
import time
from collections.abc import Callable


class Throttle:
    """Lets bytes pass at a rate. `bytes_per_second` None lets everything pass."""

    def __init__(self, bytes_per_second: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._free_at = 0.0
        self._lock = threading.Lock()

    def reserve(self, size_bytes: int) -> float:
        """Take room for so many bytes and return after how many seconds they may go."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now)
            self._free_at = start + size_bytes / self._rate
            return start - now
