"""What pg_dump wrote, read back: the rows of each table that are in the archive, counted as they come."""

import contextlib
import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.backup.database.contents import TableShape
from pipeline.backup.tools import Tool
from pipeline.errors import CheckError, StepError
from pipeline.system import command

PIECE_BYTES = 1024 * 1024
ENTRY, COPY, FROM = b"-- TOC entry ", b"COPY ", b" FROM stdin;"
LARGE_OBJECT = b"SELECT pg_catalog.lo_open("
# A row never has a line of its own that reads so, nor a line break in it: both are escaped.
END = b"\n\\.\n"


@dataclass
class Archived:
    """What an archive has: rows by the oid of their table, and how many large objects."""

    rows: dict[int, int] = field(default_factory=dict)
    large_objects: int = 0


class Counter:
    """Counts rows in what pg_restore writes as SQL; it is fed piece by piece, and holds no more than one.

    >>> counter = Counter()
    >>> counter.feed(b"-- TOC entry 7 (class 0 OID 16385)\\nCOPY item (id) FROM stdin;\\n1\\n2\\n\\\\.\\n")
    >>> counter.finish().rows
    {16385: 2}
    """

    def __init__(self) -> None:
        self._counted = Archived()
        self._rest = b""
        self._oid: int | None = None
        self._heading = self._inside = False

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        data = self._rest + piece
        while data:
            rest = self._rows(data) if self._inside else self._lines(data)
            if rest is None:
                return
            data = rest
        self._rest = b""

    def finish(self) -> Archived:
        """Return what was counted. Raise StepError if the end is missing."""
        if self._inside or self._heading:
            raise StepError("it ends in the middle of a table")
        return self._counted

    def _rows(self, data: bytes) -> bytes | None:
        """Count rows, from the line break before the first one on; return what is behind the last."""
        end = data.find(END)
        # What may be the beginning of the end is looked at again with the next piece.
        counted = end if end >= 0 else max(len(data) - len(END) + 1, 0)
        assert self._oid is not None  # noqa: S101 - each table's rows have a heading
        self._counted.rows[self._oid] += data.count(b"\n", 0, counted)
        if end < 0:
            self._rest = data[counted:]
            return None
        self._inside, self._oid = False, None
        return data[end + len(END) :]

    def _lines(self, data: bytes) -> bytes | None:
        """Look at whole lines up to the next table's rows; return these, with the line break before them."""
        begin = 0
        while (end := data.find(b"\n", begin)) >= 0:
            self._line(data[begin:end])
            if self._inside:
                return data[end:]
            begin = end + 1
        self._rest = data[begin:]
        return None

    def _line(self, line: bytes) -> None:
        if line.startswith(ENTRY):
            self._oid = int(line.rpartition(b"OID ")[2].rstrip(b")"))
        elif line.startswith(LARGE_OBJECT):
            self._counted.large_objects += 1
        # A name may have line breaks in it.
        self._heading = self._heading or line.startswith(COPY)
        if self._heading and line.endswith(FROM):
            self._heading, self._inside = False, True
            if self._oid is None:
                raise StepError("it has rows without the number of their table")
            self._counted.rows.setdefault(self._oid, 0)


def read(pg_restore: Tool, dump: Path, *, keep_open: Sequence[int] = ()) -> Archived:
    """Read all of a dump; nothing of it is written anywhere. Raise StepError if it cannot be read to its end.

    The file descriptors `keep_open` stay open as long as the reading program lives.
    """
    arguments: list[str | Path] = [
        # Verbose, it says of each table which one it is.
        pg_restore.path,
        "--data-only",
        "--verbose",
        "--file=-",
        dump,
    ]
    read_end, write_end = os.pipe()
    with contextlib.suppress(OSError):  # a larger pipe is only faster
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIECE_BYTES)
    counter = Counter()
    with os.fdopen(read_end, "rb", buffering=0) as reader:
        try:
            child = command.Child(
                arguments, environment=command.clean_environment({}), output=write_end, keep_open=keep_open
            )
        finally:
            os.close(write_end)
        with child:
            while piece := reader.read(PIECE_BYTES):
                counter.feed(piece)
            child.finish()
    return counter.finish()


def require_same(
    archived: Archived, counted: Mapping[int, int], tables: Sequence[TableShape], large: int
) -> None:
    """Raise CheckError unless an archive has the rows counted, by oid, and so many large objects."""
    wrong = [
        f"{one.full_name} {counted[one.oid]:,} rows, and the dump {archived.rows.get(one.oid, 0):,}"
        for one in tables
        if one.oid in counted and archived.rows.get(one.oid) != counted[one.oid]
    ]
    if archived.large_objects != large:
        wrong.append(f"{large:,} large objects, and the dump {archived.large_objects:,}")
    if wrong:
        raise CheckError(
            f"pg_dump did not write all rows: the database has {'; '.join(wrong)}; the dump is not kept",
            hint="check the disk",
        )
