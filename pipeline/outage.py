"""Servers that are out of reach: one failure, however many things each of them takes with it."""

import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Sequence

from pipeline.errors import Outage

# So many names are told, more are counted.
FEW = 3
# A warning of the same server is news again after so long.
NEWS_SECONDS = 60.0

_ENTRY = struct.Struct("=8sd")
# Shared by all processes that are forked from this one: the steps of a run.
_warned = os.memfd_create("warned")


def error_of(error: str | None, outage: Outage) -> str:
    """Return an error from the name of its server on, without that of whatever failed for want of it.

    >>> error_of("hr.employee: source hr: no connection: refused", Outage("source hr"))
    'source hr: no connection: refused'
    """
    text = error or "no error message"
    return text[max(0, text.find(outage.server)) :]


def few(names: Sequence[str], most: int = FEW) -> str:
    """Return names in a line, the first `most` of many.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def is_news(warning: str, outage: Outage | None = None) -> bool:
    """Whether no process of this run has warned of this server, or in these words, for a minute."""
    mark = hashlib.sha256((outage.place if outage else warning).encode()).digest()[:8]
    # By record locks, which end with a process that is killed.
    fcntl.lockf(_warned, fcntl.LOCK_EX)
    try:
        known = os.pread(_warned, os.fstat(_warned).st_size, 0)
        now, place = time.monotonic(), len(known)
        for offset in range(0, len(known), _ENTRY.size):
            other, at = _ENTRY.unpack_from(known, offset)
            if other == mark:
                if now - at < NEWS_SECONDS:
                    return False
                place = offset
        os.pwrite(_warned, _ENTRY.pack(mark, now), place)
    finally:
        fcntl.lockf(_warned, fcntl.LOCK_UN)
    return True
