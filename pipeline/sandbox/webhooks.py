"""A catcher for webhooks: appends each JSON body it is sent to a file, and lists them to who asks."""

import argparse
import http.server
import json
import os
from http import HTTPStatus
from pathlib import Path

MAXIMUM_BYTES = 1024 * 1024


class Catcher(http.server.BaseHTTPRequestHandler):
    """POST keeps a body, GET returns them all as a JSON array, oldest first."""

    file: Path

    def do_POST(self) -> None:
        """Keep one body. Anything but JSON is refused."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAXIMUM_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"")
            return
        try:
            body = json.loads(self.rfile.read(length))
        except ValueError:
            self._answer(HTTPStatus.BAD_REQUEST, b"not JSON\n")
            return
        # One write of one line: concurrent requests do not mix.
        with os.fdopen(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", 0) as file:
            file.write(json.dumps(body).encode() + b"\n")
        self._answer(HTTPStatus.NO_CONTENT, b"")

    def do_GET(self) -> None:
        """Return everything that was kept."""
        lines = self.file.read_bytes().splitlines() if self.file.exists() else []
        self._answer(HTTPStatus.OK, b"[" + b",\n".join(lines) + b"]\n")

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sandbox.webhooks", description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    arguments = parser.parse_args()
    Catcher.file = arguments.file
    with http.server.ThreadingHTTPServer((arguments.address, arguments.port), Catcher) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
