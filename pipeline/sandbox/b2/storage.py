"""Where the emulator keeps things: documents (buckets, keys, file versions) in SQLite, content in segments.

A file's content is one segment per uploaded part, so finishing a large file copies nothing.
"""

import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READ_SIZE_BYTES = 1024 * 1024
MILLISECONDS_PER_DAY = 86_400_000
# B2 lists versions newest first and the simulator sorts by id: ids count down, all of one width.
FIRST_FILE_NUMBER = 10**18 - 1

SCHEMA = """
create table if not exists document (
    kind text not null, id text not null, body text not null, primary key (kind, id)
);
create table if not exists counter (name text primary key, value integer not null);
"""


@dataclass(frozen=True)
class Content:
    """What a file version holds: segments, each a path and its size in bytes. Its length is the file's."""

    segments: tuple[tuple[Path, int], ...]

    def __len__(self) -> int:
        return sum(size for _, size in self.segments)

    def locate(self, offset: int) -> tuple[Path, int]:
        """Return the segment that holds the byte at `offset`, and where in it."""
        for path, size in self.segments:
            if offset < size:
                return path, offset
            offset -= size
        raise IndexError(offset)

    def read(self, first: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `first` up to `end` (not included), in pieces of bounded size."""
        for path, size in self.segments:
            here, until = max(first, 0), min(end, size)
            first, end = first - size, end - size
            if here >= until:
                continue
            with path.open("rb") as segment:
                segment.seek(here)
                while here < until:
                    piece = segment.read(min(READ_SIZE_BYTES, until - here))
                    if not piece:
                        return
                    here += len(piece)
                    yield piece


class Storage:
    """A folder that holds everything. Every call is one transaction; callers hold the emulator's lock."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.content = home / "content"
        self.incoming = home / "incoming"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(self.incoming, ignore_errors=True)  # halves of what was coming in at a crash
        self.incoming.mkdir(mode=0o700)
        self.content.mkdir(mode=0o700, exist_ok=True)
        old_mask = os.umask(0o077)
        try:
            self._database = sqlite3.connect(home / "metadata.sqlite", check_same_thread=False)
        finally:
            os.umask(old_mask)
        self._lock = threading.Lock()
        with self._lock, self._database:
            self._database.executescript(SCHEMA)

    def close(self) -> None:
        """Close the metadata."""
        with self._lock:
            self._database.close()

    def save(self, kind: str, id_: str, body: dict[str, Any]) -> None:
        """Keep a document, replacing an earlier one."""
        with self._lock, self._database:
            self._database.execute(
                "insert into document values (?, ?, ?) on conflict do update set body = excluded.body",
                (kind, id_, json.dumps(body)),
            )

    def delete(self, kind: str, id_: str) -> None:
        """Remove a document."""
        with self._lock, self._database:
            self._database.execute("delete from document where kind = ? and id = ?", (kind, id_))

    def load(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """Return every document of a kind, by id."""
        with self._lock:
            rows = self._database.execute("select id, body from document where kind = ? order by id", (kind,))
            return [(id_, json.loads(body)) for id_, body in rows]

    def count(self, name: str, *, add: int = 1) -> int:
        """Add to a counter that never goes back, not even over a restart, and return it."""
        with self._lock, self._database:
            self._database.execute(
                "insert into counter values (?, ?) on conflict do update set value = value + excluded.value",
                (name, add),
            )
            (value,) = self._database.execute("select value from counter where name = ?", (name,)).fetchone()
            return int(value)

    def next_file_id(self) -> str:
        """Return an id that sorts before every earlier one."""
        return str(FIRST_FILE_NUMBER - self.count("file"))

    def now_milliseconds(self) -> int:
        """Return the emulator's time, which may have been moved ahead of the machine's."""
        return time.time_ns() // 1_000_000 + self.count("clock", add=0)

    def move_clock(self, milliseconds: int) -> None:
        """Move the emulator's time."""
        self.count("clock", add=milliseconds)

    def segment(self, file_id: str, number: int) -> Path:
        """Return where the content of part `number` of a file belongs."""
        return self.content / file_id / f"{number:05d}"

    def adopt(self, received: Path, file_id: str, number: int) -> Path:
        """Move what came in to its place, replacing an earlier attempt at the same part."""
        target = self.segment(file_id, number)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        received.replace(target)
        return target

    def discard(self, file_id: str) -> None:
        """Remove a file's content."""
        shutil.rmtree(self.content / file_id, ignore_errors=True)

    def sweep(self, known: set[str]) -> None:
        """Remove content whose metadata never came to be, after a crash between the two."""
        for folder in self.content.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
