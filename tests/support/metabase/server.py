"""The stand-in's requests: who asks, what for, and what is answered."""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.metabase import bodies
from tests.support.metabase.bodies import AnsweredError
from tests.support.metabase.routes import Routes

OPEN = ("/api/health", "/api/session/properties", "/api/setup", "/api/session")
READING = re.compile(r"GET .*|POST /api/card/\d+/query|POST /api/dashboard/.*/query")


class Metabase:
    """One instance. It is up, and empty, at first."""

    def __init__(self, version: str = "v0.58.3", port: int = 0) -> None:
        self.routes = Routes(version)
        # So many requests are answered with 503 before it has started.
        self.starting = 0
        # What it forgets of a request, by its route: ("PUT /api/card/:id", "display").
        self.forgets: set[tuple[str, str]] = set()
        # What it does, and then never answers.
        self.cut: list[str] = []
        # Called with each request before it is done.
        self.before: Callable[[str], object] = lambda _request: None
        self.requests: list[tuple[str, int]] = []
        # What each request that was to change something held, by its route.
        self.sent: list[tuple[str, Any]] = []
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def down(self) -> None:
        """Be gone: connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wipe(self) -> None:
        """Be as on the first day: its own database is lost."""
        self.routes = Routes(self.routes.version)

    @property
    def writes(self) -> list[str]:
        """Return the requests so far that were to change something."""
        return [request for request, _ in self.requests if not READING.fullmatch(request)]

    def named(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the things of a kind that are not in the trash, by name."""
        things = self.routes.content.things[kind].values()
        return {one["name"]: one for one in things if not one["archived"]}

    def rows(self, title: str, **values: Any) -> list[list[Any]]:
        """Run a card as a reader does who chose these values of its tags, and return its rows."""
        answer = self.routes.run(self.named("card")[title]["id"], values)
        assert answer["status"] == "completed", answer
        rows: list[list[Any]] = answer["data"]["rows"]
        return rows

    def answer(
        self, method: str, path: str, query: Mapping[str, list[str]], body: Any, headers: Mapping[str, str]
    ) -> tuple[int, Any]:
        """Return status and body of an answer; a body that is text is given as such."""
        request = f"{method} {path}"
        self.before(request)
        with self._lock:
            try:
                status, found = self._answer(method, path, query, body, headers)
            except AnsweredError as answered:
                status, found = answered.status, answered.body
            self.requests.append((request, status))
            return status, found

    def _answer(
        self, method: str, path: str, query: Mapping[str, list[str]], body: Any, headers: Mapping[str, str]
    ) -> tuple[int, Any]:
        if self.starting > 0:
            self.starting -= 1
            if path == "/api/health":
                return HTTPStatus.SERVICE_UNAVAILABLE, {"status": "initializing", "progress": 0.95}
            return HTTPStatus.SERVICE_UNAVAILABLE, "Metabase is still initializing. Please sit tight..."
        route, numbers = self.routes.find(method, path)
        user = self.routes.user(headers)
        if user is None and path not in OPEN:
            return HTTPStatus.UNAUTHORIZED, "Unauthenticated"
        if method in ("POST", "PUT"):
            self.sent.append((route, body))
            body = bodies.checked(route, body)
            body = {key: value for key, value in body.items() if (route, key) not in self.forgets}
        found = self.routes.do(route, numbers, body, query, headers)
        status = HTTPStatus.ACCEPTED if route.endswith("/query") else HTTPStatus.OK
        return (HTTPStatus.NO_CONTENT, None) if found is None else (status, found)


def _handler(metabase: Metabase) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # An answer in one piece, and not a head that waits to be acknowledged.
        wbufsize = 1 << 16
        disable_nagle_algorithm = True

        def _do(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            try:
                body = json.loads(raw) if raw else {}
            except ValueError:
                body = None
            headers = {key.lower(): value for key, value in self.headers.items()}
            status, found = metabase.answer(self.command, parts.path, parse_qs(parts.query), body, headers)
            request = f"{self.command} {parts.path}"
            if request in metabase.cut:
                metabase.cut.remove(request)
                self.close_connection = True
                return
            is_text = isinstance(found, str)
            data = (
                b""
                if found is None
                else found.encode()
                if is_text
                else json.dumps(found, default=str).encode()
            )
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if is_text else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _do  # noqa: N815 - http.server's own names

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


@contextlib.contextmanager
def running(version: str = "v0.58.3") -> Iterator[Metabase]:
    """Give the body an empty instance."""
    made = Metabase(version)
    try:
        yield made
    finally:
        with contextlib.suppress(OSError):
            made.down()
