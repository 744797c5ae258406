"""Who receives alerts and heartbeats in these tests: the sandbox's catcher, in this process."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers.webhooks import Catcher, Faults


@dataclass(frozen=True)
class Receiver:
    """A webhook, and an address for heartbeats; both keep what they are sent in a file."""

    file: Path
    port: int

    @property
    def url(self) -> str:
        """Where alerts go."""
        return f"http://{ADDRESS}:{self.port}/hook"

    @property
    def heartbeat_url(self) -> str:
        """Whose silence is noticed."""
        return f"http://{ADDRESS}:{self.port}/beat/one-long-secret-name"

    def _kept(self, method: str) -> list[dict[str, Any]]:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [kept for line in lines if (kept := json.loads(line))["method"] == method]

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """Return what was received, the oldest first."""
        return [kept["body"] for kept in self._kept("POST")]

    @property
    def received(self) -> list[tuple[str, str]]:
        """Return kind and key of what was received."""
        return [(alert["kind"], alert["key"]) for alert in self.alerts]

    @property
    def beats(self) -> list[str]:
        """Return the paths of the heartbeats."""
        return [kept["path"] for kept in self._kept("GET")]


@contextlib.contextmanager
def receiving(folder: Path, port: int = 0) -> Iterator[Receiver]:
    """Receive, at any free port or at this one, until the end of the block."""

    class Keeping(Catcher):
        """Keeps who asks, too, instead of listing what was kept."""

        file = folder / "received.jsonl"
        faults = Faults()

        def do_GET(self) -> None:  # noqa: N802 - http.server's own name
            self._keep("", None)
            self._answer(HTTPStatus.NO_CONTENT, b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer((ADDRESS, port), Keeping) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Receiver(Keeping.file, server.server_port)
        finally:
            server.shutdown()
            thread.join()
