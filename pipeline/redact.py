"""Keeps credentials out of everything that is shown: each fetched credential is registered here,
and every log line, error and status text passes through `redact`.
"""

import io
import logging
import threading
import traceback
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
# A shorter string would blot out ordinary words, and is no credential worth the name.
MINIMUM_LENGTH = 6

_lock = threading.Lock()
_registered: tuple[str, ...] = ()


def register(credential: str) -> None:
    """From now on, `redact` replaces `credential`, also in its URL-quoted and `repr` forms."""
    global _registered  # noqa: PLW0603 - one process has one set of credentials
    if len(credential) < MINIMUM_LENGTH:
        return
    forms = {credential, quote(credential, safe=""), quote_plus(credential), repr(credential)[1:-1]}
    with _lock:
        # The longest first: a URI goes as a whole before the password inside it.
        _registered = tuple(sorted(forms.union(_registered), key=len, reverse=True))


def redact(text: str) -> str:
    """Return `text` with every registered credential replaced by `[redacted]`."""
    for credential in _registered:
        text = text.replace(credential, MASK)
    return text


class RedactedRecord(logging.LogRecord):
    """A log record whose message and traceback hold no credential, whichever handler prints it."""

    def getMessage(self) -> str:  # noqa: N802 - logging's own name
        if self.exc_info and not self.exc_text:
            self.exc_text = _formatted(self.exc_info)
        return redact(super().getMessage())


def install() -> None:
    """Make every log record of this process a redacted one, Luigi's and the libraries' included."""
    logging.setLogRecordFactory(RedactedRecord)


def _formatted(exc_info: object) -> str:
    output = io.StringIO()
    traceback.print_exception(*exc_info, file=output)  # type: ignore[misc]
    return redact(output.getvalue().rstrip("\n"))
