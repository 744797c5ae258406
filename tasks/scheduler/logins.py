"""The passwords that the scheduler goes by: in memory only, and read from Vault again, so that one that was
changed there is good here within a minute, and at once if somebody logs in with it.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pipeline.errors import PipelineError

logger = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
# A login that fails asks for it as well, but no stranger makes us ask Vault more often than this.
AT_LEAST_SECONDS = 1.0


class Logins:
    """The password of each login, as Vault last said."""

    def __init__(self, fetch: Callable[[], Mapping[str, str]]) -> None:
        """Read them for the first time. Raise what `fetch` raises."""
        self._fetch = fetch
        self._asked, self._ending = threading.Event(), threading.Event()
        self.passwords = fetch()

    def ask(self) -> None:
        """Have them read again soon."""
        self._asked.set()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Read them again and again, beside the body: Vault may be slow, and the scheduler must not wait."""
        reader = threading.Thread(target=self._read_again, name="passwords", daemon=True)
        reader.start()
        try:
            yield
        finally:
            self._ending.set()
            self._asked.set()
            reader.join(AT_LEAST_SECONDS)

    def _read_again(self) -> None:
        while not self._ending.is_set():
            self._asked.wait(EVERY_SECONDS)
            self._asked.clear()
            if self._ending.is_set():
                return
            try:
                passwords = self._fetch()
            except PipelineError as error:
                # Those that we have stay good: a Vault that restarts must not stop the night.
                logger.warning("the passwords could not be read again: %s", error)
            except Exception:
                # Nor may a bug: nobody would notice that changed passwords are not good.
                logger.exception("the passwords could not be read again")
            else:
                if passwords != self.passwords:
                    logger.info("the passwords in Vault were changed; the new ones are valid from now on")
                self.passwords = passwords
            self._ending.wait(AT_LEAST_SECONDS)
