"""Keeps credentials and rows out of everything that is shown: each fetched credential is registered here,
and every log line, error and status text passes through `redact`. A server that refuses a row quotes it
beside its error: that is dropped.
"""

import base64
import io
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
# A shorter string would blot out ordinary words, and is not a credential worth the name.
MINIMUM_LENGTH = 6
# Within base64, as in a header that a server quotes, what is left of a shorter one could be anything.
MINIMUM_ENCODED_BYTES = 8

# What a server says beside its error, up to a hint or the end: a value may have line breaks.
_BESIDE = re.compile(
    r"^(?:pg_\w+: )?(?:detail: )?"
    r"(?:D[EÉ]TAIL|CONTEXTE?|KONTEXT|STATEMENT|QUERY|LINE \d+|ZEILE \d+|Command was|Query was): "
    r".*?(?=^(?:HINT|TIPP?|LOCATION|pg_\w+): |^  File \"|\Z)",
    re.MULTILINE | re.DOTALL,
)
# A value that is quoted in the error itself: at its end, behind a colon, or called so.
_AT_END = re.compile(r"""(:[ ]{1,2})["»„«“].*$""", re.MULTILINE | re.DOTALL)
_CALLED = re.compile(r"""\b(value|Wert|valeur) ["»„«“].*?["«“»”](?= |$)""", re.DOTALL)
# In any text, what only a server says so.
_VALUES = re.compile(
    r"\b(invalid input (?:syntax|value) for [^\n\"]*: |malformed (?:array|range|record) literal: "
    r"|field value out of range: )\"[^\n]*\"|\b(value )\"[^\n]*?\"(?= is out of range for type)"
)

_lock = threading.Lock()
_registered: tuple[str, ...] = ()
# What each of them is within base64, wherever it begins there.
_encoded: frozenset[str] = frozenset()


def register(credential: str) -> None:
    """From now on, `redact` replaces `credential`, also in its URL-quoted and `repr` forms, and in base64."""
    global _registered, _encoded  # noqa: PLW0603 - one process has one set of credentials
    if len(credential) < MINIMUM_LENGTH:
        return
    forms = {credential, quote(credential, safe=""), quote_plus(credential), repr(credential)[1:-1]}
    with _lock:
        # The longest first: a URI goes as a whole before the password inside it.
        _registered = tuple(sorted(forms.union(_registered), key=len, reverse=True))
        _encoded = _encoded.union(_within_base64(credential.encode()))


def _within_base64(credential: bytes) -> Iterator[str]:
    """Yield what base64 has of it alone: of its characters at both ends something else has a part."""
    if len(credential) < MINIMUM_ENCODED_BYTES:
        return
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + credential).decode()[4 if before else 0 : -4]


def redact(text: str) -> str:
    """Return `text` with every registered credential replaced by `[redacted]`, and without what quotes rows.

    >>> redact('violates unique constraint "one"\\nDETAIL:  Key (name)=(Ann) already exists.')
    'violates unique constraint "one"\\n'
    >>> redact('invalid input syntax for type integer: "Ann"')
    'invalid input syntax for type integer: "..."'
    """
    for credential in _registered:
        text = text.replace(credential, MASK)
    for core in _encoded:
        if core in text:
            text = re.sub(rf"[\w+/-]*{re.escape(core)}[\w+/=-]*", MASK, text, flags=re.ASCII)
    return _VALUES.sub(lambda match: f'{match[1] or match[2]}"..."', _BESIDE.sub("", text))


def without_values(message: str) -> str:
    """Return a server's message without the value that it is about, if it quotes one.

    >>> without_values('value "Ann" is out of range for type integer')
    'value "..." is out of range for type integer'
    """
    return _AT_END.sub(r'\1"..."', _CALLED.sub(r'\1 "..."', message))


class RedactedRecord(logging.LogRecord):
    """A log record whose message and traceback hold no credential, whichever handler prints it."""

    def getMessage(self) -> str:  # noqa: N802 - logging's own name
        if self.exc_info and not self.exc_text:
            self.exc_text = _formatted(self.exc_info)
        return redact(super().getMessage())


def install() -> None:
    """Make every log record of this process a redacted one, Luigi's and the libraries' included.

    Likewise the traceback of what nobody catches.
    """
    logging.setLogRecordFactory(RedactedRecord)
    sys.excepthook = _uncaught


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # The driver of PostgreSQL shows what ended a COPY, rows included, and raises it as another error as well.
    if isinstance(error, SystemError) and type(error.__cause__).__module__.startswith("psycopg2"):
        return
    sys.stderr.write(f"{_formatted((kind, error, trace))}\n")


def _formatted(exc_info: object) -> str:
    output = io.StringIO()
    traceback.print_exception(*exc_info, file=output)  # type: ignore[misc]
    return redact(output.getvalue().rstrip("\n"))
