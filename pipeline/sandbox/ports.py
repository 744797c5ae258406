"""Ports on loopback: the preferred one of each server, or the next that is free."""

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator

from pipeline.errors import StepError

ADDRESS = "127.0.0.1"
TRIES = 200

_reserved: dict[int, socket.socket] = {}
_reserving = threading.Lock()


@contextlib.contextmanager
def reservations() -> Iterator[None]:
    """Keep the ports that are reserved inside the block from other sandboxes until its end."""
    try:
        yield
    finally:
        with _reserving:
            for socket_ in _reserved.values():
                socket_.close()
            _reserved.clear()


def reserve(port: int) -> bool:
    """Reserve a port, if it is free, until the servers that are being started have taken theirs."""
    with _reserving:
        if port in _reserved:
            return is_free(port)
        socket_ = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # A name without a file: one holder at a time on this machine, whoever it is, and never left over.
            socket_.bind(f"\0pipeline-sandbox-port-{port}")
        except OSError:
            socket_.close()
            return False
        # Looked at only when it is ours: what was free before may have been taken by who held it until now.
        if not is_free(port):
            socket_.close()
            return False
        _reserved[port] = socket_
    return True


def any_free() -> int:
    """Return a port of this machine at which nobody listens, and which nobody prefers."""
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        return int(free.getsockname()[1])


def is_free(port: int) -> bool:
    """Return whether nobody listens at a port of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A port whose last connections are still fading away is free; one that is listened at is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def choose(preferred: int, spoken_for: Iterable[int]) -> int:
    """Reserve the preferred port, or the next that is free and not spoken for by a sibling, and return it."""
    others = set(spoken_for)
    for port in range(preferred, preferred + TRIES):
        if port not in others and reserve(port):
            return port
    raise StepError(
        f"no port between {preferred} and {preferred + TRIES} of {ADDRESS} is free; stop the processes "
        "that use them"
    )
