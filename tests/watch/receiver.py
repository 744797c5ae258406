"""Who receives alerts and heartbeats in these tests: the sandbox's catcher, in this process."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.webhooks import Catcher


@dataclass
class Receiver:
    """A webhook, and an address for heartbeats below /beat; `beats` are the paths that were asked for."""

    file: Path
    port: int
    beats: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where alerts go."""
        return f"http://{ADDRESS}:{self.port}/hook"

    @property
    def heartbeat_url(self) -> str:
        """Whose silence is noticed."""
        return f"http://{ADDRESS}:{self.port}/beat/one-long-secret-name"

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """Return what was received, the oldest first."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def told(self) -> list[tuple[str, str]]:
        """Return kind and key of what was received."""
        return [(alert["kind"], alert["key"]) for alert in self.alerts]


@contextlib.contextmanager
def receiving(folder: Path, port: int = 0, beats: list[str] | None = None) -> Iterator[Receiver]:
    """Receive, at any free port or at this one, until the end of the block."""
    noted: list[str] = [] if beats is None else beats

    class Noting(Catcher):
        """Notes who asks instead of listing what was kept."""

        file = folder / "received.jsonl"

        def do_GET(self) -> None:  # noqa: N802 - http.server's own name
            noted.append(self.path)
            self._answer(HTTPStatus.OK, b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer((ADDRESS, port), Noting) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Receiver(Noting.file, server.server_port, noted)
        finally:
            server.shutdown()
            thread.join()
