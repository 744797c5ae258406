"""Who may do what at the scheduler: every request is looked at here before Luigi's own server sees it.

Luigi has no login, changes things on GET, and writes what it is given into its pages as HTML.
"""

import asyncio
import base64
import binascii
import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from hmac import compare_digest
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import luigi.server
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, OutputTransform, RequestHandler, stream_request_body

from pipeline.scheduler.visualizer import OPERATOR, READER, WORKER

logger = logging.getLogger(__name__)

API = "/api/"
# Each of these changes nothing, whoever calls it. What is not here changes, as what a new version may bring.
READING = frozenset(
    {
        "graph",
        "dep_graph",
        "inverse_dep_graph",
        "task_list",
        "task_search",
        "worker_list",
        "resource_list",
        "fetch_error",
        "get_task_status_message",
        "get_task_progress_percentage",
        "get_running_task_resources",
        "has_task_history",
        "is_pause_enabled",
        "is_paused",
    }
)
# What Luigi's workers call, and ours before a run begins: no pause, no resources, no other's processes.
WORKING = READING | {
    "add_task",
    "add_task_batcher",
    "add_worker",
    "get_work",
    "ping",
    "count_pending",
    "announce_scheduling_failure",
    "set_task_status_message",
    "set_task_progress_percentage",
    "decrease_running_task_resources",
    "add_scheduler_message_response",
    "update_metrics_task_started",
    "report_task_statistics",
    "disable_worker",
    "re_enable_task",
    "forgive_failures",
}
# A wrong password is answered late, so that guessing is slow. Only so many wait, and none who is right.
DELAY_SECONDS = 1.0
MOST_DELAYED = 50
# After one was told, so long none is.
QUIET_SECONDS = 1.0
CHALLENGE = 'Basic realm="pipeline scheduler", charset="UTF-8"'

Passwords = Mapping[str, str]


def login(passwords: Passwords, authorization: str | None) -> str | None:
    """Return whose name and password these are, or None if they are nobody's."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, given = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return None
    user = None
    # All are compared, and each in constant time: how long it takes tells nothing.
    for known, password in passwords.items():
        right = compare_digest(password.encode(), given)
        if compare_digest(known.encode(), name) and right:
            user = known
    return user


def refusal(who: str, request: HTTPServerRequest) -> str | None:
    """Return why this login may not make this request, or None if it may."""
    path = request.path
    if not path.startswith(API):
        return "the login worker may not open this page" if who == WORKER else None
    method = path.removeprefix(API)
    if method in READING:
        return None
    if who == READER or (who == WORKER and method not in WORKING):
        return f"the login {who} may not do this"
    return None if _from_our_page(request) else "the request comes from another site"


def _from_our_page(request: HTTPServerRequest) -> bool:
    """Whether no other site's page made this request: a browser sends the password along for anybody."""
    headers = request.headers
    if site := headers.get("Sec-Fetch-Site"):
        return bool(site == "same-origin")
    # A browser that is older, or that does not trust the connection; or no browser, which sends neither.
    return all(
        urlsplit(headers[name]).netloc == headers.get("Host")
        for name in ("Origin", "Referer")
        if name in headers
    )


class AccessControl(Router):
    """Lets through to the application what may pass."""

    def __init__(
        self, application: Application, passwords: Callable[[], Passwords], on_failure: Callable[[], None]
    ) -> None:
        self._application, self._passwords, self._on_failure = application, passwords, on_failure
        self._quiet_until = 0.0
        application.add_transform(SecurityHeaders)

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> HTTPMessageDelegate:
        """Return what answers the request."""
        authorization = request.headers.get("Authorization")
        who = login(self._passwords(), authorization)
        if who is None:
            if authorization is not None:
                self._on_failure()
                self._log_refusal(request)
            return self._application.get_handler_delegate(
                request, NotLoggedIn, {"wrong": authorization is not None}
            )
        if why := refusal(who, request):
            logger.warning(
                "%s %s by the %s from %s is refused: %s",
                request.method,
                request.path,
                who,
                request.remote_ip,
                why,
            )
            return self._application.get_handler_delegate(request, Refused, {"why": why})
        if who == OPERATOR and request.path.startswith(API) and request.path[len(API) :] not in READING:
            logger.info("%s by the operator from %s", request.uri, request.remote_ip)
        return self._application.find_handler(request)

    def _log_refusal(self, request: HTTPServerRequest) -> None:
        # Not who was named: people type a password there. And a stranger shall not fill the disk.
        if time.monotonic() > self._quiet_until:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            logger.warning("a login from %s is refused", request.remote_ip)


@stream_request_body
class _Unheard(RequestHandler):
    """Answers before the body has come, and reads none of it: nobody fills our memory unasked."""

    def data_received(self, chunk: bytes) -> None:
        """Let it go by."""

    def answer(self, status: HTTPStatus, text: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(f"{text}\n")


class NotLoggedIn(_Unheard):
    """Asks for a login."""

    _delayed = 0

    def initialize(self, wrong: bool) -> None:
        """Remember whether there was a login, but a wrong one."""
        self._wrong = wrong

    def prepare(self) -> Awaitable[None]:
        """Answer."""
        return self._answer_in_time()

    async def _answer_in_time(self) -> None:
        if self._wrong and NotLoggedIn._delayed >= MOST_DELAYED:
            self.set_header("Retry-After", "5")
            self.answer(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong passwords; try later")
            return
        if self._wrong:
            NotLoggedIn._delayed += 1
            try:
                await asyncio.sleep(DELAY_SECONDS)
            finally:
                NotLoggedIn._delayed -= 1
        self.set_header("WWW-Authenticate", CHALLENGE)
        self.answer(HTTPStatus.UNAUTHORIZED, "log in as operator or reader")


class Refused(_Unheard):
    """Says that a login does not suffice."""

    def initialize(self, why: str) -> None:
        """Remember why."""
        self._why = why

    def prepare(self) -> None:
        """Answer."""
        self.answer(HTTPStatus.FORBIDDEN, self._why)


class SecurityHeaders(OutputTransform):
    """Tells browsers to trust nothing that is not of this server."""

    def __init__(self, request: HTTPServerRequest) -> None:
        self._static = request.path.startswith("/static/")

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Return the answer with our headers."""
        del finishing
        headers.pop("Server", None)
        for name, value in HEADERS.items():
            headers[name] = value
        # The pages' own scripts and styles are Luigi's, and no secret; but they are asked for each time.
        headers["Cache-Control"] = "private, no-cache" if self._static else "no-store"
        return status_code, headers, chunk


def _inline_scripts() -> str:
    """Return the hashes of the scripts that stand in Luigi's page itself, as a browser wants them."""
    page = Path(luigi.server.__file__).parent / "static" / "visualiser" / "index.html"
    scripts = re.findall(r"<script>(.*?)</script>", page.read_text(encoding="utf-8"), re.DOTALL)
    return " ".join(map(_hash, scripts))


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' {_inline_scripts()}",
            # jQuery gives an element such a handler, "t", to see whether the browser is an old one.
            f"script-src-attr 'unsafe-hashes' {_hash('t')}",
            # The page sets widths and hides things by style attributes.
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
