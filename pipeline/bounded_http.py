"""Answers of servers within limits: none is waited for without end, and none fills the memory.

The read timeout of requests is for each piece that comes: a server that sends a byte now and then keeps its
caller for ever, in the headers as in the body. In a session that is `bounded` it is for a whole answer.
"""

import errno
import http.client
import io
import socket
import time
from collections.abc import Mapping
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

MIB = 1024 * 1024
# So much of an answer is read into memory. A page of B2's list has half of that at most.
ANSWER_BYTES = 16 * MIB
HEAD_BYTES = 256 * 1024
# A body that is handed on while it comes, such as a backup, has its time again with so much of it.
PIECE_BYTES = 256 * 1024
# A standby of Vault has one. More are a circle.
REDIRECTS = 3


class TooLargeError(requests.RequestException):
    """An answer is larger than any that is expected there."""


class _LimitError(OSError):
    """A limit was passed before the answer's body."""


class _LateError(TimeoutError):
    """The time of an answer was over."""


def passed_limit(error: BaseException) -> str | None:
    """Return which limit an error of requests comes of, None if of none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (TooLargeError, _LimitError, _LateError)):
            return cause.strerror
        cause = cause.__context__
    return None


class _Timely(io.RawIOBase):
    """What comes from a server, until its time is over."""

    def __init__(self, raw: io.RawIOBase, line: socket.socket) -> None:
        self._raw, self._line = raw, line
        self._seconds: float | None = line.gettimeout()
        self._until = time.monotonic() + (self._seconds or 0.0)
        # How much of the head may still come, None behind it; and how much until there is time again.
        self._head_left: int | None = HEAD_BYTES
        self._piece_bytes = self._piece_left = 0
        self._began = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def close(self) -> None:
        """Close what it reads from."""
        self._raw.close()
        super().close()

    def at_body(self) -> None:
        """The head has ended."""
        self._head_left = None

    def by_pieces(self, piece_bytes: int) -> None:
        """From now on there is as much time again after each so many bytes."""
        self._piece_bytes = self._piece_left = piece_bytes
        self._extend()

    def readinto(self, buffer: Any) -> int | None:
        """Read once. Raise TimeoutError if the time is over, OSError if the head does not end."""
        if self._seconds is None:
            return self._raw.readinto(buffer)
        left = self._until - time.monotonic()
        if left <= 0:
            raise self._late()
        self._line.settimeout(left)
        try:
            count = self._raw.readinto(buffer) or 0
        except TimeoutError:
            raise self._late() from None
        finally:
            # The next request on this line has its own time.
            self._line.settimeout(self._seconds)
        self._began = self._began or count > 0
        self._count(count)
        return count

    def _count(self, count: int) -> None:
        if self._head_left is not None:
            self._head_left -= count
            if self._head_left < 0:
                raise _LimitError(errno.EMSGSIZE, f"headers of more than {HEAD_BYTES // 1024} KiB")
        if self._piece_bytes:
            self._piece_left -= count
            if self._piece_left <= 0:
                self._piece_left = self._piece_bytes
                self._extend()

    def _extend(self) -> None:
        self._until = time.monotonic() + (self._seconds or 0.0)

    def _late(self) -> TimeoutError:
        whole = "whole " if self._began else ""
        return _LateError(errno.ETIMEDOUT, f"no {whole}answer within {self._seconds:g} s")


class _Answer(http.client.HTTPResponse):
    """An answer that is read within its time."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self._timely = _Timely(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._timely)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        self._timely.at_body()

    def by_pieces(self, piece_bytes: int) -> None:
        """Give each piece of the body as much time as the head had."""
        self._timely.by_pieces(piece_bytes)


class _Plain(HTTPConnection):
    response_class = _Answer


class _Encrypted(HTTPSConnection):
    response_class = _Answer


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _Encrypted


_POOLS = {"http": _PlainPool, "https": _EncryptedPool}


class BoundedAdapter(HTTPAdapter):
    """Sends requests whose answers come within the read timeout, and are not larger than `answer_bytes`.

    With `stream` the body of a good answer is the caller's, who counts it: each of its pieces has that time.
    Unless it `unpacks`, a compressed answer is left as it comes.
    """

    def __init__(self, answer_bytes: int | None = None, *, unpacks: bool = True) -> None:
        self._answer_bytes, self._unpacks = answer_bytes or ANSWER_BYTES, unpacks
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Have it make connections of ours."""
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        """Have those through a proxy be ours as well."""
        manager = super().proxy_manager_for(proxy, **named)
        if isinstance(manager, urllib3.ProxyManager):
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Make requests' answer of urllib3's."""
        if not self._unpacks:
            resp.headers.pop("Content-Encoding", None)
        return super().build_response(req, resp)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Return the answer. Raise TooLargeError if it is too large, requests' own errors else."""
        response = super().send(request, stream, timeout, verify, cert, proxies)
        if stream and response.ok:
            inner = getattr(response.raw, "_original_response", None)
            if isinstance(inner, _Answer):
                inner.by_pieces(PIECE_BYTES)
            return response
        content = b"" if request.method == "HEAD" else self._read(response)
        # As requests itself keeps what it has read.
        vars(response).update(_content=content, _content_consumed=True)
        return response

    def _read(self, response: requests.Response) -> bytes:
        pieces: list[bytes] = []
        size = 0
        # Unpacked, where it is compressed, but no more of it at once than asked for.
        for piece in response.iter_content(PIECE_BYTES):
            size += len(piece)
            if size > self._answer_bytes:
                response.close()
                raise TooLargeError(errno.EMSGSIZE, f"an answer of more than {_shown(self._answer_bytes)}")
            pieces.append(piece)
        return b"".join(pieces)


def bounded(session: requests.Session, adapter: HTTPAdapter | None = None) -> requests.Session:
    """Let a session ask within limits, by an adapter of its own where one is given; return it."""
    made = adapter or BoundedAdapter()
    for scheme in ("https://", "http://"):
        session.mount(scheme, made)
    session.max_redirects = REDIRECTS
    return session


def request(method: str, url: str, *, adapter: HTTPAdapter | None = None, **named: Any) -> requests.Response:
    """Make one request as `requests.request` does, within limits."""
    with bounded(requests.Session(), adapter) as session:
        return session.request(method, url, **named)


def _shown(size_bytes: int) -> str:
    return f"{size_bytes // MIB} MiB" if size_bytes >= MIB else f"{size_bytes // 1024} KiB"
