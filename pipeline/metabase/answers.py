"""What Metabase's answers mean: an error that says what it refused, or the value that it gave."""

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import requests

from pipeline.errors import LostError, PipelineError, StepError, UnreachableError
from pipeline.redact import redact

# Of a text that is no JSON so much is told.
TEXT_LENGTH = 200

# A server, or what stands before it, that is not ready: the request may be made again once it is.
PASSING = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)


class RefusedError(StepError):
    """Metabase is there, and does not take this request. `status` is what it answered."""

    status = 0
    retryable = False

    @classmethod
    def of(cls, status: int, message: str) -> "RefusedError":
        """Return the error of an answer."""
        made = cls(message)
        made.status = status
        return made


class NotAcceptedError(UnreachableError):
    """Metabase is there, and does not accept our login."""


def value(url: str, what: str, answer: requests.Response) -> Any:
    """Return what was answered when asked for `thing`; None where there is nothing to say.

    Raise LostError if the server is not ready, NotAcceptedError if it lets us not in, UnreachableError if it
    is no Metabase, RefusedError if it refused just this.
    """
    status = answer.status_code
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        raise _failure(url, what, status, answer)
    if status == HTTPStatus.NO_CONTENT or not answer.content:
        return None
    try:
        return answer.json()
    except requests.JSONDecodeError:
        # Some settings are answered as plain text.
        if "json" not in answer.headers.get("content-type", ""):
            return answer.text
        raise UnreachableError(
            f"{url} does not answer like Metabase when asked for {what}",
            hint="check [metabase] url in luigi.cfg",
        ) from None


def _failure(url: str, what: str, status: int, answer: requests.Response) -> PipelineError:
    message = redact(_message_of(answer))
    quoted = f" (message: {message})" if message else ""
    if status in PASSING:
        return LostError(f"Metabase at {url} is not ready ({status}){quoted}", hint="see its own log")
    if status < HTTPStatus.BAD_REQUEST:
        place = answer.headers.get("location", "")
        return UnreachableError(
            f"Metabase at {url} redirects to {place}",
            hint="write its own address into [metabase] url",
        )
    if status == HTTPStatus.UNAUTHORIZED:
        return NotAcceptedError(f"Metabase at {url} refused our login for {what}{quoted}")
    if status == HTTPStatus.FORBIDDEN:
        return RefusedError.of(status, f"Metabase at {url}: our login may not ask for {what}{quoted}")
    return RefusedError.of(status, f"Metabase at {url} refused {what} with {status}{quoted}")


def _message_of(answer: requests.Response) -> str:
    """Return what it says is wrong, key by key, in one line; never a traceback."""
    try:
        content = answer.json()
    except requests.JSONDecodeError:
        content = answer.text
    if isinstance(content, Mapping):
        wrong = content.get("specific-errors") or content.get("errors")
        content = "; ".join(_listed(wrong)) if wrong else content.get("message") or content.get("cause") or ""
    text = content if isinstance(content, str) else json.dumps(content)
    return " ".join(text.split())[:TEXT_LENGTH]


def _listed(wrong: Any, path: str = "") -> Iterator[str]:
    if isinstance(wrong, Mapping):
        for key, inside in wrong.items():
            yield from _listed(inside, f"{path}.{key}" if path else str(key))
    else:
        joined = ", ".join(map(str, wrong)) if isinstance(wrong, list) else str(wrong)
        yield f"{path}: {joined}" if path else joined
