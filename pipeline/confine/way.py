"""The one way out: connections from inside go to the one server that is meant, and nowhere else.

Bytes are passed on as they are, so that what is encrypted stays so from end to end.
"""

import contextlib
import socket
import threading
from collections.abc import Sequence
from types import TracebackType

CHUNK_BYTES = 65_536
CONNECT_SECONDS = 10.0
# More at once wait for their turn.
MOST_CONNECTIONS = 8


class Way:
    """Passes connections that come in on a socket of theirs on to a server: at the first place that answers.

    A place is a host and a port, or a folder that has PostgreSQL's socket for that port in it.
    """

    def __init__(self, places: Sequence[tuple[str, int]]) -> None:
        self._places = places
        self._turns = threading.Semaphore(MOST_CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ended = False

    def __enter__(self) -> "Way":
        return self

    def serve(self, server: socket.socket) -> int:
        """Pass on what comes in on that socket from now on. Return the port on which it comes in."""
        self._keep(server)
        threading.Thread(target=self._accept, args=(server,), name="way out", daemon=True).start()
        port: int = server.getsockname()[1]
        return port

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ended = True
            left = list(self._open)
        for one in left:
            self._close(one)

    def _keep(self, one: socket.socket) -> None:
        with self._lock:
            if not self._ended:
                self._open.add(one)
                return
        self._close(one)

    def _close(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            # Whoever waits for it in another thread is woken by this, and not by its end alone.
            one.shutdown(socket.SHUT_RDWR)
        one.close()
        with self._lock:
            self._open.discard(one)

    def _accept(self, server: socket.socket) -> None:
        while not self._ended:
            self._turns.acquire()
            try:
                theirs, _ = server.accept()
            except OSError:
                return
            self._keep(theirs)
            threading.Thread(target=self._connect, args=(theirs,), name="connection", daemon=True).start()

    def _connect(self, theirs: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                ours = self._reach()
                self._keep(ours)
                back = threading.Thread(target=self._pass, args=(ours, theirs), name="way back", daemon=True)
                back.start()
                self._pass(theirs, ours)
                back.join()
                self._close(ours)
        finally:
            self._close(theirs)
            self._turns.release()

    def _reach(self) -> socket.socket:
        for host, port in self._places:
            with contextlib.suppress(OSError):
                if not host.startswith("/"):
                    return socket.create_connection((host, port), CONNECT_SECONDS)
                local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    local.connect(f"{host}/.s.PGSQL.{port}")
                except OSError:
                    local.close()
                    continue
                return local
        raise OSError("no place answers")

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        source.settimeout(None)
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RD)
