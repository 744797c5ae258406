"""Servers that are out of reach: one failure, however many things each of them takes with it."""

import fcntl
import hashlib
import os
import re
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UnreachableError

# So many names are told, more are counted.
FEW = 3
# A warning of the same server is news again after so long.
NEWS_SECONDS = 60.0

# By text, since it comes as text: of the ledger's rows, also those of earlier versions, of open alerts in the
# spool, and of lines for the log. But for the address, which is libpq's, it is our own (access/, vault/);
# tests/test_access.py and tests/tasks/test_events.py hold them together.
# An error may begin with the name of what failed, such as a table's.
_SERVER = re.compile(
    r"(?:^|: )((?P<server>the warehouse|source (?P<source>\w+)): "
    r"|Vault at \S+ (?:cannot be reached|is sealed))"
)
# As libpq begins, where nobody answers there, or nobody is let in for now. That one login is refused is no
# matter of the server's.
_ADDRESS = re.compile(
    r'connection to server at "(?P<host>[^"]+)"(?: \([^)]*\))?, port (?P<port>\d+) failed: '
    r"(?!FATAL:(?!  ?the database system is|  ?sorry, too many clients))"
)
_ENTRY = struct.Struct("=8sd")
# Shared by all processes that are forked from this one: the steps of a run.
_warned = os.memfd_create("warned")


@dataclass(frozen=True)
class Outage:
    """A server that is out of reach, as an error names it; `source` is None for those that all need.

    `address` is its host:port, if the error has it and it is the server itself that does not answer: what
    else is there is out of reach as well.
    """

    server: str
    source: str | None
    error: str
    address: str | None = None

    @property
    def place(self) -> str:
        """What errors have in common that are about the same server."""
        return self.address or self.server


def find(error: str | None, exit_code: int | None = UnreachableError.exit_code) -> Outage | None:
    """Return the server that an error says is out of reach, or refuses our login; None if it says none.

    >>> find("hr.employee: source hr: no connection: refused")
    Outage(server='source hr', source='hr', error='source hr: no connection: refused', address=None)
    >>> at = 'connection to server at "db" (::1), port 5432 failed: '
    >>> find(f"source hr: no connection: {at}Connection refused").address
    'db:5432'
    >>> find(f'source hr: no connection: {at}FATAL: password authentication failed for user "x"').address
    >>> find("Vault at http://vault is sealed; unseal it").server
    'Vault'
    >>> find("hr.employee: it is empty")
    """
    if exit_code != UnreachableError.exit_code:
        return None
    match = _SERVER.search(error or "")
    if match is None or error is None:
        return None
    at = _ADDRESS.search(error)
    address = f"{at['host']}:{at['port']}" if at and match["server"] else None
    return Outage(match["server"] or "Vault", match["source"], error[match.start(1) :], address)


def few(names: Sequence[str]) -> str:
    """Return names in a line, the first few of many.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    if len(names) <= FEW + 1:
        return ", ".join(names)
    return f"{', '.join(names[:FEW])} and {len(names) - FEW} more"


def is_news(warning: str) -> bool:
    """Whether no process of this run has warned of this server, or in these words, for a minute."""
    outage = find(warning)
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
