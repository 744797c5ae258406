"""Ports on loopback: the preferred one of each server, or the next that is free."""

import socket
from collections.abc import Iterable

from pipeline.errors import StepError

ADDRESS = "127.0.0.1"
TRIES = 200


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
    """Return the preferred port, or the next that is free and not spoken for by a sibling."""
    others = set(spoken_for)
    for port in range(preferred, preferred + TRIES):
        if port not in others and is_free(port):
            return port
    raise StepError(
        f"no port between {preferred} and {preferred + TRIES} of {ADDRESS} is free; end what holds them"
    )
