"""What a program said before it failed: the reason first, and no row or statement that it quotes."""

import re
from collections import deque

from pipeline.redact import redact, without_values

# Where nothing says the reason, the last lines are told.
TAIL_LINES = 8
# An alert has room for three lines.
REASONS, LONGEST, WARNINGS = 2, 20, 50
# PostgreSQL's programs begin each message with their name; what follows on other lines is quoted.
POSTGRES = re.compile(r"(?:pg_\w+|psql|createdb|initdb|postgres): ")
# The server's own word for it, in whatever language: ERROR and two spaces.
SERVER = re.compile(r"\b[^\W\d_a-z]{4,}:  ")
# A program's own: what of these says least comes last.
OWN = re.compile(r"\b(?:error|fatal):")
# What it was at, and what is to be done.
ABOUT = re.compile(r"from TOC entry|\bhint: |\bHINT: ")
CONSEQUENCE = re.compile(r"worker process died|errors ignored on restore|aborted because of error")
WARNING = "warning: "
STATEMENT = re.compile(r"(?:Command|Query|Statement) was: ", re.IGNORECASE)


class Complaints:
    """The lines that a program complains with, as they come.

    >>> said = Complaints()
    >>> said.add("pg_restore: error: COPY failed for table \\"item\\": ERROR:  invalid value: \\"Ann\\"")
    >>> said.add("CONTEXT:  COPY item, line 1, column id: \\"Ann\\"")
    >>> said.add("pg_restore: error: a worker process died unexpectedly")
    >>> print(said.summary())
    pg_restore: error: COPY failed for table "item": ERROR:  invalid value: "..."
    pg_restore: error: a worker process died unexpectedly
    """

    def __init__(self) -> None:
        self._reasons: list[tuple[int, str]] = []
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._about: list[str] = []
        self._warnings: list[str] = []
        self._quoting = False

    def add(self, line: str) -> None:
        """Take the next line."""
        line = line.rstrip("\n")
        if POSTGRES.match(line):
            self._quoting = True
        elif self._quoting:
            return
        if STATEMENT.search(line):
            return
        line = without_values(line) if self._quoting else line
        rank = _rank(line)
        if rank is not None and len(self._reasons) < LONGEST:
            self._reasons.append((rank, line))
        elif ABOUT.search(line):
            self._about.append(line)
        else:
            self._tail.append(line)
        if WARNING in line and len(self._warnings) < WARNINGS:
            self._warnings.append(line)

    def summary(self) -> str:
        """Return why it failed: the server's error, then its own, and what it was at; else its last lines."""
        reasons = [line for _, line in sorted(self._reasons, key=lambda reason: reason[0])]
        lines = [*reasons[:REASONS], *self._about[:1]] if reasons else self._tail
        return redact("\n".join(dict.fromkeys(lines)).strip())

    @property
    def warnings(self) -> tuple[str, ...]:
        """The lines that warn, the first so many."""
        return tuple(redact(line) for line in self._warnings)


def _rank(line: str) -> int | None:
    """Return how much a line says of the reason, 0 the most; None if it is none."""
    if SERVER.search(line):
        return 0
    if OWN.search(line):
        return 2 if CONSEQUENCE.search(line) else 1
    return None


def of(text: str) -> str:
    """Return what `Complaints.summary` makes of all that a program said."""
    complaints = Complaints()
    for line in text.strip().splitlines():
        complaints.add(line)
    return complaints.summary()
