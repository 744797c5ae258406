"""What a server of another's could answer: a line that hands everything on and spoils some of the answers."""

import contextlib
import json
import random
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import requests

from tests.support.recording import Handler, serving

SECONDS = 30
# What stands in place of a value that was to be of another kind.
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    "",
    "<html>",
    "é\u0000\ud800",
    [],
    {},
    [None],
    {"a": 1},
    10**30,
)
PAGE = b"<!DOCTYPE html><html><head><title>Log in</title></head><body>" + b"x" * 500 + b"</body></html>"
ODD_JSON = ("null", "true", "7", '"text"', "[]", "{}", "[{}]", '{"data": null}', '{"auth": null, "data": []}')
# A whole answer that is none: status, headers, body.
WHOLE: dict[str, tuple[int, dict[str, str], bytes]] = {
    "an empty answer": (200, {"Content-Type": "application/json"}, b""),
    "a page": (200, {"Content-Type": "text/html"}, PAGE),
    "a page as JSON": (200, {"Content-Type": "application/json"}, PAGE),
    "a page of an error": (500, {"Content-Type": "text/html"}, PAGE),
    "an error of a proxy": (502, {"Content-Type": "text/html"}, PAGE),
    "an unknown status": (299, {"Content-Type": "application/json"}, b"{}"),
    "no content": (204, {}, b""),
    "a redirect to elsewhere": (302, {"Location": "http://127.0.0.1:9/else"}, b""),
    "a redirect without a place": (302, {}, b""),
    "JSON of another charset": (200, {"Content-Type": "application/json; charset=utf-16"}, b"\xff\xfe{\x00"),
    "bytes": (200, {"Content-Type": "application/octet-stream"}, bytes(range(256))),
    "a lone surrogate": (200, {"Content-Type": "application/json"}, b'{"data": "\\ud800"}'),
    "endless brackets": (200, {"Content-Type": "application/json"}, b"[" * 100_000),
    "a huge number": (200, {"Content-Type": "application/json"}, b'{"a": ' + b"9" * 5000 + b"}"),
    "an error of another kind": (400, {"Content-Type": "application/json"}, b'{"errors": 7, "message": []}'),
    "an error that is a list": (403, {"Content-Type": "application/json"}, b'["no"]'),
    "an error that is a number": (404, {"Content-Type": "application/json"}, b"7"),
    **{f"JSON {text}": (200, {"Content-Type": "application/json"}, text.encode()) for text in ODD_JSON},
}


