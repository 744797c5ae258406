"""How the processes of a worker tell what became of their tasks: each by a pipe of its own.

Luigi has one queue for all of them, which is written to under one lock. A process that is killed, or leaves
by itself, while it has that lock takes it along: then nobody is heard any more, the worker included, which
tells itself there that a process has died, and the run waits until its time is over. With several tasks in
one process, one after the other, that is not rare: a result is read before the lock is given back.
"""

import contextlib
import os
import pickle
import queue
import struct
import time
from collections import deque
from multiprocessing import connection
from typing import Any, cast

_LENGTH = struct.Struct("!Q")
_READ_BYTES = 64 * 1024


class Pipe:
    """The end of a pipe that one process writes to."""

    def __init__(self, writer: int) -> None:
        self._writer: int | None = writer

    def put(self, result: Any) -> None:
        """Tell a result. It is all written when this returns, or nobody is there to read it."""
        if self._writer is None:
            raise ValueError("this end of the pipe is closed here")
        content = pickle.dumps(result)
        left = memoryview(_LENGTH.pack(len(content)) + content)
        with contextlib.suppress(BrokenPipeError):
            while left:
                left = left[os.write(self._writer, left) :]

    def close(self) -> None:
        """Close this end in this process; a process that was made before keeps its own."""
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None


class Results:
    """What the processes of a worker have told, and the worker itself. In the place of Luigi's queue."""

    def __init__(self) -> None:
        self._reported: deque[Any] = deque()
        # What was read of each pipe, and is not a whole result yet.
        self._partial: dict[int, bytearray] = {}
        self._pipes: list[Pipe] = []

    def pipe(self) -> Pipe:
        """Return the end of a new pipe, for a process that is about to be made."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        self._partial[reader] = bytearray()
        made = Pipe(writer)
        self._pipes.append(made)
        return made

    def close_writers(self) -> None:
        """Close what is here of the ends that processes write to. These have been made by now."""
        while self._pipes:
            self._pipes.pop().close()

    def put(self, result: Any) -> None:
        """Tell oneself."""
        self._reported.append(result)

    def get(self, timeout: float) -> Any:
        """Return the next result. Raise queue.Empty if none comes within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self._reported:
            ready = connection.wait(list(self._partial), max(0.0, deadline - time.monotonic()))
            if not ready:
                raise queue.Empty
            for reader in ready:
                self._read(cast("int", reader))
        return self._reported.popleft()

    def empty(self) -> bool:
        """Whether nothing that was told is still to be read."""
        for reader in list(self._partial):
            self._read(reader)
        return not self._reported

    def close(self) -> None:
        """Hear nobody any more."""
        self.close_writers()
        for reader in self._partial:
            os.close(reader)
        self._partial.clear()

    def _read(self, reader: int) -> None:
        """Read what is there. What a process had not told to its end when it was killed is forgotten."""
        partial = self._partial[reader]
        while True:
            try:
                read = os.read(reader, _READ_BYTES)
            except BlockingIOError:
                break
            if not read:
                os.close(reader)
                del self._partial[reader]
                break
            partial += read
        while len(partial) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(partial)
            end = _LENGTH.size + length
            if len(partial) < end:
                break
            self._reported.append(pickle.loads(bytes(partial[_LENGTH.size : end])))  # noqa: S301 - of our processes
            del partial[:end]
