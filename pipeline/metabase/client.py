"""Requests to one Metabase server: with time limits, made again only where that cannot do a thing twice."""

import contextlib
import logging
import os
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import requests

from pipeline import bounded_http, redact
from pipeline.bounded_http import BoundedAdapter, TooLargeError
from pipeline.errors import LostError, UnreachableError, innermost, understood
from pipeline.metabase import answers
from pipeline.metabase.versions import Version
from pipeline.retry import Attempts, RetryPolicy

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 5.0
# For a whole answer: a new connection to the warehouse is tried before, with TLS and without.
READ_TIMEOUT_SECONDS = 60.0
# It lists all of its cards at once, and all columns of a warehouse.
ANSWER_BYTES = 64 * bounded_http.MIB
# A start takes a minute or two, longer where its own tables are upgraded.
STARTING = RetryPolicy(give_up_after_seconds=300.0, first_wait_seconds=1.0, longest_wait_seconds=5.0)
# What passes within a moment. Longer outages are for who runs the step again.
_RETRIES = RetryPolicy(give_up_after_seconds=10.0, first_wait_seconds=0.5, longest_wait_seconds=2.0)

# Doing them twice leaves what doing them once does. A POST makes another thing each time.
_REPEATABLE = frozenset({"GET", "PUT"})


class Client:
    """A Metabase server. `writes` counts the requests that were to change something."""

    def __init__(self, url: str, *, starting: RetryPolicy = STARTING) -> None:
        self.url = url
        self.writes = 0
        self._starting = starting
        self._session = bounded_http.bounded(requests.Session(), BoundedAdapter(ANSWER_BYTES))
        # What a proxy or a login of this machine's user would add is not what Vault has.
        self._session.trust_env = False
        self._session.verify = _authority()

    def log_in(self, header: str, credential: str) -> None:
        """From now on send this credential in that header."""
        redact.register(credential)
        self._session.headers[header] = credential

    def log_out(self, header: str) -> None:
        """Send it no longer."""
        self._session.headers.pop(header, None)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def understood(self) -> contextlib.AbstractContextManager[None]:
        """Take answers apart. Raise UnreachableError where they are not shaped as this server's should be."""
        return understood(
            f"Metabase at {self.url} does not answer like any supported version",
            "see docs/dashboards.md for the versions, and [metabase] url in luigi.cfg",
        )

    def wait_until_up(self) -> None:
        """Return once it has started. Raise LostError if that takes too long, or nobody answers."""
        attempts, began = Attempts(self._starting), time.monotonic()
        while failure := self._why_not_up():
            logger.info("%s; waiting", failure)
            if not attempts.wait(None):
                waited = time.monotonic() - began
                raise LostError(f"{failure.fact}, after {waited:.0f} s", hint=failure.hint)

    def _why_not_up(self) -> LostError | None:
        """Return why it cannot be used yet. Raise UnreachableError if no waiting helps."""
        try:
            answer = self._send("GET", "/api/health", None, {})
        except LostError as error:
            return error
        state = _state(answer)
        if answer.status_code in answers.PASSING:
            what = f"Metabase at {self.url} is not up ({answer.status_code}: {state})"
            return LostError(what, hint="see its own log")
        answers.value(self.url, "its health", answer)
        if state != "ok":
            raise UnreachableError(
                f"{self.url} does not answer like Metabase when asked for its health",
                hint="check [metabase] url in luigi.cfg",
            )
        return None

    def version(self) -> Version:
        """Return which version it is."""
        properties = self.get("/api/session/properties")
        return Version.of(self.url, (properties.get("version") or {}).get("tag"))

    def get(self, path: str, **query: Any) -> Any:
        """Return what is at `path`. Raise what `answers.value` raises."""
        return self._ask("GET", path, None, query)

    def find(self, path: str, **query: Any) -> Any:
        """Return what is at `path`, None if there is nothing."""
        try:
            return self.get(path, **query)
        except answers.RefusedError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def post(self, path: str, body: Mapping[str, Any], **query: Any) -> Any:
        """Make something, once: a request whose answer is lost is never repeated. Return the answer."""
        self.writes += 1
        return self._ask("POST", path, body, query)

    def put(self, path: str, body: Mapping[str, Any], **query: Any) -> Any:
        """Change something, and return the answer."""
        self.writes += 1
        return self._ask("PUT", path, body, query)

    def delete(self, path: str) -> None:
        """Remove something for good."""
        self.writes += 1
        self._ask("DELETE", path, None, {})

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, Any]) -> Any:
        attempts = Attempts(_RETRIES)
        while True:
            try:
                return answers.value(self.url, f"{method} {path}", self._send(method, path, body, query))
            except LostError as error:
                if method not in _REPEATABLE or not attempts.wait(None):
                    raise
                logger.info("%s; trying again", error.fact)

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, Any]
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                self.url + path,
                json=body,
                params=query,
                allow_redirects=False,
                timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
            )
        except requests.exceptions.SSLError as error:
            raise UnreachableError(
                f"Metabase at {self.url}: its TLS certificate is not accepted ({innermost(error)})",
                hint="set REQUESTS_CA_BUNDLE to the file of its authority",
            ) from None
        except TooLargeError as error:
            asked = f"when asked for {method} {path} ({innermost(error)})"
            raise UnreachableError(
                f"{self.url} does not answer like Metabase {asked}",
                hint="check [metabase] url in luigi.cfg",
            ) from None
        except requests.RequestException as error:
            raise LostError(
                f"Metabase at {self.url} cannot be reached ({_reason(error)})",
                hint="check [metabase] url, the network, and that Metabase is running",
            ) from None


def _authority() -> str | bool:
    return os.environ.get("REQUESTS_CA_BUNDLE") or True


def _state(answer: requests.Response) -> str:
    """Return what its health is; while it starts other parts of it answer in plain text."""
    try:
        health = answer.json()
    except requests.JSONDecodeError:
        return " ".join(answer.text.split())[: answers.TEXT_LENGTH]
    return str(health.get("status", "")) if isinstance(health, Mapping) else ""


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT_SECONDS:g} s"
    return innermost(error)