@dataclass(frozen=True)
class Answer:
    """One answer: its status, its headers and its body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Stream:
    """An answer that does not end: its beginning, and what comes again and again after it.

    It ends after all: a caller without limits is told otherwise than one with them, and no test hangs.
    `sent` is how much of it could be sent.
    """

    def __init__(self, beginning: bytes, piece: bytes, pause_seconds: float, most_bytes: int) -> None:
        self._beginning, self._piece = beginning, piece
        self._pause_seconds, self.most_bytes = pause_seconds, most_bytes
        self.sent = 0

    def write(self, handler: Handler) -> None:
        """Send it for as long as somebody takes it."""
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.connection.sendall(self._beginning)
            while self.sent < self.most_bytes:
                handler.connection.sendall(self._piece)
                self.sent += len(self._piece)
                time.sleep(self._pause_seconds)


def _packed() -> bytes:
    """Return a megabyte of nothing, packed so that it can stand any number of times after a beginning."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packer.compress(b"[")
    packer.flush(zlib.Z_FULL_FLUSH)
    return packer.compress(b" " * MIB) + packer.flush(zlib.Z_FULL_FLUSH)


def _gzip_header() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(b"[") + packer.flush(zlib.Z_FULL_FLUSH)


MIB = 1024 * 1024
PAUSE_SECONDS, MOST_SLOW_BYTES = 0.02, 400
MOST_HUGE_BYTES = 256 * MIB


def _slow(beginning: bytes, piece: bytes) -> Stream:
    return Stream(beginning, piece, PAUSE_SECONDS, MOST_SLOW_BYTES * len(piece))


def _huge(beginning: bytes, piece: bytes, most_bytes: int = MOST_HUGE_BYTES) -> Stream:
    return Stream(beginning, piece, 0, most_bytes)


def _head(*headers: bytes, status: bytes = b"200 OK") -> bytes:
    """Return the beginning of a head, with the date that B2 sends."""
    date = formatdate(usegmt=True).encode()
    lines = (b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Date: " + date, *headers)
    return b"\r\n".join(lines) + b"\r\n"


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
# Answers that come byte by byte: in the body, in the head, in pieces, as words that an answer is to follow.
SLOW: dict[str, Callable[[], Stream]] = {
    "a slow body": lambda: _slow(_head(b"Content-Length: 999999") + b"\r\n{", b" "),
    "a slow head": lambda: _slow(_head() + b"X-More: ", b"x"),
    "slow pieces": lambda: _slow(_head(CHUNKED) + b"\r\n", b"1\r\n \r\n"),
    "a slow error": lambda: _slow(_head(b"Content-Length: 99999", status=b"500 Error") + b"\r\n", b" "),
    "continue, slowly": lambda: _slow(b"", CONTINUE),
}
# Answers that are larger than any machine, and one of which a thousandth is sent.
HUGE: dict[str, Callable[[], Stream]] = {
    "gigabytes of JSON": lambda: _huge(_head(b"Content-Length: 99999999999") + b"\r\n[", b'"x", ' * 20_000),
    "an endless body": lambda: _huge(_head() + b"\r\n", b" " * 65536),
    "endless pieces": lambda: _huge(_head(CHUNKED) + b"\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "a huge error": lambda: _huge(_head(status=b"400 Error") + b"\r\n", PAGE * 100),
    "continue without end": lambda: _huge(b"", CONTINUE * 100),
    "a packed body": lambda: _huge(
        _head(b"Content-Encoding: gzip") + b"\r\n" + _gzip_header(), _packed(), MIB // 8
    ),
}


def longer(size_bytes: int) -> Stream:
    """Return an answer to who asks for all of an object of that size, which does not end there."""
    part = b"Content-Range: bytes 0-%d/%d" % (size_bytes - 1, size_bytes)
    return _huge(_head(part, status=b"206 Partial") + b"\r\n", b"x" * 65536)


Spoil = Callable[[str, Answer], Answer | Stream]


def unending(made: Stream, after: int = 0) -> Spoil:
    """Answer one request, after that many others, by what does not end."""
    asked = iter(range(1_000_000))
    return lambda _, answer: made if next(asked) == after else answer


def whole(kind: str, after: int = 0) -> Spoil:
    """Answer all but the first `after` requests by one that is none."""
    asked = iter(range(1_000_000))
    return lambda _, answer: Answer(*WHOLE[kind]) if next(asked) >= after else answer


def mutated(seed: int) -> Spoil:
    """Spoil one of the first answers at one place, and leave the others as they are."""
    chance = random.Random(seed)  # noqa: S311 - to be the same again
    left = chance.randrange(8)

    def spoil(_path: str, answer: Answer) -> Answer:
        nonlocal left
        left -= 1
        if left >= 0:
            return answer
        left = chance.randrange(8)
        return Answer(answer.status, answer.headers, _spoiled(chance, answer.body))

    return spoil


def _spoiled(chance: random.Random, body: bytes) -> bytes:
    if chance.random() < 0.15:
        return body[: chance.randrange(len(body) + 1)]
    try:
        value = json.loads(body)
    except ValueError:
        return body[::-1]
    return json.dumps(_changed(chance, value)).encode()


def _changed(chance: random.Random, value: Any) -> Any:
    """Return a value in which one thing is missing, of another kind, or one too many."""
    inside: list[Any] = []
    if isinstance(value, dict) and value:
        inside = sorted(value)
    elif isinstance(value, list) and value:
        inside = list(range(len(value)))
    if not inside or chance.random() < 0.2:
        return chance.choice(ODD)
    where, made = chance.choice(inside), dict(value) if isinstance(value, dict) else list(value)
    if chance.random() < 0.25:
        del made[where]
    else:
        made[where] = _changed(chance, made[where])
    return made


@contextlib.contextmanager
def garbling(upstream: str, spoil: Spoil) -> Iterator[str]:
    """Serve what a server answers, spoilt; yield the address."""

    class Between(Handler):
        def _do(self) -> None:
            body = self.body()
            kept = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answered = requests.request(
                self.command,
                f"{upstream}{self.path}",
                headers=kept,
                data=body,
                timeout=SECONDS,
                allow_redirects=False,
            )
            sent = {"Content-Type": answered.headers.get("Content-Type", "application/json")}
            # What names itself would be asked without us.
            content = answered.content.replace(upstream.encode(), f"http://{self.headers['Host']}".encode())
            answer = spoil(self.path, Answer(answered.status_code, sent, content))
            if isinstance(answer, Stream):
                answer.write(self)
                return
            self.answer(answer.status, answer.body, answer.headers)

        do_GET = do_POST = do_PUT = do_LIST = do_DELETE = do_HEAD = _do  # noqa: N815 - http.server's own names

    with serving(Between) as port:
        yield f"http://127.0.0.1:{port}"
