"""A Vault that keeps what it hands out, and servers that answer with whatever they were told."""

import base64
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from tests.support.leaks import Planted

# What stands in an entry of Vault beside a credential, and may be seen.
PUBLIC = ("email", "key_id", "known_hosts", "username", "token_policies")
SECONDS = 30


class Handler(BaseHTTPRequestHandler):
    """Requests that are answered in one piece."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextlib.contextmanager
def serving(kind: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Recorder:
    """Hands all on to a server of Vault's, and keeps every credential that goes either way."""

    def __init__(self, upstream: str, planted: Planted, public: str) -> None:
        self.upstream, self.planted, self.public = upstream, planted, public
        # Entries that are answered otherwise: name below the folder of entries -> its values.
        self.instead: dict[str, dict[str, str]] = {}
        self.url = ""

    def learn(self, path: str, headers: Mapping[str, str], asked: bytes, answered: bytes) -> None:
        """Keep the credentials of one request and its answer."""
        if token := headers.get("X-Vault-Token"):
            self.planted.add("token of Vault", token)
        for kind, value in _strings(_read(asked)):
            if kind in ("secret_id", "jwt"):
                self.planted.add({"secret_id": "SecretID", "jwt": "JWT"}[kind], value)
            elif "/data/" in path and kind not in PUBLIC:
                self.planted.add(_entry(path), value, public=self.public)
        answer = _read(answered)
        if not isinstance(answer, dict):
            return
        auth, data = answer.get("auth") or {}, answer.get("data") or {}
        if token := auth.get("client_token"):
            self.planted.add("token of Vault", token)
        if "/creds/" in path and "password" in data:
            self.planted.add("password that Vault made", data["password"])
        if "/data/" in path:
            for key, value in _strings(data.get("data")):
                if key not in PUBLIC:
                    self.planted.add(_entry(path), value, public=self.public)

    def altered(self, path: str, answered: bytes) -> bytes:
        """Return an answer, with the values that a test puts in place of an entry's."""
        values = self.instead.get(path.partition("/data/pipeline/")[2])
        if values is None or not answered:
            return answered
        answer = json.loads(answered)
        answer["data"]["data"] = values
        return json.dumps(answer).encode()


def _entry(path: str) -> str:
    """Return the kind of what is in an entry: its name without what is of one test alone."""
    words = path.partition("/data/pipeline/")[2].split("/")
    if words[0].startswith("alerts"):
        return "webhook"
    kinds = [word for word in words if not any(letter.isdigit() for letter in word) or word == "b2"]
    known = {"source": "login to a source", "database": "login of a backup", "b2": "key of B2"}
    return known.get(kinds[0], "/".join(kinds)) if kinds else "login to the warehouse"


def _read(data: bytes) -> Any:
    with contextlib.suppress(ValueError):
        return json.loads(data)
    return None


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, key)


@contextlib.contextmanager
def recorded(upstream: str, planted: Planted, public: str) -> Iterator[Recorder]:
    """Put a recorder before a Vault server."""
    recorder = Recorder(upstream, planted, public)

    class Own(Handler):
        def _do(self) -> None:
            body = self.body()
            kept = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = requests.request(
                self.command,
                f"{recorder.upstream}{self.path}",
                headers=kept,
                data=body,
                timeout=SECONDS,
                allow_redirects=False,
            )
            content = recorder.altered(self.path, answer.content)
            recorder.learn(self.path, dict(self.headers), body, content)
            self.answer(answer.status_code, content, {"Content-Type": answer.headers.get("Content-Type", "")})

        do_GET = do_POST = do_PUT = do_LIST = do_DELETE = _do  # noqa: N815 - http.server's own names

    with serving(Own) as port:
        recorder.url = f"http://127.0.0.1:{port}"
        yield recorder


@contextlib.contextmanager
def echoing(status: int = 400) -> Iterator[str]:
    """Serve HTTP that answers each request by an error which quotes all of it; yield its address."""

    class Own(Handler):
        def _do(self) -> None:
            told = f"{self.path} {dict(self.headers)} {self.body().decode(errors='replace')}"
            way, _, encoded = self.headers.get("Authorization", "").partition(" ")
            with contextlib.suppress(ValueError):
                told += base64.b64decode(encoded).decode() if way == "Basic" else ""
            # As Vault, as B2, as Metabase.
            answer = {"errors": [told], "status": status, "code": "bad_request", "message": told}
            self.answer(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        do_GET = do_POST = do_PUT = do_LIST = do_DELETE = do_HEAD = _do  # noqa: N815 - http.server's own names

    with serving(Own) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def echoing_postgres() -> Iterator[int]:
    """Serve as PostgreSQL that asks for the password in clear, and refuses by quoting it; yield its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def attend(line: socket.socket) -> None:
        with line, contextlib.suppress(OSError, struct.error):
            line.settimeout(SECONDS)
            while True:
                size, kind = struct.unpack("!ii", line.recv(8, socket.MSG_WAITALL))
                rest = line.recv(size - 8, socket.MSG_WAITALL) if size > 8 else b""
                if kind == 196608:
                    break
                line.sendall(b"N")  # neither TLS nor GSSAPI
            line.sendall(b"R" + struct.pack("!ii", 8, 3))
            _, size = struct.unpack("!ci", line.recv(5, socket.MSG_WAITALL))
            password = line.recv(size - 4, socket.MSG_WAITALL).rstrip(b"\0")
            fields = (
                b"SFATAL\0VFATAL\0C28P01\0M"
                + b"the password "
                + password
                + b" is wrong\0D"
                + rest[:40].replace(b"\0", b" ")
                + password
                + b"\0\0"
            )
            line.sendall(b"E" + struct.pack("!i", 4 + len(fields)) + fields)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                threading.Thread(target=attend, args=(line,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # Closing alone leaves who accepts where he is.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
