"""Sends what is to be told to a web address, signed, so that who receives it knows that it is ours and new.

Nothing that is raised or logged here holds the address, which for most services is a credential by itself.
"""

import hashlib
import hmac
import logging
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import requests

from pipeline import bounded_http
from pipeline.errors import StepError, UnreachableError, innermost

logger = logging.getLogger(__name__)

SIGNATURE_HEADER = "Pipeline-Signature"
ID_HEADER = "Idempotency-Key"
CONNECT_TIMEOUT_SECONDS = 3.0
# For all that it answers.
READ_TIMEOUT_SECONDS = 5.0
# A signature older than this is one that somebody has kept.
TOLERANCE_SECONDS = 300.0
# The body itself is what is wrong: another one may be taken.
_REFUSALS = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "it asks for a login; correct url in that entry of Vault",
    HTTPStatus.FORBIDDEN: "it refuses requests to that address; correct url in that entry of Vault",
    HTTPStatus.NOT_FOUND: "it has no such address; correct url in that entry of Vault",
    HTTPStatus.GONE: "the address is no longer in use; write the new url into that entry of Vault",
    HTTPStatus.TOO_MANY_REQUESTS: "it received too many requests; the message is sent again later",
}


class RefusedError(StepError):
    """The webhook is there, and does not take this message."""


def signature(key: str, body: bytes, now: float) -> str:
    """Return the header that signs a body at a moment: HMAC-SHA256 over the time, a dot, and the body.

    >>> signature("key", b"{}", 1700000000)[:23]
    't=1700000000,v1=9d713ed'
    """
    moment = str(int(now))
    signed = hmac.new(key.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={signed}"


def is_signed(key: str, body: bytes, header: str, now: float) -> bool:
    """Whether `header` signs this body with this key, and is five minutes old at most: for its receiver."""
    moment = header.partition(",")[0].removeprefix("t=")
    if not moment.isdecimal() or abs(now - int(moment)) > TOLERANCE_SECONDS:
        return False
    return hmac.compare_digest(signature(key, body, int(moment)).encode(), header.encode())


def post(url: str, body: bytes, *, hmac_key: str | None, message_id: str) -> None:
    """Send a JSON body. `message_id` is the same each time that the same message is sent.

    Raise UnreachableError if it may be taken later, RefusedError if this body will not be taken as it is.
    """
    headers = {"Content-Type": "application/json", ID_HEADER: message_id}
    now = time.time()
    if hmac_key:
        headers[SIGNATURE_HEADER] = signature(hmac_key, body, now)
    status, theirs = _ask("POST", url, body, headers)
    if hmac_key and not _is_taken(status) and theirs is not None and abs(theirs - now) > TOLERANCE_SECONDS:
        # Nothing that we sign by this clock is believed, and who is to set it has to hear of it.
        logger.warning(
            "this machine's clock is %.0f seconds off that of the webhook; set it", abs(theirs - now)
        )
        headers[SIGNATURE_HEADER] = signature(hmac_key, body, theirs)
        status, _ = _ask("POST", url, body, headers)
    _require_taken(status)


def ping(url: str) -> None:
    """Ask for an address whose silence somebody else watches. Raise UnreachableError or RefusedError."""
    _require_taken(_ask("GET", url, None, {})[0])


def _ask(method: str, url: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, float | None]:
    """Return the status, and what time it is there, if it says so."""
    try:
        # What it answers beyond its status is not read. Another address that it names is not what Vault has.
        with bounded_http.request(
            method,
            url,
            data=body,
            headers=headers,
            stream=True,
            allow_redirects=False,
            timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
        ) as answer:
            return answer.status_code, _moment(answer.headers.get("Date", ""))
    except requests.RequestException as error:
        raise UnreachableError(f"the webhook cannot be reached: {_reason(error)}") from None


def _moment(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def _is_taken(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _require_taken(status: int) -> None:
    if _is_taken(status):
        return
    if status in _REFUSALS:
        raise RefusedError(
            f"the webhook refused the message with {status}",
            hint="set [alerts] form to the form that it accepts",
        )
    advice = _ADVICE.get(status)
    raise UnreachableError(f"the webhook answered {status}" + (f": {advice}" if advice else ""))


def _reason(error: requests.RequestException) -> str:
    """Return why nobody answered: never the address."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT_SECONDS:g} s"
    return innermost(error)
