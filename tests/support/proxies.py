"""A line between the pipeline and one of its servers that can be cut, or told that the server is starting."""

import contextlib
import functools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from pipeline import access
from tests.support.platforms import Platform

PIECE_BYTES = 65536
POLL_SECONDS = 0.1


def refusal(code: str, message: str) -> bytes:
    """Return what a server says that does not let in who comes."""
    fields = f"SFATAL\0VFATAL\0C{code}\0M{message}\0\0".encode()
    return b"E" + struct.pack("!i", 4 + len(fields)) + fields


STARTING = refusal("57P03", "the database system is starting up")
# May we speak TLS, or GSSAPI? No.
OTHER_WAYS = {struct.pack("!ii", 8, 80877103), struct.pack("!ii", 8, 80877104)}


class Line:
    """Hands everything on between whoever connects to `port` and the server at `upstream_port`."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream = ("127.0.0.1", upstream_port)
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.cuts = 0
        self._lock = threading.Lock()
        self._needle: bytes | None = None
        self._answered = False
        self._starting, self._says = 0, STARTING
        self._unheeded: bytes = b""
        self._piece_bytes, self._wait_seconds, self._after_bytes = PIECE_BYTES, 0.0, 0
        self.slowed = 0
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    # Faults.

    def cut_once(self, at: bytes, *, answered: bool) -> None:
        """Cut the connection on which `at` is said next: before it arrives, or just when it is answered."""
        self._needle, self._answered = at, answered

    def start_slowly(self, times: int, says: bytes = STARTING) -> None:
        """Tell the next `times` connections that the server is starting, or what else it `says`."""
        self._starting, self._says = times, says

    def be_slow(self, piece_bytes: int, wait_seconds: float, after_bytes: int = 0) -> None:
        """Hand on no more than that at once, and wait before each, once a connection had its first bytes."""
        self._piece_bytes, self._wait_seconds, self._after_bytes = piece_bytes, wait_seconds, after_bytes

    def ignore(self, setting: str) -> None:
        """Let nobody set a setting, whatever they say: as a pooler, whose sessions are not who told them."""
        self._unheeded = f"'{setting}'".encode()

    # Work.

    def open(self) -> None:
        """Let in who comes; before that, connections are refused."""
        self._listener.listen()
        self._run(self._accept)

    def close(self) -> None:
        """Let in nobody any more, and cut who is left."""
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="line")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            if not select.select([self._listener], [], [], POLL_SECONDS)[0]:
                continue
            client, _ = self._listener.accept()
            self.connections += 1
            if self._starting:
                self._starting -= 1
                with client, contextlib.suppress(OSError):
                    while client.recv(PIECE_BYTES) in OTHER_WAYS:
                        client.sendall(b"N")
                    client.sendall(self._says)
                continue
            self._run(functools.partial(self._connect, client))

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._upstream) as server, contextlib.suppress(OSError):
            for end in (client, server):
                # How slow it is, is for `be_slow` to say: small pieces wait for nothing else.
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            doomed, passed = False, 0
            while not self._closing.is_set():
                ready, _, _ = select.select([client, server], [], [], POLL_SECONDS)
                for end in ready:
                    piece = end.recv(self._piece_bytes)
                    passed += len(piece)
                    if self._wait_seconds and passed > self._after_bytes:
                        self.slowed += 1
                        time.sleep(self._wait_seconds)
                    if not piece or (doomed and end is server):
                        return
                    if end is client and self._is_cut_by(piece):
                        doomed = True
                        if not self._answered:
                            return
                    if end is client and self._unheeded and b"set_config" in piece:
                        # Of the same length, and nothing that a server knows.
                        other = b"'" + b"x" * (len(self._unheeded) - 2) + b"'"
                        piece = piece.replace(self._unheeded, other)
                        statement = b"SET " + self._unheeded.strip(b"'") + b" = 0;"
                        piece = piece.replace(statement, b" " * len(statement))
                    (server if end is client else client).sendall(piece)

    def _is_cut_by(self, piece: bytes) -> bool:
        """Return whether this is what was waited for. It comes once."""
        with self._lock:
            if self._needle is None or self._needle not in piece:
                return False
            self._needle = None
            self.cuts += 1
            return True


@contextlib.contextmanager
def before(platform: Platform, name: str, *, listening: bool = True) -> Iterator[Line]:
    """Put a line between the pipeline and a source, or the `warehouse`, of a platform."""
    entry = platform.database(name) if name == "warehouse" else f"source/{platform.database(name)}"
    vault = platform.sandbox.vault
    uri = (vault.read(entry) or {})["uri"]
    port = urlsplit(uri).port
    assert port is not None
    line = Line(port)
    if listening:
        line.open()
    vault.write(entry, {"uri": uri.replace(f":{port}/", f":{line.port}/")})
    # Whoever was asked a moment ago is still connected without it.
    access.end_brief()
    try:
        yield line
    finally:
        line.close()
        vault.write(entry, {"uri": uri})
