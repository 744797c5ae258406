"""What `pipeline worker` starts: an assistant, until it is told to stop."""

import contextlib
import logging
import signal
import sys
import time
from typing import Any

import tenacity
from luigi.rpc import RPCError

from pipeline import log
from pipeline.errors import StoppedError
from pipeline.scheduler import step_logs
from pipeline.system import options
from tasks import (
    etl,  # noqa: F401 - what it runs, so that a faulty installation is found now
    events,
    luigi_internals,
)
from tasks.step import configured
from tasks.worker import stop
from tasks.worker.assisting import Assistant
from tasks.worker.run import keep_giving_back, scheduler_url

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
# Of a scheduler that does not answer it is told this often.
LOG_SECONDS = 60.0
FOREVER = sys.maxsize


class Insistent(luigi_internals.RemoteScheduler):
    """The scheduler, which may be away for as long as it likes: an assistant has nothing else to do."""

    def __init__(self, url: str) -> None:
        super().__init__(url, attempts=FOREVER)
        self.stopping = False
        self._logs_at = 0.0

    def retrying(self) -> tenacity.Retrying:
        """Return what tries a call again, until we are told to stop."""
        return tenacity.Retrying(
            wait=tenacity.wait_fixed(self.pause_seconds),
            stop=lambda state: self.stopping or state.attempt_number >= self.attempts,
            sleep=self._sleep,
            after=self._log_retry,
            reraise=True,
        )

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < until:
            time.sleep(POLL_SECONDS)

    def _log_retry(self, state: tenacity.RetryCallState) -> None:
        if self.logs_retries and time.monotonic() > self._logs_at:
            self._logs_at = time.monotonic() + LOG_SECONDS
            error = state.outcome.exception() if state.outcome else None
            logger.warning("the scheduler does not answer; waiting for it: %s", error)


def main() -> None:
    """Assist until SIGTERM, then exit with 143; with 0 if the visualizer's "Disable worker" ended it."""
    parser = options.Parser(prog="pipeline worker")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    # Ctrl-C reaches the parent, who tells us; the steps must not each have it as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log.configure()
    step_logs.prepare(configured())
    events.only_help()
    scheduler: Any = Insistent(scheduler_url())
    assistant = Assistant(scheduler, arguments.workers)

    def end() -> None:
        scheduler.stopping = True
        assistant.stop()

    # A step itself ends at once.
    stop.handle(end)
    # What is left to do at the end waits for nobody.
    with contextlib.suppress(RPCError), assistant:
        keep_giving_back(scheduler)
        assistant.run()
    with contextlib.suppress(RPCError):
        scheduler.disable_worker(worker=assistant.id)
    if scheduler.stopping:
        sys.exit(StoppedError.exit_code)


if __name__ == "__main__":
    main()
