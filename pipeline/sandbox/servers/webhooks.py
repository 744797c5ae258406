"""A catcher for webhooks: keeps each request in a file, lists them to who asks, fails when it is told to."""

import argparse
import contextlib
import http.server
import json
import os
import socket
import struct
import threading
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pipeline.alerts import webhook

MAXIMUM_BYTES = 1024 * 1024
# Longer than anybody waits for an answer.
HANG_SECONDS = 60.0
RESET = struct.pack("ii", 1, 0)


class FaultKind(StrEnum):
    """What a request meets."""

    STATUS = "status"
    """It is answered with that."""
    HANG = "hang"
    RESET = "reset"
    UNANSWERED = "unanswered"
    """It is kept, and then the connection is reset before it is answered."""


class Faults:
    """What the next requests are to meet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fault: dict[str, Any] = {}
        # Ends what hangs.
        self.over = threading.Event()

    def set(self, fault: dict[str, Any]) -> None:
        """Let the next `times` requests meet a fault; an empty one ends what there is."""
        with self._lock:
            self._fault = fault
            self.over.set()
            self.over = threading.Event()

    def take(self) -> dict[str, Any]:
        """Return what this request is to meet."""
        with self._lock:
            left = self._fault.get("times", 0)
            if left <= 0:
                return {}
            self._fault["times"] = left - 1
            return dict(self._fault)


class Catcher(http.server.BaseHTTPRequestHandler):
    """POST keeps a body; GET returns all as a JSON array, oldest first, with their headers at /requests.

    PUT sets a fault, such as {"kind": "status", "status": 503, "times": 2}.
    """

    file: Path
    faults = Faults()
    # With it, what is not signed by it, or minutes old, is refused, as who receives alerts should do.
    hmac_key: str | None = None

    def do_POST(self) -> None:
        """Keep one body. Anything but JSON is refused."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAXIMUM_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"")
            return
        raw = self.rfile.read(length)
        fault = self.faults.take()
        if fault and fault["kind"] != FaultKind.UNANSWERED:
            self._fail(fault)
            return
        if self.hmac_key and not self._is_signed(self.hmac_key, raw):
            self._answer(HTTPStatus.UNAUTHORIZED, b"not signed, or not now\n")
            return
        try:
            body = json.loads(raw)
        except ValueError:
            self._answer(HTTPStatus.BAD_REQUEST, b"not JSON\n")
            return
        self._keep(raw.decode(), body)
        if fault:
            self._fail({"kind": FaultKind.RESET})
            return
        self._answer(HTTPStatus.NO_CONTENT, b"")

    def _is_signed(self, key: str, raw: bytes) -> bool:
        signed = self.headers.get(webhook.SIGNATURE_HEADER, "")
        return webhook.is_signed(key, raw, signed, datetime.now(UTC).timestamp())

    def do_GET(self) -> None:
        """Return everything that was kept; at /ping keep that it was asked for."""
        if self.path == "/ping":
            self._keep("", None)
            self._answer(HTTPStatus.NO_CONTENT, b"")
            return
        lines = self.file.read_bytes().splitlines() if self.file.exists() else []
        kept = [json.loads(line) for line in lines]
        if self.path != "/requests":
            kept = [one["body"] for one in kept if one.get("method") == "POST"]
        self._answer(HTTPStatus.OK, json.dumps(kept).encode() + b"\n")

    def do_PUT(self) -> None:
        """Set what the next requests are to meet."""
        self.faults.set(json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}"))
        self._answer(HTTPStatus.NO_CONTENT, b"")

    def _keep(self, raw: str, body: Any) -> None:
        kept = {
            "at": datetime.now(UTC).isoformat(),
            "method": self.command,
            "path": self.path,
            "headers": dict(self.headers.items()),
            "raw": raw,
            "body": body,
        }
        # One write of one line: concurrent requests do not mix.
        with os.fdopen(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", 0) as file:
            file.write(json.dumps(kept).encode() + b"\n")

    def _fail(self, fault: dict[str, Any]) -> None:
        if fault["kind"] == FaultKind.STATUS:
            self._answer(HTTPStatus(fault["status"]), b"{}\n")
            return
        if fault["kind"] == FaultKind.HANG:
            self.faults.over.wait(HANG_SECONDS)
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sandbox.servers.webhooks", description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    arguments = parser.parse_args()
    Catcher.file = arguments.file
    with http.server.ThreadingHTTPServer((arguments.address, arguments.port), Catcher) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
