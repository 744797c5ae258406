"""The emulator's HTTP side: the API's calls, uploads and downloads, and the control endpoint for tests."""

import hmac
import json
import os
import socket
import struct
import sys
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

from b2sdk.v3 import b2_url_decode
from b2sdk.v3.exception import B2Error, BadJson, BadRequest, FileNotPresent

from pipeline.sandbox.b2.calls import MAXIMUM_PARTS, Emulator
from pipeline.sandbox.b2.commands import COMMANDS
from pipeline.sandbox.b2.faults import Call, Fault, FaultKind
from pipeline.sandbox.b2.http import transfer
from pipeline.sandbox.b2.http.wire import Refused, as_answer, asked_range, basic_credentials
from pipeline.sandbox.b2.versions import DiskFile

INFO_PREFIX = "x-bz-info-"
LARGEST_JSON_BYTES = 4 * 1024 * 1024
PAGE = b"<html><body>Please log in to use this network.</body></html>"


class Handler(BaseHTTPRequestHandler):
    """One connection. B2's own paths only; anything else is not found."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def do_POST(self) -> None:
        """Answer a call of the API or a command of the tests."""
        path = [unquote_plus(piece) for piece in urlsplit(self.path).path.strip("/").split("/")]
        match path:
            case ["control", command]:
                self._answer("control", lambda call: self._control(command, call))
            case ["b2api", _, "b2_upload_file", bucket_id, *_]:
                self._answer("b2_upload_file", lambda call: self._upload_file(bucket_id, call))
            case ["b2api", _, "b2_upload_part", bucket_id, file_id, *_]:
                self._answer("b2_upload_part", lambda call: self._upload_part(bucket_id, file_id, call))
            case ["b2api", _, name]:
                self._answer(name, lambda call: self._call(name, call))
            case _:
                self._answer("unknown", self._unknown)

    def do_GET(self) -> None:
        """Answer a download."""
        self._answer("b2_download_file", self._download)

    def do_HEAD(self) -> None:
        """Answer a download without its content."""
        self._answer("b2_download_file", self._download)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the calls are recorded, and headers carry tokens."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the Date header, off by as much as a fault wants."""
        moment = time.time() if timestamp is None else timestamp
        fault = self._fault
        off = fault.seconds if fault and fault.kind == FaultKind.CLOCK else 0
        return formatdate(moment + off, usegmt=True)

    _fault: Fault | None = None

    def _answer(self, name: str, work: Any) -> None:
        faults = self.server.emulator.faults
        call = Call(name)
        self._left = int(self.headers.get("Content-Length") or 0)
        self._fault = None if name == "control" else faults.take(name)
        if name != "control":
            # Before the answer: who has it asks at once for what was recorded.
            faults.record(call)
        try:
            self._raise_fault()
            if self._fault is not None and self._fault.kind == FaultKind.PAGE:
                call.status = 200
                self._respond(200, "text/html", PAGE)
                return
            answer = work(call)
            if self._fault is not None and self._fault.kind == FaultKind.UNANSWERED:
                raise transfer.CutError  # noqa: TRY301 - what was done is done; only the answer is lost
            if answer is not None:
                call.status = 200
                self._send(200, answer)
        except B2Error as error:
            status, answer, headers = as_answer(error)
            call.status = status
            self._send(status, answer, headers)
        except (transfer.CutError, ConnectionError):
            self._cut()

    def _raise_fault(self) -> None:
        fault = self._fault
        if fault is None or fault.kind not in {FaultKind.ERROR, FaultKind.FULL}:
            return
        if fault.kind == FaultKind.FULL:
            fault = Fault(fault.call, FaultKind.ERROR, status=403, code="storage_cap_exceeded")
        raise Refused(fault)

    def _body(self) -> Any:
        for piece in transfer.body(self.rfile, self._left):  # type: ignore[arg-type]
            self._left -= len(piece)
            yield piece

    def _json(self) -> dict[str, Any]:
        if self._left > LARGEST_JSON_BYTES:
            raise BadJson("the request is too large")
        text = b"".join(self._body())
        try:
            read = json.loads(text or b"{}")
        except ValueError:
            raise BadJson("the request is not JSON") from None
        if not isinstance(read, dict):
            raise BadJson("the request is not a JSON object")
        return {key: value for key, value in read.items() if value is not None}

    def _call(self, name: str, call: Call) -> dict[str, Any]:
        emulator, authorization = self.server.emulator, self.headers.get("Authorization") or ""
        if name == "b2_authorize_account":
            self._json()
            with emulator.lock:
                return emulator.authorize(*basic_credentials(authorization))
        body = self._json()
        call.file_id = body.get("fileId")
        if self._fault is not None and self._fault.kind == FaultKind.RESET:
            raise transfer.CutError
        return emulator.call(name, authorization, body)

    def _control(self, command: str, _call: Call) -> dict[str, Any]:
        body = self._json()
        offered = (self.headers.get("Authorization") or "").encode()
        if not hmac.compare_digest(offered, self.server.control_token.encode()) or command not in COMMANDS:
            raise FileNotPresent
        with self.server.emulator.lock:
            return COMMANDS[command](self.server.emulator, body)

    def _upload_part(self, bucket_id: str, file_id: str, call: Call) -> dict[str, Any]:
        emulator = self.server.emulator
        call.file_id, call.part = file_id, int(self.headers.get("X-Bz-Part-Number") or 0)
        if not 1 <= call.part <= MAXIMUM_PARTS:
            raise BadRequest("part number must be in range 1 - 10000", "bad_request")
        self._upload_access(bucket_id, file_id)
        received, size, sha1 = self._receive(call)
        with emulator.lock:
            bucket = emulator.simulator.bucket(bucket_id)
            return bucket.receive_part(file_id, call.part, sha1, received, size)

    def _upload_file(self, bucket_id: str, call: Call) -> dict[str, Any]:
        emulator, headers = self.server.emulator, self.headers
        token = self._upload_access(bucket_id, None)
        name = b2_url_decode(headers["X-Bz-File-Name"])
        mode = headers.get("X-Bz-File-Retention-Mode")
        until = headers.get("X-Bz-File-Retention-Retain-Until-Timestamp")
        retention = None if mode is None else {"mode": mode, "retainUntilTimestamp": until}
        with emulator.lock:
            emulator.access.check(token, "b2_get_upload_url", bucket_id=bucket_id, name=name)
            if retention is not None:
                need = {"bucket_id": bucket_id, "name": name, "capability": "writeFileRetentions"}
                emulator.access.check(token, "b2_get_upload_url", **need)
        info = {
            key.lower().removeprefix(INFO_PREFIX): b2_url_decode(value)
            for key, value in headers.items()
            if key.lower().startswith(INFO_PREFIX)
        }
        received, size, sha1 = self._receive(call)
        with emulator.lock:
            bucket = emulator.simulator.bucket(bucket_id)
            result = bucket.receive_file(
                token=token,
                name=name,
                content_type=headers.get("Content-Type") or "b2/x-auto",
                sha1=sha1,
                file_info=info,
                retention=retention,
                received=received,
                size=size,
            )
            call.file_id = result["fileId"]
            return result

    def _upload_access(self, bucket_id: str, file_id: str | None) -> str:
        emulator = self.server.emulator
        with emulator.lock:
            token = emulator.access.token(self.headers.get("Authorization") or "")
            emulator.simulator.bucket(bucket_id)
            if (token.bucket_id, token.file_id) != (bucket_id, file_id):
                raise BadRequest("the upload token is for another upload", "bad_request")
            return token.account_token

    def _receive(self, call: Call) -> tuple[Any, int, str]:
        def counted() -> Any:
            for piece in self._body():
                call.size_bytes += len(piece)
                yield piece

        sha1 = self.headers.get("X-Bz-Content-Sha1") or ""
        pieces = transfer.pace(counted(), self._fault)
        return transfer.receive(pieces, self.server.emulator.storage.incoming, self._left, sha1)

    def _download(self, call: Call) -> None:
        emulator = self.server.emulator
        token = self.headers.get("Authorization") or ""
        with emulator.lock:
            file = self._wanted(token)
            call.file_id = file.file_id
            size = len(file.data_bytes)
            asked = asked_range(self.headers.get("Range"), size)
            headers = dict(file.as_download_headers(token, asked))
        first, last = asked or (0, size - 1)
        call.status = 200 if asked is None else 206
        self.send_response(call.status)
        for name, value in {**headers, "content-length": str(last + 1 - first)}.items():
            self.send_header(name, str(value))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.command == "HEAD":
            return
        for piece in transfer.pace(file.data_bytes.read(first, last + 1), self._fault):
            call.size_bytes += len(piece)
            self.wfile.write(piece)
        if call.size_bytes != last + 1 - first:
            raise transfer.CutError

    def _wanted(self, token: str) -> DiskFile:
        emulator, parts = self.server.emulator, urlsplit(self.path)
        emulator.access.token(token)
        match parts.path.strip("/").split("/", 2):
            case ["b2api", _, "b2_download_file_by_id"]:
                file_id = parse_qs(parts.query).get("fileId", [""])[0]
                bucket_id = emulator.simulator.file_id_to_bucket_id.get(file_id)
                file = emulator.simulator.bucket(bucket_id).file(file_id) if bucket_id else None
            case ["file", bucket_name, name]:
                file = emulator.simulator.named(b2_url_decode(bucket_name)).visible(b2_url_decode(name))
            case _:
                raise FileNotPresent
        if file is None or file.action != "upload":
            raise FileNotPresent(file_id_or_name=parts.path)
        bucket_id = file.bucket.bucket_id
        emulator.access.check(token, "b2_download_file", bucket_id=bucket_id, name=file.name)
        return file

    def _unknown(self, _call: Call) -> None:
        raise FileNotPresent

    def _send(self, status: int, answer: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        # Who came by another address, as through a line in between, is to come there again.
        came_to = f"http://{self.headers['Host']}" if "Host" in self.headers else self.server.emulator.url
        text = json.dumps(answer).replace(self.server.emulator.url, came_to)
        self._respond(status, "application/json", text.encode(), headers)

    def _respond(
        self, status: int, content_type: str, text: bytes, headers: dict[str, str] | None = None
    ) -> None:
        for _ in self._body():
            pass  # what the client still sends, so that it reads the answer and not a broken pipe
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _cut(self) -> None:
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)  # a reset instead of a polite end
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        descriptor = self.connection.detach()
        if descriptor >= 0:
            os.close(descriptor)


class Server(ThreadingHTTPServer):
    """Listens on loopback only; each connection has a thread of its own."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, emulator: Emulator, port: int, control_token: str) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.emulator = emulator
        self.control_token = control_token
        emulator.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away; anything else is a fault of the emulator's own."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
