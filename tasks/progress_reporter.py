"""Tells the scheduler how a step gets on, beside the work, which neither waits for it nor fails with it."""

import threading
from collections.abc import Callable

FLUSH_SECONDS = 3.0
# What a step reports first waits so long: most steps are over by then, and have reported one thing only.
DELAY_SECONDS = 0.5


class ProgressReporter:
    """Passes on the newest of each kind of news, in a thread of its own; what cannot be told is dropped.

    A scheduler that restarts or hangs keeps a call waiting for a minute: no row may wait for that.
    """

    def __init__(self) -> None:
        self._news: dict[str, Callable[[], object]] = {}
        self._changed = threading.Condition()
        self._busy = self._hurried = False
        self._thread: threading.Thread | None = None

    def report(self, kind: str, call: Callable[[], object]) -> None:
        """Have `call` made soon, unless there is newer news of that kind by then."""
        with self._changed:
            self._news[kind] = call
            if self._thread is None:
                self._thread = threading.Thread(target=self._pass_on, name="progress reporter", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait until everything is told, but no longer than that."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._news and not self._busy, seconds)
            self._hurried = False

    def drop(self, kind: str) -> None:
        """Let news of that kind go, which matter to nobody any more."""
        with self._changed:
            self._news.pop(kind, None)

    def _pass_on(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._news))
                self._changed.wait_for(lambda: self._hurried, DELAY_SECONDS)
                news, self._news = list(self._news.values()), {}
                self._busy = True
            for call in news:
                try:
                    call()
                except Exception:  # noqa: BLE001, S112 - the scheduler will hear how it ended
                    continue


# A process does one step at a time.
reporter = ProgressReporter()
